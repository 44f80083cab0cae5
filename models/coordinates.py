"""Every change of coordinates: y up / y down, photo / crop, camera / world.

Points may be numpy arrays or torch tensors of any batch shape; the result is of the same kind.

- y down: row 0 is at the top of the picture, as in files and pictures.
- y up: `height - 1 - y_down`, as everywhere inside the method. In both, (0, 0) is the centre of a pixel.
- `trans_params` = (W, H, s, tx, ty): the photo's size in px, the factor from photo to crop, and the centre of the face
  in the photo (px, y up), as `datasets.alignment.align` returns them.

Landmarks and pixels. The published method does not place landmarks exactly on the pixels that show the same points. All
published networks were trained with these differences, so they stay. In the crop, with the centre of pixel (column c,
row r) at x = c and y up = 223 - r:

- A point of the photo is shown by the pixel to which resizing and cropping move it. The crop is cut at whole pixels.
- The same point as a landmark, by `photo_to_crop`, lies a little elsewhere, since that formula does not round to whole
  pixels, and is half a pixel off in two places. In photos of people it lies 0.2 px left of and 0.8 px above the pixel
  on average, with a standard deviation of 0.4 px along each axis.
- A vertex (x, y, z) in camera coordinates is rendered at (focal * x / z + 111.5, focal * y / z + 111.5), y up: the
  renderer's principal point is the middle of the image, between pixels 111 and 112.
- The same vertex as a landmark, by `FaceModel.project`, has 112 in place of 111.5: it lies half a pixel right of and
  above the pixel that shows it. `crop_to_projection` turns the former landmarks into these, so that the landmarks and
  the colours of a fit agree.
"""
import numpy as np

CROP_SIZE = 224   # px, width and height of the crop that the network sees


def flip_y(points, height):
    """Points (..., 2) px in a picture of that height, with y up turned into y down, and y down into y up."""
    return points * _like(points, (1, -1)) + _like(points, (0, height - 1))


def photo_to_crop(points, trans_params):
    """Points (..., 2) px in the photo, y up -> px in the 224 x 224 crop, y up, as landmarks."""
    scale, shift = _crop_transform(trans_params)
    return points * scale + _like(points, shift)


def crop_to_photo(points, trans_params):
    """Landmarks (..., 2) px in the 224 x 224 crop, y up -> px in the photo, y up: the inverse of `photo_to_crop`."""
    scale, shift = _crop_transform(trans_params)
    return (points - _like(points, shift)) / scale


def crop_to_projection(landmarks, trans_params):
    """Landmarks (..., 2) px in the crop, y up, as `photo_to_crop` gives them -> px, y up, as `FaceModel.project` gives
    vertices that are rendered on the pixels of the crop that show the landmarks."""
    scale, shift = _projection_transform(trans_params)
    return landmarks * _like(landmarks, scale) + _like(landmarks, shift)


def projection_to_crop(landmarks, trans_params):
    """The inverse of `crop_to_projection`: projected landmarks (..., 2) px, y up, of a face that is rendered where the
    crop shows it -> px in the crop, y up, from which `crop_to_photo` leads to the photo."""
    scale, shift = _projection_transform(trans_params)
    return (landmarks - _like(landmarks, shift)) / _like(landmarks, scale)


def turn_points(points, size, turns):
    """(..., 2) px in a picture, y up -> px in the same picture, turned anticlockwise by so many quarters (np.rot90).

    size: width and height of the picture before it is turned. turns: any whole number.
    """
    width, height = size
    for _ in range(turns % 4):
        points = points @ _like(points, [[0, 1], [-1, 0]]) + _like(points, (height - 1, 0))
        width, height = height, width
    return points


def turn_trans_params(trans_params, turns):
    """(5,) trans_params of a photo and its crop -> those of both after they are turned by so many quarters, see
    `turn_points`."""
    for _ in range(turns % 4):
        width, height, scale, _, _ = trans_params
        _, (shift_x, shift_y) = _crop_transform(trans_params)
        turned_x, turned_y = CROP_SIZE - 1 - scale * (height - 1) - shift_y, shift_x
        center_x = height / 2 - (turned_x + (int(height * scale) - CROP_SIZE) / 2) / scale
        center_y = width / 2 - (turned_y + (int(width * scale) - CROP_SIZE) / 2) / scale
        trans_params = np.array([height, width, scale, center_x, center_y])
    return trans_params


def crop_focal(focal, center):
    """Focal length in px of the 224 x 224 crop, of a camera whose image is the crop.

    focal: in px of that camera's image, which is 2 * center px wide.
    """
    return focal * CROP_SIZE / (2 * center)


def crop_pixels_to_photo(trans_params, turns=0):
    """The matrix (3, 3) that takes pixels of the 224 x 224 crop to the pixels of the photo that they show. Both are
    homogeneous, (x, y, 1) px, y down.

    turns: quarter turns anticlockwise that bring the face upright. The photo was turned so before it was resized and
    cropped, which matters since both round to whole pixels.
    """
    size = np.array(trans_params[:2], float)
    upright = turn_trans_params(trans_params, turns)
    upright_size, resized, start = _crop_placement(upright)
    # Resizing keeps the outer edges of the pixels in place, which are half a pixel outside their centres.
    corners = np.array([[0.0, 0.0], [1.0, 1.0]])
    turned = flip_y(turn_points(flip_y(corners, CROP_SIZE), (CROP_SIZE, CROP_SIZE), turns), CROP_SIZE)
    turned = (turned + start + 0.5) * upright_size / resized - 0.5
    in_photo = flip_y(turn_points(flip_y(turned, upright_size[1]), upright_size, -turns), size[1])
    scale = in_photo[1] - in_photo[0]
    return np.array([[scale[0], 0, in_photo[0, 0]], [0, scale[1], in_photo[0, 1]], [0, 0, 1]])


def camera_matrix(focal, camera_d, trans_params, turns=0):
    """The matrix (3, 4) that projects points in world coordinates (x, y, z, 1), decimetres, to homogeneous pixels of
    the photo, y down: those that the renderer draws over the photo's pixels.

    focal: px of the 224 x 224 crop. camera_d: distance of the camera, decimetres. trans_params, turns: of the face, see
    `crop_pixels_to_photo`.
    """
    return crop_pixels_to_photo(trans_params, turns) @ crop_camera_matrix(focal, camera_d)


def crop_camera_matrix(focal, camera_d):
    """The matrix (3, 4) of `camera_matrix` that leads to pixels of the crop instead."""
    middle = (CROP_SIZE - 1) / 2
    return np.array([[focal, 0, -middle, middle * camera_d],
                     [0, -focal, -middle, middle * camera_d],
                     [0, 0, -1, camera_d]])


def photo_place(trans, trans_params, turns, focal, camera_d):
    """Where a photo shows a face (3,): x and y of the face's origin, px, y down, and the logarithm of the number of px
    that one decimetre takes there.

    trans: (3,) of the face, decimetres. The others are those of `camera_matrix`.
    """
    x, y, z = (float(value) for value in trans)
    matrix = camera_matrix(focal, camera_d, trans_params, turns)
    to_photo = crop_pixels_to_photo(trans_params, turns)
    return np.array([*project(np.array([x, y, z]), matrix), np.log(focal * to_photo[0, 0] / (camera_d - z))])


def place_trans(place, trans_params, turns, focal, camera_d):
    """The inverse of `photo_place`: trans (3,) of the face that a photo shows at a place (3,), in any crop of it."""
    to_photo = crop_pixels_to_photo(trans_params, turns)
    distance = focal * to_photo[0, 0] / np.exp(place[2])
    in_crop = (np.asarray(place[:2]) - to_photo[:2, 2]) / to_photo.diagonal()[:2] - (CROP_SIZE - 1) / 2
    return np.array([*in_crop * (1, -1) * distance / focal, camera_d - distance])


def project(points, matrix):
    """Points (..., 3) -> px (..., 2), by a matrix (3, 4) such as `camera_matrix`."""
    homogeneous = points @ matrix[:, :3].T + matrix[:, 3]
    return homogeneous[..., :2] / homogeneous[..., 2:]


def camera_to_world(vertices, camera_d):
    """Vertices (..., 3) in camera coordinates, whose z is the distance from the camera -> world coordinates, whose z
    points to the camera and is 0 at the face's origin.

    camera_d: distance of the camera from that origin. All lengths have the same unit, decimetres in the face model. The
    function is its own inverse: it also turns world into camera coordinates. The input stays as it is.
    """
    return vertices * _like(vertices, (1, 1, -1)) + _like(vertices, (0, 0, camera_d))


def _crop_transform(trans_params):
    """Scale and shift (x, y) from the photo to its crop, both y up."""
    width, height, scale, center_x, center_y = (float(value) for value in trans_params)
    # The resized photo has whole pixels, hence int(): published weights were trained with this truncation.
    shift_x = (width / 2 - center_x) * scale - (int(width * scale) - CROP_SIZE) / 2
    shift_y = (height / 2 - center_y) * scale - (int(height * scale) - CROP_SIZE) / 2
    return scale, (shift_x, shift_y)


def _crop_placement(trans_params):
    """How `datasets.alignment.align` cuts the crop: the size of the photo, that of the resized photo, and the left and
    top edge of the crop in it, each (2,) of x and y, px, y down."""
    size, (scale, *center) = np.array(trans_params[:2], float), np.array(trans_params[2:], float)
    resized = np.trunc(size * scale)
    start = np.trunc(resized / 2 - CROP_SIZE / 2 + (center - size / 2) * scale * (1, -1))
    return size, resized, start


def _projection_transform(trans_params):
    """Scales and shifts, each (2,) of x and y, of `crop_to_projection`."""
    size, resized, (left, top) = _crop_placement(trans_params)
    scale, lower_left = trans_params[2], np.array([left, resized[1] - CROP_SIZE - top])
    # Resizing keeps the outer edges of the photo's pixels in place, which are half a pixel outside their centres. The
    # half pixel that the centres of the crop's pixels lie inside its edges is the one that the projection adds.
    ratio = resized / size
    _, shift = _crop_transform(trans_params)
    return ratio / scale, (0.5 - np.array(shift) / scale) * ratio - lower_left


def _like(points, values):
    """The values as an array or tensor that combines with the points and keeps their type and device."""
    if hasattr(points, "new_tensor"):
        return points.new_tensor(values)
    dtype = getattr(points, "dtype", np.dtype(float))
    return np.array(values, dtype=dtype if np.issubdtype(dtype, np.floating) else float)
