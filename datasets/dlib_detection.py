"""Finds faces and their landmarks with dlib.

The predictor of the 68 landmarks may not be used for commercial purposes: it was trained on photos whose licence
excludes them. All coordinates are px of the photo, y down, with the centre of the first pixel at (0, 0).
"""
import functools
import math
from collections.abc import Callable

import numpy as np
from PIL import Image

from models.landmarks import MIRRORED_LANDMARKS, STANDARD_POINTS, five_points, similarity
from models.records import FoundFace
from util.dlib_models import dlib_model_file
from util.files import InputError

# The longer side, px, of the copies of the photo that are searched. dlib's frontal detector finds faces from 80 px, in
# 0.1 s at the first size. Its network finds faces from 40 px, and less upright ones, but takes 50 times as long per px.
_FIRST_SIZE, _SECOND_SIZE, _LAST_SIZE = 1000, 2000, 4000
_NETWORK_SIZE, _NETWORK_LEAST = 480, 40
# Scores of the frontal detector: two of three true faces have a score above the first, 19 of 20 above the second. Most
# places without a face have a lower score.
_CERTAIN, _SURE = 1.0, 0.3

_PATCH = 400   # px, side of the square picture in which landmarks are predicted
_BOX = 200     # px, side of the face box in it
_FACE_SIZE = 1.48   # side of the detector's box, decimetres of the standard face, whose origin is the centre of the box
_GROWTHS = (1.0, 1.08, 0.92)   # the predictor is tried with boxes of these sizes
_STEADY = 0.012                # predictions for a well placed box differ less, in sides of the box
_SHIFTS = (0.0, 0.1, -0.1, 0.2, -0.2)   # where the box starts if they differ more, in sides to the right

Boxes = list[tuple[object, float]]   # dlib's rectangles and their scores


class DlibDetector:
    """dlib's face detectors and landmark predictor. Each process loads the models on first use.

    The methods raise InputError if dlib or its model files are not installed.
    """

    def detect(self, photo: np.ndarray, all_faces: bool = False) -> list[FoundFace]:
        """The faces in a photo (H, W, 3) uint8 RGB, the largest first. Empty if there is none.

        Faces that lie on their side or upside down are searched only if no upright face is found. all_faces changes
        nothing: the search always ends at the first size of the photo in which it finds faces.
        """
        faces = [self._face(photo, *place) for place in self._places(photo)]
        return sorted(faces, key=lambda face: face.box[2] - face.box[0], reverse=True)

    def face_at(self, photo: np.ndarray, points: np.ndarray) -> FoundFace:
        """The face at five known points.

        photo: (H, W, 3) uint8 RGB. points: (5, 2) px, in the order of STANDARD_POINTS.
        Raises InputError if the points cannot be those of a face, or if the face is outside the photo.
        """
        center, side, angle = _pose(np.asarray(points, dtype=np.float64))
        if not side > 2:   # this is also the case if it is nan
            raise InputError("the five points of the face are equal, out of order or not finite")
        landmarks, _ = self._landmarks(photo, center, side, angle)
        return FoundFace((*landmarks.min(0).tolist(), *landmarks.max(0).tolist()), landmarks, 1.0)

    def _face(self, photo: np.ndarray, center: np.ndarray, side: float, angle: float, score: float) -> FoundFace:
        # The detector's box is only roughly where the face is, above all for a turned head. So the landmarks are
        # predicted twice, the second time in the box of the first ones. If the predictions disagree, this is done again
        # from another place.
        right = side * np.array([math.cos(angle), math.sin(angle)])
        found = []
        for shift in _SHIFTS:
            rough, _ = self._landmarks(photo, center + shift * right, side, angle)
            found.append(self._landmarks(photo, *_pose(five_points(rough))))
            if found[-1][1] < _STEADY:
                break
        landmarks, _ = min(found, key=lambda landmarks_and_spread: landmarks_and_spread[1])
        return FoundFace((*(center - side / 2).tolist(), *(center + side / 2).tolist()), landmarks, score)

    def _places(self, photo: np.ndarray) -> list[tuple[np.ndarray, float, float, float]]:
        """Centre (2,), box side, angle and score of the faces that the first successful search finds."""
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
        # Small photos are at most doubled in size, which makes some searches the same.
        largest = 2 * max(photo.shape[:2])
        for detector, size, turns in dict.fromkeys((detector, min(size, largest), turns)
                                                   for detector, size, turns in searches):
            places = _search(picture, detector, size, turns)
            if places:
                shift = (np.array(photo.shape[1::-1]) - 1) / 2
                zoom = max(photo.shape[:2]) / size
                return [(shift + offset * zoom, side * zoom, angle, score) for offset, side, angle, score in places]
        return []

    def _frontal(self, picture: np.ndarray, least: float) -> Boxes:
        boxes, scores, _ = self._frontal_detector.run(picture, 0, least)
        return list(zip(boxes, scores, strict=True))

    def _network(self, picture: np.ndarray) -> Boxes:
        if min(picture.shape[:2]) < _NETWORK_LEAST:
            return []
        return [(found.rect, found.confidence) for found in self._network_detector(picture, 0)]

    def _landmarks(self, photo: np.ndarray, center: np.ndarray, side: float, angle: float) -> tuple[np.ndarray, float]:
        """The median of the predictions for several boxes round a face, in the photo and in its mirror image.

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
        # Imported late: it is not needed for photos whose landmarks are given.
        try:
            import dlib
        except ImportError as error:
            raise InputError("the detector dlib is not installed: pip install dlib-bin, or take --detector=mediapipe"
                             ) from error
        return dlib


def _search(picture: Image.Image, detector: Callable[[np.ndarray], Boxes], size: int, turns: int
            ) -> list[tuple[np.ndarray, float, float, float]]:
    """Search a copy of a picture, whose longer side is `size` px, turned anticlockwise by so many quarters.

    Returns centre (2,), relative to the centre of the picture, box side, angle and score of each face, in px of the
    copy before it is turned.
    """
    shrink = size / max(picture.size)
    copy = picture.resize([max(round(length * shrink), 1) for length in picture.size],
                          Image.Resampling.BILINEAR, reducing_gap=2)
    pixels = np.rot90(copy, turns).copy()   # in the layout that dlib needs, also for a picture that is 1 px wide
    middle = (np.array(pixels.shape[1::-1]) - 1) / 2
    places = []
    for box, score in detector(pixels):
        x, y = np.array([box.left() + box.right(), box.top() + box.bottom()]) / 2 - middle
        offset = complex(x, y) * 1j ** turns   # a factor of i is a quarter clockwise
        places.append((np.array([offset.real, offset.imag]), box.width(), turns * math.pi / 2, score))
    return places


def _points(shape: object) -> np.ndarray:
    """The landmarks (68, 2) of a prediction by dlib."""
    from imutils.face_utils import shape_to_np  # imported late, as dlib is
    return shape_to_np(shape, dtype=np.float64)


def _pose(points: np.ndarray) -> tuple[np.ndarray, float, float]:
    """Centre (2,), box side and angle (clockwise, radian) of the face with these five points (5, 2), from the
    similarity transform that brings the standard points nearest to them."""
    standard = STANDARD_POINTS[:, :2].astype(np.float64) * (1, -1)
    matrix = similarity(standard, points)
    cos, sin = matrix[:, 0]   # times the scale
    return matrix[:, 2], math.hypot(cos, sin) * _FACE_SIZE, math.atan2(sin, cos)


def _upright_patch(photo: np.ndarray, center: np.ndarray, side: float, angle: float) -> tuple[np.ndarray, np.ndarray]:
    """A square part of the photo, turned upright, in which the face box is `_BOX` px wide. Black outside the photo.

    Returns the patch (400, 400, 3) uint8 and the matrix (2, 3) from px of the patch to px of the photo.
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
    # PIL counts from the corners of pixels. Here, coordinates count from their centres.
    corner = shift - low + 0.5 - linear @ np.full(2, 0.5)
    coefficients = np.column_stack([linear, corner]) / factor
    patch = source.transform((_PATCH, _PATCH), Image.Transform.AFFINE, coefficients.ravel().tolist(),
                             Image.Resampling.BILINEAR)
    return np.asarray(patch), np.column_stack([linear, shift])
