"""Blends neighbouring pixels across silhouette edges, and computes the gradient.

Where two neighbouring pixels show different triangles, the nearer triangle ends somewhere between their centres. Let
its edge there be a silhouette, at a distance of d pixels from the centre of the pixel that shows it. If d < 0.5, that
pixel shows 0.5 - d too much of the triangle. Otherwise its neighbour shows d - 0.5 too little of it. Horizontal
neighbours are blended at steep edges, vertical ones at flat edges. Each pixel collects from its four neighbours, so
the forward pass needs no atomics.
"""

# Warp makes a constant of `x = 0`; `x = int(0)` is a variable.
# ruff: noqa: UP018

import warp as wp

from .common import (
    about_pixel,
    add_position_gradient,
    edge_vectors,
    pixel_centre,
    seen_triangle,
    triangle_about_pixel,
)

wp.set_module_options({"enable_backward": False})


@wp.struct
class Crossing:
    """The silhouette edge between a pixel and its neighbour."""

    other: int  # the neighbour
    weight: float  # how much of the neighbour is blended into this pixel, 0..0.5
    slope: float  # d weight / d distance; 0 if there is no silhouette
    start: int  # the vertices of the edge
    end: int
    near: wp.vec2  # pixel centres in normalised device coordinates
    far: wp.vec2


@wp.func
def side(a: wp.vec3, b: wp.vec3, p: wp.vec3):
    """Returns a number whose sign tells on which side of the line a b p lies on the screen, for any signs of w."""
    return wp.dot(wp.cross(a, b), p) * p[2]


@wp.func
def neighbour(pixel: int, k: int, width: int, height: int):
    """Returns the neighbour k of a pixel; -1 outside the image. k = 0: x - 1, 1: x + 1, 2: y - 1, 3: y + 1."""
    x = pixel % width
    y = pixel / width
    if k == 0 and x > 0:
        return pixel - 1
    if k == 1 and x + 1 < width:
        return pixel + 1
    if k == 2 and y > 0:
        return pixel - width
    if k == 3 and y + 1 < height:
        return pixel + width
    return -1


@wp.func
def crossing(
    rast: wp.array2d(dtype=wp.vec4),
    pos: wp.array2d(dtype=wp.vec4),
    tri: wp.array1d(dtype=wp.vec3i),
    opposite: wp.array1d(dtype=wp.vec3i),
    item: int,
    pixel: int,
    k: int,
    width: int,
    height: int,
):
    """Returns the Crossing between a pixel and its neighbour k."""
    result = Crossing()
    other = neighbour(pixel, k, width, height)
    if other < 0:
        return result
    result.other = other
    here = rast[item, pixel]
    there = rast[item, other]
    if here[3] == there[3]:
        return result
    # Both pixels must choose the same triangle as the nearer one, also at equal depth.
    is_near = here[3] > 0.0 and (
        there[3] <= 0.0 or here[2] < there[2] or (here[2] == there[2] and pixel < other)
    )
    near = wp.where(is_near, pixel, other)
    far = wp.where(is_near, other, pixel)
    face, corner = seen_triangle(wp.where(is_near, here[3], there[3]), tri, pos.shape[1])
    if face < 0:
        return result
    shape = wp.min(item, pos.shape[0] - 1)
    result.near = wp.vec2(pixel_centre(near % width, width), pixel_centre(near / width, height))
    result.far = wp.vec2(pixel_centre(far % width, width), pixel_centre(far / width, height))
    p, q, r = triangle_about_pixel(pos, shape, corner, result.near[0], result.near[1])
    n0, n1, n2 = edge_vectors(p, q, r)
    orientation = wp.where(n0[2] + n1[2] + n2[2] < 0.0, -1.0, 1.0)
    step = result.far - result.near

    distance = float(2.0)
    chosen = int(-1)
    steep = bool(False)
    for i in range(3):
        n = wp.where(i == 0, n0, wp.where(i == 1, n1, n2)) * orientation
        drop = -(n[0] * step[0] + n[1] * step[1])
        # The edge must have the near pixel inside (or outside by no more than the snapping) and the far one outside.
        if drop > 0.0 and drop > n[2]:
            d = wp.max(n[2], 0.0) / drop
            if d < distance:
                distance = d
                chosen = i
                steep = wp.abs(n[0]) * float(height) >= wp.abs(n[1]) * float(width)
    if chosen < 0 or steep != (k < 2):
        return result

    a = wp.where(chosen == 0, q, wp.where(chosen == 1, r, p))
    b = wp.where(chosen == 0, r, wp.where(chosen == 1, p, q))
    c = wp.where(chosen == 0, p, wp.where(chosen == 1, q, r))
    across = opposite[face][chosen]
    if across >= 0 and across < pos.shape[1]:  # on CUDA, the neighbour may have a vertex that does not exist
        beyond = about_pixel(pos[shape, across], result.near[0], result.near[1])
        if side(a, b, c) * side(a, b, beyond) <= 0.0:
            return result  # the surface continues behind the edge: it is no silhouette
    result.start = corner[(chosen + 1) % 3]
    result.end = corner[(chosen + 2) % 3]
    if is_near and distance <= 0.5:
        result.weight = 0.5 - distance
        result.slope = -1.0
    if not is_near and distance > 0.5:
        result.weight = distance - 0.5
        result.slope = 1.0
    return result


@wp.kernel
def antialias(
    out: wp.array3d(dtype=wp.float32),  # (B, H*W, C)
    color: wp.array3d(dtype=wp.float32),  # (B, H*W, C)
    rast: wp.array2d(dtype=wp.vec4),
    pos: wp.array2d(dtype=wp.vec4),
    tri: wp.array1d(dtype=wp.vec3i),
    opposite: wp.array1d(dtype=wp.vec3i),  # (F,) see TopologyHash in torch/antialiasing.py
    width: int,
    height: int,
    stride: int,
):
    item, first = wp.tid()
    for pixel in range(first, width * height, stride):
        for c in range(color.shape[2]):
            out[item, pixel, c] = color[item, pixel, c]
        k = int(0)
        while k < 4:
            x = crossing(rast, pos, tri, opposite, item, pixel, k, width, height)
            if x.slope != 0.0:
                for c in range(color.shape[2]):
                    out[item, pixel, c] += x.weight * (color[item, x.other, c] - color[item, pixel, c])
            k += 1


@wp.kernel
def antialias_backward(
    grad_color: wp.array3d(dtype=wp.float32),  # (B, H*W, C)
    grad_pos: wp.array2d(dtype=wp.vec4),  # (1 or B, V), or (0, 0) if it is not needed
    grad_out: wp.array3d(dtype=wp.float32),  # (B, H*W, C)
    color: wp.array3d(dtype=wp.float32),
    rast: wp.array2d(dtype=wp.vec4),
    pos: wp.array2d(dtype=wp.vec4),
    tri: wp.array1d(dtype=wp.vec3i),
    opposite: wp.array1d(dtype=wp.vec3i),
    width: int,
    height: int,
    boost: float,
    stride: int,
):
    item, first = wp.tid()
    for pixel in range(first, width * height, stride):
        for c in range(color.shape[2]):
            wp.atomic_add(grad_color, item, pixel, c, grad_out[item, pixel, c])
        shape = wp.min(item, pos.shape[0] - 1)
        k = int(0)
        while k < 4:
            x = crossing(rast, pos, tri, opposite, item, pixel, k, width, height)
            if x.slope != 0.0:
                g = float(0.0)
                for c in range(color.shape[2]):
                    go = grad_out[item, pixel, c]
                    wp.atomic_add(grad_color, item, pixel, c, -x.weight * go)
                    wp.atomic_add(grad_color, item, x.other, c, x.weight * go)
                    g += go * (color[item, x.other, c] - color[item, pixel, c])
                # distance = at_near / (at_near - at_far), where these are the edge function at both pixels.
                a = pos[shape, x.start]
                b = pos[shape, x.end]
                a_near = about_pixel(a, x.near[0], x.near[1])
                b_near = about_pixel(b, x.near[0], x.near[1])
                a_far = about_pixel(a, x.far[0], x.far[1])
                b_far = about_pixel(b, x.far[0], x.far[1])
                at_near = a_near[0] * b_near[1] - a_near[1] * b_near[0]
                at_far = a_far[0] * b_far[1] - a_far[1] * b_far[0]
                drop = at_near - at_far
                distance = at_near / drop
                g *= x.slope * boost / drop
                if grad_pos.shape[0] > 0 and distance > 0.0 and wp.isfinite(g):
                    on_near = wp.vec3(0.0, 0.0, g * (1.0 - distance))
                    on_far = wp.vec3(0.0, 0.0, g * distance)
                    ga = wp.cross(b_near, on_near)
                    gb = wp.cross(on_near, a_near)
                    add_position_gradient(grad_pos, shape, x.start, ga, x.near[0], x.near[1])
                    add_position_gradient(grad_pos, shape, x.end, gb, x.near[0], x.near[1])
                    ga = wp.cross(b_far, on_far)
                    gb = wp.cross(on_far, a_far)
                    add_position_gradient(grad_pos, shape, x.start, ga, x.far[0], x.far[1])
                    add_position_gradient(grad_pos, shape, x.end, gb, x.far[0], x.far[1])
            k += 1
