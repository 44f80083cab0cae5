"""Fits the pose of a head to points of its face: how it is turned, and how well the points fit a face at all."""
import functools
from typing import NamedTuple

import numpy as np

from models.landmarks import STANDARD_LANDMARKS, STANDARD_POINTS

Y_UP = np.array([1.0, -1.0])   # changes y down to y up


class Pose(NamedTuple):
    """The poses of one or more heads. `...` is the batch shape of the points that were fitted."""
    yaw: np.ndarray      # (...) degrees: 0 towards the camera, 90 in profile to either side, 180 seen from behind
    roll: np.ndarray     # (...) degrees, -180..180: turned clockwise in the picture
    misfit: np.ndarray   # (..., N) decimetres on the face: distance of each point from that of the standard face

    @property
    def error(self) -> np.ndarray:
        """Root mean square of the misfits, (...) decimetres."""
        return np.sqrt((self.misfit ** 2).mean(-1))


def fit_pose(points: np.ndarray, standard: np.ndarray | None = None, steps: int = 0) -> Pose:
    """Fit a standard face to points by a rotation, a scale and a shift, in scaled orthographic projection.

    The rotation is a true one, never a mirror image. Mirrored points of a face that looks towards the camera therefore
    fit a head that is seen from behind: its yaw is above 90 degrees.

    points: (..., N, 2) px, y down, finite, not all equal. standard: (N, 3) the same points of a face that looks along
    +z, y up, decimetres; None: the five alignment points or the 68 landmarks of the mean face, according to N.
    steps: how often the first solution is refined. 68 points need no refinement, five need about 20 steps.
    """
    standard, inverse = _standard_face(points.shape[-2]) if standard is None else _centered_and_inverse(standard)
    centered = (points - points.mean(-2, keepdims=True)) * Y_UP
    # The best 3 x 2 matrix by least squares, and the rotation and scale nearest to it. The columns of axes are the
    # picture's x and y axis in the coordinates of the face.
    left, scales, right = np.linalg.svd(inverse @ centered, full_matrices=False)
    axes, scale = left @ right, scales.sum(-1) / 2
    for _ in range(steps):
        axes, scale = _refined(axes, scale, centered, standard)
    x, y = axes[..., 0], axes[..., 1]
    camera_x, camera_z = x[..., 1] * y[..., 2] - x[..., 2] * y[..., 1], x[..., 0] * y[..., 1] - x[..., 1] * y[..., 0]
    offset = centered / scale[..., None, None] - standard @ axes
    return Pose(np.degrees(np.arctan2(np.abs(camera_x), camera_z)), np.degrees(np.arctan2(x[..., 1], y[..., 1])),
                np.sqrt((offset * offset).sum(-1)))


def _refined(axes: np.ndarray, scale: np.ndarray, centered: np.ndarray,
             standard: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One step of alternation: the best rotation and scale in three dimensions, with the depths of the present ones."""
    towards_camera = np.cross(axes[..., 0], axes[..., 1])
    depth = scale[..., None] * (towards_camera @ standard.T)
    covariance = standard.T @ np.concatenate([centered, depth[..., None]], axis=-1)
    left, _, right = np.linalg.svd(covariance)
    right[..., -1, :] *= np.sign(np.linalg.det(left @ right))[..., None]   # a rotation, not a reflection
    rotation = left @ right
    return rotation[..., :2], (rotation * covariance).sum((-2, -1)) / (standard * standard).sum()


@functools.cache
def _standard_face(count: int) -> tuple[np.ndarray, np.ndarray]:
    return _centered_and_inverse({5: STANDARD_POINTS, 68: STANDARD_LANDMARKS}[count])


def _centered_and_inverse(standard: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The points (N, 3) about their centre, float64, and the pseudo-inverse (3, N) of that matrix."""
    centered = standard.astype(np.float64) - standard.mean(0, dtype=np.float64)
    return centered, np.linalg.pinv(centered)
