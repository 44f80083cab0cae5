"""Faces found in the example photos."""

import builtins

import numpy as np
import pytest

from datasets import face_detection
from datasets.face_detection import FaceDetector
from datasets.photos import read_photo
from models.landmarks import STANDARD_POINTS, five_points
from tests.helpers import EXAMPLES
from util.files import InputError

PHOTOS = ["astronaut.png", "grace_hopper.jpg"]


@pytest.fixture(scope="module")
def detector():
    return FaceDetector()


def eye_distance(points):
    return np.linalg.norm(points[1] - points[0])


@pytest.mark.parametrize("name", PHOTOS)
def test_finds_the_face_of_the_example_photos(detector, name):
    faces = detector.detect(read_photo(EXAMPLES / name))
    assert len(faces) == 1
    points = np.loadtxt((EXAMPLES / "detections" / name).with_suffix(".txt"))
    assert faces[0].landmarks.shape == (68, 2)
    np.testing.assert_allclose(five_points(faces[0].landmarks), points, atol=0.05 * eye_distance(points))
    x0, y0, x1, y1 = faces[0].box
    assert (points > (x0, y0)).all() and (points < (x1, y1)).all()


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_finds_turned_faces(detector, turns):
    photo = read_photo(EXAMPLES / "grace_hopper.jpg")
    height, width = photo.shape[:2]
    upright, = detector.detect(photo)
    turned, = detector.detect(np.ascontiguousarray(np.rot90(photo, turns)))
    landmarks = upright.landmarks
    for _ in range(turns):  # a quarter anticlockwise
        landmarks = np.column_stack([landmarks[:, 1], width - 1 - landmarks[:, 0]])
        width, height = height, width
    np.testing.assert_allclose(turned.landmarks, landmarks, atol=0.1 * eye_distance(five_points(landmarks)))


def test_finds_several_faces_largest_first(detector):
    astronaut = read_photo(EXAMPLES / "astronaut.png")
    hopper = read_photo(EXAMPLES / "grace_hopper.jpg")
    photo = np.zeros((600, 1024, 3), np.uint8)
    photo[:512, :512], photo[:, 512:] = astronaut, hopper
    faces = detector.detect(photo)
    assert [face.landmarks[30, 0] > 512 for face in faces] == [True, False]


def test_finds_a_small_face_in_a_large_photo(detector):
    photo = np.full((1800, 2000, 3), 90, np.uint8)
    photo[1000:1512, 700:1212] = read_photo(EXAMPLES / "astronaut.png")
    face, = detector.detect(photo)
    points = np.loadtxt(EXAMPLES / "detections" / "astronaut.txt") + (700, 1000)
    np.testing.assert_allclose(five_points(face.landmarks), points, atol=0.08 * eye_distance(points))


@pytest.mark.parametrize("shape", [(200, 150, 3), (1, 1, 3), (3, 400, 3)])
def test_no_face_gives_an_empty_list(detector, shape):
    assert detector.detect(np.full(shape, 128, np.uint8)) == []


def test_landmarks_at_known_points(detector):
    photo = read_photo(EXAMPLES / "grace_hopper.jpg")
    points = np.loadtxt(EXAMPLES / "detections" / "grace_hopper.txt")
    landmarks = detector.predict_landmarks(photo, points)
    assert landmarks.shape == (68, 2)
    np.testing.assert_allclose(five_points(landmarks), points, atol=0.05 * eye_distance(points))
    mirrored = detector.predict_landmarks(np.ascontiguousarray(photo[:, ::-1]),
                                          ((photo.shape[1] - 1, 0) + points * (-1, 1))[[1, 0, 2, 4, 3]])
    np.testing.assert_allclose(mirrored[8], (photo.shape[1] - 1 - landmarks[8, 0], landmarks[8, 1]), atol=3)


def test_landmarks_of_a_face_off_the_photo_are_refused(detector):
    points = STANDARD_POINTS[:, :2] * (100, -100) + 5000
    with pytest.raises(InputError, match="outside"):
        detector.predict_landmarks(np.zeros((100, 100, 3), np.uint8), points)


@pytest.mark.parametrize("points", [np.full((5, 2), 50.0), np.full((5, 2), np.nan)])
def test_landmarks_at_points_that_are_no_face_are_refused(points):
    with pytest.raises(InputError, match="five points"):
        FaceDetector().predict_landmarks(np.zeros((100, 100, 3), np.uint8), points)


def test_missing_packages_are_named(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match="pip install face_recognition_models"):
        face_detection.dlib_model_file("mmod_human_face_detector.dat")

    original = builtins.__import__

    def without_dlib(name, *rest):
        if name == "dlib":
            raise ImportError(name)
        return original(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without_dlib)
    with pytest.raises(InputError, match="pip install dlib-bin"):
        FaceDetector().detect(np.zeros((50, 50, 3), np.uint8))
