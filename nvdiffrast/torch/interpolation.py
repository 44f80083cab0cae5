"""Interpolates vertex attributes at the visible points of a mesh."""

import torch

from ..kernels import interpolate as kernels
from . import checks, runtime


def interpolate(attr, rast, tri, rast_db=None, diff_attrs=None):
    """Interpolates vertex attributes with correct perspective.

    attr: (B, N, C) float32, (1, N, C) to be shared by the batch, or (N, C) in range mode.
    rast: (B, H, W, 4) float32 from rasterize.
    tri: (F, 3) int32, the triangles with which rast was made. If the attributes are indexed differently from the
        positions, as many triangles with the indices of the attributes.
    rast_db: (B, H, W, 4) float32 from rasterize; needed with diff_attrs.
    diff_attrs: list of the channels whose screen-space derivatives are computed, or 'all'.

    Returns
    out: (B, H, W, C) float32, 0 where rast is empty.
    out_da: (B, H, W, 2 K) float32, d/dX and d/dY per pixel for each of the K channels in diff_attrs. K = 0 without
        diff_attrs.

    Gradients flow to attr, to u and v of rast, and to rast_db.

    Raises TypeError or ValueError if an argument is wrong.
    """
    checks.tensor("interpolate: rast", rast, ("B", "H", "W", 4))
    if isinstance(attr, torch.Tensor) and attr.dim() == 2:
        checks.tensor("interpolate: attr", attr, ("N", "C"), device=rast.device)
        attr = attr[None]
    checks.tensor("interpolate: attr", attr, ("B", "N", "C"), device=rast.device)
    checks.batch("interpolate: attr", attr, rast.shape[0])
    checks.triangles("interpolate", tri, attr.shape[1], rast.device)
    channels = _channels(diff_attrs, attr.shape[2])
    if channels:
        checks.tensor(
            "interpolate: rast_db, with diff_attrs,", rast_db, tuple(rast.shape), device=rast.device
        )
    else:
        rast_db = None
    return _Interpolate.apply(attr, rast, tri, rast_db, channels)


def _channels(diff_attrs, count):
    """Returns the list of channels that diff_attrs names, of `count` ones. Raises ValueError."""
    if diff_attrs is None:
        return []
    if isinstance(diff_attrs, str) and diff_attrs == "all":
        return list(range(count))
    channels = list(diff_attrs) if isinstance(diff_attrs, (list, tuple)) else [None]
    if not all(isinstance(c, int) and 0 <= c < count for c in channels):
        raise ValueError(
            f"interpolate: diff_attrs is {diff_attrs!r}; "
            f"it must be None, 'all' or a list of channels from 0 to {count - 1}"
        )
    return channels


class _Interpolate(torch.autograd.Function):
    @staticmethod
    def forward(ctx, attr, rast, tri, rast_db, channels):
        ctx.set_materialize_grads(False)
        batch, height, width = rast.shape[:3]
        out = attr.new_zeros((batch, height, width, attr.shape[2]))
        out_da = attr.new_zeros((batch, height, width, 2 * len(channels)))
        chosen = torch.tensor(channels, dtype=torch.int32, device=attr.device)
        db = attr.new_empty((0, 0, 4)) if rast_db is None else rast_db.detach()
        ctx.save_for_backward(attr, rast, tri, db, chosen)
        attr, flat = attr.detach(), [runtime.pixels(x) for x in (out, out_da, rast.detach(), db)]

        threads = runtime.threads(height * width, attr.device)
        jobs = []
        for part in runtime.parts(batch, attr.device):
            out_part, da_part, rast_part, db_part = (x[part] for x in flat)
            arguments = [
                out_part, da_part, runtime.take(attr, part), runtime.vectors(rast_part),
                runtime.vectors(db_part), runtime.vectors(tri), chosen, threads,
            ]  # fmt: skip
            jobs.append(((part.stop - part.start, threads), arguments))
        runtime.launch(kernels.interpolate, jobs, attr.device)
        return out, out_da

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad_out, grad_out_da):
        attr, rast, tri, db, chosen = ctx.saved_tensors
        to_attr, to_rast, _, to_db, _ = ctx.needs_input_grad
        batch, height, width = rast.shape[:3]
        slices = runtime.parts(batch, attr.device)
        nothing = attr.new_empty((0, 0, 0))
        buffer, views = runtime.gradient(attr, slices) if to_attr else (None, [nothing] * len(slices))
        grad_rast = torch.zeros_like(rast) if to_rast else None
        grad_db = torch.zeros_like(db) if to_db else None
        none = attr.new_empty((0, 0, 4))
        flat_rast, flat_db = (none if x is None else runtime.pixels(x) for x in (grad_rast, grad_db))
        flat_out, flat_da = (
            nothing if x is None else runtime.pixels(x.contiguous()) for x in (grad_out, grad_out_da)
        )
        threads = runtime.threads(height * width, attr.device)
        jobs = []
        for part, view in zip(slices, views, strict=True):
            vectors = [
                runtime.vectors(x[part])
                for x in (flat_rast, flat_db, runtime.pixels(rast), runtime.pixels(db))
            ]
            arguments = [
                view, *vectors[:2], flat_out[part], flat_da[part], runtime.take(attr, part),
                *vectors[2:], runtime.vectors(tri), chosen, threads,
            ]  # fmt: skip
            jobs.append(((part.stop - part.start, threads), arguments))
        runtime.launch(kernels.interpolate_backward, jobs, attr.device)
        grad_attr = runtime.collect(buffer, attr) if to_attr else None
        return grad_attr, grad_rast, None, grad_db, None
