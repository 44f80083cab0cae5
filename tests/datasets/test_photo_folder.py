import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from datasets.alignment import share_outside
from datasets.face_detection import face_detector
from datasets.face_finder import FacePoints, find_landmarks
from datasets.frozen_landmarks import FrozenLandmarkDetector
from datasets.photo_folder import Photo, PhotoFolder, batches, name_collisions
from datasets.photos import read_photo
from models.coordinates import crop_to_photo, flip_y
from models.landmarks import five_points
from models.records import AlignedFace, FoundFace
from tests.helpers import ROOT

EXAMPLE = ROOT / "datasets" / "examples" / "grace_hopper.jpg"


def test_a_face_that_cannot_be_aligned_does_not_stop_the_other_faces():
    folder = PhotoFolder([EXAMPLE], all_faces=True)
    face, = folder.detector.detect(cv2.imread(EXAMPLE)[..., ::-1])
    point = FoundFace(face.box, np.full((68, 2), 100.0), face.score)
    folder.detector.detect = lambda photo, all_faces: [face, point, face]
    photo = folder[0]
    assert [each.name for each in photo.faces] == ["grace_hopper_0", "grace_hopper_2"]
    assert "face 1: the five points" in photo.problem


@pytest.mark.parametrize("for_fit", [False, True])
def test_given_landmarks_are_kept_and_their_five_points_define_the_crop(tmp_path, for_fit):
    shutil.copy(EXAMPLE, tmp_path)
    detections = tmp_path / "detections" / "grace_hopper.txt"
    detections.parent.mkdir()
    photo = read_photo(EXAMPLE)
    landmarks = face_detector("mediapipe").detect(photo)[0].landmarks + np.random.default_rng(0).normal(0, 5, (68, 2))

    def face(points):
        np.savetxt(detections, points)
        return PhotoFolder([tmp_path / EXAMPLE.name], for_fit)[0].faces[0]

    five, given = face(five_points(landmarks)), face(landmarks)
    assert np.array_equal(given.crop, five.crop)
    in_photo = flip_y(crop_to_photo(given.landmarks, given.trans_params), photo.shape[0])
    np.testing.assert_allclose(in_photo, landmarks, atol=1e-6)
    assert (given.attention is not None) == for_fit


@pytest.mark.parametrize("verbose", [False, True])
def test_an_unexpected_error_leaves_the_photo_out_and_verbose_adds_its_traceback(verbose):
    folder = PhotoFolder([EXAMPLE], all_faces=True, verbose=verbose)

    def fail(photo, all_faces):
        raise ZeroDivisionError("by chance")

    folder.detector.detect = fail
    photo = folder[0]
    assert photo.problem == f"{EXAMPLE}: ZeroDivisionError: by chance"
    assert ("in fail" in photo.remark) == verbose


@pytest.mark.parametrize("columns, is_cut", [(slice(None), False), (slice(195, None), True)])
def test_a_face_that_the_edge_cuts_is_remarked(tmp_path, columns, is_cut):
    photo = read_photo(ROOT / "datasets" / "examples" / "astronaut.png")[:, columns]
    Image.fromarray(photo).save(tmp_path / "a.png")
    read = PhotoFolder([tmp_path / "a.png"])[0]
    assert len(read.faces) == 1 and ("the edge of the photo cuts the face" in read.remark) == is_cut


def test_a_face_with_much_of_its_crop_outside_is_remarked(tmp_path):
    photo = read_photo(ROOT / "datasets" / "examples" / "astronaut.png")[65:180, 178:272]   # nothing but the face
    Image.fromarray(photo).save(tmp_path / "a.png")
    face, = PhotoFolder([tmp_path / "a.png"])[0].faces
    assert share_outside(face.trans_params) == pytest.approx((face.crop == 0).all(2).mean(), abs=0.02)
    assert share_outside(face.trans_params) > 1 / 3
    assert "the edge of the photo" in PhotoFolder([tmp_path / "a.png"])[0].remark


def photo_of(name: str, faces: int) -> Photo:
    path = Path(f"{name}.jpg")
    return Photo(path, [AlignedFace(path, name, f"{name}_{i}", None, None, None) for i in range(faces)])


def test_batches_are_full_and_a_photo_comes_with_its_last_face():
    photos = [photo_of("a", 1), photo_of("none", 0), photo_of("group", 5), photo_of("b", 1)]

    def batches_of(size):
        return [([photo.path.stem for photo in complete], [face.name for face in faces])
                for complete, faces in batches(photos, size)]

    assert batches_of(3) == [(["none"], []), (["a"], ["a_0", "group_0", "group_1"]),
                             (["group"], ["group_2", "group_3", "group_4"]), (["b"], ["b_0"])]
    assert batches_of(2) == [(["none"], []), (["a"], ["a_0", "group_0"]), ([], ["group_1", "group_2"]),
                             (["group"], ["group_3", "group_4"]), (["b"], ["b_0"])]
    assert batches_of(5) == [(["none"], []), (["a"], ["a_0", "group_0", "group_1", "group_2", "group_3"]),
                             (["group", "b"], ["group_4", "b_0"])]


def test_batches_are_made_without_reading_further_than_needed():
    read = []
    photos = (read.append(i) or photo_of(str(i), 1) for i in range(10))
    next(batches(photos, 2))
    assert read == [0, 1]


def test_photos_whose_results_would_have_one_name():
    a, b, c = Path("a.jpg"), Path("a.png"), Path("c.jpg")
    assert name_collisions([a, b, c]) == {b: "a.png: its results would overwrite those of a.jpg: rename one"}
    d = Path("a_texture.jpg")
    assert name_collisions([a, d], [".png", ".obj"]) == {}
    assert name_collisions([a, d], [".png", "_texture.png"]).keys() == {d}


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
    photo, detector, other = read_photo(EXAMPLE), face_detector("mediapipe"), OtherLandmarks()
    found = detector.detect(photo)[0].landmarks
    five = five_points(found)
    assert find_landmarks(photo, FacePoints(found, given=True), other).points is found
    assert find_landmarks(photo, FacePoints(found, given=False), detector).points is found
    for face in (FacePoints(found, given=False), FacePoints(five, given=True)):
        assert np.array_equal(find_landmarks(photo, face, other).points, other.predict_landmarks(photo, five))
    predicted, expected = find_landmarks(photo, FacePoints(five, given=True), detector), detector.face_at(photo, five)
    assert np.array_equal(predicted.points, expected.landmarks) and np.array_equal(predicted.mesh, expected.mesh)
