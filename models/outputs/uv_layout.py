"""Unwraps a face model: the place of every vertex in a square texture.

Each connected part of the mesh is flattened into a disc by Tutte's embedding: the border lies on a circle, and every
other vertex in the weighted mean of its neighbours. Then no triangle overlaps another one, whatever the shape in space
is, also inside the mouth and behind the eyelids. The weights are mean value coordinates (Floater 2003), which keep
angles. They are changed in a few rounds so that areas become more even (Yoshizawa, Belyaev and Seidel 2004).
"""
import contextlib
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.sparse as sp
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import splu
from scipy.spatial import cKDTree

from util.files import atomic_write

ROUNDS = 4           # of making areas more even
MARGIN = 0.006       # free space around each part, in widths of the texture
CORNER = 0.5 - 0.5 ** 1.5   # side of the square between the largest part, a circle, and a corner of the texture


@dataclass(frozen=True)
class UvLayout:
    """The places of the vertices of a face model in its texture."""
    uv: np.ndarray       # (N, 2) float32, 0..1: x to the right, y up, as OBJ files have them
    mirror: np.ndarray   # (N, 2) float32: the place that shows the mirror image of the vertex, on the face's other side


def unwrap(vertices: np.ndarray, triangles: np.ndarray) -> UvLayout:
    """Returns the layout of a mesh. Vertices without triangles lie at (0, 0).

    vertices: (N, 3) of the mean face, x to the image's right, y up, z towards the viewer. triangles: (F, 3).
    """
    vertices = vertices.astype(float)
    count, part = connected_components(_links(triangles, np.ones(triangles.shape), len(vertices)))
    parts = [np.flatnonzero(part[triangles[:, 0]] == i) for i in range(count)]
    areas = _double_areas(vertices[triangles])
    parts = sorted((faces for faces in parts if len(faces)), key=lambda faces: -areas[faces].sum())
    uv = np.zeros((len(vertices), 2))
    for faces, (center, radius) in zip(parts, _places([areas[faces].sum() for faces in parts]), strict=True):
        used, local = np.unique(triangles[faces], return_inverse=True)
        uv[used] = center + (radius - MARGIN) * _flatten(vertices[used], local.reshape(-1, 3))
    return UvLayout(uv.astype(np.float32), _mirrored(vertices, uv).astype(np.float32))


def unwrap_once(vertices: np.ndarray, triangles: np.ndarray) -> UvLayout:
    """The same as `unwrap`, which takes two seconds for 36,000 vertices. The layout is kept in the user's folder of
    caches, and read from there the next time."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "3d_face_reconstruction"
    key = hashlib.sha256(vertices.tobytes() + triangles.tobytes() + Path(__file__).read_bytes()).hexdigest()
    path = folder / f"uv_{key[:32]}.npz"
    with contextlib.suppress(Exception), np.load(path, allow_pickle=False) as file:   # a broken file is made anew
        return UvLayout(file["uv"], file["mirror"])
    layout = unwrap(vertices, triangles)
    with contextlib.suppress(OSError):   # where nothing can be kept, it is computed again
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as temporary:
            np.savez(temporary, uv=layout.uv, mirror=layout.mirror)
    return layout


def _places(areas: list[float]) -> list[tuple[np.ndarray, float]]:
    """The centre and radius of the circle of each part in the texture. The first part, the face, takes the largest
    circle; the others share the four corners, at most as large as their area is compared with the face's."""
    places = [(np.array([0.5, 0.5]), 0.5)]
    side = max(int(np.ceil(np.sqrt((len(areas) - 1) / 4))), 1)   # each corner has side x side cells
    cell = CORNER / side
    for i, area in enumerate(areas[1:]):
        step = np.array(divmod(i // 4, side))[::-1]
        near_corner = (step + 0.5) * cell
        right, top = i % 2, i // 2 % 2
        center = np.where([right, top], 1 - near_corner, near_corner)
        places.append((center, min(cell / 2, max(0.5 * np.sqrt(area / areas[0]), 2 * MARGIN))))
    return places


def _flatten(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Places (N, 2) of the vertices of one connected mesh, in the unit disc. No triangles overlap if the mesh has the
    topology of a disc, which may have holes."""
    loops = _border_loops(triangles)
    if not loops:   # a closed surface is opened at its back, by a triangle that then lies over all others
        hindmost = vertices[triangles, 2].sum(1).argmin()
        loops, triangles = [triangles[hindmost][::-1]], np.delete(triangles, hindmost, 0)
    loops.sort(key=lambda loop: -np.linalg.norm(vertices[loop] - vertices[np.roll(loop, 1)], axis=1).sum())
    outline, *holes = loops
    for hole in holes:   # filled by a fan around a new vertex, because only a disc without holes cannot overlap itself
        fan = np.stack([np.roll(hole, 1), hole, np.full(len(hole), len(vertices))], 1)
        vertices, triangles = np.vstack([vertices, vertices[hole].mean(0)]), np.vstack([triangles, fan])
    count = len(vertices) - len(holes)
    flat = _embed(vertices, triangles, outline, _mean_value_weights(vertices, triangles))
    weights = _mean_value_weights(vertices, triangles)
    best, least = flat, np.inf
    for _ in range(ROUNDS):
        stretch, total = _stretch(vertices, flat, triangles)
        if total >= least:
            break
        best, least = flat, total
        weights = weights @ sp.diags(1 / stretch)
        flat = _embed(vertices, triangles, outline, weights)
    return best[:count]


def _embed(vertices: np.ndarray, triangles: np.ndarray, outline: np.ndarray, weights: sp.csr_matrix) -> np.ndarray:
    """Places (N, 2): the outline on the unit circle, the others in the weighted means of their neighbours.

    outline: vertices of the border in order. weights: (N, N), above 0 where vertices are neighbours.
    """
    flat = np.zeros((len(vertices), 2))
    flat[outline] = _on_circle(vertices[outline])
    inner = np.setdiff1d(triangles, outline)
    if len(inner):
        rows = sp.diags(1 / np.asarray(weights.sum(1)).ravel()[inner]) @ weights[inner]
        system = (sp.identity(len(inner)) - rows[:, inner]).tocsc()
        flat[inner] = splu(system, permc_spec="MMD_AT_PLUS_A", options={"SymmetricMode": True}).solve(rows @ flat)
    return flat


def _on_circle(outline: np.ndarray) -> np.ndarray:
    """Places (n, 2) on the unit circle, counterclockwise, for the points (n, 3) of a closed border, in proportion to
    its length. They lie in about the same directions from the centre as in a front view."""
    steps = np.linalg.norm(outline - np.roll(outline, 1, 0), axis=1)
    angle = np.cumsum(steps) / steps.sum() * 2 * np.pi
    circle = np.exp(1j * angle)
    turn = ((outline - outline.mean(0))[:, :2] @ (1, 1j) * circle.conj()).sum()
    placed = circle * turn / (abs(turn) or 1)
    return np.stack([placed.real, placed.imag], 1)


def _border_loops(triangles: np.ndarray) -> list[np.ndarray]:
    """The borders of a mesh, each as its vertices in order, with the mesh on their left."""
    sides = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    _, inverse, uses = np.unique(np.sort(sides, 1), axis=0, return_inverse=True, return_counts=True)
    following = dict(sides[uses[inverse.ravel()] == 1].tolist())
    loops = []
    while following:
        start, vertex = following.popitem()
        loop = [start]
        while vertex != start and vertex in following:
            loop.append(vertex)
            vertex = following.pop(vertex)
        loops.append(np.array(loop))
    return [loop for loop in loops if len(loop) > 2]


def _mean_value_weights(vertices: np.ndarray, triangles: np.ndarray) -> sp.csr_matrix:
    """Mean value coordinates (N, N), not normalised: row i has the weights of the neighbours of vertex i."""
    total = sp.csr_matrix((len(vertices),) * 2)
    for corner in range(3):
        i, j, k = triangles[:, corner], triangles[:, (corner + 1) % 3], triangles[:, (corner + 2) % 3]
        to_j, to_k = vertices[j] - vertices[i], vertices[k] - vertices[i]
        length_j, length_k = (np.maximum(np.linalg.norm(side, axis=1), 1e-9) for side in (to_j, to_k))
        cosine = np.clip((to_j * to_k).sum(1) / (length_j * length_k), -0.9999, 0.9999)
        half_tangent = np.maximum(np.sqrt((1 - cosine) / (1 + cosine)), 1e-4)
        total += sp.csr_matrix((np.concatenate([half_tangent / length_j, half_tangent / length_k]),
                                (np.tile(i, 2), np.concatenate([j, k]))), shape=total.shape)
    return total


def _stretch(vertices: np.ndarray, flat: np.ndarray, triangles: np.ndarray) -> tuple[np.ndarray, float]:
    """How much larger the surface is than its image, around each vertex (N,), and over the whole mesh: the L2 stretch
    of Sander et al. 2001."""
    (u1, v1), (u2, v2), (u3, v3) = (flat[triangles[:, corner]].T for corner in range(3))
    q1, q2, q3 = (vertices[triangles[:, corner]] for corner in range(3))
    double = np.maximum(np.abs((u2 - u1) * (v3 - v1) - (u3 - u1) * (v2 - v1)), 1e-12)[:, None]
    along_u = (q1 * (v2 - v3)[:, None] + q2 * (v3 - v1)[:, None] + q3 * (v1 - v2)[:, None]) / double
    along_v = (q1 * (u3 - u2)[:, None] + q2 * (u1 - u3)[:, None] + q3 * (u2 - u1)[:, None]) / double
    squared = ((along_u ** 2).sum(1) + (along_v ** 2).sum(1)) / 2
    areas = _double_areas(vertices[triangles])
    corners = triangles.ravel()
    weighted = np.bincount(corners, np.repeat(areas * squared, 3), len(vertices))
    around = np.sqrt(weighted / np.maximum(np.bincount(corners, np.repeat(areas, 3), len(vertices)), 1e-12))
    return np.maximum(around, 1e-6), float((areas * squared).sum())


def _mirrored(vertices: np.ndarray, uv: np.ndarray) -> np.ndarray:
    """The places (N, 2) of the mirror images of the vertices (N, 3), which lie at (-x, y, z)."""
    center = (vertices.min(0) + vertices.max(0)) / 2
    mirrored = np.where([True, False, False], 2 * center - vertices, vertices)
    return uv[cKDTree(vertices).query(mirrored)[1]]


def _links(triangles: np.ndarray, values: np.ndarray, count: int) -> sp.csr_matrix:
    """A matrix (count, count) with an entry for each side of each triangle."""
    return sp.csr_matrix((values.ravel(), (triangles.ravel(), np.roll(triangles, -1, 1).ravel())), shape=(count, count))


def _double_areas(corners: np.ndarray) -> np.ndarray:
    """Twice the areas (F,) of triangles with the corners (F, 3, 3)."""
    return np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
