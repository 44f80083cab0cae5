"""Tests of antialias: coverage, gradients of silhouettes, and pixels that must stay as they are."""

import math

import pytest
import torch

import nvdiffrast.torch as dr
from tests.helpers import context, devices, perspective, soup, sphere


def square(angle, half=0.53, centre=(0.03, -0.07)):
    """Returns a square of two triangles, rotated by angle: pos (1, 4, 4) float64, tri (2, 3)."""
    c, s = math.cos(angle) * half, math.sin(angle) * half
    corner = torch.tensor([[-1.0, -1], [1, -1], [1, 1], [-1, 1]], dtype=torch.float64)
    xy = corner @ torch.tensor([[c, s], [-s, c]], dtype=torch.float64) + torch.tensor(centre)
    pos = torch.cat([xy, torch.zeros(4, 1), torch.ones(4, 1)], 1).double()
    return pos[None], torch.tensor([[0, 1, 2], [0, 2, 3]], dtype=torch.int32)


def mask(pos, tri, size, **options):
    rast, _ = dr.rasterize(context(), pos, tri, (size, size))
    color = (rast[..., 3:] > 0).float()
    return dr.antialias(color, rast, pos, tri, **options)


@devices
@pytest.mark.parametrize("angle", [0.0, 0.2, 0.7, 1.4])
@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_mask_is_the_covered_area(angle, scale, device):
    """The blended mask is close to the exact coverage, and its sum is even closer to the area."""
    size, fine = 40, 16
    pos, tri = square(angle)
    pos, tri = (pos * scale).float().to(device), tri.to(device)
    image = mask(pos, tri, size)[0, ..., 0]
    exact = dr.rasterize(context(), pos, tri, (size * fine, size * fine))[0][0, ..., 3] > 0
    exact = exact.float().view(size, fine, size, fine).mean((1, 3))
    raw = (dr.rasterize(context(), pos, tri, (size, size))[0][0, ..., 3] > 0).float()
    assert (image - exact).abs().sum() < 0.25 * (raw - exact).abs().sum() + 1
    assert abs(float(image.sum() - exact.sum())) < 1.5


@devices
@pytest.mark.parametrize("angle", [0.0, 0.3, 0.7])
def test_gradient_of_the_area(angle, device):
    """The sum of the mask is the area in pixels, so its gradient is known exactly."""
    size = 64
    pos, tri = square(angle)
    leaf = pos.float().to(device).requires_grad_()
    (grad,) = torch.autograd.grad(mask(leaf, tri.to(device), size).sum(), leaf)
    exact = pos.clone().requires_grad_()
    x, y = (exact[0, :, :2] / exact[0, :, 3:] * size / 2).unbind(1)
    area = (x * y.roll(-1) - y * x.roll(-1)).sum() / 2
    (expected,) = torch.autograd.grad(area, exact)
    assert (grad.cpu() - expected).abs().max() < 0.12 * expected.abs().max()
    assert not grad[..., 2].any()


@devices
def test_gradient_is_the_finite_difference(device):
    """On a scene with occlusion and perspective, along random directions that are much smaller than a pixel."""
    pos, tri = soup("plain", 3, batch=2, faces=6)
    pos, tri = pos.to(device), tri.to(device)
    color = torch.rand(2, 24, 24, 3, generator=torch.Generator().manual_seed(0)).to(device)
    rast, _ = dr.rasterize(context(), pos, tri, (24, 24))

    def loss(p, c):
        return (dr.antialias(c, rast, p, tri) * weight).double().sum()

    weight = torch.randn(color.shape, generator=torch.Generator().manual_seed(1)).to(device)
    leaf, color_leaf = pos.clone().requires_grad_(), color.clone().requires_grad_()
    grad, grad_color = torch.autograd.grad(loss(leaf, color_leaf), (leaf, color_leaf))
    assert grad.any()
    agree = []
    for seed in range(20):
        step = torch.randn(pos.shape, generator=torch.Generator().manual_seed(seed)).to(device) * 3e-4
        step[..., 2] = 0
        slope = (loss(pos + step, color) - loss(pos - step, color)) / 2
        agree.append(float((slope - (grad * step).sum()).abs() / slope.abs().clamp(min=1e-3)))
    # A crossing that leaves its pair of pixels within the step is a jump, which no gradient describes.
    assert sorted(agree)[10] < 0.05
    step = torch.randn(color.shape, generator=torch.Generator().manual_seed(9)).to(device)
    slope = (loss(pos, color + step) - loss(pos, color - step)) / 2
    assert abs(float(slope - (grad_color * step).sum())) < 1e-3


@devices
def test_silhouettes_only(device):
    """Inside a smooth closed surface nothing is blended, for any colours; at its outline it is."""
    vertices, tri = sphere(6)
    pos = perspective(vertices + torch.tensor([0.3, 0.2, 2]))[None].to(device)
    rast, _ = dr.rasterize(context(), pos, tri.to(device), (64, 64))
    color = torch.rand(1, 64, 64, 1, generator=torch.Generator().manual_seed(0)).to(device)
    changed = (dr.antialias(color, rast, pos, tri.to(device)) != color).any(-1)[0]
    covered = (rast[0, ..., 3] > 0).float()[None, None]
    inner = torch.nn.functional.max_pool2d(-covered, 3, 1, 1) == -1
    outer = torch.nn.functional.max_pool2d(covered, 3, 1, 1) == 0
    assert not changed[inner[0, 0] | outer[0, 0]].any()
    # About 130 pixels. Pixels whose last triangle before the outline is thinner than a pixel are not blended.
    assert changed.sum() > 80


def test_topology():
    tri = torch.tensor([[0, 1, 2], [2, 1, 3], [0, 1, 4], [0, 4, 5]], dtype=torch.int32)
    opposite = dr.antialias_construct_topology_hash(tri).opposite
    # Edge (0, 1) belongs to triangles 0 and 2, edge (1, 2) to 0 and 1, edge (0, 4) to 2 and 3.
    assert opposite.tolist() == [[3, -1, 4], [-1, -1, 0], [-1, 5, 2], [-1, -1, 1]]
    third = torch.cat([tri, torch.tensor([[1, 0, 6]], dtype=torch.int32)])
    assert dr.antialias_construct_topology_hash(third).opposite[0].tolist() == [3, -1, -1]


def test_options_and_range_mode():
    pos, tri = square(0.3)
    pos = pos.float()
    topology = dr.antialias_construct_topology_hash(tri)
    grads = []
    for p, boost in ((pos, 1.0), (pos, 2.0)):
        leaf = p.clone().requires_grad_()
        image = mask(leaf, tri, 32, topology_hash=topology, pos_gradient_boost=boost)
        grads.append(torch.autograd.grad(image.sum(), leaf)[0])
    torch.testing.assert_close(grads[1], 2 * grads[0])

    leaf = pos[0].clone().requires_grad_()
    ranges = torch.tensor([[0, 2], [0, 2]], dtype=torch.int32)
    rast, _ = dr.rasterize(context(), leaf, tri, (32, 32), ranges=ranges)
    shared = dr.antialias((rast[..., 3:] > 0).float(), rast, leaf, tri)
    assert torch.equal(shared[1], image[0])
    torch.testing.assert_close(torch.autograd.grad(shared.sum(), leaf)[0], 2 * grads[0][0])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"color": torch.zeros(1, 4, 4)}, r"color is .* shape \(B, H, W, C\)"),
        ({"rast": torch.zeros(1, 4, 5, 4)}, r"rast is .* must be .* \(1, 4, 4, 4\)"),
        ({"pos": torch.zeros(2, 3, 4)}, "must be 1, or 1"),
        ({"tri": torch.zeros(1, 3)}, "tri is a float32"),
        ({"topology_hash": 3}, "topology_hash is int 3"),
    ],
)
def test_argument_errors(changes, message):
    arguments = {
        "color": torch.zeros(1, 4, 4, 1),
        "rast": torch.zeros(1, 4, 4, 4),
        "pos": torch.zeros(1, 3, 4),
        "tri": torch.tensor([[0, 1, 2]], dtype=torch.int32),
    }
    with pytest.raises((TypeError, ValueError), match=message):
        dr.antialias(**{**arguments, **changes})
