"""Texture lookups with mipmaps and cube maps.

The kernel samples at given coordinates and levels. PyTorch computes these from directions and screen-space derivatives,
so autograd provides their gradients.
"""

import torch

from ..kernels import texture as kernels
from . import checks, runtime

FILTERS = ("auto", "nearest", "linear", "linear-mipmap-nearest", "linear-mipmap-linear")
BOUNDARIES = {"wrap": 0, "clamp": 1, "zero": 2, "cube": 3}

# For each face of a cube map (+x, -x, +y, -y, +z, -z): the axes that run along s and t, and their signs.
S_AXIS, S_SIGN = (2, 2, 0, 0, 0, 0), (-1.0, 1.0, 1.0, 1.0, 1.0, -1.0)
T_AXIS, T_SIGN = (1, 1, 2, 2, 1, 1), (-1.0, -1.0, 1.0, -1.0, -1.0, -1.0)


class Mipmap:
    """The levels of a texture from level 1 on. Each is half the size of the one before."""

    def __init__(self, levels):
        self.levels = levels


def texture_construct_mip(tex, max_mip_level=None, cube_mode=False):
    """Returns the Mipmap of tex. Pass it to `texture` if tex is the same in many calls.

    tex: (B or 1, H, W, C) float32, or (B or 1, 6, H, W, C) with cube_mode.
    max_mip_level: the last level; None for the level of 1 x 1 texel.

    A side of 1 stays 1. A longer side must be even at every level that is halved.

    Raises TypeError or ValueError if an argument is wrong.
    """
    operation = "texture_construct_mip"
    _check_texture(operation, tex, cube_mode)
    _check_max_level(operation, max_mip_level)
    levels = [tex]
    while max_mip_level is None or len(levels) <= max_mip_level:
        height, width = levels[-1].shape[-3:-1]
        if height == width == 1:
            break
        if (height > 1 and height % 2) or (width > 1 and width % 2):
            raise ValueError(
                f"{operation}: tex is {checks.describe(tex)}, whose level {len(levels) - 1} of "
                f"{height} x {width} cannot be halved; max_mip_level must be at most {len(levels) - 1}"
            )
        levels.append(_halved(levels[-1]))
    return Mipmap(levels[1:])


def texture(
    tex,
    uv,
    uv_da=None,
    mip_level_bias=None,
    mip=None,
    filter_mode="auto",
    boundary_mode="wrap",
    max_mip_level=None,
):
    """Looks up a texture at every pixel.

    tex: (B or 1, H, W, C) float32. For a cube map (B or 1, 6, S, S, C), with faces +x, -x, +y, -y, +z, -z as in OpenGL.
    uv: (B, h, w, 2) float32. (0, 0) and (1, 1) are opposite corners of the texture, the first row of texels is at v =
        0, and texel centres lie at (i + 0.5) / size. For a cube map (B, h, w, 3) directions.
    uv_da: (B, h, w, 4) float32 du/dX, du/dY, dv/dX, dv/dY per pixel; (B, h, w, 6) for a cube map.
    mip_level_bias: (B, h, w) float32, added to the level. Without uv_da it is the level.
    mip: from texture_construct_mip, or a list of tensors from level 1 on, each half the size of the one before. If
        None, the levels are computed when they are needed.
    filter_mode: 'nearest', 'linear', 'linear-mipmap-nearest' or 'linear-mipmap-linear'. 'auto' means
        'linear-mipmap-linear' with uv_da or mip_level_bias, otherwise 'linear'.
    boundary_mode: 'wrap', 'clamp', 'zero' (the value is 0 outside) or 'cube'.
    max_mip_level: the last level that is used.

    The level is log2 of the longer axis, in texels, of a pixel's footprint. 'linear-mipmap-nearest' rounds it down.
    Returns (B, h, w, C) float32. Gradients flow to tex, to the levels in a list `mip`, to uv, uv_da and mip_level_bias.

    Raises TypeError or ValueError if an argument is wrong.
    """
    if filter_mode not in FILTERS:
        raise ValueError(f"texture: filter_mode is {filter_mode!r}; it must be one of {', '.join(FILTERS)}")
    if boundary_mode not in list(BOUNDARIES):
        raise ValueError(
            f"texture: boundary_mode is {boundary_mode!r}; it must be one of {', '.join(BOUNDARIES)}"
        )
    cube = boundary_mode == "cube"
    _check_texture("texture", tex, cube)
    checks.tensor("texture: uv", uv, ("B", "h", "w", 3 if cube else 2), device=tex.device)
    checks.batch("texture: tex", tex, len(uv))
    _check_max_level("texture", max_mip_level)
    image = tuple(uv.shape[:3])
    if uv_da is not None:
        checks.tensor("texture: uv_da", uv_da, (*image, 6 if cube else 4), device=tex.device)
    if mip_level_bias is not None:
        checks.tensor("texture: mip_level_bias", mip_level_bias, image, device=tex.device)
    if filter_mode == "auto":
        filter_mode = "linear" if uv_da is None and mip_level_bias is None else "linear-mipmap-linear"

    st, face, st_da = _on_cube(uv, uv_da) if cube else (uv, None, uv_da)
    levels, level = [tex], None
    if "mipmap" in filter_mode:
        if uv_da is None and mip_level_bias is None:
            raise ValueError(f"texture: filter_mode {filter_mode!r} needs uv_da or mip_level_bias")
        levels += _mip_levels(tex, mip, max_mip_level, cube)
        level = _level(st_da, mip_level_bias, tex.shape[-3:-1]).nan_to_num().clamp(0, len(levels) - 1)
        if filter_mode == "linear-mipmap-nearest":
            level = level.detach().floor()   # not the nearest level: NVIDIA's package rounds down too
    texels = [x.flatten(1, -2) for x in levels]
    sizes = tuple(tuple(x.shape[-3:-1]) for x in levels)
    flat = texels[0] if len(texels) == 1 else torch.cat(texels, 1)
    return _Texture.apply(flat, st, face, level, sizes, BOUNDARIES[boundary_mode], filter_mode == "nearest")


def _halved(x):
    """Returns the next mip level: the means of 2 x 2 texels, or of 2 texels if one side is already 1."""
    *lead, height, width, channels = x.shape
    rows, columns = min(2, height), min(2, width)
    blocks = x.reshape(*lead, height // rows, rows, width // columns, columns, channels)
    return blocks.mean((-4, -2))


def _check_texture(operation, tex, cube):
    checks.tensor(f"{operation}: tex", tex, ("B", 6, "S", "S", "C") if cube else ("B", "H", "W", "C"))
    if 0 in tex.shape[1:]:
        raise ValueError(f"{operation}: tex is {checks.describe(tex)}; it must have texels and channels")
    if cube and tex.shape[2] != tex.shape[3]:
        raise ValueError(f"{operation}: tex is {checks.describe(tex)}; it must have square faces")


def _check_max_level(operation, level):
    if level is not None and not (isinstance(level, int) and level >= 0):
        raise ValueError(f"{operation}: max_mip_level is {level!r}; it must be None or an int from 0")


def _mip_levels(tex, mip, max_mip_level, cube):
    """Returns the checked list of levels from level 1 on, up to max_mip_level."""
    if mip is None:
        return texture_construct_mip(tex, max_mip_level, cube).levels
    if isinstance(mip, Mipmap):
        mip = mip.levels
    elif not isinstance(mip, (list, tuple)):
        raise TypeError(
            f"texture: mip is {checks.describe(mip)}; "
            "it must come from texture_construct_mip or be a list of tensors"
        )
    shape = tex.shape
    for i, level in enumerate(mip):
        shape = (*shape[:-3], max(shape[-3] // 2, 1), max(shape[-2] // 2, 1), shape[-1])
        checks.tensor(f"texture: mip[{i}]", level, shape, device=tex.device)
    return list(mip[:max_mip_level])


def _level(st_da, bias, size):
    """Returns the mip level (B, h, w), not yet clamped.

    st_da: (B, h, w, 4) derivatives of the coordinates, or None. bias: (B, h, w), or None. size: (H, W) of level 0.
    """
    if st_da is None:
        return bias
    height, width = size
    texels = _bounded(st_da * st_da.new_tensor([width, width, height, height]))
    sx, sy, tx, ty = texels.unbind(-1)
    a, b, c = sx * sx + tx * tx, sy * sy + ty * ty, sx * sy + tx * ty
    # The clamps avoid the infinite slopes of the square root and the logarithm at zero.
    spread = ((a - b).square() / 4 + c * c).clamp(min=1e-20).sqrt()
    level = 0.5 * ((a + b) / 2 + spread).clamp(min=1e-20).log2()
    return level if bias is None else level + bias


def _on_cube(direction, direction_da):
    """Projects directions (B, h, w, 3) to a cube.

    Returns coordinates (B, h, w, 2) in [0, 1], faces (B, h, w) int32, and derivatives (B, h, w, 4) or None.
    """
    axis = direction.detach().abs().argmax(-1, keepdim=True)
    face = 2 * axis + (direction.gather(-1, axis) < 0)

    def pick(table, dtype):
        return torch.tensor(table, dtype=dtype, device=direction.device)[face]

    axes = torch.cat([pick(S_AXIS, torch.long), pick(T_AXIS, torch.long)], -1)
    signs = torch.cat([pick(S_SIGN, torch.float32), pick(T_SIGN, torch.float32)], -1)
    toward = 1.0 - 2.0 * (face % 2)
    depth = direction.gather(-1, axis) * toward
    # A direction that is zero or not finite sees nothing. It is divided by 1, so that it has no gradient either.
    sees = (depth > 1e-12) & depth.isfinite()
    depth = torch.where(sees, depth, 1.0)
    on_face = torch.where(sees, direction.gather(-1, axes), torch.nan) * signs / depth
    st = (on_face + 1) / 2
    if direction_da is None:
        return st, face[..., 0].int(), None
    da = _bounded(direction_da).unflatten(-1, (3, 2))
    on_face = torch.where(sees, on_face, 0.0)
    depth_da = da.gather(-2, axis[..., None].expand(*axis.shape, 2)) * toward[..., None]
    plane_da = da.gather(-2, axes[..., None].expand(*axes.shape, 2)) * signs[..., None]
    st_da = (plane_da - on_face[..., None] * depth_da) / depth[..., None] / 2
    return st, face[..., 0].int(), st_da.flatten(-2)


def _bounded(x):
    """Returns derivatives limited so that their squares do not overflow, and 0 where they are not a number.

    The limit is far beyond the last mip level.
    """
    return x.nan_to_num().clamp(-1e9, 1e9)


class _Texture(torch.autograd.Function):
    @staticmethod
    def forward(ctx, tex, st, face, level, sizes, boundary, nearest):
        tex, st = tex.detach().contiguous(), st.detach().contiguous()
        table, first = [], 0
        for height, width in sizes:
            table.append((first, height, width))
            first += height * width * (6 if face is not None else 1)
        levels = torch.tensor(table, dtype=torch.int32, device=tex.device)
        face = torch.empty((0, 0), dtype=torch.int32, device=tex.device) if face is None else face.flatten(1)
        level = tex.new_empty((0, 0)) if level is None else level.detach().contiguous().flatten(1)
        inputs = (tex, st, face, level, levels)
        ctx.save_for_backward(*inputs)
        ctx.modes = (boundary, int(nearest))
        out = tex.new_empty((*st.shape[:3], tex.shape[2]))
        jobs = [
            _job(part, [runtime.pixels(out)[part]], inputs, ctx.modes)
            for part in runtime.parts(len(st), tex.device)
        ]
        runtime.launch(kernels.texture, jobs, tex.device)
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad_out):
        tex, st, face, level, levels = ctx.saved_tensors
        slices = runtime.parts(len(st), tex.device)
        to_tex = ctx.needs_input_grad[0]
        nothing = [tex.new_empty((0, 0, 0))] * len(slices)
        buffer, views = runtime.gradient(tex, slices) if to_tex else (None, nothing)
        grad_st, grad_level = torch.zeros_like(st), torch.zeros_like(level)
        jobs = []
        for part, view in zip(slices, views, strict=True):
            grads = [view, runtime.vectors(runtime.pixels(grad_st)[part]), grad_level[part]]
            grads.append(runtime.pixels(grad_out.contiguous())[part])
            jobs.append(_job(part, grads, ctx.saved_tensors, ctx.modes))
        runtime.launch(kernels.texture_backward, jobs, tex.device)
        grad_tex = runtime.collect(buffer, tex) if to_tex else None
        grad_level = grad_level.view(st.shape[:3]) if level.numel() else None
        return grad_tex, grad_st, None, grad_level, None, None, None


def _job(part, outputs, inputs, modes):
    tex, st, face, level, levels = inputs
    st = runtime.pixels(st)[part]
    arrays = [runtime.take(tex, part), levels, runtime.vectors(st), face[part], level[part]]
    threads = runtime.threads(st.shape[1], st.device)
    return (len(st), threads), [*outputs, *arrays, *modes, threads]
