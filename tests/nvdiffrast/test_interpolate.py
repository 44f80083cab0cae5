"""Compares interpolate with its plain PyTorch reference."""

import pytest
import torch

import nvdiffrast.torch as dr
from tests.helpers import context, devices, draw, soup
from tests.nvdiffrast import reference_rasterizer as reference


def scene(seed=0, channels=3, shared=False, size=(24, 31)):
    pos, tri = soup("plain", seed, batch=3, faces=40)
    rast, db = draw(pos, tri, size)
    g = torch.Generator().manual_seed(seed)
    attr = torch.randn(1 if shared else 3, pos.shape[1], channels, generator=g)
    return attr, rast, tri, db


@devices
@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("channels", [1, 3, 5])
def test_matches_reference(channels, shared, device):
    attr, rast, tri, db = scene(channels, channels, shared)
    out, da = (
        x.cpu() for x in dr.interpolate(*(x.to(device) for x in (attr, rast, tri, db)), diff_attrs="all")
    )
    u, v, ids = rast[..., 0].double(), rast[..., 1].double(), rast[..., 3].long()
    expected, slopes = reference.interpolate(attr.double(), u, v, ids, tri, db.double())
    torch.testing.assert_close(out.double(), expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(da.double(), slopes.flatten(-2), atol=1e-4, rtol=1e-5)
    assert not out[ids == 0].any() and not da[ids == 0].any()


@devices
@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("diff_attrs", [None, [2, 0], "all"])
def test_gradient(diff_attrs, shared, device):
    attr, rast, tri, db = scene(7, 4, shared)
    chosen = [0, 1, 2, 3] if diff_attrs == "all" else diff_attrs or []
    g = torch.Generator().manual_seed(1)
    weight = torch.randn(3, 24, 31, 4, generator=g)
    weight_da = torch.randn(3, 24, 31, 2 * len(chosen), generator=g)

    leaves = [x.to(device).requires_grad_() for x in (attr, rast, db)]
    out, da = dr.interpolate(leaves[0], leaves[1], tri.to(device), leaves[2], diff_attrs)
    assert da.shape == weight_da.shape
    loss = (out * weight.to(device)).sum() + (da * weight_da.to(device)).sum()
    grads = torch.autograd.grad(loss, leaves, allow_unused=True)

    exact = [x.double().requires_grad_() for x in (attr, rast, db)]
    u, v, ids = exact[1][..., 0], exact[1][..., 1], rast[..., 3].long()
    value, slopes = reference.interpolate(exact[0], u, v, ids, tri, exact[2])
    loss = (value * weight).sum() + (slopes[..., chosen, :].flatten(-2) * weight_da).sum()
    expected = torch.autograd.grad(loss, exact)
    for grad, other in zip(grads, expected, strict=True):
        if grad is None:
            assert not other.any()
        else:
            torch.testing.assert_close(grad.cpu().double(), other, atol=1e-3, rtol=1e-4)


def test_range_mode_attributes():
    attr, rast, tri, _ = scene(2, 3, shared=True)
    assert torch.equal(dr.interpolate(attr[0], rast, tri)[0], dr.interpolate(attr, rast, tri)[0])


def test_only_what_is_asked_for_gets_a_gradient():
    attr, rast, tri, db = scene(3)
    leaf = attr.clone().requires_grad_()
    dr.interpolate(leaf, rast, tri)[0].sum().backward()
    assert leaf.grad.shape == attr.shape
    leaf = rast.clone().requires_grad_()
    dr.interpolate(attr, leaf, tri)[0].sum().backward()
    assert not leaf.grad[..., 2:].any() and leaf.grad[..., :2].any()
    leaf = attr.clone().requires_grad_()
    dr.interpolate(leaf, rast, tri, db, diff_attrs=[1])[1].square().sum().backward()
    assert not leaf.grad[..., [0, 2]].any() and leaf.grad[..., 1].any()


def test_through_the_renderer():
    """Vertex positions get the same gradients from an image as by autograd through the reference."""
    pos, tri = soup("plain", 6, batch=2, faces=20)
    attr = torch.rand(1, pos.shape[1], 3, generator=torch.Generator().manual_seed(0))
    target = torch.rand(2, 20, 20, 3, generator=torch.Generator().manual_seed(1))
    leaf = pos.clone().requires_grad_()
    rast, _ = dr.rasterize(context(), leaf, tri, (20, 20))
    (grad,) = torch.autograd.grad(((dr.interpolate(attr, rast, tri)[0] - target) ** 2).sum(), leaf)

    exact = pos.double().requires_grad_()
    ids = rast[..., 3].long()
    u, v, _, _ = reference.barycentrics(exact, tri, ids, 20, 20)
    out = reference.interpolate(attr.double(), u, v, ids, tri)
    (expected,) = torch.autograd.grad(((out - target) ** 2).sum(), exact)
    expected[..., 2] = 0
    scale = expected.abs().amax(-1, keepdim=True).clamp(min=1)
    close = ((grad - expected).abs() / scale < 0.02).double().mean()
    # At the edges of very thin triangles, clamped barycentric coordinates may differ.
    assert close > 0.97


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"attr": torch.zeros(2, 3, 1)}, r"attr is a float32 tensor of shape \(2, 3, 1\).* must be 3, or 1"),
        ({"attr": torch.zeros(1, 3, 1).half()}, "attr is a float16 tensor"),
        ({"attr": torch.zeros(1, 3, 1).expand(3, -1, -1)}, "not contiguous"),
        ({"attr": torch.zeros(3)}, r"shape \(B, N, C\)"),
        ({"rast": torch.zeros(3, 4, 4)}, r"rast is .* shape \(B, H, W, 4\)"),
        ({"tri": torch.tensor([[0, 1, 7]]).int()}, "from 0 to 7"),
        ({"diff_attrs": "all"}, "rast_db, with diff_attrs, is NoneType"),
        ({"diff_attrs": [1]}, r"diff_attrs is \[1\]"),
        ({"diff_attrs": "some"}, "diff_attrs is 'some'"),
    ],
)
def test_argument_errors(changes, message):
    arguments = {
        "attr": torch.zeros(3, 3, 1),
        "rast": torch.zeros(3, 4, 4, 4),
        "tri": torch.tensor([[0, 1, 2]], dtype=torch.int32),
    }
    with pytest.raises((TypeError, ValueError), match=message):
        dr.interpolate(**{**arguments, **changes})
