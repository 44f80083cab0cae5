"""Checks whether points that people bring can be those of a face in a photo, and names the cause when they cannot.

Three kinds of evidence are looked at, in this order:

1. The numbers: points that are not finite or are marked as hidden, and coordinates from 0 to 1.
2. The photo, where a detector finds faces in it: do the points lie on one of them, or would they if a usual mistake
   were undone?
3. The shape: `datasets.face_pose` fits a standard face to the points by a true rotation. However a head is turned, its
   points are never mirrored or in another order.
"""
from collections.abc import Callable, Sequence
from itertools import permutations

import numpy as np

from datasets.face_points import EXCHANGED_SIDES
from datasets.face_pose import Pose, fit_pose
from models.landmarks import COUNT, MIRRORED_LANDMARKS, STANDARD_LANDMARKS, five_points
from util.files import InputError

# Limits of the shape, in decimetres on the face and in degrees. In brackets: the largest value of 1,307 annotated
# photos with a yaw of up to 50 degrees; and that of 80,000 random shapes of the open face model, seen by a near camera
# at a yaw of up to 100 degrees, half of them with an identity and expression 1.3 times as far from the mean as usual.
LANDMARKS_ERROR = 0.3   # root mean square of 68 misfits (0.13; 0.22)
LANDMARK_MISFIT = 0.7   # largest of them (0.34; 0.57)
LANDMARKS_YAW = 115     # of 68 landmarks; a larger one means mirrored points (48; 110)
FIVE_ERROR = 0.25       # root mean square of five misfits (0.12; 0.21)
FIVE_YAW = 120          # of five points; a larger one means mirrored points (50; 120 in all but 13)
SUSPICIOUS = 0.12       # above this error, five points are compared with the usual mistakes
MUCH_BETTER = 0.5       # and undoing a mistake must bring it below this part of the error, and below SUSPICIOUS
MOST_OUTLIERS = 10      # landmarks that lie far from the others are listed up to this number
STEPS = 20              # of the fit of five points

# Limits of the distance from a face in the photo: the mean of five distances, in the unit of `_distance`.
ON_FACE = 0.4
EXPLAINED = 0.25           # after a mistake is undone
RESIZED = 0.12             # after points are resized and moved, which makes any two faces similar

NAMES = ("left eye", "right eye", "nose tip", "left mouth corner", "right mouth corner")
# Orders in which five points may stand in a file, as places in NAMES; then those with left and right exchanged.
ORDERS = [(1, 0, 2, 3, 4), (0, 1, 2, 4, 3), (2, 0, 1, 3, 4), (0, 1, 3, 4, 2), (3, 4, 0, 1, 2), (2, 3, 4, 0, 1)]
ORDERS += [tuple(EXCHANGED_SIDES[place] for place in order) for order in ORDERS[2:]]
# The landmarks that dlib's predictor of five points gives: both corners of each eye, and the foot of the nose.
EYE_CORNERS = [45, 42, 36, 39, 33]

# What can be wrong, as it follows the name of a file
SIDES = "left and right are exchanged"
FROM_RIGHT = "x counts from the right edge of the photo, but must count from the left edge"
FROM_BELOW = "y counts up from the lower edge of the photo, but must count down from the upper edge"
AXES = "x and y are exchanged, x must come first"
CORNERS = ("the points are the corners of the eyes and the foot of the nose, but must be the centres of the eyes, the "
           "nose tip and the corners of the mouth")


def check_points(points: np.ndarray, source: object, size: tuple[int, int] | None = None,
                 find_faces: Callable[[], Sequence[np.ndarray]] | None = None) -> tuple[np.ndarray, str]:
    """Check whether points can be those of a face.

    points: (5, 2) or (68, 2) px in the photo, y down, as `datasets.face_points.read_points` returns them.
    source: the file or option that they come from, for messages.
    size: width and height of the photo, px. None: points outside the photo are not noticed.
    find_faces: returns the landmarks (68, 2) px, y down, of each face that a detector finds in the photo; `size` is
    needed then. None: the points are not compared with the photo.

    Returns the points and a remark. The remark is empty unless left and right of five points were exchanged: then they
    are put right. Raises InputError, which names the source and the cause, for points that cannot be those of a face.
    """
    if cause := _wrong_numbers(points):
        raise InputError(f"{source}: {cause}")
    pose = fit_pose(points, steps=STEPS if len(points) == 5 else 0)
    if cause := _outliers(points, pose):
        raise InputError(f"{source}: {cause}")
    cause = _cause_by_photo(points, size, find_faces()) if find_faces else None
    if cause is None:
        cause = _cause_by_shape(points, pose)
    remark = ""
    if cause == SIDES and len(points) == 5:
        points, cause, remark = points[EXCHANGED_SIDES], "", f"{source}: {cause}, which is put right"
    if cause:
        raise InputError(f"{source}: {cause}")
    if size:
        check_points_inside(points, *size, source)
    return points, remark


def check_points_inside(points: np.ndarray, width: int, height: int, source: object):
    """Raise InputError unless points (N, 2) px, y down, lie in a photo of that size, or a little outside it.

    source: the file or option that the points come from, for the message.
    """
    size = np.array([width, height])
    margin = size.max() / 4  # a face may be cut by the edge of the photo
    center = np.mean(points, axis=0)
    inside = (center >= 0).all() and (center <= size).all()
    if not inside or (points < -margin).any() or (points > size + margin).any():
        raise InputError(f"{source}: the points lie outside the photo of {width} x {height} pixels; "
                         "give them in pixels of the photo as it is displayed")


# 1. The numbers

def _wrong_numbers(points: np.ndarray) -> str:
    """What is wrong with the coordinates (N, 2) themselves. Empty where nothing is."""
    least, greatest = points.min(), points.max()
    if not np.isfinite(greatest - least):
        return f"{_listed(~np.isfinite(points).all(axis=1))} not a number"
    if least <= 0:
        x, y = points.T
        hidden = (x == y) & ((x == -1) | (x == 0))
        if hidden.any():
            mark = f"{x[hidden][0]:g} {x[hidden][0]:g}"
            return f"{_listed(hidden)} {mark}, which marks a hidden point, but all {len(points)} points are needed"
    extent = (points.max(axis=0) - points.min(axis=0)).max()
    if extent == 0 or extent < 1 and greatest > 2:
        return "all points are the same"
    if max(-least, greatest) < 2:
        return f"the coordinates are fractions ({least:.2g} to {greatest:.2g}), but must be pixels of the photo"
    return ""


def _listed(which: np.ndarray) -> str:
    """"point 5 is", "points 1 to 8 are", or "points 1, 2, 5 are", of a mask (N,)."""
    numbers = np.flatnonzero(which) + 1
    if len(numbers) == 1:
        return f"point {numbers[0]} is"
    if len(numbers) == numbers[-1] - numbers[0] + 1 > 2:
        return f"points {numbers[0]} to {numbers[-1]} are"
    return f"points {', '.join(map(str, numbers))} are"


def _outliers(points: np.ndarray, pose: Pose) -> str:
    """Which of 68 landmarks lie far from where the others place them. Empty where none does, and for five points."""
    if len(points) != COUNT or _have_face_shape(pose):
        return ""
    far = np.zeros(COUNT, bool)
    for _ in range(MOST_OUTLIERS):
        far[np.flatnonzero(~far)[pose.misfit.argmax()]] = True
        pose = fit_pose(points[~far], STANDARD_LANDMARKS[~far])
        if _have_face_shape(pose):
            return f"{_listed(far)} far away from the face that the other points show"
    return ("the points do not have the shape of a face; 68 points must stand in the order of dlib and iBUG 300-W, 468 "
            "or 478 points in that of MediaPipe's face mesh")


def _have_face_shape(pose: Pose) -> bool:
    return pose.misfit.max() < LANDMARK_MISFIT and pose.error < LANDMARKS_ERROR


# 2. The photo

def _cause_by_photo(points: np.ndarray, size: tuple[int, int], faces: Sequence[np.ndarray]) -> str | None:
    """Why points are not on a face in a photo of that size, whose faces have these landmarks (68, 2).

    Empty when they are on one. None when they are not, and no usual mistake puts them on one.
    """
    five, (width, height) = five_points(points), size
    x, y = five.T
    undone = {"": five, SIDES: five[EXCHANGED_SIDES], FROM_RIGHT: np.column_stack([width - 1 - x, y]),
              FROM_BELOW: np.column_stack([x, height - 1 - y]), AXES: five[:, ::-1]}
    distances = {cause: min((_distance(changed, face) for face in map(five_points, faces)), default=np.inf)
                 for cause, changed in undone.items()}
    if distances[""] < ON_FACE:
        return ""
    best = min(distances, key=distances.get)
    if distances[best] < EXPLAINED:
        return best
    for face in faces:
        cause = (len(points) == 5 and (_other_order(five, five_points(face)) or _corners(five, face))
                 or _other_size(five, five_points(face), size, alone=len(faces) == 1))
        if cause:
            return cause
    return None


def _other_order(points: np.ndarray, face: np.ndarray) -> str:
    """In which order five points are those of a face (5, 2). Empty where they are not."""
    order = min(permutations(range(5)), key=lambda order: _distance(points, face[list(order)]))
    return _wrong_order(order) if _distance(points, face[list(order)]) < EXPLAINED else ""


def _corners(points: np.ndarray, face: np.ndarray) -> str:
    return CORNERS if len(face) == COUNT and _distance(points, face[EYE_CORNERS]) < EXPLAINED else ""


def _other_size(points: np.ndarray, face: np.ndarray, size: tuple[int, int], alone: bool) -> str:
    """By which factor, and by which shift too where the face is alone in the photo, points become those of a face."""
    advice = f"give them in pixels of this photo, {size[0]} x {size[1]}"
    factor = (points * face).sum() / (points * points).sum()
    if _distance(factor * points, face) < EXPLAINED:
        return f"the points fit the face in the photo only when they are multiplied by about {factor:.2g}: {advice}"
    centered = points - points.mean(0)
    factor = (centered * face).sum() / (centered * centered).sum()
    x, y = face.mean(0) - factor * points.mean(0)
    if alone and factor > 0 and _distance(factor * points + (x, y), face) < RESIZED:
        return (f"the points fit the face in the photo only when they are multiplied by about {factor:.2g} and moved "
                f"by {x:.0f} and {y:.0f} pixels: {advice}")
    return ""


def _distance(points: np.ndarray, face: np.ndarray) -> float:
    """Mean distance of five points (5, 2) from those of a face, in units of the face: the root mean square of the
    distances of its points from their centre, which is about three quarters of the distance of the eyes."""
    unit = np.sqrt(((face - face.mean(0)) ** 2).sum(1).mean())
    return np.linalg.norm(points - face, axis=1).mean() / unit


# 3. The shape

def _cause_by_shape(points: np.ndarray, pose: Pose) -> str:
    """Why no head has points of this shape. Empty where the points fit a face.

    A mirrored face may have come about in several ways. The likeliest for its direction is named first.
    """
    landmarks = len(points) == COUNT
    if not landmarks and pose.error > SUSPICIOUS:
        if cause := _usual_mistake(points, pose):
            return cause
        if pose.error > FIVE_ERROR:
            return f"the points do not have the shape of a face, expected are {', '.join(NAMES)}, as seen in the photo"
    if pose.yaw < (LANDMARKS_YAW if landmarks else FIVE_YAW):
        return ""
    roll = abs(fit_pose(points[MIRRORED_LANDMARKS if landmarks else EXCHANGED_SIDES],
                        steps=STEPS if len(points) == 5 else 0).roll)
    if roll < 45:
        return f"{SIDES}, or {FROM_RIGHT}" if landmarks else SIDES
    if roll < 135:
        return f"{AXES} (or the face lies on its side, and {SIDES})"
    return f"{FROM_BELOW} (or the face is upside down, and {SIDES})"


def _usual_mistake(points: np.ndarray, pose: Pose) -> str:
    """The usual mistake that explains five points much better than that they are right. Empty where none does."""
    corners = fit_pose(points, STANDARD_LANDMARKS[EYE_CORNERS], STEPS)
    orders = fit_pose(points[np.argsort(ORDERS)], steps=STEPS)
    # Orders that differ by half a turn fit about as well: the more upright face is taken.
    costs = orders.error + np.abs(orders.roll) / 180 * SUSPICIOUS + np.where(orders.yaw < FIVE_YAW, 0, np.inf)
    best = costs.argmin()
    corner_error = corners.error if corners.yaw < FIVE_YAW else np.inf
    if min(corner_error, orders.error[best]) > min(MUCH_BETTER * pose.error, SUSPICIOUS):
        return ""
    return CORNERS if corner_error < orders.error[best] else _wrong_order(ORDERS[best])


def _wrong_order(order: Sequence[int]) -> str:
    return (f"the points stand in the order {', '.join(NAMES[place] for place in order)}, "
            f"but must stand in the order {', '.join(NAMES)}")
