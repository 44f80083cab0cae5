"""Functions on meshes: subdivision, normals, triangulation, and a z-buffer in plain NumPy."""
import numpy as np
import scipy.sparse as sp


def catmull_clark(quads, count, uv=None):
    """Subdivides a mesh by one Catmull-Clark level. The new vertices are linear in the old ones.

    quads: (f, 4) vertex numbers, 0..count - 1.
    uv: (f, 4, 2) texture coordinates of the corners, or None.

    Returns
    operator: csr (n, count), from old to new vertices: first the old ones, moved, then one per edge, then one per face.
    quads: (4 f, 4).
    uv: (4 f, 4, 2), or None.
    """
    faces = len(quads)
    edge_of = np.sort(np.stack([quads, np.roll(quads, -1, 1)], 2).reshape(-1, 2), 1)
    edges, inverse, uses = np.unique(edge_of, axis=0, return_inverse=True, return_counts=True)
    inverse = inverse.reshape(-1)
    face_id = np.repeat(np.arange(faces), 4)
    edge_id = np.repeat(np.arange(len(edges)), 2)

    def matrix(values, rows, columns, shape):
        values = np.broadcast_to(values, rows.shape).astype(float)
        return sp.csr_matrix((values, (rows, columns)), shape=shape)

    face_point = matrix(.25, face_id, quads.ravel(), (faces, count))
    midpoint = matrix(.5, edge_id, edges.ravel(), (len(edges), count))
    edge_face = matrix(1., inverse, face_id, (len(edges), faces))
    inner = uses == 2
    edge_point = (sp.diags(np.where(inner, .5, 1.)) @ midpoint
                  + sp.diags(np.where(inner, .25, 0.)) @ edge_face @ face_point)

    vertex_face = matrix(1., quads.ravel(), face_id, (count, faces))
    vertex_edge = matrix(1., edges.ravel(), edge_id, (count, len(edges)))
    valence = np.asarray(vertex_face.sum(1)).ravel()
    degree = np.maximum(np.asarray(vertex_edge.sum(1)).ravel(), 1)
    border = np.zeros(count, bool)
    border[edges[~inner].ravel()] = True
    smooth = ~border & (valence > 0)
    n = np.maximum(valence, 1)
    vertex_point = (sp.diags(np.where(smooth, 1 / n ** 2, 0)) @ vertex_face @ face_point
                    + sp.diags(np.where(smooth, 2 / n / degree, 0)) @ vertex_edge @ midpoint
                    + sp.diags(np.where(smooth, (n - 3) / n, 0))
                    + sp.diags(np.where(border, .25, 0)) @ vertex_edge @ sp.diags((~inner) * 1.) @ midpoint
                    + sp.diags(np.where(border, .5, np.where(valence == 0, 1., 0))))

    edge_vertex = inverse.reshape(faces, 4) + count
    face_vertex = np.arange(faces) + count + len(edges)
    children = np.concatenate([
        np.stack([quads[:, k], edge_vertex[:, k], face_vertex, edge_vertex[:, k - 1]], 1) for k in range(4)])
    child_uv = None
    if uv is not None:
        centre, middle = uv.mean(1), (uv + np.roll(uv, -1, 1)) / 2
        child_uv = np.concatenate([np.stack([uv[:, k], middle[:, k], centre, middle[:, k - 1]], 1)
                                   for k in range(4)])
    return sp.vstack([vertex_point, edge_point, face_point]).tocsr(), children, child_uv


def subdivide(quads, count, levels, uv=None):
    """Subdivides a mesh by several levels; arguments and results are those of `catmull_clark`."""
    operator = sp.identity(count, format='csr')
    for _ in range(levels):
        step, quads, uv = catmull_clark(quads, operator.shape[0], uv)
        operator = (step @ operator).tocsr()
    return operator, quads, uv


def split_quads(quads):
    """Splits quads (f, 4) along their first diagonal into triangles (2 f, 3). Used where only visibility matters."""
    return np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])


def vertex_normals(points, triangles):
    """Returns outward unit normals (N, 3): the sums of the unit normals of the triangles round each vertex.

    A triangle's normal points along cross(v1 - v2, v2 - v3).
    """
    a, b, c = (points[triangles[:, k]] for k in range(3))
    normal = np.cross(a - b, b - c)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True) + 1e-12
    total = np.stack([np.bincount(triangles.ravel(), np.repeat(normal[:, d], 3), len(points))
                      for d in range(3)], 1)
    return total / (np.linalg.norm(total, axis=1, keepdims=True) + 1e-12)


def edges_of(triangles):
    """Returns every edge once, as sorted vertex pairs (e, 2), and how many triangles share it (e,)."""
    pairs = np.sort(np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]]), 1)
    return np.unique(pairs, axis=0, return_counts=True)


def adjacency(triangles, count):
    """Returns the edges of a mesh of `count` vertices as a symmetric csr matrix (count, count) of zeros and ones."""
    edges = edges_of(triangles)[0]
    half = sp.csr_matrix((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), shape=(count, count))
    return (half + half.T).tocsr()


def triangulate(quads, points, limit=8):
    """Splits quads (f, 4) into triangles (2 f, 3), along the shorter diagonal.

    Then flips diagonals until no vertex, where possible, has more than `limit` triangles.

    points: (N, 3).
    """
    first = np.linalg.norm(points[quads[:, 0]] - points[quads[:, 2]], axis=1)
    second = np.linalg.norm(points[quads[:, 1]] - points[quads[:, 3]], axis=1)
    flip = second < first * .999
    on = np.where(flip[:, None], quads[:, [1, 3]], quads[:, [0, 2]])
    faces = np.bincount(quads.ravel(), minlength=len(points)) + np.bincount(on.ravel(), minlength=len(points))
    for _ in range(20):
        crowded = np.nonzero(faces > limit)[0]
        if not len(crowded):
            break
        for vertex in crowded:
            for q in np.nonzero((quads == vertex).any(1))[0]:
                on, off = quads[q, [1, 3]], quads[q, [0, 2]]
                if not flip[q]:
                    on, off = off, on
                if faces[vertex] > limit and vertex in on and (faces[off] < limit).all():
                    faces[on] -= 1
                    faces[off] += 1
                    flip[q] = ~flip[q]
    return np.where(flip[:, None], quads[:, [0, 1, 3, 1, 2, 3]], quads[:, [0, 1, 2, 0, 2, 3]]).reshape(-1, 3)


def z_buffer(xy, depth, triangles, size):
    """Finds the triangle that each pixel of a square image sees.

    xy: (N, 2) px, y down; pixel centres at half integers.
    depth: (N,), smaller is nearer.
    Returns the triangle at each pixel's centre (size, size), -1 where there is none, and its depth (size, size), inf
    where there is none.
    """
    corner = xy[triangles]                                        # (F, 3, 2)
    low = np.clip(np.ceil(corner.min(1) - .5), 0, size).astype(int)
    high = np.clip(np.floor(corner.max(1) - .5), -1, size - 1).astype(int)
    extent = (high - low + 1)
    area = ((corner[:, 1, 1] - corner[:, 2, 1]) * (corner[:, 0, 0] - corner[:, 2, 0])
            + (corner[:, 2, 0] - corner[:, 1, 0]) * (corner[:, 0, 1] - corner[:, 2, 1]))
    usable = (extent > 0).all(1) & (np.abs(area) > 1e-12)
    pixel, hit, value = [], [], []
    # Triangles are handled in groups of similar extent, each with a block of side x side pixels.
    side = np.where(usable, 2 ** np.ceil(np.log2(np.maximum(extent.max(1), 1))), 0).astype(int)
    for width in np.unique(side[side > 0]):
        step = np.stack(np.meshgrid(np.arange(width), np.arange(width)), -1).reshape(-1, 2)
        members = np.nonzero(side == width)[0]
        chunk = max(1, 2_000_000 // len(step))
        for start in range(0, len(members), chunk):
            t = members[start:start + chunk]
            p = low[t, None] + step                               # (n, width^2, 2) pixels
            a, b, c = (corner[t, k][:, None] for k in range(3))
            d = (p + .5) - c
            w0 = ((b[..., 1] - c[..., 1]) * d[..., 0] + (c[..., 0] - b[..., 0]) * d[..., 1]) / area[t, None]
            w1 = ((c[..., 1] - a[..., 1]) * d[..., 0] + (a[..., 0] - c[..., 0]) * d[..., 1]) / area[t, None]
            w2 = 1 - w0 - w1
            row, column = np.nonzero((w0 >= -1e-9) & (w1 >= -1e-9) & (w2 >= -1e-9) & (p < size).all(-1))
            z = depth[triangles[t]][row]
            weights = np.stack([w0[row, column], w1[row, column], w2[row, column]], 1)
            pixel.append(p[row, column, 1] * size + p[row, column, 0])
            hit.append(t[row])
            value.append((z * weights).sum(1))
    seen, nearest = np.full(size * size, -1), np.full(size * size, np.inf)
    if pixel:
        pixel, hit, value = (np.concatenate(v) for v in (pixel, hit, value))
        order = np.argsort(-value, kind='stable')                 # the nearest is written last
        seen[pixel[order]] = hit[order]
        nearest[pixel[order]] = value[order]
    return seen.reshape(size, size), nearest.reshape(size, size)


def front_view(points, triangles, size=1600, half_width=1.15):
    """Renders an orthographic view from the front.

    points: (N, 3), x right, y up, z towards the viewer. half_width: model units from the image's centre to its edge.
    Returns the triangle each pixel sees (size, size), -1 for none; the places of the vertices (N, 2), px, y down; and
    the pixels per model unit.
    """
    scale = size / 2 / half_width
    xy = np.stack([size / 2 + points[:, 0] * scale, size / 2 - points[:, 1] * scale], 1)
    return z_buffer(xy, -points[:, 2], triangles, size)[0], xy, scale


def rotation(pitch, yaw):
    """(3, 3) for column vectors: yaw about y, then pitch about x (radians)."""
    cp, s_p, cy, sy = np.cos(pitch), np.sin(pitch), np.cos(yaw), np.sin(yaw)
    about_x = np.array([[1, 0, 0], [0, cp, -s_p], [0, s_p, cp]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    return about_y @ about_x


def ambient_occlusion(points, triangles, directions=120, size=420, bias=.012):
    """Returns the share of the sky that each vertex sees (N,), 0..1, weighted by the cosine to its normal.

    directions: number of directions of the sky. size: px of the view along each of them. bias: decimetres by which a
    vertex may lie behind the nearest surface and still count as seen.
    """
    normals = vertex_normals(points, triangles)
    i = np.arange(directions) + .5
    polar, turn = np.arccos(1 - 2 * i / directions), np.pi * (1 + 5 ** .5) * i
    sky = np.stack([np.cos(turn) * np.sin(polar), np.sin(turn) * np.sin(polar), np.cos(polar)], 1)
    centred = points - points.mean(0)
    open_sky, all_sky = np.zeros(len(points)), np.zeros(len(points))
    for d in sky:
        up = np.array([0, 1., 0]) if abs(d[1]) < .9 else np.array([1., 0, 0])
        right = np.cross(up, d) / np.linalg.norm(np.cross(up, d))
        above = np.cross(d, right)
        scale = size / 2.6
        xy = np.stack([size / 2 + centred @ right * scale, size / 2 - centred @ above * scale], 1)
        depth = 10 - centred @ d
        nearest = z_buffer(xy, depth, triangles, size)[1]
        pixel = np.clip(xy.astype(int), 0, size - 1)
        clear = depth < nearest[pixel[:, 1], pixel[:, 0]] + bias
        cosine = np.maximum(normals @ d, 0)
        open_sky += cosine * clear
        all_sky += cosine
    return open_sky / np.maximum(all_sky, 1e-6)
