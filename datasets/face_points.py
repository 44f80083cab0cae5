"""Points of a face that people bring: reading them from files, and whether they can be those of a face."""
from pathlib import Path

import numpy as np

from util.files import InputError


def read_points(path: Path) -> np.ndarray:
    """Read points of a face from a text file -> (N, 2) float64 px, y down.

    One point a line, x and y parted by spaces or a comma. Empty lines and `#` comments are skipped.
    Raises InputError naming the file.
    """
    try:
        text = path.read_text(encoding="utf-8-sig").replace(",", " ").strip()
        points = np.loadtxt(text.splitlines(), ndmin=2) if text else np.empty((0, 2))
        if points.shape[1] != 2 or not np.isfinite(points).all():
            raise ValueError
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise InputError(f"{path} must have two numbers in each line, x and y of a point in pixels") from error
    return points


def read_detections(path: Path) -> np.ndarray:
    """Read a face by `read_points` -> (5, 2) or (68, 2) float64 px, y down.

    Eye left and right in the image, nose tip, mouth corner left and right; or the 68 landmarks.
    Raises InputError naming the file.
    """
    points = read_points(path)
    if len(points) not in (5, 68):
        raise InputError(f"{path} has {len(points)} points, expected 5: left eye, right eye, nose tip, "
                         "left and right mouth corner, as seen in the photo; or the 68 landmarks")
    if np.ptp(points, axis=0).max() < 1:
        raise InputError(f"{path}: all points are the same")
    return points


def check_points_inside(points, width, height, source):
    """Raise InputError unless points (N, 2) lie in a photo of that size, or a little outside it.

    source: the file or option the points come from, for the message.
    """
    size = np.array([width, height])
    margin = size.max() / 4  # a face may be cut by the edge of the photo
    center = np.mean(points, axis=0)
    inside = (center >= 0).all() and (center <= size).all()
    if not inside or (points < -margin).any() or (points > size + margin).any():
        raise InputError(f"{source}: the points lie outside the photo of {width} x {height} pixels; "
                         "give them in pixels of the photo as it is displayed")
