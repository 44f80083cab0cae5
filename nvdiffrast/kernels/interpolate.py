"""Interpolates vertex attributes and their screen-space derivatives, and computes the gradients."""

# Warp makes a constant of `x = 0`; `x = int(0)` is a variable.
# ruff: noqa: UP018

import warp as wp

from .common import seen_triangle

wp.set_module_options({"enable_backward": False})


@wp.kernel
def interpolate(
    out: wp.array3d(dtype=wp.float32),  # (B, H*W, C) filled with zeros
    out_da: wp.array3d(dtype=wp.float32),  # (B, H*W, 2 K) filled with zeros: d/dX, d/dY of each chosen channel
    attr: wp.array3d(dtype=wp.float32),  # (1 or B, V, C)
    rast: wp.array2d(dtype=wp.vec4),
    rast_db: wp.array2d(dtype=wp.vec4),  # (B, H*W), or (0, 0)
    tri: wp.array1d(dtype=wp.vec3i),
    channels: wp.array1d(dtype=wp.int32),  # (K,) the chosen channels
    stride: int,
):
    item, first = wp.tid()
    for pixel in range(first, rast.shape[1], stride):
        r = rast[item, pixel]
        face, corner = seen_triangle(r[3], tri, attr.shape[1])
        if face < 0:
            continue
        shape = wp.min(item, attr.shape[0] - 1)
        u = r[0]
        v = r[1]
        w = 1.0 - u - v
        for c in range(attr.shape[2]):
            out[item, pixel, c] = (
                u * attr[shape, corner[0], c] + v * attr[shape, corner[1], c] + w * attr[shape, corner[2], c]
            )
        if channels.shape[0] > 0:
            db = rast_db[item, pixel]
            for k in range(channels.shape[0]):
                c = channels[k]
                a0 = attr[shape, corner[0], c] - attr[shape, corner[2], c]
                a1 = attr[shape, corner[1], c] - attr[shape, corner[2], c]
                out_da[item, pixel, 2 * k] = db[0] * a0 + db[2] * a1
                out_da[item, pixel, 2 * k + 1] = db[1] * a0 + db[3] * a1


@wp.kernel
def interpolate_backward(
    grad_attr: wp.array3d(dtype=wp.float32),  # (1 or B, V, C), or empty if it is not needed
    grad_rast: wp.array2d(dtype=wp.vec4),  # (B, H*W), or (0, 0) if it is not needed
    grad_rast_db: wp.array2d(dtype=wp.vec4),  # (B, H*W), or (0, 0) if it is not needed
    grad_out: wp.array3d(dtype=wp.float32),  # (B, H*W, C); empty means zero
    grad_out_da: wp.array3d(dtype=wp.float32),  # (B, H*W, 2 K); empty means zero
    attr: wp.array3d(dtype=wp.float32),
    rast: wp.array2d(dtype=wp.vec4),
    rast_db: wp.array2d(dtype=wp.vec4),
    tri: wp.array1d(dtype=wp.vec3i),
    channels: wp.array1d(dtype=wp.int32),
    stride: int,
):
    item, first = wp.tid()
    for pixel in range(first, rast.shape[1], stride):
        r = rast[item, pixel]
        face, corner = seen_triangle(r[3], tri, attr.shape[1])
        if face < 0:
            continue
        shape = wp.min(item, attr.shape[0] - 1)
        to_attr = grad_attr.shape[0] > 0
        u = r[0]
        v = r[1]
        w = 1.0 - u - v
        gu = float(0.0)
        gv = float(0.0)
        for c in range(grad_out.shape[2]):
            g = grad_out[item, pixel, c]
            if to_attr:
                wp.atomic_add(grad_attr, shape, corner[0], c, u * g)
                wp.atomic_add(grad_attr, shape, corner[1], c, v * g)
                wp.atomic_add(grad_attr, shape, corner[2], c, w * g)
            gu += g * (attr[shape, corner[0], c] - attr[shape, corner[2], c])
            gv += g * (attr[shape, corner[1], c] - attr[shape, corner[2], c])
        if grad_rast.shape[0] > 0:
            grad_rast[item, pixel] = wp.vec4(gu, gv, 0.0, 0.0)

        if channels.shape[0] > 0 and grad_out_da.shape[0] > 0:
            db = rast_db[item, pixel]
            gdb = wp.vec4(0.0, 0.0, 0.0, 0.0)
            for k in range(channels.shape[0]):
                c = channels[k]
                gx = grad_out_da[item, pixel, 2 * k]
                gy = grad_out_da[item, pixel, 2 * k + 1]
                ga0 = gx * db[0] + gy * db[1]
                ga1 = gx * db[2] + gy * db[3]
                if to_attr:
                    wp.atomic_add(grad_attr, shape, corner[0], c, ga0)
                    wp.atomic_add(grad_attr, shape, corner[1], c, ga1)
                    wp.atomic_add(grad_attr, shape, corner[2], c, -ga0 - ga1)
                a0 = attr[shape, corner[0], c] - attr[shape, corner[2], c]
                a1 = attr[shape, corner[1], c] - attr[shape, corner[2], c]
                gdb += wp.vec4(gx * a0, gy * a0, gx * a1, gy * a1)
            if grad_rast_db.shape[0] > 0:
                grad_rast_db[item, pixel] = gdb
