"""Compares every operation with NVIDIA's package, if that package and a GPU are there.

Both packages snap vertices to 1/16 pixel and compare depths of 32 bits, but they may round differently. At the edge of
a triangle, or where two triangles are equally near, a pixel may show another triangle. Such pixels are few, and values
are compared at the other ones. Operations after rasterize get the same rast.
"""

import pytest
import torch

import nvdiffrast.torch as dr
from nvdiffrast.nvidia import find_nvidia
from tests.helpers import context, perspective, soup, sphere

pytestmark = pytest.mark.gpu
SIZE = (64, 96)


@pytest.fixture(scope="module")
def theirs():
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    module = find_nvidia()
    if module is None:
        pytest.skip("needs NVIDIA's nvdiffrast")
    return module


@pytest.fixture(scope="module")
def their_context(theirs):
    return theirs.RasterizeCudaContext(device="cuda")


def ball(batch=2):
    """Returns a sphere in front of the eye: pos (batch, V, 4), tri (F, 3), on the GPU."""
    vertices, tri = sphere(20)
    offset = torch.tensor([[[0.2, 0.1, 2.5]], [[-0.4, 0.3, 2.0]]])[:batch]
    return perspective(vertices + offset).cuda(), tri.cuda()


def gradients(outputs, leaves, seed=0):
    """Returns the gradients of a randomly weighted sum of the outputs."""
    weights = [torch.randn(x.shape, generator=torch.Generator().manual_seed(seed)).to(x) for x in outputs]
    total = sum((x * w).sum() for x, w in zip(outputs, weights, strict=True))
    return torch.autograd.grad(total, leaves, allow_unused=True)


def both(operation, theirs, *tensors, outputs=lambda x: x, **options):
    """Returns the results and the gradients of an operation of both packages: ([ours, theirs], [ours, theirs])."""
    results, grads = [], []
    for module in (dr, theirs):
        leaves = [x.clone().requires_grad_() if x.is_floating_point() else x for x in tensors]
        result = outputs(getattr(module, operation)(*leaves, **options))
        result = result if isinstance(result, tuple) else (result,)
        grads.append(gradients(result, [x for x in leaves if x.requires_grad]))
        results.append([x.detach() for x in result])
    return results, grads


def assert_same_direction(ours, theirs, cosine=0.999):
    a, b = (x.double().ravel() for x in (ours, theirs))
    assert torch.nn.functional.cosine_similarity(a, b, dim=0) > cosine
    assert float(a.norm() / b.norm()) == pytest.approx(1, abs=1 - cosine + 0.01)


def compare_rast(ours, theirs, ours_db, theirs_db, share):
    same = ours[..., 3] == theirs[..., 3]
    assert same.float().mean() > share
    # Very thin triangles are inaccurate in float32.
    calm = same & (ours_db.abs().amax(-1) < 1)
    torch.testing.assert_close(ours[calm], theirs[calm], atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(ours_db[calm], theirs_db[calm], atol=1e-3, rtol=1e-2)


@pytest.mark.parametrize("kind", ["plain", "large", "tiny", "border", "near_far", "behind", "far_out"])
def test_rasterize(theirs, their_context, kind):
    pos, tri = (x.cuda() for x in soup(kind, seed=1))
    ours, ours_db = dr.rasterize(context(), pos, tri, SIZE)
    found, found_db = theirs.rasterize(their_context, pos, tri, SIZE)
    compare_rast(ours, found, ours_db, found_db, share=0.95)


def test_rasterize_ranges(theirs, their_context):
    pos, tri = (x.cuda() for x in soup("plain", seed=2, batch=1))
    ranges = torch.tensor([[0, 20], [10, 50], [5, 1]], dtype=torch.int32)
    ours, ours_db = dr.rasterize(context(), pos[0], tri, SIZE, ranges=ranges)
    found, found_db = theirs.rasterize(their_context, pos[0], tri, SIZE, ranges=ranges)
    compare_rast(ours, found, ours_db, found_db, share=0.95)


def test_gradient_of_rasterize(theirs, their_context):
    pos, tri = ball()
    grads = []
    for module, glctx in ((dr, context()), (theirs, their_context)):
        leaf = pos.clone().requires_grad_()
        rast, rast_db = module.rasterize(glctx, leaf, tri, SIZE)
        # The functions are smooth, so that a pixel that shows another triangle changes little.
        image, image_da = module.interpolate(leaf, rast, tri, rast_db, diff_attrs=[0, 1])
        grads.append(gradients((image, image_da), [leaf])[0])
    assert_same_direction(*grads, cosine=0.98)


@pytest.mark.parametrize("diff_attrs", [None, [2, 0], "all"])
def test_interpolate(theirs, diff_attrs):
    pos, tri = ball()
    rast, rast_db = dr.rasterize(context(), pos, tri, SIZE)
    attr = torch.randn(2, pos.shape[1], 4, generator=torch.Generator().manual_seed(0)).cuda()

    def chosen(pair):
        return pair if diff_attrs else pair[:1]

    tensors = (attr, rast, tri, rast_db) if diff_attrs else (attr, rast, tri)
    results, grads = both("interpolate", theirs, *tensors, outputs=chosen, diff_attrs=diff_attrs)
    for ours, found in zip(*results, strict=True):
        torch.testing.assert_close(ours, found, atol=1e-4, rtol=1e-4)
    assert_same_direction(grads[0][0], grads[1][0])
    assert_same_direction(grads[0][1][..., :2], grads[1][1][..., :2])
    if diff_attrs:
        assert_same_direction(grads[0][2], grads[1][2])


def test_antialias(theirs):
    pos, tri = ball()
    rast, _ = dr.rasterize(context(), pos, tri, SIZE)
    color = torch.rand(*rast.shape[:3], 3, generator=torch.Generator().manual_seed(0)).cuda()
    images, grads = [], []
    for module in (dr, theirs):
        leaves = pos.clone().requires_grad_(), color.clone().requires_grad_()
        image = module.antialias(leaves[1], rast, leaves[0], tri)
        images.append(image.detach())
        grads.append(gradients([image], leaves))
    # At a few pixels of the outline two edges cross, and the packages may choose different ones.
    assert (images[0] - images[1]).abs().sum() < 0.2 * (images[1] - color).abs().sum()
    assert_same_direction(grads[0][0], grads[1][0], cosine=0.9)
    assert_same_direction(grads[0][1], grads[1][1], cosine=0.99)


@pytest.mark.parametrize("boundary", ["wrap", "clamp", "zero", "cube"])
@pytest.mark.parametrize("mode", ["nearest", "linear", "linear-mipmap-nearest", "linear-mipmap-linear"])
def test_texture(theirs, mode, boundary):
    g = torch.Generator().manual_seed(0)
    cube = boundary == "cube"
    tex = torch.rand(2, *((6,) if cube else ()), 16, 16, 3, generator=g)
    uv = torch.randn(2, 20, 30, 3 if cube else 2, generator=g)
    uv_da = 0.1 * torch.randn(2, 20, 30, 6 if cube else 4, generator=g)
    tensors = (tex, uv, uv_da) if "mipmap" in mode else (tex, uv)
    results, grads = both("texture", theirs, *(x.cuda() for x in tensors), filter_mode=mode, boundary_mode=boundary)
    ours, found = results[0][0], results[1][0]
    # A sample on the border of a texel, of a face or of a level may go to either side.
    off = ((ours - found).abs() > 5e-3).any(-1).float().mean()
    assert off < (0.01 if boundary == "cube" or "mipmap" in mode else 0.002)
    assert_same_direction(grads[0][0], grads[1][0], cosine=0.99)
    if mode in ("linear", "linear-mipmap-linear"):
        assert_same_direction(grads[0][1], grads[1][1], cosine=0.98)


def test_depth_peeler(theirs, their_context):
    pos, tri = ball()
    layers = [[], []]
    for found, module, glctx in zip(layers, (dr, theirs), (context(), their_context), strict=True):
        with module.DepthPeeler(glctx, pos, tri, SIZE) as peeler:
            found += [peeler.rasterize_next_layer() for _ in range(3)]
    for (ours, ours_db), (found, found_db) in zip(*layers, strict=True):
        compare_rast(ours, found, ours_db, found_db, share=0.95)
