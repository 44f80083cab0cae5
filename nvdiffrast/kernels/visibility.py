"""Finds the nearest triangle at every pixel.

Vertices are snapped to 1/16 pixel, and triangles are tested with integer edge functions. Neighbouring triangles
therefore neither overlap nor leave gaps. Every pixel keeps the smallest key of the triangles that cover it (see
common.py). The nearest triangle wins, and at equal depth the last one. The first pass puts triangles that must be
clipped, and on CUDA also large ones, in a queue. The second pass draws these, with many threads for one triangle.
"""

# Warp makes a constant of `x = 0`; `x = int(0)` is a variable.
# ruff: noqa: UP018

import warp as wp

from .common import vertices_exist

wp.set_module_options({"enable_backward": False})

# The x of a snapped vertex that lies outside the guard band.
CLIPPED = wp.constant(-0x80000000)

# The guard band is GUARD times as wide and high as the image. Triangles inside it need no clipping in x and y, since
# they are only drawn at pixels of the image.
GUARD = wp.constant(4.0)

# After clipping in x, y and z, w can still be 0 at the eye point. Smaller values than this are not divided by.
SMALLEST_W = wp.constant(1.0e-30)

# A triangle gains at most one corner at each of the six planes. Rounding may add another one to a very thin triangle.
MAX_CORNERS = 12
Polygon = wp.types.matrix(shape=(MAX_CORNERS, 4), dtype=wp.float32)


@wp.func
def depth_bits(z: float):
    """Returns an integer that has the same order as the float."""
    bits = wp.cast(z + 0.0, wp.int32)
    return wp.where(bits < 0, bits ^ 0x7FFFFFFF, bits)


@wp.func
def snap(p: wp.vec4, width: int, height: int):
    """Returns the image position in 1/16 pixel and the bits of the depth.

    The position is rounded relative to the image centre, halves to even.
    """
    x = int(wp.rint(p[0] / p[3] * float(8 * width))) + 8 * width
    y = int(wp.rint(p[1] / p[3] * float(8 * height))) + 8 * height
    return wp.vec3i(x, y, wp.cast(wp.clamp(p[2] / p[3], -1.0, 1.0), wp.int32))


@wp.func
def cross(ax: int, ay: int, bx: int, by: int):
    return wp.int64(ax) * wp.int64(by) - wp.int64(ay) * wp.int64(bx)


@wp.func
def tie(dx: int, dy: int):
    """Returns 0 if points on an edge of this direction belong to its triangle, -1 if to the neighbour.

    They belong to it if dy > 0, or if dy = 0 and dx < 0.
    """
    return ~((wp.int64(dx) - (wp.int64(dy) << wp.int64(32))) >> wp.int64(63))


@wp.func
def first_pixel(sub: int):
    """Returns the first pixel of the image whose centre is not before a position in 1/16 pixel."""
    return wp.max((sub + 7) >> 4, 0)


@wp.func
def last_pixel(sub: int, size: int):
    """Returns the last pixel of the image whose centre is not behind a position in 1/16 pixel."""
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
    """Lowers the key of every pixel that a snapped triangle covers. A lane takes every lanes-th row."""
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

    # Edge functions at the pixel's centre: twice the areas opposite to b and c. The one opposite to a is the rest.
    px = 16 * left + 8 - a[0]
    py = 16 * y + 8 - a[1]
    e1 = cross(px, py, cx, cy)
    e2 = cross(bx, by, px, py)
    tie0 = area + tie(cx - bx, cy - by)
    tie1 = tie(-cx, -cy)
    tie2 = tie(bx, by)
    right_1 = wp.int64(16 * cy)
    right_2 = wp.int64(-16 * by)
    # The step from the last pixel of a row to the first pixel of the lane's next row.
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
    """Returns the signed distance of a clip position from a plane, positive inside. Planes: -x x -y y -z z."""
    axis = plane >> 1
    limit = wp.where(axis < 2, GUARD, 1.0) * p[3]
    return limit + wp.where((plane & 1) == 0, p[axis], -p[axis])


@wp.func
def inside(p: wp.vec4):
    """Returns whether a position lies inside the guard band and may be divided by w; false if not a number."""
    w = p[3]
    return w > SMALLEST_W and wp.abs(p[0]) <= GUARD * w and wp.abs(p[1]) <= GUARD * w and wp.abs(p[2]) <= w


@wp.func
def beyond_one_plane(p: wp.vec4, q: wp.vec4, r: wp.vec4):
    """Returns whether all three vertices lie outside the same plane, or one of them is not finite."""
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
    """Clips a triangle at the six planes. Returns the convex polygon that remains, and its number of corners.

    A cut is always computed from the inside vertex towards the outside one. The two triangles at a shared edge
    therefore get the same point to the last bit.
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
    snapped: wp.array2d(dtype=wp.vec3i),  # (1 or B, V); x is CLIPPED if the vertex is not `inside`
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
    above: wp.array2d(dtype=wp.int64),  # (B, H*W) keys of the layer in front, or (0, 0)
    queue: wp.array2d(dtype=wp.int32),  # (B, F) triangles for the second pass
    queued: wp.array1d(dtype=wp.int32),  # (B,) number of triangles in the queue
    pos: wp.array2d(dtype=wp.vec4),
    tri: wp.array1d(dtype=wp.vec3i),
    snapped: wp.array2d(dtype=wp.vec3i),
    ranges: wp.array2d(dtype=wp.int32),  # (1 or B, 2) first triangle and number of triangles
    width: int,
    height: int,
    large: int,  # height in pixels from which a triangle goes to the second pass
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
    """Second pass. A group takes every groups-th triangle of an item's queue, a lane every lanes-th row of it."""
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
