"""Antialiasing of silhouettes. It gives the silhouettes of an image a gradient."""

import torch

from ..kernels import antialias as kernels
from . import checks, runtime


class TopologyHash:
    """Knows which vertex lies beyond each edge of a mesh. Users only pass it on to `antialias`.

    opposite: (F, 3) int32. For each corner of a triangle: the third vertex of the neighbour that shares the edge
        opposite to the corner; -1 if no other triangle shares the edge, or more than one.
    """

    def __init__(self, opposite):
        self.opposite = opposite


def antialias_construct_topology_hash(tri):
    """Returns the TopologyHash of tri (F, 3) int32. Pass it to `antialias` if tri is the same in many calls."""
    checks.tensor("antialias_construct_topology_hash: tri", tri, ("F", 3), torch.int32)
    corner = tri.long()
    ends = torch.stack([corner.roll(-1, 1), corner.roll(-2, 1)]).flatten(1)
    corner = corner.flatten()
    edge = ends.amin(0) * (int(corner.max()) + 1 if corner.numel() else 1) + ends.amax(0)
    _, group, count = torch.unique(edge, return_inverse=True, return_counts=True)
    both = torch.zeros_like(count).scatter_add_(0, group, corner)
    opposite = torch.where(count[group] == 2, both[group] - corner, -1)
    return TopologyHash(opposite.int().view(-1, 3))


def antialias(color, rast, pos, tri, topology_hash=None, pos_gradient_boost=1.0):
    """Blends neighbouring pixels where a silhouette edge runs between their centres.

    color: (B, H, W, C) float32 image.
    rast: (B, H, W, 4) float32 from rasterize, of the same size.
    pos: (B, N, 4) float32 clip-space vertices, or (V, 4) in range mode, as given to rasterize.
    tri: (F, 3) int32.
    topology_hash: from `antialias_construct_topology_hash(tri)`; built here if None.
    pos_gradient_boost: factor on the gradient of pos.

    Returns (B, H, W, C) float32. Gradients flow to color and pos, but not to rast.

    Raises TypeError or ValueError if an argument is wrong.
    """
    checks.tensor("antialias: color", color, ("B", "H", "W", "C"))
    checks.tensor("antialias: rast", rast, (*color.shape[:3], 4), device=color.device)
    if isinstance(pos, torch.Tensor) and pos.dim() == 2:
        checks.tensor("antialias: pos", pos, ("V", 4), device=color.device)
        pos = pos[None]
    checks.tensor("antialias: pos", pos, ("B", "N", 4), device=color.device)
    checks.batch("antialias: pos", pos, color.shape[0])
    checks.triangles("antialias", tri, pos.shape[1], color.device)
    if topology_hash is None:
        topology_hash = antialias_construct_topology_hash(tri)
    elif not isinstance(topology_hash, TopologyHash):
        raise TypeError(
            f"antialias: topology_hash is {checks.describe(topology_hash)}; "
            "it must come from antialias_construct_topology_hash"
        )
    opposite = topology_hash.opposite
    checks.tensor("antialias: topology_hash", opposite, tuple(tri.shape), torch.int32, color.device)
    return _Antialias.apply(color, rast.detach(), pos, tri, opposite, float(pos_gradient_boost))


class _Antialias(torch.autograd.Function):
    @staticmethod
    def forward(ctx, color, rast, pos, tri, opposite, boost):
        ctx.save_for_backward(color, rast, pos, tri, opposite)
        ctx.boost = boost
        out = torch.empty_like(color)
        jobs = []
        for part in runtime.parts(len(color), color.device):
            images = (runtime.pixels(x.detach())[part] for x in (out, color))
            geometry = _geometry(rast, pos.detach(), tri, opposite, part)
            jobs.append(_job(color, part, [*images, *geometry]))
        runtime.launch(kernels.antialias, jobs, color.device)
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad_out):
        color, rast, pos, tri, opposite = ctx.saved_tensors
        slices = runtime.parts(len(color), color.device)
        grad_color = torch.zeros_like(color)
        to_pos = ctx.needs_input_grad[2]
        nothing = [pos.new_empty((0, 0, 4))] * len(slices)
        buffer, views = runtime.gradient(pos, slices) if to_pos else (None, nothing)
        grad_color_flat, grad_out_flat, color_flat = (
            runtime.pixels(x) for x in (grad_color, grad_out.contiguous(), color)
        )
        jobs = []
        for part, view in zip(slices, views, strict=True):
            grads = [grad_color_flat[part], runtime.vectors(view), grad_out_flat[part], color_flat[part]]
            arguments = [*grads, *_geometry(rast, pos, tri, opposite, part)]
            jobs.append(_job(color, part, arguments, ctx.boost))
        runtime.launch(kernels.antialias_backward, jobs, color.device)
        return grad_color, None, runtime.collect(buffer, pos) if to_pos else None, None, None, None


def _geometry(rast, pos, tri, opposite, part):
    arrays = (runtime.pixels(rast)[part], runtime.take(pos, part), tri, opposite)
    return [runtime.vectors(x) for x in arrays]


def _job(color, part, arguments, *last):
    _, height, width, _ = color.shape
    threads = runtime.threads(height * width, color.device)
    return (part.stop - part.start, threads), [*arguments, width, height, *last, threads]
