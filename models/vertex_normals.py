"""Unit normals of a mesh's vertices, with gradients.

Warp kernels compute them, because PyTorch is slow at gathering the triangles around each vertex.
"""
import torch
import warp as wp

from nvdiffrast.torch import runtime

wp.set_module_options({"enable_backward": False})


def vertex_normals(shape: torch.Tensor, tri: torch.Tensor, point_buf: torch.Tensor) -> torch.Tensor:
    """Vertex normals (B, V, 3) of unit length: the normalised sum of the unit normals of the triangles around each
    vertex.

    shape: (B, N, 3) float32, in any unit; it gets a gradient. tri: (F, 3) int32; the normal of a triangle with the
    corners v1, v2, v3 points along cross(v1 - v2, v2 - v3). point_buf: (V, K) int32, the triangles around the
    vertices whose normals are computed (usually all N), padded with F. A triangle without area and a vertex without
    triangles have the normal 0.
    """
    return _VertexNormals.apply(shape.contiguous(), tri, point_buf)


class _VertexNormals(torch.autograd.Function):
    @staticmethod
    def forward(ctx, shape, tri, point_buf):
        faces = shape.new_empty((len(shape), len(tri), 4))
        vertices = shape.new_empty((len(shape), len(point_buf), 4))
        detached = shape.detach()
        slices = runtime.parts(len(shape), shape.device)
        runtime.launch(_triangle_normals, [
            ((part.stop - part.start, len(tri)), [runtime.vectors(faces[part]), detached[part], runtime.vectors(tri)])
            for part in slices], shape.device)
        runtime.launch(_vertex_normals, [
            ((part.stop - part.start, len(point_buf)),
             [runtime.vectors(vertices[part]), runtime.vectors(faces[part]), point_buf]) for part in slices],
            shape.device)
        ctx.save_for_backward(shape, tri, point_buf, faces, vertices)
        return vertices[..., :3].contiguous()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):
        shape, tri, point_buf, faces, vertices = ctx.saved_tensors
        grad, grad_shape, grad_faces = grad.contiguous(), torch.zeros_like(shape), torch.zeros_like(faces)
        slices = runtime.parts(len(shape), shape.device)
        runtime.launch(_vertex_normals_backward, [
            ((part.stop - part.start, len(point_buf)),
             [runtime.vectors(grad_faces[part]), grad[part], runtime.vectors(vertices[part]), point_buf])
            for part in slices], shape.device)
        runtime.launch(_triangle_normals_backward, [
            ((part.stop - part.start, len(tri)),
             [grad_shape[part], runtime.vectors(grad_faces[part]), runtime.vectors(faces[part]), shape.detach()[part],
              runtime.vectors(tri)]) for part in slices], shape.device)
        return grad_shape, None, None


@wp.func
def _vertex(shape: wp.array3d(dtype=wp.float32), item: int, vertex: int):
    return wp.vec3(shape[item, vertex, 0], shape[item, vertex, 1], shape[item, vertex, 2])


@wp.func
def _normalised(v: wp.vec3):
    """The unit vector and the length. The unit vector of a vector without length is 0."""
    length = wp.length(v)
    scale = 1.0 / wp.max(length, 1.0e-12)
    return wp.vec4(v[0] * scale, v[1] * scale, v[2] * scale, length)


@wp.func
def _through_normalised(grad: wp.vec3, unit: wp.vec4):
    """The gradient of a vector, given the gradient of its unit vector, and the unit vector and the length."""
    n = wp.vec3(unit[0], unit[1], unit[2])
    if unit[3] <= 1.0e-12:
        return wp.vec3(0.0, 0.0, 0.0)
    return (grad - n * wp.dot(n, grad)) / unit[3]


@wp.kernel
def _triangle_normals(
    faces: wp.array2d(dtype=wp.vec4),  # (B, F) unit normal and length
    shape: wp.array3d(dtype=wp.float32),
    tri: wp.array1d(dtype=wp.vec3i),
):
    item, face = wp.tid()
    corner = tri[face]
    v1 = _vertex(shape, item, corner[0])
    v2 = _vertex(shape, item, corner[1])
    v3 = _vertex(shape, item, corner[2])
    faces[item, face] = _normalised(wp.cross(v1 - v2, v2 - v3))


@wp.kernel
def _vertex_normals(
    vertices: wp.array2d(dtype=wp.vec4),  # (B, V) unit normal and length of the sum
    faces: wp.array2d(dtype=wp.vec4),
    point_buf: wp.array2d(dtype=wp.int32),
):
    item, vertex = wp.tid()
    total = wp.vec3(0.0, 0.0, 0.0)
    for k in range(point_buf.shape[1]):
        face = point_buf[vertex, k]
        if face < faces.shape[1]:
            n = faces[item, face]
            total += wp.vec3(n[0], n[1], n[2])
    vertices[item, vertex] = _normalised(total)


@wp.kernel
def _vertex_normals_backward(
    grad_faces: wp.array2d(dtype=wp.vec4),  # of the unit normals, the fourth number unused
    grad: wp.array3d(dtype=wp.float32),
    vertices: wp.array2d(dtype=wp.vec4),
    point_buf: wp.array2d(dtype=wp.int32),
):
    item, vertex = wp.tid()
    g = _through_normalised(_vertex(grad, item, vertex), vertices[item, vertex])
    for k in range(point_buf.shape[1]):
        face = point_buf[vertex, k]
        if face < grad_faces.shape[1]:
            wp.atomic_add(grad_faces, item, face, wp.vec4(g[0], g[1], g[2], 0.0))


@wp.kernel
def _triangle_normals_backward(
    grad_shape: wp.array3d(dtype=wp.float32),
    grad_faces: wp.array2d(dtype=wp.vec4),
    faces: wp.array2d(dtype=wp.vec4),
    shape: wp.array3d(dtype=wp.float32),
    tri: wp.array1d(dtype=wp.vec3i),
):
    item, face = wp.tid()
    corner = tri[face]
    v2 = _vertex(shape, item, corner[1])
    first = _vertex(shape, item, corner[0]) - v2
    second = v2 - _vertex(shape, item, corner[2])
    g = grad_faces[item, face]
    g_cross = _through_normalised(wp.vec3(g[0], g[1], g[2]), faces[item, face])
    g_first = wp.cross(second, g_cross)
    g_second = wp.cross(g_cross, first)
    for axis in range(3):
        wp.atomic_add(grad_shape, item, corner[0], axis, g_first[axis])
        wp.atomic_add(grad_shape, item, corner[1], axis, g_second[axis] - g_first[axis])
        wp.atomic_add(grad_shape, item, corner[2], axis, -g_second[axis])
