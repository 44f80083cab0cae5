"""Alignment of a photo: five points of the face -> the 224 x 224 crop that the network sees."""
import numpy as np

from models.coordinates import CROP_SIZE
from models.cropping import crop_face, resize_and_crop, source_span
from models.landmarks import STANDARD_POINTS
from util.files import InputError

FACE_SCALE = 102.0   # px of the crop for one decimetre of the standard points
_MAX_SCALE = 50.0    # from photo to crop: the eyes are then little more than one px apart


def align(photo: np.ndarray, points: np.ndarray, mask: np.ndarray | None = None) -> tuple[np.ndarray, ...]:
    """Resize and crop a photo so that the face has the place and the size that the network expects.

    photo: (H, W, 3) uint8. points: (5, 2) px in the photo, **y up**, in the order of `STANDARD_POINTS`.
    mask: (H, W) uint8 or None; it is resized and cropped like the photo.

    Returns (crop, trans_params), or (crop, trans_params, mask crop) if a mask is given: crop (224, 224, 3) uint8, black
    outside the photo; trans_params (5,) float64 = W, H, s, tx, ty, see models/coordinates.py.
    Raises InputError if the points cannot be those of a face.
    """
    trans_params = find_crop(points, photo.shape[1], photo.shape[0])
    crop = resize_and_crop(photo, trans_params)
    if mask is None:
        return crop, trans_params
    return crop, trans_params, resize_and_crop(mask, trans_params)


def crop_again(photo: np.ndarray, trans_params: np.ndarray, turns: int = 0) -> np.ndarray:
    """The crop (224, 224, 3) uint8 of a face whose trans_params are known.

    photo: (H, W, 3) uint8. turns: quarter turns anticlockwise that bring the face upright.
    Raises InputError if the photo has another size than that in trans_params.
    """
    width, height = trans_params[:2].astype(int).tolist()
    if photo.shape[:2] != (height, width):
        raise InputError(f"the photo has {photo.shape[1]} x {photo.shape[0]} pixels, but had {width} x {height} when "
                         "its face was cropped")
    return crop_face(photo, trans_params, turns)


def find_crop(points: np.ndarray, width: int, height: int) -> np.ndarray:
    """The trans_params of the crop that `align` makes of a photo of that size. It takes and raises the same."""
    scale, center = _scale_and_center(np.asarray(points, dtype=np.float64))
    return np.array([width, height, scale, *center])


def share_outside(trans_params: np.ndarray) -> float:
    """The share 0..1 of the crop of `align` that lies outside the photo, where it is black."""
    width, height, scale, center_x, center_y = trans_params
    spans = (source_span(int(width), scale, center_x - width / 2, CROP_SIZE),
             source_span(int(height), scale, height / 2 - center_y, CROP_SIZE))
    if None in spans:
        return 1.0
    columns, rows = (target.stop - target.start for _, target, _ in spans)
    return 1 - columns * rows / CROP_SIZE ** 2


def points_outside(points: np.ndarray, shape: tuple[int, ...]) -> float:
    """The share 0..1 of points (N, 2) px, y down, that lie outside a photo of shape (H, W, ...)."""
    height, width = shape[:2]
    return ((points < -0.5) | (points > (width - 0.5, height - 0.5))).any(axis=1).mean()


def _scale_and_center(points: np.ndarray) -> tuple[float, np.ndarray]:
    """The factor from photo to crop, and the photo's point (2,) px, y up, at the origin of the standard points.

    They come from the scaled orthographic projection that brings the standard points nearest to `points` (5, 2) px,
    y up. Raises InputError if the points are not finite, almost equal or almost on one line.
    """
    if points.shape != (5, 2) or not np.isfinite(points).all():
        raise InputError("alignment needs five points, each x and y finite numbers")
    spread = np.linalg.svd(points - points.mean(axis=0), compute_uv=False)
    if spread[1] <= 0.02 * spread[0]:
        raise InputError("the five points of the face are equal or lie on one line: "
                         "give both eyes, the nose tip and both mouth corners")
    standard = np.column_stack([STANDARD_POINTS, np.ones(5)])
    solution = np.linalg.lstsq(standard, points, rcond=None)[0]
    scale = FACE_SCALE / np.linalg.norm(solution[:3], axis=0).mean()
    if scale > _MAX_SCALE:
        raise InputError("the five points of the face are within a few pixels: the face is too small")
    return scale, solution[3]
