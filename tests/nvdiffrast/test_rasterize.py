"""Compares rasterize with its plain PyTorch reference."""


import pytest
import torch

import nvdiffrast.torch as dr
from nvdiffrast.torch import rasterization
from tests.helpers import context, devices, draw, perspective, soup, sphere
from tests.nvdiffrast import reference_rasterizer as reference


@devices
@pytest.mark.parametrize("resolution", [(32, 32), (37, 53), (1, 7)])
@pytest.mark.parametrize(
    "kind", ["plain", "large", "tiny", "border", "degenerate", "near_far", "behind", "far_out"]
)
def test_matches_reference(kind, resolution, device):
    clipped = kind in ("near_far", "behind", "far_out")
    pos, tri = soup(kind, seed=len(kind) + resolution[0], faces=12 if clipped else 60)
    rast, db = (x.cpu() for x in draw(pos, tri, resolution, device))
    expected, expected_db, certain = reference.rasterize(pos, tri, resolution)

    assert rast.isfinite().all() and db.isfinite().all()
    assert torch.equal(rast[..., 3][certain].double(), expected[..., 3][certain])
    assert certain.double().mean() > (0.4 if clipped else 0.98) or resolution == (1, 7)
    assert (rast[..., 3] != expected[..., 3]).double().mean() < 0.01 or resolution == (1, 7)
    # Very thin triangles are inaccurate in float32. The values are compared at the others.
    same = (rast[..., 3] == expected[..., 3]) & (expected_db.abs().amax(-1) < 2)
    torch.testing.assert_close(rast[same].double(), expected[same], atol=2e-5, rtol=1e-4)
    torch.testing.assert_close(db[same].double(), expected_db[same], atol=1e-3, rtol=5e-3)


@pytest.mark.parametrize("kind", ["plain", "large", "behind"])
def test_sharing_a_triangle_between_threads_changes_nothing(kind, monkeypatch):
    """The second pass, which draws large triangles on CUDA, run on the CPU."""
    pos, tri = soup(kind, seed=1)
    alone = draw(pos, tri, (61, 47))[0]
    monkeypatch.setitem(rasterization.SHARING, "cpu", (2, 3, 5))
    assert torch.equal(draw(pos, tri, (61, 47))[0], alone)


@devices
@pytest.mark.parametrize("seed", range(3))
def test_every_pixel_of_a_plane_belongs_to_one_triangle(seed, device):
    """A jittered grid over the whole image. Some of its vertices lie exactly on pixel centres."""
    g = torch.Generator().manual_seed(seed)
    n, size = 13, 48
    grid = torch.linspace(-1.3, 1.3, n)
    xy = torch.stack(torch.meshgrid(grid, grid, indexing="xy"), -1)
    xy = xy + 0.05 * (torch.rand(n, n, 2, generator=g) - 0.5)
    xy[::2] = ((xy[::2] + 1) * size / 2 - 0.5).round() * 2 / size + 1 / size - 1
    pos = torch.cat([xy, torch.zeros(n, n, 1), torch.ones(n, n, 1)], -1).view(1, -1, 4)
    i = torch.arange(n * n).view(n, n)
    a, b, c, d = i[:-1, :-1], i[:-1, 1:], i[1:, :-1], i[1:, 1:]
    tri = torch.cat([torch.stack(t, -1).view(-1, 3) for t in ((a, b, c), (b, d, c))]).int()

    owners = torch.zeros(size, size)
    for face in tri:
        owners += draw(pos, face[None].contiguous(), (size, size), device)[0][0, ..., 3].cpu() > 0
    assert torch.equal(owners, torch.ones(size, size))


@devices
def test_closed_mesh_has_no_holes(device):
    """Seen from outside, a ray meets a closed mesh an even number of times; from inside, an odd number."""
    vertices, tri = sphere(14)
    for offset, parity in ((torch.tensor([0.1, 0.05, 2.5]), 0), (torch.tensor([0.1, 0.2, 0.3]), 1)):
        pos = perspective(vertices + offset, near=0.01)[None]
        count = torch.zeros(40, 56)
        for face in tri:
            count += draw(pos, face[None].contiguous(), (40, 56), device)[0][0, ..., 3].cpu() > 0
        assert (count % 2 == parity).all()
        assert count.max() > 0


@devices
def test_nearest_wins_and_last_wins_a_tie(device):
    corner = torch.tensor([[-1.0, -1], [3, -1], [-1, 3]])
    depth = [0.5, -0.25, -0.25, 0.0]
    pos = torch.cat([torch.cat([corner, torch.tensor([[z, 1.0]]).expand(3, 2)], 1) for z in depth])[None]
    tri = torch.arange(12, dtype=torch.int32).view(4, 3)
    rast, _ = draw(pos, tri, (9, 9), device)
    assert (rast[..., 3] == 3).all()
    assert (rast[..., 2] == -0.25).all()


def test_axes_and_barycentrics():
    """Row 0 is y = -1; u belongs to the first vertex, v to the second."""
    pos = torch.tensor([[[-1.0, -1, 0, 1], [1, -1, 0, 1], [-1, 1, 0, 1]]])
    rast, db = draw(pos, torch.tensor([[0, 1, 2]], dtype=torch.int32), (4, 8))
    assert rast[0, 0, 0, 3] == 1 and rast[0, 3, 7, 3] == 0
    torch.testing.assert_close(rast[0, 0, 0, :2], torch.tensor([1 - 0.5 / 8 - 0.5 / 4, 0.5 / 8]))
    torch.testing.assert_close(db[0, 0, 0], torch.tensor([-1 / 8, -1 / 4, 1 / 8, 0]))


def test_perspective_correct():
    pos = perspective(torch.tensor([[-1.0, -1, 1], [4, -4, 4], [-1, 1, 1]]))[None]
    rast, _ = draw(pos, torch.tensor([[0, 1, 2]], dtype=torch.int32), (65, 65))
    u, v, zw, _ = rast[0, 32, 16].double()
    point = u * pos[0, 0] + v * pos[0, 1] + (1 - u - v) * pos[0, 2]
    assert abs(float(point[0] / point[3]) - (2 * 16 + 1) / 65 + 1) < 1e-6
    assert abs(float(point[2] / point[3] - zw)) < 1e-6


@devices
def test_not_a_number(device):
    pos, tri = soup("plain", 1, batch=1, faces=9)
    bad = pos.clone()
    bad[0, 0, 0] = torch.nan
    bad[0, 4, 3] = torch.inf
    bad[0, 8] = 0
    bad[0, 9:12] = 0
    rast, db = draw(bad, tri, (32, 32), device)
    assert rast.isfinite().all() and db.isfinite().all()
    assert not torch.isin(rast[..., 3].cpu(), torch.tensor([1.0, 2.0, 4.0])).any()


@devices
def test_range_mode_draws_parts_of_one_mesh(device):
    pos, tri = soup("plain", 3, batch=1, faces=30)
    ranges = torch.tensor([[0, 10], [10, 20], [5, 0], [0, 30]], dtype=torch.int32)
    rast, db = draw(pos[0], tri, (24, 24), device, ranges=ranges)
    assert rast.shape == (4, 24, 24, 4)
    for (first, count), item, item_db in zip(ranges.tolist(), rast, db, strict=True):
        alone, alone_db = draw(pos, tri[first : first + count].contiguous(), (24, 24), device)
        shifted = torch.where(alone[0, ..., 3] > 0, alone[0, ..., 3] + first, 0)
        assert torch.equal(item[..., 3], shifted)
        assert torch.equal(item[..., :3], alone[0, ..., :3]) and torch.equal(item_db, alone_db[0])


@devices
@pytest.mark.parametrize("with_db", [False, True])
@pytest.mark.parametrize("kind", ["plain", "behind"])
def test_gradient(kind, with_db, device):
    pos, tri = soup(kind, seed=5, faces=25)
    if kind == "plain":
        pos[..., :2] *= 1.2
    leaf = pos.to(device).requires_grad_()
    rast, db = dr.rasterize(context(), leaf, tri.to(device), (32, 40))
    g = torch.Generator().manual_seed(0)
    # Triangles that are seen almost edge-on have no accurate gradients in float32.
    calm = (db.detach().abs().amax(-1, keepdim=True) < 0.3).cpu()
    weight, weight_db = (torch.randn(rast.shape, generator=g) * calm for _ in range(2))
    loss = (rast * weight.to(device)).sum()
    if with_db:
        loss = loss + (db * weight_db.to(device)).sum()
    (grad,) = torch.autograd.grad(loss, leaf)

    exact = pos.double().requires_grad_()
    u, v, _, exact_db = reference.barycentrics(exact, tri, rast[..., 3].long().cpu(), 32, 40)
    loss = (u * weight[..., 0] + v * weight[..., 1]).sum()
    if with_db:
        loss = loss + (exact_db * weight_db).sum()
    (expected,) = torch.autograd.grad(loss, exact)
    expected[..., 2] = 0
    scale = expected.abs().amax(-1, keepdim=True).clamp(min=1)
    torch.testing.assert_close(grad.cpu().double() / scale, expected / scale, atol=2e-3, rtol=2e-3)


def test_reference_gradient_is_the_finite_difference():
    pos, tri = soup("large", 2, batch=1, faces=4)
    ids = reference.rasterize(pos, tri, (4, 4))[0][..., 3].long()
    leaf = pos.double().requires_grad_()
    assert (ids > 0).any()

    def loss(p):
        u, v, _, db = reference.barycentrics(p, tri, ids, 4, 4)
        return u, v, db

    assert torch.autograd.gradcheck(loss, leaf)


def test_ids_beyond_what_float_counts():
    """Ids above 2^24 are stored as float bits. The last of very many triangles is drawn and interpolated."""
    count = 2**24 + 5
    tri = torch.zeros(count, 3, dtype=torch.int32)
    tri[-1] = torch.tensor([0, 1, 2])
    tri[2**24 - 1] = torch.tensor([3, 4, 5])
    left, right = ([[x - 1, -2.0, 0, 1], [x, -2.0, 0, 1], [x - 0.5, 9.0, 0, 1]] for x in (0.0, 1.0))
    pos = torch.tensor([left + right], requires_grad=True)
    rast, _ = draw(pos, tri, (2, 2))
    expected = torch.tensor([0x4A800000 + count, 0x4A800000 + 2**24], dtype=torch.int32)
    assert torch.equal(rast[0, 0, :, 3].detach().view(torch.int32), expected)
    torch.testing.assert_close(dr.interpolate(pos, rast, tri)[0][0, 0, :, 0], torch.tensor([-0.5, 0.5]))
    assert torch.autograd.grad(rast[..., 0].sum(), pos)[0].any()


def test_range_mode_gradient_adds_up_over_the_batch():
    pos, tri = soup("plain", 4, batch=1, faces=20)
    leaf = pos[0].clone().requires_grad_()
    rast, _ = draw(leaf, tri, (16, 16), ranges=torch.tensor([[0, 20]] * 3, dtype=torch.int32))
    (three,) = torch.autograd.grad(rast[..., :2].sum(), leaf)
    leaf = pos.clone().requires_grad_()
    (one,) = torch.autograd.grad(draw(leaf, tri, (16, 16))[0][..., :2].sum(), leaf)
    torch.testing.assert_close(three, 3 * one[0], rtol=1e-4, atol=1e-4)


def test_unused_outputs_and_grad_db():
    pos, tri = soup("plain", 4, batch=1)
    leaf = pos.clone().requires_grad_()
    rast, db = draw(leaf, tri, (16, 16), grad_db=False)
    assert rast.requires_grad and not db.requires_grad
    rast, db = draw(leaf, tri, (16, 16))
    assert torch.autograd.grad(db.square().sum(), leaf)[0].abs().sum() > 0
    rast, db = dr.rasterize(dr.RasterizeGLContext(output_db=False), leaf, tri, (16, 16))
    assert db.shape == (1, 16, 16, 0)
    assert torch.autograd.grad(rast[..., 0].sum(), leaf)[0].abs().sum() > 0


def test_deterministic_for_any_number_of_threads():
    pos, tri = soup("plain", 8, batch=5, faces=200)
    weight = torch.randn(5, 48, 48, 4, generator=torch.Generator().manual_seed(1))
    threads, results = torch.get_num_threads(), []
    try:
        for count in (1, 2, 2, 3):
            torch.set_num_threads(count)
            leaf = pos.clone().requires_grad_()
            rast, db = draw(leaf, tri, (48, 48))
            results.append((rast.detach(), db.detach(), torch.autograd.grad((rast * weight).sum(), leaf)[0]))
    finally:
        torch.set_num_threads(threads)
    for result in results[1:]:
        assert all(torch.equal(x, y) for x, y in zip(result, results[0], strict=True))


def test_empty():
    tri = torch.zeros((0, 3), dtype=torch.int32)
    assert draw(torch.zeros(2, 3, 4), tri, (4, 5))[0].shape == (2, 4, 5, 4)
    assert not draw(torch.zeros(2, 3, 4), tri, (4, 5))[0].any()
    assert draw(torch.zeros(0, 3, 4), tri, (4, 5))[0].shape == (0, 4, 5, 4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"glctx": None}, "glctx is NoneType"),
        ({"pos": [1]}, r"pos is list \[1\]; it must be a contiguous float32 tensor of shape \(B, N, 4\)"),
        ({"pos": torch.zeros(1, 3, 4).double()}, "pos is a float64 tensor"),
        ({"pos": torch.zeros(1, 3, 4, device="meta")}, "on meta; it must be on the CPU or on a CUDA device"),
        ({"pos": torch.zeros(1, 3, 3)}, r"pos is a float32 tensor of shape \(1, 3, 3\)"),
        ({"pos": torch.zeros(3, 1, 4).transpose(0, 1)[:, ::2]}, "not contiguous"),
        ({"tri": torch.zeros(1, 3).long()}, "tri is a int64 tensor"),
        ({"tri": torch.zeros(3, 2).int().t()}, "not contiguous"),
        ({"tri": torch.tensor([[0, 1, 3]]).int()}, "from 0 to 3; with 3 vertices they must be from 0 to 2"),
        ({"tri": torch.tensor([[0, -1, 2]]).int()}, "from -1 to 2"),
        ({"resolution": (0, 4)}, r"resolution is \(0, 4\)"),
        ({"resolution": 4}, "resolution is 4"),
        ({"ranges": torch.zeros(1, 2).int()}, "pos, with ranges, is a float32 tensor"),
        ({"pos": torch.zeros(3, 4), "ranges": torch.tensor([[0, 2]]).int()}, r"ranges is \[\[0, 2\]\]"),
    ],
)
def test_argument_errors(changes, message):
    arguments = {
        "glctx": context(),
        "pos": torch.zeros(1, 3, 4),
        "tri": torch.tensor([[0, 1, 2]], dtype=torch.int32),
        "resolution": (4, 4),
    }
    with pytest.raises((TypeError, ValueError), match=message):
        dr.rasterize(**{**arguments, **changes})
