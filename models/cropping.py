"""Cuts the crop of a face out of its photo."""
import math

import numpy as np
from PIL import Image

from models.coordinates import CROP_SIZE, turn_trans_params


def crop_face(photo: np.ndarray, trans_params: np.ndarray, turns: int = 0, size: int = CROP_SIZE,
              enlargement: float = 1) -> np.ndarray:
    """The crop (size, size, 3) uint8 of a face whose trans_params (5,) are known, as the face is in the photo.

    photo: (H, W, 3) uint8. turns: quarter turns anticlockwise that bring the face upright; the photo is turned for
    cropping, and the crop is turned back. size, enlargement: of the crop, see `resize_and_crop`.
    """
    upright = turn_trans_params(trans_params, turns)
    return np.rot90(resize_and_crop(np.rot90(photo, turns), upright, size, enlargement), -turns)


def resize_and_crop(picture: np.ndarray, trans_params: np.ndarray, size: int = CROP_SIZE,
                    enlargement: float = 1) -> np.ndarray:
    """The crop (size, size) or (size, size, 3) of a picture (H, W) or (H, W, 3) uint8, black outside the picture.

    trans_params: (5,) W, H, s, tx, ty, see models/coordinates.py. size: side of the crop, px. enlargement: how many
    times larger than in the 224 x 224 crop everything is shown, around the same centre.

    The method resizes the whole picture and then crops it. Here only the part of the picture under the crop is resized,
    with all pixels that the resampling kernel reaches, so the result is the same and a large photo costs no more.
    """
    width, height, scale, center_x, center_y = trans_params
    columns = source_span(int(width), scale * enlargement, center_x - width / 2, size)
    rows = source_span(int(height), scale * enlargement, height / 2 - center_y, size)
    crop = np.zeros((size, size) + picture.shape[2:], dtype=picture.dtype)
    if columns is not None and rows is not None:
        (inside_x, target_x, box_x), (inside_y, target_y, box_y) = columns, rows
        target_size = (target_x.stop - target_x.start, target_y.stop - target_y.start)
        source = Image.fromarray(np.ascontiguousarray(picture[inside_y, inside_x]))
        crop[target_y, target_x] = source.resize(
            target_size, Image.Resampling.BICUBIC, box=(box_x[0], box_y[0], box_x[1], box_y[1]))
    return crop


def source_span(length: int, scale: float, offset: float, size: int
                ) -> tuple[slice, slice, tuple[float, float]] | None:
    """Where the pixels of the crop come from, along one axis.

    length: of the picture, px. scale: from picture to crop. offset: of the face from the middle of the picture, px.
    size: side of the crop, px.

    Returns the pixels of the picture to read, the pixels of the crop to fill, and where in the pixels that are read
    those of the crop start and end; or None if the crop lies outside the picture.
    """
    resized = int(length * scale)
    start = int(resized / 2 - size / 2 + offset * scale)
    first, last = max(start, 0), min(start + size, resized)
    if first >= last:
        return None
    step = length / resized
    reach = 2 * max(step, 1) + 2   # half the width of the bicubic kernel, and 2 px for rounding
    low = max(math.floor(first * step - reach), 0)
    high = min(math.ceil(last * step + reach), length)
    # Rounding must not push the box over the edge, which Pillow refuses.
    box = (max(first * step - low, 0.0), min(last * step - low, float(high - low)))
    return slice(low, high), slice(first - start, last - start), box
