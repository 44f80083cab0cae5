"""Alignment of a photo: five points of the face -> the 224 x 224 crop that the network sees."""
import math

import numpy as np
from PIL import Image

from models.coordinates import CROP_SIZE, turn_trans_params
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
    crop = _resize_and_crop(photo, trans_params)
    if mask is None:
        return crop, trans_params
    return crop, trans_params, _resize_and_crop(mask, trans_params)


def crop_again(photo: np.ndarray, trans_params: np.ndarray, turns: int = 0) -> np.ndarray:
    """The crop (224, 224, 3) uint8 of a face whose trans_params are known.

    photo: (H, W, 3) uint8. turns: quarter turns anticlockwise that bring the face upright.
    Raises InputError if the photo has another size than that in trans_params.
    """
    width, height = trans_params[:2].astype(int).tolist()
    if photo.shape[:2] != (height, width):
        raise InputError(f"the photo has {photo.shape[1]} x {photo.shape[0]} pixels, but had {width} x {height} when "
                         "its face was cropped")
    upright = turn_trans_params(trans_params, turns)
    return np.rot90(_resize_and_crop(np.rot90(photo, turns), upright), -turns)


def find_crop(points: np.ndarray, width: int, height: int) -> np.ndarray:
    """The trans_params of the crop that `align` makes of a photo of that size. It takes and raises the same."""
    scale, center = _scale_and_center(np.asarray(points, dtype=np.float64))
    return np.array([width, height, scale, *center])


def share_outside(trans_params: np.ndarray) -> float:
    """The share 0..1 of the crop of `align` that lies outside the photo, where it is black."""
    width, height, scale, center_x, center_y = trans_params
    spans = (_source_span(int(width), scale, center_x - width / 2),
             _source_span(int(height), scale, height / 2 - center_y))
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


def _resize_and_crop(picture: np.ndarray, trans_params: np.ndarray) -> np.ndarray:
    """The crop (224, 224) or (224, 224, 3) of a picture (H, W) or (H, W, 3) uint8, black outside the picture.

    The method resizes the whole picture and then crops it. Here only the part of the picture under the crop is resized,
    with all pixels that the resampling kernel reaches, so the result is the same and a large photo costs no more.
    """
    width, height, scale, center_x, center_y = trans_params
    columns = _source_span(int(width), scale, center_x - width / 2)
    rows = _source_span(int(height), scale, height / 2 - center_y)
    crop = np.zeros((CROP_SIZE, CROP_SIZE) + picture.shape[2:], dtype=picture.dtype)
    if columns is not None and rows is not None:
        (inside_x, target_x, box_x), (inside_y, target_y, box_y) = columns, rows
        size = (target_x.stop - target_x.start, target_y.stop - target_y.start)
        source = Image.fromarray(np.ascontiguousarray(picture[inside_y, inside_x]))
        crop[target_y, target_x] = source.resize(
            size, Image.Resampling.BICUBIC, box=(box_x[0], box_y[0], box_x[1], box_y[1]))
    return crop


def _source_span(length: int, scale: float, offset: float) -> tuple[slice, slice, tuple[float, float]] | None:
    """Where the pixels of the crop come from, along one axis.

    length: of the picture, px. scale: from picture to crop. offset: of the face from the middle of the picture, px.

    Returns the pixels of the picture to read, the pixels of the crop to fill, and where in the pixels that are read
    those of the crop start and end; or None if the crop lies outside the picture.
    """
    resized = int(length * scale)
    start = int(resized / 2 - CROP_SIZE / 2 + offset * scale)
    first, last = max(start, 0), min(start + CROP_SIZE, resized)
    if first >= last:
        return None
    step = length / resized
    reach = 2 * max(step, 1) + 2   # half the width of the bicubic kernel, and 2 px for rounding
    low = max(math.floor(first * step - reach), 0)
    high = min(math.ceil(last * step + reach), length)
    # Rounding must not push the box over the edge, which Pillow refuses.
    box = (max(first * step - low, 0.0), min(last * step - low, float(high - low)))
    return slice(low, high), slice(first - start, last - start), box
