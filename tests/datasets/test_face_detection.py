"""Faces found in the example photos."""
import builtins
import hashlib
import math
import multiprocessing
import pickle
import runpy
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest
from PIL import Image

from datasets import mediapipe_networks
from datasets.dlib_detection import DlibDetector
from datasets.face_detection import DETECTORS, face_detector
from datasets.face_mesh import MIRRORED
from datasets.photos import read_photo
from models.landmarks import MIRRORED_LANDMARKS, STANDARD_POINTS, five_points
from tests.helpers import EXAMPLES
from util.dlib_models import dlib_model_file
from util.files import InputError

PHOTOS = ["astronaut.png", "grace_hopper.jpg"]


@pytest.fixture(scope="module", params=DETECTORS)
def detector(request):
    return face_detector(request.param)


@pytest.fixture(scope="module")
def mediapipe():
    return face_detector("mediapipe")


def eye_distance(points):
    return np.linalg.norm(points[1] - points[0])


def turned(points, turns, width, height):
    """Points (N, 2) px, y down, in the picture of that size after `turns` quarter turns anticlockwise."""
    for _ in range(turns):
        points = np.column_stack([points[:, 1], width - 1 - points[:, 0]])
        width, height = height, width
    return points


def shrunk(name, factor):
    """An example photo made smaller by a whole number, and the five points of the face in it."""
    photo = np.asarray(Image.fromarray(read_photo(EXAMPLES / name)).reduce(factor))
    points = np.loadtxt((EXAMPLES / "detections" / name).with_suffix(".txt"))
    return photo, (points + 0.5) / factor - 0.5


@pytest.mark.parametrize("name", PHOTOS)
def test_finds_the_face_of_the_example_photos(detector, name):
    faces = detector.detect(read_photo(EXAMPLES / name))
    assert len(faces) == 1
    points = np.loadtxt((EXAMPLES / "detections" / name).with_suffix(".txt"))
    assert faces[0].landmarks.shape == (68, 2)
    np.testing.assert_allclose(five_points(faces[0].landmarks), points, atol=0.05 * eye_distance(points))
    x0, y0, x1, y1 = faces[0].box
    assert (points > (x0, y0)).all() and (points < (x1, y1)).all()
    assert faces[0].score > 0.5


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_finds_turned_faces(detector, turns):
    photo = read_photo(EXAMPLES / "grace_hopper.jpg")
    upright, = detector.detect(photo)
    face, = detector.detect(np.ascontiguousarray(np.rot90(photo, turns)))
    landmarks = turned(upright.landmarks, turns, photo.shape[1], photo.shape[0])
    np.testing.assert_allclose(face.landmarks, landmarks, atol=0.1 * eye_distance(five_points(landmarks)))


@pytest.mark.parametrize("degrees", range(30, 360, 30))
def test_finds_faces_at_every_angle(mediapipe, degrees):
    photo = Image.fromarray(read_photo(EXAMPLES / "astronaut.png"))
    points = np.loadtxt(EXAMPLES / "detections" / "astronaut.txt")
    angle, middle = math.radians(degrees), (np.array(photo.size) - 1) / 2
    turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])   # anticlockwise
    face, = mediapipe.detect(np.asarray(photo.rotate(degrees, Image.Resampling.BICUBIC)))
    np.testing.assert_allclose(five_points(face.landmarks), (points - middle) @ turn.T + middle,
                               atol=0.1 * eye_distance(points))


def test_finds_several_faces_largest_first(detector):
    astronaut = read_photo(EXAMPLES / "astronaut.png")
    hopper = read_photo(EXAMPLES / "grace_hopper.jpg")
    photo = np.zeros((600, 1024, 3), np.uint8)
    photo[:512, :512], photo[:, 512:] = astronaut, hopper
    faces = detector.detect(photo)
    assert [face.landmarks[30, 0] > 512 for face in faces] == [True, False]


def test_a_face_inside_the_photo_comes_before_a_larger_one_that_the_edge_cuts(mediapipe):
    astronaut = Image.fromarray(read_photo(EXAMPLES / "astronaut.png"))
    photo = np.full((768, 1020, 3), 90, np.uint8)
    photo[:660, :660] = astronaut.resize((660, 660))
    photo[:, -360:] = astronaut.resize((768, 768)).crop((0, 0, 360, 768))   # cut through an eye
    first, second = mediapipe.detect(photo)
    assert first.landmarks[:, 0].max() < 660 < second.landmarks[:, 0].min()
    assert np.ptp(first.landmarks[:, 0]) < np.ptp(second.landmarks[:, 0])


def test_finds_a_small_face_in_a_large_photo(detector):
    photo = np.full((1800, 2000, 3), 90, np.uint8)
    photo[1000:1512, 700:1212] = read_photo(EXAMPLES / "astronaut.png")
    face, = detector.detect(photo)
    points = np.loadtxt(EXAMPLES / "detections" / "astronaut.txt") + (700, 1000)
    np.testing.assert_allclose(five_points(face.landmarks), points, atol=0.08 * eye_distance(points))


def test_large_faces_are_found_in_every_direction_without_the_search_for_small_ones(mediapipe):
    large = read_photo(EXAMPLES / "astronaut.png")
    for turns in range(4):
        photo = np.ascontiguousarray(np.rot90(large, turns))
        (face,), (expected,) = mediapipe.detect_large(photo), mediapipe.detect(photo)
        assert np.array_equal(face.landmarks, expected.landmarks)
    photo = np.full((1000, 1000, 3), 90, np.uint8)
    photo[400:528, 400:528] = Image.fromarray(large).resize((128, 128))
    assert mediapipe.detect_large(photo) == [] and len(mediapipe.detect(photo)) == 1


def test_finds_the_smallest_faces_beside_a_large_one(mediapipe):
    """The smallest ones are 24 px wide."""
    photo = np.full((700, 1000, 3), 90, np.uint8)
    photo[188:, :512] = read_photo(EXAMPLES / "astronaut.png")
    expected = [np.loadtxt(EXAMPLES / "detections" / "astronaut.txt") + (0, 188)]
    for name, factor, left, top in [("astronaut.png", 5, 600, 40), ("grace_hopper.jpg", 9, 760, 200),
                                    ("grace_hopper.jpg", 10, 900, 500), ("astronaut.png", 4, 560, 400)]:
        small, points = shrunk(name, factor)
        photo[top:top + small.shape[0], left:left + small.shape[1]] = small
        expected.append(points + (left, top))
    found = [five_points(face.landmarks) for face in mediapipe.detect(photo, all_faces=True)]
    assert len(found) == len(expected)
    for points in expected:
        nearest = min(found, key=lambda each: np.linalg.norm(each - points))
        np.testing.assert_allclose(nearest, points, atol=0.15 * eye_distance(points))


def test_finds_a_face_that_fills_the_photo(mediapipe):
    points = np.loadtxt(EXAMPLES / "detections" / "astronaut.txt")
    low, high = (points.mean(0) + side * 1.2 * eye_distance(points) for side in (-1, 1))
    left, top, right, bottom = *low.astype(int), *high.astype(int)
    face, = mediapipe.detect(read_photo(EXAMPLES / "astronaut.png")[top:bottom, left:right])
    np.testing.assert_allclose(five_points(face.landmarks), points - (left, top), atol=0.08 * eye_distance(points))


@pytest.mark.parametrize("shape", [(200, 150, 3), (1, 1, 3), (3, 400, 3), (1, 3000, 3), (20_000, 7, 3)])
def test_no_face_gives_an_empty_list(detector, shape):
    assert detector.detect(np.full(shape, 128, np.uint8)) == []


def test_no_face_in_noise(mediapipe):
    photo = np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8)
    assert mediapipe.detect(photo) == [] == mediapipe.detect(photo, all_faces=True)


def test_landmarks_at_known_points(detector):
    photo = read_photo(EXAMPLES / "grace_hopper.jpg")
    points = np.loadtxt(EXAMPLES / "detections" / "grace_hopper.txt")
    landmarks = detector.face_at(photo, points).landmarks
    assert landmarks.shape == (68, 2)
    np.testing.assert_allclose(five_points(landmarks), points, atol=0.05 * eye_distance(points))
    mirrored = detector.face_at(np.ascontiguousarray(photo[:, ::-1]),
                                ((photo.shape[1] - 1, 0) + points * (-1, 1))[[1, 0, 2, 4, 3]]).landmarks
    np.testing.assert_allclose(mirrored[8], (photo.shape[1] - 1 - landmarks[8, 0], landmarks[8, 1]), atol=3)


def test_the_detectors_agree(mediapipe):
    photo = read_photo(EXAMPLES / "astronaut.png")
    (face,), (other,) = mediapipe.detect(photo), face_detector("dlib").detect(photo)
    distances = np.linalg.norm(face.landmarks - other.landmarks, axis=1)
    assert distances[17:].mean() < 0.05 * eye_distance(five_points(other.landmarks))


def test_a_mirrored_photo_gives_mirrored_landmarks_and_mesh(mediapipe):
    photo = read_photo(EXAMPLES / "astronaut.png")
    face, = mediapipe.detect(photo)
    mirrored, = mediapipe.detect(np.ascontiguousarray(photo[:, ::-1]))
    last = photo.shape[1] - 1
    for points, others, partners in ((face.landmarks, mirrored.landmarks, MIRRORED_LANDMARKS),
                                     (face.mesh[:, :2], mirrored.mesh[:, :2], MIRRORED)):
        expected = (points * (-1, 1) + (last, 0))[partners]
        assert np.linalg.norm(others - expected, axis=1).max() < 0.05 * eye_distance(five_points(face.landmarks))


def test_the_depth_of_the_mesh_grows_away_from_the_camera(mediapipe):
    face, = mediapipe.detect(read_photo(EXAMPLES / "astronaut.png"))
    nose_tip, cheeks, outline = 4, [50, 280], [234, 454]
    depth = face.mesh[:, 2]
    assert depth[nose_tip] < depth[cheeks].min() and depth[cheeks].max() < depth[outline].min()


def test_landmarks_of_a_face_off_the_photo_are_refused(detector):
    points = STANDARD_POINTS[:, :2] * (100, -100) + 5000
    with pytest.raises(InputError, match="outside"):
        detector.face_at(np.zeros((100, 100, 3), np.uint8), points)


@pytest.mark.parametrize("points", [np.full((5, 2), 50.0), np.full((5, 2), np.nan)])
def test_landmarks_at_points_that_are_no_face_are_refused(detector, points):
    with pytest.raises(InputError, match="five points"):
        detector.face_at(np.zeros((100, 100, 3), np.uint8), points)


def test_a_detector_that_was_used_can_be_sent_to_another_process(mediapipe):
    photo = read_photo(EXAMPLES / "astronaut.png")
    face, = mediapipe.detect(photo)
    copy, = pickle.loads(pickle.dumps(mediapipe)).detect(photo)
    assert np.array_equal(copy.landmarks, face.landmarks)


def test_detection_in_worker_processes(mediapipe):
    photo = read_photo(EXAMPLES / "astronaut.png")
    here, = mediapipe.detect(photo)
    with ProcessPoolExecutor(2, multiprocessing.get_context()) as workers:   # started as a DataLoader starts them
        for (there,) in workers.map(mediapipe.detect, [photo] * 4):
            np.testing.assert_allclose(there.landmarks, here.landmarks, atol=1e-3)


def test_a_missing_network_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(mediapipe_networks, "FOLDER", tmp_path)
    mediapipe_networks._load.cache_clear()
    with pytest.raises(InputError, match="face_detection_full_range.tflite is missing"):
        face_detector("mediapipe").detect(np.zeros((50, 50, 3), np.uint8))


def test_the_networks_are_the_published_ones():
    for name, (_, _, checksum) in runpy.run_path(str(mediapipe_networks.FOLDER / "extract.py"))["NETWORKS"].items():
        assert hashlib.sha256((mediapipe_networks.FOLDER / name).read_bytes()).hexdigest() == checksum


def test_missing_packages_are_named(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match="pip install face_recognition_models"):
        dlib_model_file("mmod_human_face_detector.dat")

    original = builtins.__import__

    def without_dlib(name, *rest):
        if name == "dlib":
            raise ImportError(name)
        return original(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without_dlib)
    with pytest.raises(InputError, match="pip install dlib-bin"):
        DlibDetector().detect(np.zeros((50, 50, 3), np.uint8))
