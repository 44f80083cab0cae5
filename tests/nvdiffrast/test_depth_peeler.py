"""Tests of DepthPeeler: layers from front to back."""

import pytest
import torch

import nvdiffrast.torch as dr
from tests.helpers import context, devices, draw, perspective, soup, sphere


@devices
def test_layers_are_what_is_left_without_the_triangles_in_front(device):
    pos, tri = soup("plain", 1, batch=2, faces=30)
    pos, tri = pos.to(device), tri.to(device)
    per_triangle = torch.stack(
        [draw(pos, tri[f : f + 1].contiguous(), (24, 32), device)[0][..., 2:] for f in range(30)]
    )
    depth = torch.where(per_triangle[..., 1] > 0, per_triangle[..., 0], torch.inf).sort(0)
    with dr.DepthPeeler(context(), pos, tri, (24, 32)) as peeler:
        for layer in range(31):
            rast, _ = peeler.rasterize_next_layer()
            seen = rast[..., 3] > 0
            if layer == 30:
                assert not seen.any()
                break
            assert torch.equal(seen, depth.values[layer].isfinite())
            # Visibility compares depths of snapped triangles. Of two close ones, either may come first.
            apart = seen & ((rast[..., 2] - depth.values[layer]).abs() < 1e-6)
            assert apart.sum() >= 0.97 * seen.sum()
            same = rast[..., 3] == depth.indices[layer] + 1
            assert same[apart].all()


@devices
def test_sphere_has_two_layers_and_gradients(device):
    vertices, tri = sphere(16)
    pos = perspective(vertices + torch.tensor([0.0, 0, 3]))[None].to(device).requires_grad_()
    peeler = dr.DepthPeeler(context(), pos, tri.to(device), (48, 48))
    (front, _), (back, back_db), (none, _) = (peeler.rasterize_next_layer() for _ in range(3))
    assert torch.equal(front.detach(), dr.rasterize(context(), pos, tri.to(device), (48, 48))[0].detach())
    both = (front[..., 3] > 0) & (back[..., 3] > 0)
    assert both.sum() > 0.97 * (front[..., 3] > 0).sum()
    assert (back[..., 2] > front[..., 2])[both].all()
    assert not none[..., 3].any()
    (grad,) = torch.autograd.grad(back[..., 0].sum() + back_db.sum(), pos)
    assert grad.isfinite().all() and grad.any()


def test_range_mode():
    pos, tri = soup("plain", 1, batch=1, faces=10)
    ranges = torch.tensor([[0, 10], [0, 5]], dtype=torch.int32)
    peeler = dr.DepthPeeler(context(), pos[0], tri, (16, 16), ranges=ranges)
    alone = dr.DepthPeeler(context(), pos, tri[:5].contiguous(), (16, 16))
    for _ in range(3):
        assert torch.equal(peeler.rasterize_next_layer()[0][1], alone.rasterize_next_layer()[0][0])


def test_argument_errors():
    pos, tri = soup("plain", 1)
    with pytest.raises(TypeError, match="DepthPeeler: glctx is NoneType"):
        dr.DepthPeeler(None, pos, tri, (4, 4))
    with pytest.raises(TypeError, match="DepthPeeler: tri is a int64"):
        dr.DepthPeeler(context(), pos, tri.long(), (4, 4))
