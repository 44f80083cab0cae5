import shutil

import cv2
import numpy as np
import pytest

from datasets.face_detection import Face, FaceDetector
from datasets.frozen_landmarks import FrozenLandmarkDetector
from datasets.photo_folder import FacePoints, PhotoFolder, find_landmarks
from datasets.photos import read_photo
from models.coordinates import crop_to_photo, flip_y
from models.landmarks import five_points
from tests.helpers import ROOT

EXAMPLE = ROOT / "datasets" / "examples" / "grace_hopper.jpg"


def test_a_face_that_cannot_be_aligned_does_not_take_the_others_along():
    folder = PhotoFolder([EXAMPLE], all_faces=True)
    face, = folder.detector.detect(cv2.imread(EXAMPLE)[..., ::-1])
    point = Face(face.box, np.full((68, 2), 100.0))
    folder.detector.detect = lambda photo: [face, point, face]
    photo = folder[0]
    assert [each.name for each in photo.faces] == ["grace_hopper_0", "grace_hopper_2"]
    assert "face 1: the five points" in photo.problem


@pytest.mark.parametrize("for_fit", [False, True])
def test_given_landmarks_are_taken_and_the_crop_is_that_of_their_five_points(tmp_path, for_fit):
    shutil.copy(EXAMPLE, tmp_path)
    detections = tmp_path / "detections" / "grace_hopper.txt"
    detections.parent.mkdir()
    photo = read_photo(EXAMPLE)
    landmarks = FaceDetector().detect(photo)[0].landmarks + np.random.default_rng(0).normal(0, 5, (68, 2))

    def face(points):
        np.savetxt(detections, points)
        return PhotoFolder([tmp_path / EXAMPLE.name], for_fit)[0].faces[0]

    five, given = face(five_points(landmarks)), face(landmarks)
    assert np.array_equal(given.crop, five.crop)
    in_photo = flip_y(crop_to_photo(given.landmarks, given.trans_params), photo.shape[0])
    np.testing.assert_allclose(in_photo, landmarks, atol=1e-6)
    assert (given.attention is not None) == for_fit


@pytest.mark.parametrize("verbose", [False, True])
def test_an_unexpected_error_leaves_out_the_photo_and_with_verbose_tells_its_trace(verbose):
    folder = PhotoFolder([EXAMPLE], all_faces=True, verbose=verbose)

    def fail(photo):
        raise ZeroDivisionError("by chance")

    folder.detector.detect = fail
    photo = folder[0]
    assert photo.problem == f"{EXAMPLE}: ZeroDivisionError: by chance"
    assert ("in fail" in photo.remark) == verbose


class OtherLandmarks(FrozenLandmarkDetector):
    """Stands for a user's TensorFlow detector: its landmarks differ from those of dlib."""

    def __init__(self):
        pass

    def predict_landmarks(self, photo, points):
        return np.arange(136.0).reshape(68, 2) + points.sum()


def test_landmarks_that_the_detector_found_are_not_predicted_again():
    folder = PhotoFolder([EXAMPLE], for_fit=True, all_faces=True)
    photo = read_photo(EXAMPLE)
    found = folder.detector.detect(photo)[0].landmarks
    face = folder[0].faces[0]
    in_photo = flip_y(crop_to_photo(face.landmarks, face.trans_params), photo.shape[0])
    np.testing.assert_allclose(in_photo, found, atol=1e-6)


def test_which_landmarks_take_precedence():
    photo, detector, other = read_photo(EXAMPLE), FaceDetector(), OtherLandmarks()
    found = detector.detect(photo)[0].landmarks
    five = five_points(found)
    assert find_landmarks(photo, FacePoints(found, given=True), other) is found
    assert find_landmarks(photo, FacePoints(found, given=False), detector) is found
    for face in (FacePoints(found, given=False), FacePoints(five, given=True)):
        assert np.array_equal(find_landmarks(photo, face, other), other.predict_landmarks(photo, five))
    predicted = find_landmarks(photo, FacePoints(five, given=True), detector)
    assert np.array_equal(predicted, detector.predict_landmarks(photo, five))
