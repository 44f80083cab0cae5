"""Barycentric coordinates of the visible triangles, their derivatives, and the gradients of both.

The coordinates are computed from the vertices before snapping, for the triangles that visibility.py has found.
"""

# Warp makes a constant of `x = 0`; `x = int(0)` is a variable.
# ruff: noqa: UP018

import warp as wp

from .common import (
    EMPTY,
    LOW_BITS,
    add_position_gradient,
    away_from_zero,
    edge_vectors,
    encode_id,
    is_finite,
    pixel_centre,
    seen_triangle,
    triangle_about_pixel,
)

wp.set_module_options({"enable_backward": False})


@wp.func
def saturate(x: float):
    """Returns x clamped to [0, 1], and 0 if x is not a number."""
    if x > 0.0:
        return wp.min(x, 1.0)
    return 0.0


@wp.kernel
def barycentrics(
    rast: wp.array2d(dtype=wp.vec4),  # (B, H*W) filled with zeros
    rast_db: wp.array2d(dtype=wp.vec4),  # (B, H*W) filled with zeros, du/dX, du/dY, dv/dX, dv/dY per pixel; or (0, 0)
    keys: wp.array2d(dtype=wp.int64),
    pos: wp.array2d(dtype=wp.vec4),
    tri: wp.array1d(dtype=wp.vec3i),
    width: int,
    height: int,
    stride: int,
):
    item, first = wp.tid()
    for pixel in range(first, width * height, stride):
        key = keys[item, pixel]
        if key == EMPTY:
            continue
        face = 0x7FFFFFFF - int(key & LOW_BITS)
        corner = tri[face]
        shape = wp.min(item, pos.shape[0] - 1)
        fx = pixel_centre(pixel % width, width)
        fy = pixel_centre(pixel / width, height)
        p, q, r = triangle_about_pixel(pos, shape, corner, fx, fy)
        n0, n1, n2 = edge_vectors(p, q, r)
        n = n0 + n1 + n2

        z = n0[2] * pos[shape, corner[0]][2] + n1[2] * pos[shape, corner[1]][2] + n2[2] * pos[shape, corner[2]][2]
        w = n0[2] * p[2] + n1[2] * q[2] + n2[2] * r[2]
        zw = z / w
        if wp.isnan(zw):
            zw = 0.0
        scale = 1.0 / n[2]
        u = n0[2] * scale
        v = n1[2] * scale
        su = saturate(u)
        sv = saturate(v)
        if su + sv > 1.0:
            su = su / (su + sv)
            sv = 1.0 - su
        rast[item, pixel] = wp.vec4(su, sv, wp.clamp(zw, -1.0, 1.0), encode_id(face + 1))

        if rast_db.shape[0] > 0:
            per_x = scale * 2.0 / float(width)
            per_y = scale * 2.0 / float(height)
            db = wp.vec4(
                (n0[0] - u * n[0]) * per_x,
                (n0[1] - u * n[1]) * per_y,
                (n1[0] - v * n[0]) * per_x,
                (n1[1] - v * n[1]) * per_y,
            )
            if is_finite(db):
                rast_db[item, pixel] = db


@wp.kernel
def barycentrics_backward(
    grad_pos: wp.array2d(dtype=wp.vec4),
    rast: wp.array2d(dtype=wp.vec4),
    grad_rast: wp.array2d(dtype=wp.vec4),  # (B, H*W), or (0, 0) for zero
    grad_rast_db: wp.array2d(dtype=wp.vec4),  # (B, H*W), or (0, 0) for zero
    pos: wp.array2d(dtype=wp.vec4),
    tri: wp.array1d(dtype=wp.vec3i),
    width: int,
    height: int,
    stride: int,
):
    item, first = wp.tid()
    for pixel in range(first, width * height, stride):
        face, corner = seen_triangle(rast[item, pixel][3], tri, pos.shape[1])
        if face < 0:
            continue
        gu = float(0.0)
        gv = float(0.0)
        if grad_rast.shape[0] > 0:
            gu = grad_rast[item, pixel][0]
            gv = grad_rast[item, pixel][1]
        # Gradients of (n0 - u n) / area and (n1 - v n) / area, whose first two components become rast_db.
        hu = wp.vec3(0.0, 0.0, 0.0)
        hv = wp.vec3(0.0, 0.0, 0.0)
        if grad_rast_db.shape[0] > 0:
            g = grad_rast_db[item, pixel]
            hu = wp.vec3(g[0] * 2.0 / float(width), g[1] * 2.0 / float(height), 0.0)
            hv = wp.vec3(g[2] * 2.0 / float(width), g[3] * 2.0 / float(height), 0.0)
        if gu == 0.0 and gv == 0.0 and wp.dot(hu, hu) + wp.dot(hv, hv) == 0.0:
            continue

        shape = wp.min(item, pos.shape[0] - 1)
        fx = pixel_centre(pixel % width, width)
        fy = pixel_centre(pixel / width, height)
        p, q, r = triangle_about_pixel(pos, shape, corner, fx, fy)
        n0, n1, n2 = edge_vectors(p, q, r)
        n = n0 + n1 + n2
        scale = 1.0 / away_from_zero(n[2])
        u = n0[2] * scale
        v = n1[2] * scale
        gu -= wp.dot(hu, n) * scale
        gv -= wp.dot(hv, n) * scale
        slope = (wp.dot(hu, n0 - u * n) + wp.dot(hv, n1 - v * n)) * scale

        # Gradients of n0, n1 and, through the sum n, of all three.
        z = wp.vec3(0.0, 0.0, 1.0)
        g2 = -scale * (u * hu + v * hv + (u * gu + v * gv + slope) * z)
        g0 = g2 + scale * (hu + gu * z)
        g1 = g2 + scale * (hv + gv * z)
        add_position_gradient(grad_pos, shape, corner[0], wp.cross(g1, r) + wp.cross(q, g2), fx, fy)
        add_position_gradient(grad_pos, shape, corner[1], wp.cross(g2, p) + wp.cross(r, g0), fx, fy)
        add_position_gradient(grad_pos, shape, corner[2], wp.cross(g0, q) + wp.cross(p, g1), fx, fy)
