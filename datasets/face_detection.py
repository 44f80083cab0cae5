"""Where the faces are: given points of a face, read from a file, or found in the photo.

All coordinates here are pixels of the photo, y down, the first pixel's centre at (0, 0).
"""

import functools
import math
from dataclasses import dataclass

import numpy as np
from PIL import Image

from models.landmarks import MIRRORED_LANDMARKS, STANDARD_POINTS, five_points, similarity
from util.dlib_models import dlib_model_file
from util.files import InputError

# Longer side, in px, of the copies that are searched. The frontal detector finds faces from 80 px, in 0.1 s
# at the first size. The network finds them from 40 px, and less upright, but takes 50 times as long a pixel.
_FIRST_SIZE, _SECOND_SIZE, _LAST_SIZE = 1000, 2000, 4000
_NETWORK_SIZE, _NETWORK_LEAST = 480, 40
# Scores of the frontal detector: two of three true faces lie above the first, 19 of 20 above the second, most
# false ones below.
_CERTAIN, _SURE = 1.0, 0.3

_PATCH = 400  # px, the square picture in which landmarks are predicted
_BOX = 200  # px, side of the face box in it
_FACE_SIZE = 1.48  # side of the detector's box, decimetres of the standard face, centred at its origin
_GROWTHS = (1.0, 1.08, 0.92)  # the predictor is tried with boxes of these sizes
_STEADY = 0.012  # predictions for a face that is well placed differ less, in sides of the box
_SHIFTS = (0.0, 0.1, -0.1, 0.2, -0.2)  # where to start when they differ more, in sides to the right


@dataclass(frozen=True)
class Face:
    """A face found in a photo: box (x0, y0, x1, y1) and landmarks (68, 2), both px, y down."""

    box: tuple
    landmarks: np.ndarray


class FaceDetector:
    """dlib's face detectors and landmark predictor. The models are loaded on first use; make one a process.

    The methods raise InputError when dlib or its model files are not installed.
    """

    def detect(self, photo):
        """The faces in a photo (H, W, 3) uint8 RGB -> list of Face, largest first, empty when there is none.

        Faces that lie on their side or upside down are looked for only where there is no upright one.
        """
        faces = [self._face(photo, *place) for place in self._places(photo)]
        return sorted(faces, key=lambda face: face.box[2] - face.box[0], reverse=True)

    def predict_landmarks(self, photo, points):
        """The 68 landmarks of the face at five known points.

        photo: (H, W, 3) uint8 RGB. points: (5, 2) px, y down, in the order of `STANDARD_POINTS`.
        Returns (68, 2) float64 px in the photo, y down.
        Raises InputError when the points can't be those of a face or the face is off the photo.
        """
        center, side, angle = _pose(np.asarray(points, dtype=np.float64))
        if not side > 2:  # which nan is not either
            raise InputError("the five points of the face are equal, out of order or not finite")
        return self._landmarks(photo, center, side, angle)[0]

    def _face(self, photo, center, side, angle):
        # The detector's box tells where the face is only roughly, above all for a turned head: predict, place
        # the box anew, predict again; start from elsewhere when the predictions disagree.
        right = side * np.array([math.cos(angle), math.sin(angle)])
        found = []
        for shift in _SHIFTS:
            rough, _ = self._landmarks(photo, center + shift * right, side, angle)
            found.append(self._landmarks(photo, *_pose(five_points(rough))))
            if found[-1][1] < _STEADY:
                break
        landmarks, _ = min(found, key=lambda landmarks_and_spread: landmarks_and_spread[1])
        return Face((*(center - side / 2).tolist(), *(center + side / 2).tolist()), landmarks)

    def _places(self, photo):
        """Centre (2,), box side and angle of every face, by the first search that finds any."""
        picture = Image.fromarray(photo)
        picture.thumbnail((_LAST_SIZE, _LAST_SIZE), Image.Resampling.BILINEAR)
        certain = functools.partial(self._frontal, least=_CERTAIN)
        sure = functools.partial(self._frontal, least=_SURE)
        unsure = functools.partial(self._frontal, least=0.0)
        searches = [
            (sure, _FIRST_SIZE, 0), (sure, _SECOND_SIZE, 0),
            (certain, _FIRST_SIZE, 1), (certain, _FIRST_SIZE, 3), (certain, _FIRST_SIZE, 2),
            (self._network, _NETWORK_SIZE, 0), (sure, _LAST_SIZE, 0), (unsure, _FIRST_SIZE, 0),
        ]
        # Small photos are enlarged twice at most, which makes some searches the same.
        largest = 2 * max(photo.shape[:2])
        for detector, size, turns in dict.fromkeys((detector, min(size, largest), turns)
                                                   for detector, size, turns in searches):
            places = _search(picture, detector, size, turns)
            if places:
                shift = (np.array(photo.shape[1::-1]) - 1) / 2
                zoom = max(photo.shape[:2]) / size
                return [(shift + offset * zoom, side * zoom, angle) for offset, side, angle in places]
        return []

    def _frontal(self, picture, least):
        return self._frontal_detector.run(picture, 0, least)[0]

    def _network(self, picture):
        if min(picture.shape[:2]) < _NETWORK_LEAST:
            return []
        return [found.rect for found in self._network_detector(picture, 0)]

    def _landmarks(self, photo, center, side, angle):
        """Median of the predictions for several boxes round a face, in the photo and in its mirror image.

        Returns the landmarks (68, 2) and the mean distance of the predictions to them, in sides of the box.
        """
        patch, matrix = _upright_patch(photo, center, side, angle)
        mirrored = np.ascontiguousarray(patch[:, ::-1])
        middle = (_PATCH - 1) / 2
        predictions = []
        for growth in _GROWTHS:
            low, high = round(middle - growth * _BOX / 2), round(middle + growth * _BOX / 2)
            box = self._dlib.rectangle(low, low, high, high)
            predictions.append(_points(self._predictor(patch, box)))
            turned_round = _points(self._predictor(mirrored, box)) * (-1, 1) + (_PATCH - 1, 0)
            predictions.append(turned_round[MIRRORED_LANDMARKS])
        points = np.median(predictions, axis=0)
        spread = np.linalg.norm(predictions - points, axis=-1).mean() / _BOX
        return points @ matrix[:, :2].T + matrix[:, 2], spread

    @functools.cached_property
    def _frontal_detector(self):
        return self._dlib.get_frontal_face_detector()

    @functools.cached_property
    def _network_detector(self):
        return self._dlib.cnn_face_detection_model_v1(str(dlib_model_file("mmod_human_face_detector.dat")))

    @functools.cached_property
    def _predictor(self):
        return self._dlib.shape_predictor(str(dlib_model_file("shape_predictor_68_face_landmarks.dat")))

    @functools.cached_property
    def _dlib(self):
        # Imported late: photos that come with their points need no detector.
        try:
            import dlib
        except ImportError as error:
            raise InputError("finding faces needs dlib: pip install dlib-bin, or give the five points of each face in "
                             "detections/<photo>.txt") from error
        return dlib


def _search(picture, detector, size, turns):
    """Search a copy of a PIL picture with its longer side `size`, turned anticlockwise by so many quarters.

    Returns (centre (2,) relative to the picture's, box side, angle) of each face, in px of the copy unturned.
    """
    shrink = size / max(picture.size)
    copy = picture.resize([max(round(length * shrink), 1) for length in picture.size],
                          Image.Resampling.BILINEAR, reducing_gap=2)
    pixels = np.ascontiguousarray(np.rot90(copy, turns))
    middle = (np.array(pixels.shape[1::-1]) - 1) / 2
    places = []
    for box in detector(pixels):
        x, y = np.array([box.left() + box.right(), box.top() + box.bottom()]) / 2 - middle
        offset = complex(x, y) * 1j**turns  # a factor of i is a quarter clockwise
        places.append((np.array([offset.real, offset.imag]), box.width(), turns * math.pi / 2))
    return places


def _points(shape):
    """A prediction of dlib's -> (68, 2)"""
    from imutils.face_utils import shape_to_np  # imported late, as dlib is
    return shape_to_np(shape, dtype=np.float64)


def _pose(points):
    """Centre (2,), box side and angle (clockwise, radian) of the face with these five points, from the similarity
    transform that brings the standard points nearest to them."""
    standard = STANDARD_POINTS[:, :2].astype(np.float64) * (1, -1)
    matrix = similarity(standard, points)
    cos, sin = matrix[:, 0]   # times the scale
    return matrix[:, 2], math.hypot(cos, sin) * _FACE_SIZE, math.atan2(sin, cos)


def _upright_patch(photo, center, side, angle):
    """Square patch about a face, turned upright, the face box `_BOX` px wide, black outside the photo.

    Returns the patch (P, P, 3) uint8 and the (2, 3) matrix from its pixels to the photo's.
    """
    zoom = side / _BOX
    linear = zoom * np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    shift = center - linear @ np.full(2, (_PATCH - 1) / 2)

    reach = zoom * _PATCH / math.sqrt(2) + 2
    low = np.maximum(np.floor(center - reach), 0).astype(int)
    high = np.ceil(center + reach).astype(int)
    cut = photo[low[1]:max(high[1], 0), low[0]:max(high[0], 0)]
    if cut.size == 0:
        raise InputError("the face lies outside the photo")
    # Shrinking before resampling keeps the patch of a large face free of aliasing.
    factor = max(int(zoom), 1)
    source = Image.fromarray(np.ascontiguousarray(cut)).reduce(factor)
    # PIL counts from the corners of pixels, we from their centres.
    corner = shift - low + 0.5 - linear @ np.full(2, 0.5)
    coefficients = np.column_stack([linear, corner]) / factor
    patch = source.transform((_PATCH, _PATCH), Image.Transform.AFFINE, coefficients.ravel().tolist(),
                             Image.Resampling.BILINEAR)
    return np.asarray(patch), np.column_stack([linear, shift])
