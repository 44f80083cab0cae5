"""Compares texture with torch's grid_sample, and cube maps with the geometry of a cube."""

import pytest
import torch
import torch.nn.functional as F

import nvdiffrast.torch as dr
from tests.helpers import devices


def data(seed=0, size=(8, 16), channels=3, batch=2, shared=False, spread=1.6):
    g = torch.Generator().manual_seed(seed)
    tex = torch.rand(1 if shared else batch, *size, channels, generator=g)
    uv = (torch.rand(batch, 9, 7, 2, generator=g) - 0.5) * spread + 0.5
    return tex, uv


def sample(tex, uv, boundary):
    """Linear lookup by grid_sample."""
    tex = tex.expand(len(uv), -1, -1, -1).permute(0, 3, 1, 2)
    if boundary == "wrap":
        height, width = tex.shape[-2:]
        uv = uv - uv.detach().floor()
        tex = F.pad(tex, (1, 1, 1, 1), mode="circular")
        size = uv.new_tensor([width, height])
        uv = (uv * size + 1) / (size + 2)
    padding = {"clamp": "border", "zero": "zeros", "wrap": "zeros"}[boundary]
    grid = uv * 2 - 1
    return F.grid_sample(tex, grid, mode="bilinear", padding_mode=padding, align_corners=False).permute(
        0, 2, 3, 1
    )


def levels_of(tex):
    levels = [tex]
    while levels[-1].shape[1:3] != (1, 1):
        x = levels[-1].permute(0, 3, 1, 2)
        levels.append(F.avg_pool2d(x, (min(2, x.shape[2]), min(2, x.shape[3]))).permute(0, 2, 3, 1))
    return levels


def trilinear(tex, uv, level, boundary):
    stack = torch.stack([sample(x, uv, boundary) for x in levels_of(tex)])
    level = level.clamp(0, len(stack) - 1)
    below = level.detach().floor().long()
    above = (below + 1).clamp(max=len(stack) - 1)
    pick = [stack.gather(0, i[None, ..., None].expand(1, *stack.shape[1:]))[0] for i in (below, above)]
    share = (level - below)[..., None]
    return pick[0] * (1 - share) + pick[1] * share


def compare(value, expected, leaves, exact, tolerance=1e-4):
    torch.testing.assert_close(value.cpu().double(), expected, atol=1e-5, rtol=1e-5)
    weight = torch.randn(expected.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    grads = torch.autograd.grad((value * weight.to(value)).sum(), leaves)
    wanted = torch.autograd.grad((expected * weight).sum(), exact)
    for grad, other in zip(grads, wanted, strict=True):
        torch.testing.assert_close(grad.cpu().double(), other, atol=tolerance, rtol=10 * tolerance)


def leaves_of(device, *tensors):
    leaves = [x.clone().to(device).requires_grad_() for x in tensors]
    return leaves, [x.double().requires_grad_() for x in tensors]


@devices
@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("boundary", ["wrap", "clamp", "zero"])
def test_linear(boundary, shared, device):
    leaves, exact = leaves_of(device, *data(shared=shared))
    compare(dr.texture(*leaves, boundary_mode=boundary), sample(*exact, boundary), leaves, exact)


@devices
@pytest.mark.parametrize("boundary", ["wrap", "clamp", "zero"])
def test_nearest(boundary, device):
    tex, uv = data(1)
    out = dr.texture(tex.to(device), uv.to(device), filter_mode="nearest", boundary_mode=boundary).cpu()
    x, y = (uv * torch.tensor([16, 8])).floor().long().unbind(-1)
    inside = (x >= 0) & (x < 16) & (y >= 0) & (y < 8)
    if boundary == "wrap":
        x, y = x % 16, y % 8
    x, y = x.clamp(0, 15), y.clamp(0, 7)
    expected = tex[torch.arange(2)[:, None, None], y, x]
    if boundary == "zero":
        expected[~inside] = 0
    assert torch.equal(out, expected)


@devices
@pytest.mark.parametrize("boundary", ["wrap", "clamp", "zero"])
def test_level_from_bias_alone(boundary, device):
    tex, uv = data(2)
    level = torch.rand(2, 9, 7, generator=torch.Generator().manual_seed(0)) * 7 - 1
    leaves, exact = leaves_of(device, tex, uv, level)
    value = dr.texture(*leaves[:2], mip_level_bias=leaves[2], boundary_mode=boundary)
    compare(value, trilinear(*exact, boundary), leaves, exact)


@devices
def test_level_is_the_longer_axis_of_the_footprint(device):
    tex, uv = data(3, size=(16, 16))
    g = torch.Generator().manual_seed(0)
    uv_da = torch.randn(2, 9, 7, 4, generator=g) * 0.15
    bias = torch.rand(2, 9, 7, generator=g) - 0.5
    leaves, exact = leaves_of(device, tex, uv, uv_da, bias)
    value = dr.texture(*leaves)
    level = torch.linalg.matrix_norm(exact[2].unflatten(-1, (2, 2)) * 16, 2).log2() + exact[3]
    compare(value, trilinear(*exact[:2], level, "wrap"), leaves, exact, tolerance=5e-4)


@devices
def test_mipmap_nearest_rounds_the_level_down_to_at_most_max_level(device):
    tex, uv = (x.to(device) for x in data(4))
    for bias, max_level, used in ((0.9, None, 0), (1.0, None, 1), (1.6, 1, 1), (9.0, 2, 2), (9.0, None, 4)):
        level = torch.full((2, 9, 7), bias, device=device)
        out = dr.texture(tex, uv, None, level, filter_mode="linear-mipmap-nearest", max_mip_level=max_level)
        expected = dr.texture(levels_of(tex)[used].contiguous(), uv)
        torch.testing.assert_close(out, expected, atol=1e-6, rtol=1e-5)


@devices
def test_ready_made_and_custom_mipmaps(device):
    tex, uv = (x.to(device) for x in data(5))
    level = torch.rand(2, 9, 7, generator=torch.Generator().manual_seed(0)).to(device) * 4
    expected = dr.texture(tex, uv, mip_level_bias=level)
    assert torch.equal(dr.texture(tex, uv, mip_level_bias=level, mip=dr.texture_construct_mip(tex)), expected)
    custom = [x.contiguous().requires_grad_() for x in levels_of(tex)[1:]]
    out = dr.texture(tex, uv, mip_level_bias=level, mip=custom)
    torch.testing.assert_close(out, expected)
    assert all(g.any() for g in torch.autograd.grad(out.sum(), custom))


@devices
def test_no_trace_of_bad_coordinates(device):
    tex, uv = (x.to(device) for x in data(6))
    uv[0, 0, 0] = torch.nan
    uv[0, 0, 1] = torch.inf
    uv[0, 0, 2] = 1e30
    uv_da = torch.zeros(2, 9, 7, 4, device=device)
    uv_da[0, 1] = torch.nan
    leaves = [x.requires_grad_() for x in (tex, uv, uv_da)]
    for boundary in ("wrap", "clamp", "zero"):
        out = dr.texture(*leaves, boundary_mode=boundary)
        grads = torch.autograd.grad(out.sum(), leaves)
        assert out.isfinite().all() and not out[0, 0, :2].any()
        assert all(grad.isfinite().all() for grad in grads[:2])


def face_directions(size):
    """Returns the directions (6, size, size, 3) of the texel centres of a cube map."""
    s = (2 * torch.arange(size) + 1) / size - 1
    t, s = torch.meshgrid(s, s, indexing="ij")
    one = torch.ones_like(s)
    return torch.stack(
        [
            torch.stack(d, -1)
            for d in (
                (one, -t, -s),
                (-one, -t, s),
                (s, one, t),
                (s, -one, -t),
                (s, -t, one),
                (-s, -t, -one),
            )
        ]
    )


@devices
@pytest.mark.parametrize("filter_mode", ["nearest", "linear"])
def test_cube_texel_centres(filter_mode, device):
    tex = torch.rand(1, 6, 5, 5, 2, generator=torch.Generator().manual_seed(0)).to(device)
    directions = face_directions(5).flatten(1, 2)[None].to(device)
    out = dr.texture(tex, directions * 3, filter_mode=filter_mode, boundary_mode="cube")
    torch.testing.assert_close(out, tex.flatten(2, 3), atol=1e-5, rtol=1e-5)


@devices
@pytest.mark.parametrize("with_mip", [False, True])
def test_cube_is_seamless(with_mip, device):
    """A smooth function of the direction is reproduced everywhere, also at edges and corners."""
    size = 32
    along = torch.tensor([0.3, -0.5, 0.8])

    def smooth(d):
        return F.normalize(d, dim=-1) @ along

    tex = smooth(face_directions(size))[None, ..., None].contiguous().to(device)
    g = torch.Generator().manual_seed(0)
    d = torch.randn(1, 60, 60, 3, generator=g)
    d[:, :20] = d[:, :20].sign() + 0.05 * d[:, :20]  # near the corners
    d[:, 20:40, :, 0] = d[:, 20:40, :, 1]  # on edges
    bias = torch.full(d.shape[:3], 0.5).to(device) if with_mip else None
    out = dr.texture(tex, d.contiguous().to(device), mip_level_bias=bias, boundary_mode="cube").cpu()
    assert (out[..., 0] - smooth(d)).abs().max() < (0.04 if with_mip else 0.02)


@devices
def test_cube_gradients(device):
    """Equals the finite difference in the direction and, on one face, the derivatives of a plane map."""
    g = torch.Generator().manual_seed(1)
    tex = torch.rand(1, 6, 8, 8, 2, generator=g).to(device)
    d = F.normalize(torch.randn(1, 6, 6, 3, generator=g), dim=-1).to(device)
    da = (torch.randn(1, 6, 6, 6, generator=g) * 0.3).to(device)
    weight = torch.randn(1, 6, 6, 2, generator=g).to(device)
    leaves = [x.requires_grad_() for x in (tex, d, da)]

    def loss(tex, d, da):
        return (dr.texture(tex, d, da, boundary_mode="cube") * weight).double().sum((1, 2, 3))

    def per_pixel(tex, d, da):
        return (dr.texture(tex, d, da, boundary_mode="cube") * weight).double().sum(-1)

    grads = torch.autograd.grad(loss(*leaves).sum(), leaves)
    with torch.no_grad():
        step = torch.randn(tex.shape, generator=g).to(device)
        slope = (loss(tex + step, d, da) - loss(tex - step, d, da)) / 2
        torch.testing.assert_close(slope, (grads[0] * step).double().sum()[None], atol=1e-3, rtol=1e-3)
        for k in (1, 2):
            step = torch.randn(leaves[k].shape, generator=g).to(device) * 1e-3
            moved = [[x + sign * step if i == k else x for i, x in enumerate(leaves)] for sign in (1, -1)]
            slope = (per_pixel(*moved[0]) - per_pixel(*moved[1])) / 2
            error = (slope - (grads[k] * step).sum(-1)).abs()
            # Where the step crosses the border of a texel or of a mip level, the function has a kink.
            assert (error < 0.03 * slope.abs() + 2e-5).double().mean() > 0.8


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"filter_mode": "cubic"}, "filter_mode is 'cubic'; it must be one of auto, nearest"),
        ({"boundary_mode": "mirror"}, "boundary_mode is 'mirror'"),
        ({"filter_mode": "linear-mipmap-linear"}, "needs uv_da or mip_level_bias"),
        ({"tex": torch.zeros(1, 4, 4)}, r"tex is .* shape \(B, H, W, C\)"),
        ({"tex": torch.zeros(3, 4, 4, 1)}, "must be 2, or 1"),
        ({"boundary_mode": "cube"}, r"tex is .* shape \(B, 6, S, S, C\)"),
        ({"uv": torch.zeros(2, 3, 3, 3)}, r"uv is .* shape \(B, h, w, 2\)"),
        ({"uv_da": torch.zeros(2, 3, 3, 2)}, r"uv_da is .* shape \(2, 3, 3, 4\)"),
        ({"mip_level_bias": torch.zeros(2, 3)}, "mip_level_bias is"),
        ({"mip_level_bias": torch.zeros(2, 3, 3), "mip": 3}, "mip is int 3"),
        (
            {"mip_level_bias": torch.zeros(2, 3, 3), "mip": [torch.zeros(1, 4, 4, 1)]},
            r"mip\[0\] is .* \(1, 2, 3, 1\)",
        ),
        (
            {"mip_level_bias": torch.zeros(2, 3, 3)},
            "level 1 of 2 x 3 cannot be halved; max_mip_level must be at most",
        ),
        ({"max_mip_level": -1}, "max_mip_level is -1"),
    ],
)
def test_argument_errors(changes, message):
    arguments = {"tex": torch.zeros(1, 4, 6, 1), "uv": torch.zeros(2, 3, 3, 2)}
    with pytest.raises((TypeError, ValueError), match=message):
        dr.texture(**{**arguments, **changes})
