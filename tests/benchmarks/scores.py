"""The measures that the benchmarks share: errors of landmarks, distances between surfaces, and how sure a mean is.

Arrays are NumPy's. Lengths keep the unit in which they are given.
"""
from typing import NamedTuple

import numpy as np
import torch
import warp as wp

from models.landmarks import (
    LEFT_EYE,
    LEFT_EYE_CORNERS,
    MOUTH_CORNERS,
    NOSE_FOOT,
    OUTER_EYE_CORNERS,
    RIGHT_EYE,
    RIGHT_EYE_CORNERS,
)
from nvdiffrast.torch import runtime

CPU = torch.device("cpu")
# The points by which NoW aligns: the corners of the eyes, the foot of the nose, the corners of the mouth
SEVEN_POINTS = (*LEFT_EYE_CORNERS, *RIGHT_EYE_CORNERS, NOSE_FOOT, *MOUTH_CORNERS)
SCAN_RADIUS = 0.7   # of the part of a scan that NoW compares, as a share of the size of `scan_center_and_size`
ALIGNMENT_STEPS = 60
ALIGNMENT_TOLERANCE = 1e-7   # the alignment is finished when a step improves the error by a smaller share than this
wp.set_module_options({"enable_backward": False})


# Landmarks

def normalised_error(found: np.ndarray, annotated: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Returns the normalised mean error (NME) of landmarks (..., N, D): the mean distance of the found from the
    annotated ones, divided by the size (...) of the face."""
    return np.linalg.norm(found - annotated, axis=-1).mean(-1) / size


def outer_eye_distance(landmarks: np.ndarray) -> np.ndarray:
    """Returns the distance (...) between the outer corners of the eyes of 68 landmarks (..., 68, D). The benchmark
    300-W calls it the inter-ocular distance."""
    left, right = OUTER_EYE_CORNERS
    return np.linalg.norm(landmarks[..., right, :] - landmarks[..., left, :], axis=-1)


def pupil_distance(landmarks: np.ndarray) -> np.ndarray:
    """Returns the distance (...) between the centres of the eyes, each the mean of six of the 68 landmarks
    (..., 68, D). The benchmark 300-W calls it the inter-pupil distance."""
    return np.linalg.norm(landmarks[..., RIGHT_EYE, :].mean(-2) - landmarks[..., LEFT_EYE, :].mean(-2), axis=-1)


def box_size(landmarks: np.ndarray) -> np.ndarray:
    """Returns the square root (...) of width times height of the upright box around landmarks (..., N, 2)."""
    return np.sqrt(np.ptp(landmarks, axis=-2).prod(-1))


def failure_rate(errors: np.ndarray, limit: float) -> float:
    """Returns the share 0..1 of errors (P,) above the limit. nan, for a photo in which no face was found, is above."""
    return float(1 - (np.asarray(errors) <= limit).mean())


def area_under_curve(errors: np.ndarray, limit: float) -> float:
    """Returns the area 0..1 under the cumulative error curve from 0 to the limit, divided by the limit. 1 means that
    all errors (P,) are 0; nan counts as an error above the limit.

    The curve gives for each value the share of the errors that are not larger. An error e adds a step from e to the
    limit to it, so the area is the mean of (limit - e) / limit.
    """
    return float(np.nan_to_num(1 - np.asarray(errors, float) / limit, nan=0).clip(0).mean())


# Surfaces

class Similarity(NamedTuple):
    """Maps points (..., 3): it turns them, multiplies them by the scale, and shifts them."""
    scale: float
    rotation: np.ndarray   # (3, 3)
    shift: np.ndarray      # (3,)

    def __call__(self, points: np.ndarray) -> np.ndarray:
        return self.scale * points @ self.rotation.T + self.shift

    def inverse(self, points: np.ndarray) -> np.ndarray:
        return (points - self.shift) @ self.rotation / self.scale


def align_points(source: np.ndarray, target: np.ndarray, with_scale: bool = True) -> Similarity:
    """Returns the similarity that brings points (N, 3) nearest to those of `target` (N, 3), with the least sum of
    squared distances (Umeyama, 1991). It is never a reflection. with_scale: False keeps the scale 1."""
    source_mean, target_mean = source.mean(0), target.mean(0)
    source, target = source - source_mean, target - target_mean
    u, spread, vt = np.linalg.svd(target.T @ source)
    signs = np.array([1, 1, np.sign(np.linalg.det(u @ vt))])
    rotation = u * signs @ vt
    scale = float((spread * signs).sum() / np.square(source).sum()) if with_scale else 1.0
    return Similarity(scale, rotation, target_mean - scale * rotation @ source_mean)


class Surface:
    """A mesh that finds its points that are nearest to others.

    vertices: (N, 3). triangles: (F, 3) indices from 0.
    """

    def __init__(self, vertices: np.ndarray, triangles: np.ndarray):
        self.vertices, self.triangles = vertices, np.asarray(triangles, np.int32)
        self.center = vertices.mean(0)   # what the kernel computes in single precision is small then
        self.corners = vertices[self.triangles]
        runtime.load(_nearest, CPU)   # starts Warp without its messages
        self.mesh = wp.Mesh(wp.array(np.float32(vertices - self.center), dtype=wp.vec3, device="cpu"),
                            wp.array(self.triangles.ravel(), dtype=wp.int32, device="cpu"))

    def nearest(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns for points (P, 3) the nearest points of the surface (P, 3), and the triangles (P,) that these lie
        on."""
        found = torch.empty(len(points), 3)
        triangles = torch.empty(len(points), dtype=torch.int32)
        given = torch.from_numpy(np.float32(points - self.center))
        runtime.launch(_nearest, [((len(points),), [self.mesh.id, given, found, triangles])], CPU)
        triangles = triangles.numpy()
        a, b, c = np.moveaxis(self.corners[triangles], 1, 0)
        u, v, w = found.numpy().astype(float).T[..., None]
        return u * a + v * b + w * c, triangles

    def distances(self, points: np.ndarray) -> np.ndarray:
        """Returns the distances (P,) of points (P, 3) from the surface."""
        return np.linalg.norm(points - self.nearest(points)[0], axis=1)

    def normals(self, triangles: np.ndarray) -> np.ndarray:
        """Returns the unit normals (P, 3) of triangles, given by their numbers (P,). A triangle without area has the
        normal 0."""
        a, b, c = np.moveaxis(self.corners[triangles], 1, 0)
        normals = np.cross(b - a, c - a)
        return normals / np.linalg.norm(normals, axis=1, keepdims=True).clip(1e-30)


@wp.kernel
def _nearest(mesh: wp.uint64, points: wp.array2d(dtype=wp.float32), weights: wp.array2d(dtype=wp.float32),
             triangles: wp.array(dtype=wp.int32)):
    """Finds the nearest triangle of each point, and the weights of its corners at the nearest place."""
    i = wp.tid()
    query = wp.mesh_query_point_no_sign(mesh, wp.vec3(points[i, 0], points[i, 1], points[i, 2]), 1.0e30)
    weights[i, 0] = query.u
    weights[i, 1] = query.v
    weights[i, 2] = 1.0 - query.u - query.v
    triangles[i] = query.face


def align_to_scan(surface: Surface, points: np.ndarray, start: Similarity, with_scale: bool = True) -> Similarity:
    """Returns the similarity that brings a surface nearest to the points (P, 3) of a scan: the sum of the squared
    distances from each point to the nearest place of the surface is least.

    start: a similarity that is nearly right. with_scale: False keeps the scale of `start`.
    The sum is minimised by damped Gauss-Newton steps (Levenberg, Marquardt).
    """
    center = points.mean(0)
    size = np.linalg.norm(points - center, axis=1).mean()
    free = slice(0, 7 if with_scale else 6)
    placed, error, jacobian, residuals = start, *_linearised(surface, points, start, center, size)
    damping = 1e-6
    for _ in range(ALIGNMENT_STEPS):
        matrix = jacobian[:, free].T @ jacobian[:, free]
        gradient = jacobian[:, free].T @ residuals
        step = np.zeros(7)
        step[free] = np.linalg.solve(matrix + damping * np.diag(np.diag(matrix) + 1e-12), gradient)
        moved = _moved(placed, step, center, size)
        moved_error, *moved_system = _linearised(surface, points, moved, center, size)
        if moved_error >= error:
            if damping > 1e3:
                break
            damping *= 10
            continue
        finished = (error - moved_error < ALIGNMENT_TOLERANCE * error
                    or moved_error < len(points) * (ALIGNMENT_TOLERANCE * size) ** 2)
        placed, error, (jacobian, residuals), damping = moved, moved_error, moved_system, damping / 10
        if finished:
            break
    return placed


def scan_center_and_size(points: np.ndarray) -> tuple[np.ndarray, float]:
    """Returns the middle (3,) of a face, and the sum of the distance of the outer corners of the eyes and the length of
    the nose, by which NoW chooses the part of a scan that counts. points: (7, 3) in the order of SEVEN_POINTS."""
    foot, root = points[4], (points[1] + points[2]) / 2
    return foot + 0.3 * (root - foot), float(np.linalg.norm(points[0] - points[3]) + np.linalg.norm(root - foot))


def scan_distances(surface: Surface, placed: Similarity, points: np.ndarray) -> np.ndarray:
    """Returns the distances (P,) of the points (P, 3) of a scan from a surface that a similarity places, in the unit of
    the scan."""
    return placed.scale * surface.distances(placed.inverse(points))


def scan_to_mesh(vertices: np.ndarray, triangles: np.ndarray, points: np.ndarray, scan: np.ndarray,
                 scan_points: np.ndarray) -> np.ndarray:
    """Returns the distances (P,) of the vertices of a scan from a face mesh, as the benchmark NoW defines them, in the
    unit of the scan.

    The mesh is brought to the scan by seven points, then by the similarity with the least sum of squared distances.
    Only vertices of the scan near the middle of the face count, see SCAN_RADIUS.

    vertices (N, 3), triangles (F, 3), points (7, 3): the mesh, in any unit, and its points in the order of
    SEVEN_POINTS. scan (S, 3), scan_points (7, 3): the same of the scan.
    """
    middle, size = scan_center_and_size(scan_points)
    counted = scan[np.linalg.norm(scan - middle, axis=1) <= SCAN_RADIUS * size]
    surface = Surface(vertices, triangles)
    return scan_distances(surface, align_to_scan(surface, counted, align_points(points, scan_points)), counted)


def _linearised(surface: Surface, points: np.ndarray, placed: Similarity, center: np.ndarray,
                size: float) -> tuple[float, np.ndarray, np.ndarray]:
    """Returns the sum of the squared distances, and how they change when the placed surface moves: the Jacobian (P, 7)
    for turns about the three axes, shifts along them, and the scale, and the residuals (P,) themselves.

    A distance changes by the movement along its own direction. Where it is almost 0, this direction is that of the
    triangle's normal. Turns and scale are about `center`; lengths are divided by `size`.
    """
    nearest, triangles = surface.nearest(placed.inverse(points))
    on_surface = placed(nearest)
    offsets = points - on_surface
    distances = np.linalg.norm(offsets, axis=1, keepdims=True)
    directions = np.where(distances > 1e-5 * size, offsets / distances.clip(1e-30),
                          surface.normals(triangles) @ placed.rotation.T)
    arms = (on_surface - center) / size
    jacobian = np.hstack([np.cross(arms, directions), directions, (arms * directions).sum(1, keepdims=True)])
    return float(np.square(distances).sum()), jacobian, (offsets * directions).sum(1) / size


def _moved(placed: Similarity, step: np.ndarray, center: np.ndarray, size: float) -> Similarity:
    """Returns the similarity after a step (7,), see `_linearised`."""
    angle = np.linalg.norm(step[:3])
    x, y, z = step[:3] / max(angle, 1e-30)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    turn = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross   # Rodrigues' formula
    growth = float(np.exp(step[6]))
    return Similarity(placed.scale * growth, turn @ placed.rotation,
                      growth * turn @ (placed.shift - center) + center + size * step[3:6])


def summary(distances: np.ndarray) -> dict[str, float]:
    """Returns median, mean and standard deviation of distances, as the benchmarks of face shapes publish them."""
    return {"median": float(np.median(distances)), "mean": float(np.mean(distances)), "std": float(np.std(distances))}


# What a mean says

def confidence_interval(values: np.ndarray, share: float = 0.95, draws: int = 10_000) -> tuple[float, float]:
    """Returns the limits between which the mean of values (P,) lies with that probability, if other photos of the same
    kind were taken (bootstrap: as many values are drawn again and again, each any number of times)."""
    generator = np.random.default_rng(0)
    means = values[generator.integers(len(values), size=(draws, len(values)))].mean(1)
    low, high = np.quantile(means, [(1 - share) / 2, (1 + share) / 2])
    return float(low), float(high)
