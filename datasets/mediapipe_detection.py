"""Finds faces and their landmarks with MediaPipe's networks.

All coordinates are px of the photo, y down, with the centre of the first pixel at (0, 0). Angles are clockwise, radian.
"""
import math
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from datasets.face_mesh import (
    LEFT_EYE_CONTOUR,
    LEFT_EYE_CORNERS,
    MIRRORED,
    OUTER_EYE_CORNERS,
    RIGHT_EYE_CONTOUR,
    RIGHT_EYE_CORNERS,
    mesh_landmarks,
)
from datasets.mediapipe_networks import (
    EYE_SIZE,
    FINDER_SIZE,
    MESH_SIZE,
    Candidates,
    eye_contour,
    face_mesh,
    find_faces,
)
from models.landmarks import STANDARD_POINTS, similarity
from models.records import FoundFace
from util.files import InputError

# The longer side, px, of the copies of the photo that are searched. Faces of 18 to 90 px in the copy are found. The
# whole of the first and the second copy fits into one picture of the network, with a border of repeated pixels round
# it. So the network also finds a face that fills the photo.
_COPY, _SMALL_COPY, _LARGE_COPY, _LARGEST_COPY = 128, 64, 384, 1024
# Copies that are searched one after the other until faces are found, each with the number of quarters by which it is
# turned anticlockwise. The searches for large faces together take a fifth of the time of all.
_LARGE_FACES = [(_COPY, 0), (_SMALL_COPY, 0), (_COPY, 1), (_COPY, 3), (_COPY, 2), (_LARGE_COPY, 0)]
_SMALL_FACES = [(_LARGEST_COPY, 0), (_LARGE_COPY, 1), (_LARGE_COPY, 3), (_LARGE_COPY, 2)]
_OVERLAP = 64        # px, of the parts in which a larger copy is searched
_LEAST_SCORE = 0.5   # of a face
# A face with a lower score may stand in another direction than it seems to: all four are tried. This can be spared if
# its meshes agree, since the mesh of a face in a wrong direction is guessed anew from each picture. The mean distances
# of their points, divided by the size of the face, are smaller then: between the meshes of the picture and the mirrored
# picture, and between the first mesh and the second one.
_SURE_SCORE = 0.8
_MIRRORED_AGREES, _FIRST_AGREES = 0.015, 0.04
_LEAST_PRESENCE = 0.5
_MESH_MARGIN = 1.5   # side of the picture in which the mesh is found, as a multiple of the size of the face
_TURN_MARGIN = 1.6   # the same for the pictures in which all directions are tried
_EYE_MARGIN = 2.3    # side of the picture of an eye, as a multiple of the distance of its corners
# The mesh of the mean face, whose five points are STANDARD_POINTS: centre (x, y up) and size, decimetres.
_MEAN_CENTER, _MEAN_SIZE = (0.0, 0.1), 1.9


@dataclass(frozen=True)
class _Place:
    """A square round a face: its centre (2,), its side, the angle by which the face is turned, and how sure it is that
    there is a face, 0..1."""
    center: np.ndarray
    side: float
    angle: float
    score: float = 1.0


class _Mesh(NamedTuple):
    """The mesh of a face."""
    points: np.ndarray   # (468, 3) px
    presence: float      # how sure it is that there is a face, 0..1
    is_clear: bool       # whether the face certainly stands as the mesh does


class _Copies:
    """A photo (H, W, 3) uint8 RGB and its copies of a half, a quarter, ... of its size, made when they are first used.

    Shrinking before resampling keeps the picture of a large face free of aliasing, and is faster.
    """

    def __init__(self, photo: np.ndarray):
        self.height, self.width = photo.shape[:2]
        self.copies = [np.ascontiguousarray(photo)]   # OpenCV takes no photo that was turned in place

    def copy(self, most: float) -> tuple[np.ndarray, int]:
        """The smallest copy whose size is divided by no more than `most`, and by how much it is divided."""
        level = int(math.log2(np.clip(most, 1, min(self.height, self.width))))
        while len(self.copies) <= level:
            self.copies.append(cv2.resize(self.copies[-1], None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA))
        return self.copies[level], 2 ** level


class MediapipeDetector:
    """MediaPipe's face detector and face mesh. Needs nothing but OpenCV and the networks in checkpoints/face_networks.

    It can be sent to other processes: each loads the networks on first use.
    """

    def detect(self, photo: np.ndarray, all_faces: bool = False) -> list[FoundFace]:
        """The faces in a photo (H, W, 3) uint8 RGB. The first one has the largest area inside the photo.

        all_faces: search for small faces too, from 2.4 % of the photo's longer side. Otherwise the search ends as soon
        as it finds faces, and misses those that are much smaller. The photo is turned only if no face is found in it as
        it is. Faces that stand within about 60 degrees of upright need no turn.
        """
        copies = _Copies(photo)
        if all_faces:
            places = [place for size in (_COPY, _LARGE_COPY, _LARGEST_COPY) for place in _search(copies, size)]
            faces = self._faces(copies, places)
            if faces:
                return faces
        return self._first_found(copies, _LARGE_FACES + _SMALL_FACES)

    def detect_large(self, photo: np.ndarray) -> list[FoundFace]:
        """The same as `detect` for faces that are wider than about a twentieth of the photo, or a seventh if they do
        not stand upright. Where there is none, this takes a fifth of the time."""
        return self._first_found(_Copies(photo), _LARGE_FACES)

    def detect_quickly(self, photo: np.ndarray) -> list[FoundFace]:
        """The upright faces that are wider than about a twentieth of a photo (H, W, 3) uint8 RGB. The first one has the
        largest area inside the photo."""
        copies = _Copies(photo)
        return self._faces(copies, _search(copies, _COPY) + _search(copies, _LARGE_COPY))

    def face_at(self, photo: np.ndarray, points: np.ndarray) -> FoundFace:
        """The face at five known points. Its score is low where the photo does not show a face there.

        photo: (H, W, 3) uint8 RGB. points: (5, 2) px, in the order of STANDARD_POINTS.
        Raises InputError if the points cannot be those of a face, or if the face is outside the photo.
        """
        points = np.asarray(points, dtype=np.float64)
        matrix = similarity(STANDARD_POINTS[:, :2].astype(np.float64) * (1, -1), points)
        scale = math.hypot(*matrix[:, 0])
        if not scale * _MEAN_SIZE > 2:   # this is also the case if it is nan
            raise InputError("the five points of the face are equal, out of order or not finite")
        center = matrix[:, :2] @ _MEAN_CENTER * (1, -1) + matrix[:, 2]
        if (center < -scale).any() or (center > np.array(photo.shape[1::-1]) + scale).any():
            raise InputError("the face lies outside the photo")
        copies = _Copies(photo)
        mesh = _mesh_of_face(copies, _Place(center, scale * _MEAN_SIZE, math.atan2(*matrix[::-1, 0])))
        return _face(copies, mesh, mesh.presence)

    def _first_found(self, photo: _Copies, searches: list[tuple[int, int]]) -> list[FoundFace]:
        """The faces of the first search that finds some."""
        found = (self._faces(photo, _search(photo, size, turns)) for size, turns in searches)
        return next(filter(None, found), [])

    def _faces(self, photo: _Copies, places: list[_Place]) -> list[FoundFace]:
        """The faces at these places, without places that show no face or the same face again. Sorted by the area
        inside the photo, the largest first."""
        faces: list[FoundFace] = []
        known: list[_Place] = []
        for place in sorted(places, key=lambda place: place.score, reverse=True):
            if any(_is_same(place, other) for other in known):
                continue
            known.append(place)
            mesh, score = _mesh_of_face(photo, place), place.score
            if score < _SURE_SCORE and not mesh.is_clear:
                turned = ((_mesh_of_face(photo, other), other.score) for other in _directions(photo, place))
                mesh, score = next((found for found in turned if found[0].presence >= _LEAST_PRESENCE), (mesh, score))
            if mesh.presence >= _LEAST_PRESENCE:
                face = _face(photo, mesh, score)
                if not any(_overlap(face.box, other.box) > 0.3 for other in faces):
                    faces.append(face)
        return sorted(faces, key=lambda face: _shared_area(face.box, (0, 0, photo.width, photo.height)), reverse=True)


def _mesh_of_face(photo: _Copies, place: _Place) -> _Mesh:
    """The mesh of the face at a place."""
    first, _ = _mesh(photo, place)
    place = _place_of_mesh(first)
    second, presence = _mesh(photo, place)
    mirrored, _ = _mesh(photo, place, mirror=True)
    from_first, from_mirrored = (np.linalg.norm((second - other)[:, :2], axis=1).mean() / place.side
                                 for other in (first, mirrored))
    is_clear = presence >= _LEAST_PRESENCE and from_first < _FIRST_AGREES and from_mirrored < _MIRRORED_AGREES
    return _Mesh((second + mirrored) / 2, presence, is_clear)


def _face(photo: _Copies, mesh: _Mesh, score: float) -> FoundFace:
    """The face of a mesh, whose eyes are found more exactly."""
    points = mesh.points.copy()
    angle = _place_of_mesh(points).angle
    for contour, corners, mirror in ((LEFT_EYE_CONTOUR, LEFT_EYE_CORNERS, False),
                                     (RIGHT_EYE_CONTOUR, RIGHT_EYE_CORNERS, True)):
        ends = points[list(corners), :2]
        picture, matrix = _view(photo, ends.mean(0), _EYE_MARGIN * math.dist(*ends), angle, EYE_SIZE)
        found = eye_contour(picture[:, ::-1]) * (-1, 1) + (EYE_SIZE - 1, 0) if mirror else eye_contour(picture)
        points[contour, :2] = _map(found, matrix)
    box = (*points[:, :2].min(0).tolist(), *points[:, :2].max(0).tolist())
    return FoundFace(box, mesh_landmarks(points[:, :2]), score, points)


def _search(photo: _Copies, size: int, turns: int = 0) -> list[_Place]:
    """Search a copy of the photo, whose longer side is `size` px, turned anticlockwise by so many quarters."""
    height, width = photo.height, photo.width
    zoom = min(size / max(height, width), 2)
    copy = cv2.resize(photo.copy(1 / zoom)[0], (max(round(width * zoom), 1), max(round(height * zoom), 1)),
                      interpolation=cv2.INTER_AREA if zoom < 1 else cv2.INTER_LINEAR)
    copy = np.rot90(copy, turns)
    least_border = (FINDER_SIZE - _COPY) // 2
    border_y, border_x = (max(least_border, math.ceil((FINDER_SIZE - length) / 2)) for length in copy.shape[:2])
    picture = cv2.copyMakeBorder(copy, border_y, border_y, border_x, border_x, cv2.BORDER_REPLICATE)
    height_in_picture, width_in_picture = picture.shape[:2]
    center = (np.array([width, height]) - 1) / 2
    places = []
    for top in _starts(height_in_picture):
        for left in _starts(width_in_picture):
            middle = (np.array([width_in_picture, height_in_picture]) - 1) / 2 - (left, top)
            places += _places(find_faces(picture[top:top + FINDER_SIZE, left:left + FINDER_SIZE]),
                              _matrix(center, 1 / zoom, turns * math.pi / 2, middle))
    return places


def _starts(length: int) -> list[int]:
    """Where the parts of FINDER_SIZE px start that together cover a length, and overlap."""
    count = math.ceil((length - _OVERLAP) / (FINDER_SIZE - _OVERLAP))
    return np.linspace(0, length - FINDER_SIZE, count).round().astype(int).tolist()


def _places(found: Candidates, matrix: np.ndarray) -> list[_Place]:
    """The candidates that are likely enough. matrix: (2, 3) from px of their picture to px of the photo."""
    zoom = math.hypot(*matrix[:, 0])
    places = []
    for i in np.flatnonzero(found.scores > _LEAST_SCORE):
        left_eye, right_eye = _map(found.eyes[i], matrix)
        x, y = right_eye - left_eye
        places.append(_Place(_map(found.centers[i], matrix), zoom * found.sides[i], math.atan2(y, x), found.scores[i]))
    return places


def _directions(photo: _Copies, place: _Place) -> list[_Place]:
    """The places near this one, found by looking from all four directions, one of each, the surest first."""
    size = FINDER_SIZE // 2
    picture = np.empty((FINDER_SIZE, FINDER_SIZE, 3), np.uint8)   # four parts, one for each direction
    matrices = []
    for turns in range(4):
        part, matrix = _view(photo, place.center, _TURN_MARGIN * place.side, turns * math.pi / 2, size)
        top, left = turns // 2 * size, turns % 2 * size
        picture[top:top + size, left:left + size] = part
        matrices.append(np.column_stack([matrix[:, :2], _map(np.array([-left, -top]), matrix)]))
    candidates = find_faces(picture)
    found = [[other for other in _places(candidates, matrix) if _is_same(place, other)] for matrix in matrices]
    best = [max(places, key=lambda other: other.score) for places in found if places]
    return sorted(best, key=lambda other: other.score, reverse=True)


def _is_same(place: _Place, other: _Place) -> bool:
    return math.dist(place.center, other.center) < 0.5 * min(place.side, other.side)


def _shared_area(box: tuple, other: tuple) -> float:
    """The area that two boxes (left, top, right, bottom) share."""
    width, height = (min(box[i + 2], other[i + 2]) - max(box[i], other[i]) for i in (0, 1))
    return max(width, 0) * max(height, 0)


def _overlap(box: tuple, other: tuple) -> float:
    """The area that two boxes (left, top, right, bottom) share, divided by the area that they cover together."""
    shared = _shared_area(box, other)
    return shared / (_shared_area(box, box) + _shared_area(other, other) - shared)


def _mesh(photo: _Copies, place: _Place, mirror: bool = False) -> tuple[np.ndarray, float]:
    """The mesh (468, 3) px of the face at a place, and how sure it is that there is a face. mirror: find it in the
    mirrored picture."""
    picture, matrix = _view(photo, place.center, _MESH_MARGIN * place.side, place.angle, MESH_SIZE)
    points, score = face_mesh(picture[:, ::-1] if mirror else picture)
    if mirror:
        points = (points * (-1, 1, 1) + (MESH_SIZE - 1, 0, 0))[MIRRORED]
    return np.column_stack([_map(points[:, :2], matrix), points[:, 2] * math.hypot(*matrix[:, 0])]), score


def _place_of_mesh(points: np.ndarray) -> _Place:
    """The square round a mesh (468, 3), upright as the line between the outer corners of its eyes."""
    left, right = points[list(OUTER_EYE_CORNERS), :2]
    angle = math.atan2(*(right - left)[::-1])
    turn = _matrix(np.zeros(2), 1, angle, np.zeros(2))[:, :2]
    upright = points[:, :2] @ turn
    low, high = upright.min(0), upright.max(0)
    return _Place(turn @ (low + high) / 2, (high - low).max(), angle)


def _view(photo: _Copies, center: np.ndarray, side: float, angle: float, size: int) -> tuple[np.ndarray, np.ndarray]:
    """A square of the photo with this centre, side and angle. Outside the photo its border is repeated.

    Returns a picture (size, size, 3) uint8, and the matrix (2, 3) from its px to the photo's.
    """
    matrix = _matrix(center, side / size, angle, np.full(2, (size - 1) / 2))
    copy, factor = photo.copy(side / size)
    center = (center + 0.5) / factor - 0.5
    limit = np.array(copy.shape[1::-1])
    reach = side / factor / math.sqrt(2) + 1
    low = (center - reach).clip(0, limit - 1).astype(int)   # OpenCV warps no picture larger than 32,767 px
    high = (center + reach).clip(low + 1, limit).astype(int)
    to_part = np.column_stack([matrix[:, :2] / factor, (matrix[:, 2] + 0.5) / factor - 0.5 - low])
    picture = cv2.warpAffine(copy[low[1]:high[1], low[0]:high[0]], to_part, (size, size),
                             flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE)
    return picture, matrix


def _matrix(center: np.ndarray, zoom: float, angle: float, middle: np.ndarray) -> np.ndarray:
    """The matrix (2, 3) that turns points (clockwise in a picture), enlarges them, and brings `middle` to `center`."""
    linear = zoom * np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    return np.column_stack([linear, center - linear @ middle])


def _map(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Points (..., 2) mapped by a matrix (2, 3)."""
    return points @ matrix[:, :2].T + matrix[:, 2]
