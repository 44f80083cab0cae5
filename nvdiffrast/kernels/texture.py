"""Samples textures at given coordinates and mip levels, and computes the gradients.

All mip levels of a texture lie in one row of texels; `levels` gives the place of each. A lookup is a weighted sum of up
to four texels per level. Its derivatives are weighted sums of the same texels with other weights.
"""

# Warp makes a constant of `x = 0`; `x = int(0)` is a variable.
# ruff: noqa: UP018

import warp as wp

wp.set_module_options({"enable_backward": False})

WRAP = wp.constant(0)
CLAMP = wp.constant(1)
ZERO = wp.constant(2)
CUBE = wp.constant(3)


@wp.struct
class Footprint:
    """The texels that a lookup sums up."""

    texel: wp.vec4i  # their places; -1 where there is none
    weight: wp.vec4
    by_s: wp.vec4  # derivatives of the weights with respect to the coordinates s and t
    by_t: wp.vec4


@wp.func
def cube_direction(face: int, s: float, t: float):
    """Returns the direction of a point (s, t), each in [-1, 1], on a face. Faces and axes are those of OpenGL."""
    if face == 0:
        return wp.vec3(1.0, -t, -s)
    if face == 1:
        return wp.vec3(-1.0, -t, s)
    if face == 2:
        return wp.vec3(s, 1.0, t)
    if face == 3:
        return wp.vec3(s, -1.0, -t)
    if face == 4:
        return wp.vec3(s, -t, 1.0)
    return wp.vec3(-s, -t, -1.0)


@wp.func
def cube_point(d: wp.vec3):
    """Returns face, s and t of a direction. This is the inverse of `cube_direction`."""
    a = wp.vec3(wp.abs(d[0]), wp.abs(d[1]), wp.abs(d[2]))
    if a[0] >= a[1] and a[0] >= a[2]:
        if d[0] > 0.0:
            return wp.vec3(0.0, -d[2] / a[0], -d[1] / a[0])
        return wp.vec3(1.0, d[2] / a[0], -d[1] / a[0])
    if a[1] >= a[2]:
        if d[1] > 0.0:
            return wp.vec3(2.0, d[0] / a[1], d[2] / a[1])
        return wp.vec3(3.0, d[0] / a[1], -d[2] / a[1])
    if d[2] > 0.0:
        return wp.vec3(4.0, d[0] / a[2], -d[1] / a[2])
    return wp.vec3(5.0, -d[0] / a[2], -d[1] / a[2])


@wp.func
def cube_texel(face: int, x: int, y: int, size: int):
    """Returns the place of a texel. A texel one step outside its face is found on the neighbouring face.

    Returns -1 beyond a corner, where no face continues.
    """
    outside_x = x < 0 or x >= size
    outside_y = y < 0 or y >= size
    if outside_x and outside_y:
        return -1
    if not (outside_x or outside_y):
        return (face * size + y) * size + x
    # Only slightly beyond the side, so that the position along the side stays the same.
    limit = 1.0001
    s = wp.clamp(float(2 * x + 1) / float(size) - 1.0, -limit, limit)
    t = wp.clamp(float(2 * y + 1) / float(size) - 1.0, -limit, limit)
    p = cube_point(cube_direction(face, s, t))
    x = wp.clamp(int((p[1] + 1.0) * 0.5 * float(size)), 0, size - 1)
    y = wp.clamp(int((p[2] + 1.0) * 0.5 * float(size)), 0, size - 1)
    return (int(p[0]) * size + y) * size + x


@wp.func
def texel(face: int, x: int, y: int, width: int, height: int, boundary: int):
    """Returns the place of texel (x, y), at most one step outside the texture; -1 if there is none."""
    if boundary == CUBE:
        return cube_texel(face, x, y, width)
    if boundary == WRAP:
        x = wp.where(x < 0, x + width, wp.where(x >= width, x - width, x))
        y = wp.where(y < 0, y + height, wp.where(y >= height, y - height, y))
    if boundary == CLAMP:
        x = wp.clamp(x, 0, width - 1)
        y = wp.clamp(y, 0, height - 1)
    if x < 0 or y < 0 or x >= width or y >= height:
        return -1
    return y * width + x


@wp.func
def in_texels(s: float, size: int, boundary: int):
    """Returns a coordinate in texels, limited to a range in which integers cannot overflow."""
    if boundary == WRAP:
        return (s - wp.floor(s)) * float(size)
    if boundary == ZERO:
        return wp.clamp(s * float(size), -2.0, float(size) + 2.0)
    return wp.clamp(s * float(size), 0.0, float(size))


@wp.func
def footprint(st: wp.vec2, face: int, width: int, height: int, boundary: int, nearest: int):
    """Returns the Footprint of a lookup at st in one level. It is empty if st is not finite."""
    f = Footprint()
    f.texel = wp.vec4i(-1, -1, -1, -1)
    if not wp.isfinite(st):
        return f
    s = in_texels(st[0], width, boundary)
    t = in_texels(st[1], height, boundary)
    if nearest != 0:
        x = int(wp.floor(s))
        y = int(wp.floor(t))
        if boundary == CUBE:
            x = wp.min(x, width - 1)
            y = wp.min(y, height - 1)
        f.texel[0] = texel(face, x, y, width, height, boundary)
        f.weight[0] = 1.0
        return f
    x = int(wp.floor(s - 0.5))
    y = int(wp.floor(t - 0.5))
    a = s - 0.5 - float(x)
    b = t - 0.5 - float(y)
    f.texel = wp.vec4i(
        texel(face, x, y, width, height, boundary),
        texel(face, x + 1, y, width, height, boundary),
        texel(face, x, y + 1, width, height, boundary),
        texel(face, x + 1, y + 1, width, height, boundary),
    )
    f.weight = wp.vec4((1.0 - a) * (1.0 - b), a * (1.0 - b), (1.0 - a) * b, a * b)
    f.by_s = wp.vec4(b - 1.0, 1.0 - b, -b, b) * float(width)
    f.by_t = wp.vec4(a - 1.0, -a, 1.0 - a, a) * float(height)
    if boundary == CUBE:
        # Three faces meet at a corner. The missing fourth texel is replaced by the mean of the others.
        for i in range(4):
            if f.texel[i] < 0:
                f.weight += wp.vec4(f.weight[i] / 3.0)
                f.by_s += wp.vec4(f.by_s[i] / 3.0)
                f.by_t += wp.vec4(f.by_t[i] / 3.0)
    return f


@wp.func
def footprint_in_level(
    levels: wp.array2d(dtype=wp.int32), level: int, st: wp.vec2, face: int, boundary: int, nearest: int
):
    """Returns the `footprint` in a level, with places in the row of all levels. It is empty beyond the last level."""
    f = Footprint()
    f.texel = wp.vec4i(-1, -1, -1, -1)
    if level < levels.shape[0]:
        f = footprint(st, face, levels[level, 2], levels[level, 1], boundary, nearest)
        for i in range(4):
            if f.texel[i] >= 0:
                f.texel[i] += levels[level, 0]
    return f


@wp.func
def place(face: wp.array2d(dtype=wp.int32), level: wp.array2d(dtype=wp.float32), item: int, pixel: int):
    """Returns the face of a lookup, the integer part of its level, and the fraction, the share of the next level."""
    side = int(0)
    if face.shape[0] > 0:
        side = face[item, pixel]
    position = float(0.0)
    if level.shape[0] > 0:
        position = level[item, pixel]
    lower = int(position)
    return side, lower, position - float(lower)


@wp.kernel
def texture(
    out: wp.array3d(dtype=wp.float32),  # (B, H*W, C)
    tex: wp.array3d(dtype=wp.float32),  # (1 or B, texels of all levels, C)
    levels: wp.array2d(dtype=wp.int32),  # (L, 3) first texel, height, width
    st: wp.array2d(dtype=wp.vec2),  # (B, H*W) coordinates, [0, 1] over the texture or the face
    face: wp.array2d(dtype=wp.int32),  # (B, H*W), or (0, 0) without a cube map
    level: wp.array2d(dtype=wp.float32),  # (B, H*W) in [0, L - 1], or (0, 0) for level 0
    boundary: int,
    nearest: int,
    stride: int,
):
    item, first = wp.tid()
    for pixel in range(first, st.shape[1], stride):
        image = wp.min(item, tex.shape[0] - 1)
        side, lower, blend = place(face, level, item, pixel)
        for c in range(tex.shape[2]):
            out[item, pixel, c] = 0.0
        k = int(0)
        while k < 2:
            share = wp.where(k == 0, 1.0 - blend, blend)
            f = footprint_in_level(levels, lower + k, st[item, pixel], side, boundary, nearest)
            for i in range(4):
                if f.texel[i] >= 0 and share > 0.0:
                    for c in range(tex.shape[2]):
                        out[item, pixel, c] += share * f.weight[i] * tex[image, f.texel[i], c]
            k += 1


@wp.kernel
def texture_backward(
    grad_tex: wp.array3d(dtype=wp.float32),  # (1 or B, texels, C), or empty if it is not needed
    grad_st: wp.array2d(dtype=wp.vec2),  # (B, H*W)
    grad_level: wp.array2d(dtype=wp.float32),  # (B, H*W), or (0, 0) without levels
    grad_out: wp.array3d(dtype=wp.float32),  # (B, H*W, C)
    tex: wp.array3d(dtype=wp.float32),
    levels: wp.array2d(dtype=wp.int32),
    st: wp.array2d(dtype=wp.vec2),
    face: wp.array2d(dtype=wp.int32),
    level: wp.array2d(dtype=wp.float32),
    boundary: int,
    nearest: int,
    stride: int,
):
    item, first = wp.tid()
    for pixel in range(first, st.shape[1], stride):
        image = wp.min(item, tex.shape[0] - 1)
        side, lower, blend = place(face, level, item, pixel)
        to_st = wp.vec2(0.0, 0.0)
        to_level = float(0.0)
        k = int(0)
        while k < 2:
            share = wp.where(k == 0, 1.0 - blend, blend)
            f = footprint_in_level(levels, lower + k, st[item, pixel], side, boundary, nearest)
            for i in range(4):
                if f.texel[i] >= 0:
                    g = float(0.0)
                    for c in range(tex.shape[2]):
                        go = grad_out[item, pixel, c]
                        g += go * tex[image, f.texel[i], c]
                        if grad_tex.shape[0] > 0 and share > 0.0:
                            wp.atomic_add(grad_tex, image, f.texel[i], c, share * f.weight[i] * go)
                    to_st += share * g * wp.vec2(f.by_s[i], f.by_t[i])
                    to_level += wp.where(k == 0, -g, g) * f.weight[i]
            k += 1
        grad_st[item, pixel] = to_st
        if grad_level.shape[0] > 0:
            # Beyond the last level there is nothing to blend with.
            grad_level[item, pixel] = wp.where(lower + 1 < levels.shape[0], to_level, 0.0)
