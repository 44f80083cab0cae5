"""Finds the triangle that each pixel sees, and where in the triangle the pixel's centre lies."""

import operator

import torch

from ..kernels import barycentrics as barycentric_kernels
from ..kernels import visibility as visibility_kernels
from ..kernels.common import EMPTY
from . import checks, runtime
from .context import check_context

# How the work is shared, for each type of device: (large, groups, lanes).
# One thread draws a triangle that is less than `large` pixel rows high. Larger triangles, and triangles that must be
# clipped, are put in a queue. `groups` groups of threads take them from the queue in turn, and the `lanes` threads of a
# group take the rows of a triangle in turn.
SHARING = {"cpu": (1 << 20, 1, 1), "cuda": (16, 64, 128)}


def rasterize(glctx, pos, tri, resolution, ranges=None, grad_db=True):
    """Rasterise triangles.

    glctx: RasterizeCudaContext or RasterizeGLContext.
    pos: (B, N, 4) float32 clip-space vertices. In range mode (V, 4), shared by the batch.
    tri: (F, 3) int32 vertex indices. Both sides of a triangle are drawn.
    resolution: (H, W) in pixels.
    ranges: turns range mode on. (B, 2) int32 on the CPU: first triangle and number of triangles of each item.
    grad_db: whether gradients flow through rast_db.

    Returns
    rast: (B, H, W, 4) float32: u and v in [0, 1], z/w in [-1, 1], and triangle id + 1. All zero where a pixel sees no
        triangle. Row 0 is y = -1 and column 0 is x = -1. u and v are the weights of the triangle's first and second
        vertex; the third vertex has the weight 1 - u - v. Ids above 2^24 are stored as the float bits 0x4a800000 + id.
    rast_db: (B, H, W, 4) float32: du/dX, du/dY, dv/dX, dv/dY per pixel. (B, H, W, 0) if the context was made with
        output_db=False.

    Gradients flow to x, y and w of pos, through u, v and rast_db. z/w and the id have no gradient.

    Raises TypeError or ValueError if an argument is wrong.
    """
    check_context("rasterize", glctx)
    pos, ranges = geometry("rasterize", pos, tri, ranges)
    height, width = image_size("rasterize", resolution)
    rast, rast_db, _ = rasterize_visible(pos, tri, ranges, height, width, glctx.output_db, bool(grad_db))
    return rast, rast_db


def rasterize_visible(pos, tri, ranges, height, width, output_db, grad_db, above=None):
    """Rasterises the nearest surface, or with `above` the nearest one behind a layer that is given by its keys.

    Returns rast, rast_db and the keys of the surface, see `visible_keys`.
    """
    keys = visible_keys(pos.detach(), tri, ranges, height, width, above)
    return *_Barycentrics.apply(pos, tri, keys, height, width, output_db, grad_db), keys


def geometry(operation, pos, tri, ranges):
    """Checks the geometry and brings both modes into one form.

    Returns pos (B, N, 4) and ranges (1, 2), or in range mode pos (1, V, 4) and ranges (B, 2), on the device of pos.
    """
    if ranges is None:
        checks.tensor(f"{operation}: pos", pos, ("B", "N", 4))
        checks.triangles(operation, tri, pos.shape[1], pos.device)
        return pos, (torch.arange(2, device=pos.device) * tri.shape[0]).int()[None]
    checks.tensor(f"{operation}: pos, with ranges,", pos, ("V", 4))
    checks.triangles(operation, tri, pos.shape[0], pos.device)
    checks.tensor(f"{operation}: ranges", ranges, ("B", 2), torch.int32, torch.device("cpu"))
    first, count = ranges.long().unbind(1)
    if bool(((first < 0) | (count < 0) | (first + count > tri.shape[0])).any()):
        raise ValueError(
            f"{operation}: ranges is {ranges.tolist()}; each row must be (first triangle, number of "
            f"triangles) within the {tri.shape[0]} triangles of tri"
        )
    return pos[None], ranges.to(pos.device)


def image_size(operation, resolution):
    try:
        height, width = map(operator.index, resolution)
    except (TypeError, ValueError, RuntimeError):  # RuntimeError: a tensor without data
        height = width = 0
    if not (0 < height <= 16384 and 0 < width <= 16384):
        raise ValueError(
            f"{operation}: resolution is {resolution!r}; it must be (height, width), each from 1 to 16384"
        )
    return height, width


def visible_keys(pos, tri, ranges, height, width, above=None):
    """Returns the depth and triangle that each pixel sees, as keys (B, H*W) int64; see kernels/visibility.py.

    above: keys of a layer behind which the nearest surface is searched; None for the first layer.
    """
    device = pos.device
    batch = max(pos.shape[0], ranges.shape[0]) if pos.shape[0] and ranges.shape[0] else 0
    keys = torch.full((batch, height * width), int(EMPTY), dtype=torch.int64, device=device)
    above = keys.new_empty((0, 0)) if above is None else above
    queue = torch.empty((batch, tri.shape[0]), dtype=torch.int32, device=device)
    queued = torch.zeros(batch, dtype=torch.int32, device=device)
    large, groups, lanes = SHARING[device.type]

    snapped = torch.empty((*pos.shape[:2], 3), dtype=torch.int32, device=device)
    threads = runtime.threads(pos.shape[1], device)
    project = [
        (
            (part.stop - part.start, threads),
            [*map(runtime.vectors, (snapped[part], pos[part])), width, height, threads],
        )
        for part in runtime.parts(len(pos), device)
    ]
    first, second = [], []
    threads = runtime.threads(tri.shape[0], device)
    for part in runtime.parts(batch, device):
        items = part.stop - part.start
        shared = [keys[part], runtime.take(above, part), queue[part], queued[part]]
        shared += [runtime.vectors(runtime.take(pos, part)), runtime.vectors(tri)]
        rest = [runtime.vectors(runtime.take(snapped, part)), runtime.take(ranges, part)]
        first.append(((items, threads), [*shared, *rest, width, height, large, threads]))
        second.append(((items, groups, lanes), [*shared, width, height, groups, lanes]))
    runtime.launch(visibility_kernels.project, project, device)
    runtime.launch(visibility_kernels.visibility, first, device)
    runtime.launch(visibility_kernels.visibility_queued, second, device)
    return keys


def barycentrics(keys, pos, tri, height, width, output_db):
    """Returns rast (B, H, W, 4) and rast_db (B, H, W, 4), or (B, H, W, 0) without output_db, for visible keys."""
    batch = keys.shape[0]
    rast = pos.new_zeros((batch, height, width, 4))
    rast_db = pos.new_zeros((batch, height, width, 4 if output_db else 0))
    flat_db = runtime.pixels(rast_db) if output_db else pos.new_empty((0, 0, 4))
    flat = runtime.pixels(rast)
    threads = runtime.threads(height * width, pos.device)
    jobs = []
    for part in runtime.parts(batch, pos.device):
        arrays = (flat[part], flat_db[part], runtime.take(pos, part))
        rast_part, db_part, vertices = (runtime.vectors(x) for x in arrays)
        arguments = [rast_part, db_part, keys[part], vertices, runtime.vectors(tri), width, height, threads]
        jobs.append(((part.stop - part.start, threads), arguments))
    runtime.launch(barycentric_kernels.barycentrics, jobs, pos.device)
    return rast, rast_db


def barycentrics_backward(rast, grad_rast, grad_rast_db, pos, tri):
    """Returns the gradient of pos. A gradient argument that is None counts as zero."""
    batch, height, width = rast.shape[:3]
    none = pos.new_empty((0, 0, 4))
    flat = [
        none if x is None or x.shape[-1] == 0 else runtime.pixels(x.contiguous())
        for x in (rast, grad_rast, grad_rast_db)
    ]
    slices = runtime.parts(batch, pos.device)
    buffer, views = runtime.gradient(pos, slices)
    threads = runtime.threads(height * width, pos.device)
    jobs = []
    for part, view in zip(slices, views, strict=True):
        arrays = (view, *(x[part] for x in flat), runtime.take(pos, part), tri)
        arguments = [*(runtime.vectors(x) for x in arrays), width, height, threads]
        jobs.append(((part.stop - part.start, threads), arguments))
    runtime.launch(barycentric_kernels.barycentrics_backward, jobs, pos.device)
    return runtime.collect(buffer, pos)


class _Barycentrics(torch.autograd.Function):
    @staticmethod
    def forward(ctx, pos, tri, keys, height, width, output_db, grad_db):
        # Without this, autograd would allocate a gradient of zeros for each unused output.
        ctx.set_materialize_grads(False)
        pos = pos.detach()
        rast, rast_db = barycentrics(keys, pos, tri, height, width, output_db)
        ctx.save_for_backward(pos, tri, rast)
        if not grad_db:
            ctx.mark_non_differentiable(rast_db)
        return rast, rast_db

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad_rast, grad_rast_db):
        if grad_rast is None and grad_rast_db is None:
            return (None,) * 7
        pos, tri, rast = ctx.saved_tensors
        return barycentrics_backward(rast, grad_rast, grad_rast_db, pos, tri), *(None,) * 6
