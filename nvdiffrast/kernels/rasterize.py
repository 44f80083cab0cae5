"""Visibility, barycentrics and their gradient.

Visibility works on vertices snapped to 1/16 pixel with integer edge functions, so neighbouring
triangles neither overlap nor leave gaps. Every covered pixel gets one 64-bit key, the depth above the
complement of the triangle id; the smallest key wins, so the nearest triangle does and, at equal
depth, the last one. Triangles that need clipping, and on CUDA also large ones, are queued by the
first pass and drawn by the second, where many threads share one triangle.
"""

# Warp makes a constant of `x = 0`; `x = int(0)` is a variable.
# ruff: noqa: UP018

import warp as wp

from .common import (
    add_position_gradient,
    away_from_zero,
    edge_vectors,
    encode_id,
    is_finite,
    pixel_centre,
    seen_triangle,
    triangle_about_pixel,
    vertices_exist,
)

wp.set_module_options({"enable_backward": False})

EMPTY = wp.constant(wp.int64(0x7FFFFFFFFFFFFFFF))
LOW_BITS = wp.constant(wp.int64(0xFFFFFFFF))

# In place of the x of a vertex that cannot be snapped.
CLIPPED = wp.constant(-0x80000000)

# Triangles inside GUARD times the frustum in x and y are not clipped: the pixel bounds cut them off.
GUARD = wp.constant(4.0)

# Clipping by z alone lets w reach 0; with x and y clipped as well that leaves the eye point itself.
SMALLEST_W = wp.constant(1.0e-30)

# A triangle gains at most one vertex at each of the six planes. Rounding could add another to a sliver.
MAX_CORNERS = 12
Polygon = wp.types.matrix(shape=(MAX_CORNERS, 4), dtype=wp.float32)


@wp.func
def depth_bits(z: float):
    """An integer that orders as the float does."""
    bits = wp.cast(z + 0.0, wp.int32)
    return wp.where(bits < 0, bits ^ 0x7FFFFFFF, bits)


@wp.func
def snap(p: wp.vec4, width: int, height: int):
    """Image position in 1/16 pixel, rounded about the image centre, half to even; and the depth's bits."""
    x = int(wp.rint(p[0] / p[3] * float(8 * width))) + 8 * width
    y = int(wp.rint(p[1] / p[3] * float(8 * height))) + 8 * height
    return wp.vec3i(x, y, wp.cast(wp.clamp(p[2] / p[3], -1.0, 1.0), wp.int32))


@wp.func
def cross(ax: int, ay: int, bx: int, by: int):
    return wp.int64(ax) * wp.int64(by) - wp.int64(ay) * wp.int64(bx)


@wp.func
def tie(dx: int, dy: int):
    """0 where points on an edge of this direction belong to its triangle, -1 where they belong to the other one.

    They belong to it where dy > 0, or dy = 0 and dx < 0.
    """
    return ~((wp.int64(dx) - (wp.int64(dy) << wp.int64(32))) >> wp.int64(63))


@wp.func
def first_pixel(sub: int):
    return wp.max((sub + 7) >> 4, 0)


@wp.func
def last_pixel(sub: int, size: int):
    return wp.min((sub - 8) >> 4, size - 1)


@wp.func
def draw(
    keys: wp.array2d(dtype=wp.int64),
    above: wp.array2d(dtype=wp.int64),
    item: int,
    face: int,
    a: wp.vec3i,
    b: wp.vec3i,
    c: wp.vec3i,
    width: int,
    height: int,
    lane: int,
    lanes: int,
):
    """Offer every pixel of a snapped triangle its key; a lane does every lanes-th row."""
    left = first_pixel(wp.min(a[0], wp.min(b[0], c[0])))
    right = last_pixel(wp.max(a[0], wp.max(b[0], c[0])), width)
    y = first_pixel(wp.min(a[1], wp.min(b[1], c[1]))) + lane
    bottom = last_pixel(wp.max(a[1], wp.max(b[1], c[1])), height)
    if left > right or y > bottom:
        return
    area = cross(b[0] - a[0], b[1] - a[1], c[0] - a[0], c[1] - a[1])
    if area == wp.int64(0):
        return
    if area < wp.int64(0):
        b, c = c, b
        area = -area
    bx = b[0] - a[0]
    by = b[1] - a[1]
    cx = c[0] - a[0]
    cy = c[1] - a[1]
    z = wp.cast(a[2], wp.float32)
    dz1 = (wp.cast(b[2], wp.float32) - z) / float(area)
    dz2 = (wp.cast(c[2], wp.float32) - z) / float(area)

    # Edge functions at the pixel centre, twice the areas opposite to a, b and c; that of a is the rest.
    px = 16 * left + 8 - a[0]
    py = 16 * y + 8 - a[1]
    e1 = cross(px, py, cx, cy)
    e2 = cross(bx, by, px, py)
    tie0 = area + tie(cx - bx, cy - by)
    tie1 = tie(-cx, -cy)
    tie2 = tie(bx, by)
    right_1 = wp.int64(16 * cy)
    right_2 = wp.int64(-16 * by)
    # From the last pixel of a row to the first one of the lane's next row.
    down_1 = wp.int64(-16 * lanes) * wp.int64(cx) - wp.int64(right - left) * right_1
    down_2 = wp.int64(16 * lanes) * wp.int64(bx) - wp.int64(right - left) * right_2
    low = wp.int64(0x7FFFFFFF - face)
    pixel = y * width + left
    row_end = y * width + right
    end = bottom * width + right
    while pixel <= end:
        if ((tie0 - e1 - e2) | (e1 + tie1) | (e2 + tie2)) >= wp.int64(0):
            depth = wp.int64(depth_bits(z + (dz1 * float(e1) + dz2 * float(e2))))
            seen = bool(True)
            if above.shape[0] > 0:
                seen = depth > (above[item, pixel] >> wp.int64(32))
            if seen:
                wp.atomic_min(keys, item, pixel, (depth << wp.int64(32)) | low)
        if pixel == row_end:
            e1 += down_1
            e2 += down_2
            row_end += lanes * width
            pixel = row_end - (right - left)
        else:
            e1 += right_1
            e2 += right_2
            pixel += 1


@wp.func
def margin(p: wp.vec4, plane: int):
    """Signed distance of a clip position from a plane, positive inside. Planes: -x x -y y -z z."""
    axis = plane >> 1
    limit = wp.where(axis < 2, GUARD, 1.0) * p[3]
    return limit + wp.where((plane & 1) == 0, p[axis], -p[axis])


@wp.func
def inside(p: wp.vec4):
    """Neither clipped nor a division by zero; false for anything that is not a number."""
    w = p[3]
    return w > SMALLEST_W and wp.abs(p[0]) <= GUARD * w and wp.abs(p[1]) <= GUARD * w and wp.abs(p[2]) <= w


@wp.func
def beyond_one_plane(p: wp.vec4, q: wp.vec4, r: wp.vec4):
    """True where all three vertices lie outside the same plane, or one of them is not finite."""
    if not (wp.isfinite(p) and wp.isfinite(q) and wp.isfinite(r)):
        return True
    plane = int(0)
    while plane < 6:
        if wp.max(margin(p, plane), wp.max(margin(q, plane), margin(r, plane))) < 0.0:
            return True
        plane += 1
    return False


@wp.func
def clip(p: wp.vec4, q: wp.vec4, r: wp.vec4):
    """The convex polygon left of a triangle, and its number of corners.

    A cut is always computed from the inside vertex towards the outside one, so the two triangles of a
    shared edge get the same point to the last bit.
    """
    polygon = Polygon()
    polygon[0] = p
    polygon[1] = q
    polygon[2] = r
    count = int(3)
    plane = int(0)
    while plane < 6 and count > 2:
        source = polygon
        kept = int(0)
        i = int(0)
        while i < count:
            here = source[i]
            there = source[wp.where(i + 1 == count, 0, i + 1)]
            m = margin(here, plane)
            n = margin(there, plane)
            if m >= 0.0 and kept < MAX_CORNERS:
                polygon[kept] = here
                kept += 1
            if m >= 0.0 and n < 0.0 and kept < MAX_CORNERS:
                polygon[kept] = here + (there - here) * (m / (m - n))
                kept += 1
            if m < 0.0 and n >= 0.0 and kept < MAX_CORNERS:
                polygon[kept] = there + (here - there) * (n / (n - m))
                kept += 1
            i += 1
        count = kept
        plane += 1
    return polygon, count


@wp.kernel
def project(
    snapped: wp.array2d(dtype=wp.vec3i),  # (1 or B, V), x is CLIPPED where the vertex is not `inside`
    pos: wp.array2d(dtype=wp.vec4),
    width: int,
    height: int,
    stride: int,
):
    shape, first = wp.tid()
    for vertex in range(first, pos.shape[1], stride):
        p = pos[shape, vertex]
        if inside(p):
            snapped[shape, vertex] = snap(p, width, height)
        else:
            snapped[shape, vertex] = wp.vec3i(CLIPPED, 0, 0)


@wp.kernel
def visibility(
    keys: wp.array2d(dtype=wp.int64),  # (B, H*W)
    above: wp.array2d(dtype=wp.int64),  # (B, H*W) keys of the layer to look behind, or (0, 0)
    queue: wp.array2d(dtype=wp.int32),  # (B, F) triangles left to the second pass
    queued: wp.array1d(dtype=wp.int32),  # (B,) how many
    pos: wp.array2d(dtype=wp.vec4),
    tri: wp.array1d(dtype=wp.vec3i),
    snapped: wp.array2d(dtype=wp.vec3i),
    ranges: wp.array2d(dtype=wp.int32),  # (1 or B, 2) first triangle and number of triangles
    width: int,
    height: int,
    large: int,  # height in pixels from which the second pass takes a triangle
    stride: int,
):
    item, first = wp.tid()
    row = wp.min(item, ranges.shape[0] - 1)
    shape = wp.min(item, pos.shape[0] - 1)
    for index in range(first, ranges[row, 1], stride):
        face = ranges[row, 0] + index
        corner = tri[face]
        if not vertices_exist(corner, pos.shape[1]):
            continue
        a = snapped[shape, corner[0]]
        b = snapped[shape, corner[1]]
        c = snapped[shape, corner[2]]
        if a[0] != CLIPPED and b[0] != CLIPPED and c[0] != CLIPPED:
            top = wp.min(a[1], wp.min(b[1], c[1]))
            bottom = wp.max(a[1], wp.max(b[1], c[1]))
            if bottom - top < 16 * large:
                draw(keys, above, item, face, a, b, c, width, height, 0, 1)
                continue
        elif beyond_one_plane(pos[shape, corner[0]], pos[shape, corner[1]], pos[shape, corner[2]]):
            continue
        queue[item, wp.atomic_add(queued, item, 1)] = face


@wp.kernel
def visibility_queued(
    keys: wp.array2d(dtype=wp.int64),
    above: wp.array2d(dtype=wp.int64),
    queue: wp.array2d(dtype=wp.int32),
    queued: wp.array1d(dtype=wp.int32),
    pos: wp.array2d(dtype=wp.vec4),
    tri: wp.array1d(dtype=wp.vec3i),
    width: int,
    height: int,
    groups: int,
    lanes: int,
):
    """A group does every groups-th triangle of an item's queue, and a lane every lanes-th row of it."""
    item, group, lane = wp.tid()
    shape = wp.min(item, pos.shape[0] - 1)
    entry = int(group)
    while entry < queued[item]:
        face = queue[item, entry]
        corner = tri[face]
        polygon, count = clip(pos[shape, corner[0]], pos[shape, corner[1]], pos[shape, corner[2]])
        usable = bool(True)
        i = int(0)
        while i < count:
            usable = usable and polygon[i][3] > SMALLEST_W
            i += 1
        if usable:
            a = snap(polygon[0], width, height)
            i = int(1)
            while i + 1 < count:
                b = snap(polygon[i], width, height)
                c = snap(polygon[i + 1], width, height)
                draw(keys, above, item, face, a, b, c, width, height, lane, lanes)
                i += 1
        entry += groups


@wp.func
def saturate(x: float):
    """Clamped to [0, 1]; 0 for anything that is not a number."""
    if x > 0.0:
        return wp.min(x, 1.0)
    return 0.0


@wp.kernel
def barycentrics(
    rast: wp.array2d(dtype=wp.vec4),  # (B, H*W) zeroed
    rast_db: wp.array2d(dtype=wp.vec4),  # (B, H*W) zeroed, du/dX, du/dY, dv/dX, dv/dY per pixel; or (0, 0)
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
        # Gradients on (n0 - u n) / area and (n1 - v n) / area, whose first two components become rast_db.
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

        # Gradients on n0, n1 and, through the sum n, on all three.
        z = wp.vec3(0.0, 0.0, 1.0)
        g2 = -scale * (u * hu + v * hv + (u * gu + v * gv + slope) * z)
        g0 = g2 + scale * (hu + gu * z)
        g1 = g2 + scale * (hv + gv * z)
        add_position_gradient(grad_pos, shape, corner[0], wp.cross(g1, r) + wp.cross(q, g2), fx, fy)
        add_position_gradient(grad_pos, shape, corner[1], wp.cross(g2, p) + wp.cross(r, g0), fx, fy)
        add_position_gradient(grad_pos, shape, corner[2], wp.cross(g0, q) + wp.cross(p, g1), fx, fy)
