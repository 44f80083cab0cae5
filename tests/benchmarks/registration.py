"""Finds which points of two face meshes with different vertices correspond to each other.

One mesh, the template, is bent until it lies on the other: first by a thin-plate spline through landmarks that both
have, then step by step to the nearest places of the other surface, while neighbouring vertices move alike.
"""
from collections.abc import Sequence

import numpy as np
import scipy.sparse as sparse
from scipy.interpolate import RBFInterpolator
from scipy.sparse.linalg import splu
from trimesh import Trimesh
from trimesh.grouping import group_rows

from tests.benchmarks.scores import Surface

STIFFNESS = (30.0, 10.0, 3.0, 1.0, 0.3)   # of each step: weight of a difference between neighbours, against that of a
# vertex's distance from the other surface
FARTHEST = 0.2      # largest movement to the other surface, as a share of the distance of the outermost landmarks
SAME_SIDE = 0.5     # least cosine between the normals of a vertex and of its place on the other surface


def bend_onto(vertices: np.ndarray, triangles: np.ndarray, landmarks: np.ndarray, target: Surface,
              target_landmarks: np.ndarray, stiffness: Sequence[float] = STIFFNESS) -> np.ndarray:
    """Returns the vertices (N, 3) of a face, the template, bent onto another face.

    vertices (N, 3), triangles (F, 3): the template. landmarks (L, 3), target_landmarks (L, 3): the same points of both
    faces. Of the 68 landmarks, take those WITHOUT_JAW: the others lie elsewhere in each face model. target: the other
    face. Its triangles must have the same orientation as those of the template.
    """
    spline = RBFInterpolator(landmarks, target_landmarks, kernel="linear", degree=1)
    bent = spline(vertices)
    farthest = FARTHEST * np.ptp(target_landmarks, axis=0).max()
    edges = Trimesh(bent, triangles, process=False).edges_unique
    difference = sparse.coo_array(
        (np.tile([1.0, -1.0], len(edges)), (np.repeat(np.arange(len(edges)), 2), edges.ravel())),
        shape=(len(edges), len(bent))).tocsr()
    alike = (difference.T @ difference).tocsc()
    open_border = border_triangles(target)
    for weight in stiffness:
        nearest, places = target.nearest(bent)
        normals = Trimesh(bent, triangles, process=False).vertex_normals
        same = (normals * target.normals(places)).sum(1) > SAME_SIDE
        near = np.linalg.norm(nearest - bent, axis=1) < farthest
        pulled = (same & near & ~open_border[places]).astype(float)
        # Where nothing pulls, a tiny weight keeps the equations solvable.
        matrix = sparse.diags_array(pulled + 1e-6) + weight * alike
        bent = bent + splu(matrix.tocsc()).solve(pulled[:, None] * (nearest - bent))
    return bent


def border_triangles(surface: Surface) -> np.ndarray:
    """Returns which triangles (F,) of a surface have a corner on its border. What lies beyond a border is nearest to
    such triangles, though it corresponds to nothing on the surface."""
    mesh = Trimesh(surface.vertices, surface.triangles, process=False)
    border = mesh.edges[group_rows(mesh.edges_sorted, require_count=1)]
    return np.isin(surface.triangles, border).any(1)


def corresponding_places(points: np.ndarray, bent: np.ndarray, triangles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the places of points (P, 3) on a bent template: the numbers of the triangles (P,), and the weights (P, 3)
    of their corners."""
    surface = Surface(bent, triangles)
    nearest, numbers = surface.nearest(points)
    return numbers, weights_in_triangles(nearest, surface.corners[numbers])


def weights_in_triangles(points: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Returns the barycentric weights (P, 3) of points (P, 3) on triangles with the corners (P, 3, 3)."""
    first, second, offset = (corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0], points - corners[:, 0])
    normal = np.cross(first, second)
    area = np.square(normal).sum(1).clip(1e-30)
    second_weight = (np.cross(offset, second) * normal).sum(1) / area
    third_weight = (np.cross(first, offset) * normal).sum(1) / area
    return np.stack([1 - second_weight - third_weight, second_weight, third_weight], 1)


def points_at(vertices: np.ndarray, triangles: np.ndarray, numbers: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Returns points (P, 3) of a mesh: those with the weights (P, 3) in the triangles with the numbers (P,)."""
    return (vertices[triangles[numbers]] * weights[..., None]).sum(1)
