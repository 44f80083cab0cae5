"""Constants and functions that several kernels use: triangle ids, indices and homogeneous edge functions."""

import warp as wp

# float32 represents every integer up to 2^24 exactly. A larger id is stored as the float whose bits are ID_BITS + id.
# These floats continue the smaller ones without a gap, since 2^24 has the bits 0x4b800000.
MAX_EXACT_ID = wp.constant(16777216)
ID_BITS = wp.constant(0x4A800000)


# A key is an int64 that orders what a pixel sees: depth in the high 32 bits, 0x7fffffff - triangle id in the low ones.
EMPTY = wp.constant(wp.int64(0x7FFFFFFFFFFFFFFF))
LOW_BITS = wp.constant(wp.int64(0xFFFFFFFF))


@wp.func
def encode_id(id: int):
    """Returns triangle id + 1 as it is stored in the last channel of rast."""
    if id <= MAX_EXACT_ID:
        return float(id)
    return wp.cast(ID_BITS + id, wp.float32)


@wp.func
def triangle_id(code: float):
    """Returns the triangle id from the last channel of rast; -1 where it is empty or not a number."""
    if code <= float(MAX_EXACT_ID):
        return int(code) - 1
    if code > float(MAX_EXACT_ID):
        return wp.cast(code, wp.int32) - ID_BITS - 1
    return -1


@wp.func
def vertices_exist(corner: wp.vec3i, count: int):
    return wp.min(corner) >= 0 and wp.max(corner) < count


@wp.func
def seen_triangle(code: float, tri: wp.array1d(dtype=wp.vec3i), vertices: int):
    """Returns the id and the vertices of the triangle in the last channel of rast. The id is -1 if there is none."""
    face = triangle_id(code)
    corner = wp.vec3i(0, 0, 0)
    if face >= tri.shape[0]:
        face = -1
    if face >= 0:
        corner = tri[face]
        if not vertices_exist(corner, vertices):
            face = -1
    return face, corner


@wp.func
def pixel_centre(i: int, size: int):
    """Returns the normalised device coordinate, -1..1, of the centre of pixel i in a row of `size` pixels."""
    return float(2 * i + 1) / float(size) - 1.0


@wp.func
def about_pixel(p: wp.vec4, fx: float, fy: float):
    """Returns (x, y, w) of a clip position after the pixel centre (fx, fy) was moved to the origin.

    The cross product of two such vectors is (da/dX, da/dY, a), where a is the homogeneous edge
    function at the pixel and X, Y are its normalised device coordinates.
    """
    return wp.vec3(p[0] - fx * p[3], p[1] - fy * p[3], p[3])


@wp.func
def triangle_about_pixel(pos: wp.array2d(dtype=wp.vec4), shape: int, corner: wp.vec3i, fx: float, fy: float):
    """Returns `about_pixel` of the three vertices of a triangle."""
    p = about_pixel(pos[shape, corner[0]], fx, fy)
    q = about_pixel(pos[shape, corner[1]], fx, fy)
    r = about_pixel(pos[shape, corner[2]], fx, fy)
    return p, q, r


@wp.func
def edge_vectors(p: wp.vec3, q: wp.vec3, r: wp.vec3):
    """Returns (da/dX, da/dY, a) of the edge functions opposite to three vertices, given by their `about_pixel`."""
    return wp.cross(q, r), wp.cross(r, p), wp.cross(p, q)


@wp.func
def away_from_zero(area: float):
    """Returns the area, or 1e-6 with its sign if the area is smaller, so that it can be divided by."""
    if wp.abs(area) >= 1.0e-6:
        return area
    return wp.where(area < 0.0, -1.0e-6, 1.0e-6)


@wp.func
def is_finite(v: wp.vec4):
    """Returns whether the square of v is finite. On the CPU this is many times faster than wp.isfinite."""
    return wp.dot(v, v) * 0.0 == 0.0


@wp.func
def add_position_gradient(
    grad_pos: wp.array2d(dtype=wp.vec4), shape: int, vertex: int, g: wp.vec3, fx: float, fy: float
):
    """Adds to the gradient of a vertex's position.

    g: gradient of `about_pixel` of the vertex. It is converted to one of x, y and w. Overflowing values are left out.
    """
    on_pos = wp.vec4(g[0], g[1], 0.0, g[2] - fx * g[0] - fy * g[1])
    if is_finite(on_pos):
        wp.atomic_add(grad_pos, shape, vertex, on_pos)
