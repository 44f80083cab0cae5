"""Every change of coordinates: y up / y down, photo / crop, camera / world.

Points may be numpy arrays or torch tensors of any batch shape; the result is of the same kind.

- y down: row 0 at the top of the picture, as in files and pictures.
- y up: `height - 1 - y_down`, as everywhere inside the method.
- `trans_params` = (W, H, s, tx, ty): the photo's size in px, the factor from photo to crop, and the centre
  of the face in the photo (px, y up), as `datasets.alignment.align` returns them.
"""

import numpy as np

CROP_SIZE = 224


def flip_y(points, height):
    """(..., 2) px in a picture of that height, y up -> y down and y down -> y up."""
    return points * _like(points, (1, -1)) + _like(points, (0, height - 1))


def photo_to_crop(points, trans_params):
    """(..., 2) px in the photo, y up -> px in the 224 x 224 crop, y up."""
    scale, shift = _crop_transform(trans_params)
    return points * scale + _like(points, shift)


def crop_to_photo(points, trans_params):
    """(..., 2) px in the 224 x 224 crop, y up -> px in the photo, y up: the inverse of `photo_to_crop`."""
    scale, shift = _crop_transform(trans_params)
    return (points - _like(points, shift)) / scale


def crop_focal(focal, center):
    """Focal length in px of the 224 x 224 crop, for a camera whose image, 2 * center px wide, is the crop, and whose
    focal length is in px of that image."""
    return focal * CROP_SIZE / (2 * center)


def camera_to_world(vertices, camera_d):
    """(..., 3) model units, z = distance from the camera -> z = towards the camera, origin at the face.

    `z -> camera_d - z` is its own inverse: the same call maps world to camera. The input stays as it is.
    """
    return vertices * _like(vertices, (1, 1, -1)) + _like(vertices, (0, 0, camera_d))


def _crop_transform(trans_params):
    """Scale and shift (x, y) from the photo to its crop, both y up."""
    width, height, scale, center_x, center_y = (float(value) for value in trans_params)
    # The resized photo has whole pixels, hence int(): published weights were trained with this truncation.
    shift_x = (width / 2 - center_x) * scale - (int(width * scale) - CROP_SIZE) / 2
    shift_y = (height / 2 - center_y) * scale - (int(height * scale) - CROP_SIZE) / 2
    return scale, (shift_x, shift_y)


def _like(points, values):
    """The values as an array or tensor that combines with the points and keeps their type and device."""
    if hasattr(points, "new_tensor"):
        return points.new_tensor(values)
    dtype = getattr(points, "dtype", np.dtype(float))
    return np.array(values, dtype=dtype if np.issubdtype(dtype, np.floating) else float)
