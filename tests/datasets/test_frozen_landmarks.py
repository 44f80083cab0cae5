"""The TensorFlow landmark detector: its crop, and graphs of the same signature when TensorFlow is installed."""
import pickle
import zlib
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from datasets.face_detection import face_detector
from datasets.frozen_landmarks import FrozenLandmarkDetector, cut_and_resize, landmark_detector
from datasets.mediapipe_detection import MediapipeDetector
from datasets.photos import read_photo
from models.landmarks import STANDARD_POINTS
from tests.helpers import GOLDEN, ROOT
from util.files import InputError

SHARED = ROOT.parent / "shared"
POINTS = STANDARD_POINTS[:, :2].astype(np.float64) * (100, -100) + (150, 160)   # px, y down
MEAN_FACE = np.load(GOLDEN / "align68.npz")["lm_new"][0] - 112   # about the middle of the crop, y up


def save_box_network(folder, x=-2.0, y=-1.8, size=60.0):
    """One that gives every face the same box, in units of its points' spread about their centre."""
    savemat(folder / "BBRegressorParam_r.mat", {"W1": np.zeros((200, 10)), "B1": np.zeros((200, 1)),
                                                "W2": np.zeros((3, 200)), "B2": np.array([[x], [y], [size]])})


@pytest.fixture
def folder(tmp_path):
    save_box_network(tmp_path)
    np.savetxt(tmp_path / "test_mean_face.txt", MEAN_FACE.ravel())
    (tmp_path / "68lm_detector.pb").write_bytes(b"")
    return tmp_path


@pytest.fixture
def tensorflow():
    import torch._dynamo  # noqa: F401 (before TensorFlow, see util/training_log.py)
    return pytest.importorskip("tensorflow.compat.v1", reason="TensorFlow is not installed")


def save_graph(tf, folder, build, **names):
    """Freeze `build(input_imgs)` -> lm as 68lm_detector.pb."""
    with tf.Graph().as_default() as graph:
        photos = tf.placeholder(tf.float32, (None, 224, 224, 3), name=names.get("input", "input_imgs"))
        tf.identity(build(photos), name=names.get("output", "lm"))
    (folder / "68lm_detector.pb").write_bytes(graph.as_graph_def().SerializeToString())


@pytest.fixture
def photo():
    """Red grows to the right, green to the bottom; blue is 30."""
    y, x = np.mgrid[:300, :320].astype(np.uint8) // 2
    return np.stack([x, y, np.full_like(x, 30)], -1)


def test_the_box_follows_the_points(monkeypatch, folder):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)   # the box needs no TensorFlow
    detector = FrozenLandmarkDetector(folder)
    left, top, size = detector.box(POINTS)
    spread = np.sqrt(((POINTS - POINTS.mean(0)) ** 2).sum() / 5)
    assert size == round(224 / 60 * spread)
    assert (left, top) == tuple(np.round(POINTS.mean(0) + spread * np.array([-2, -1.8])))
    assert np.abs(np.array(detector.box(2 * POINTS + (7, 9))) - (2 * left + 7, 2 * top + 9, 2 * size)).max() <= 2


def test_the_crop_is_black_outside_the_photo(photo):
    crop = cut_and_resize(photo, 320 - 112, -112, 224)
    assert not crop[:112].any() and not crop[:, 112:].any()
    assert (crop[112:, :112] == photo[:112, -112:]).all()
    with pytest.raises(InputError, match="outside"):
        cut_and_resize(photo, 320, 0, 100)
    with pytest.raises(InputError, match="outside"):
        cut_and_resize(photo, -200, 0, 100)


def test_landmarks_are_mapped_back_to_the_photo(tensorflow, folder, photo):
    save_graph(tensorflow, folder, lambda photos: photos[:, 0, 0, :1] * 0 + tensorflow.range(136.) / 10 + 112)
    detector = landmark_detector(folder)
    left, top, size = detector.box(POINTS)
    found = detector.predict_landmarks(photo, POINTS)
    assert found.shape == (68, 2) and found.dtype == np.float64
    x, y_up = (MEAN_FACE + 112 + np.arange(136).reshape(68, 2) / 10).T
    np.testing.assert_allclose(found[:, 0], left + x * size / 224, atol=1e-4)
    np.testing.assert_allclose(found[:, 1], top + (223 - y_up) * size / 224, atol=1e-4)


def test_the_graph_sees_the_crop_in_bgr(tensorflow, folder, photo):
    def channel_means(photos):   # as x of the first three points
        means = tensorflow.stack([tensorflow.reduce_mean(photos, (1, 2)), tensorflow.zeros((1, 3))], 2)
        return tensorflow.pad(means, [(0, 0), (0, 65), (0, 0)], constant_values=112)

    save_graph(tensorflow, folder, channel_means)
    detector = FrozenLandmarkDetector(folder)
    left, top, size = detector.box(POINTS)
    x = (detector.predict_landmarks(photo, POINTS)[:3, 0] - left) * 224 / size - MEAN_FACE[:3, 0]
    square = photo[top:top + size, left:left + size]
    np.testing.assert_allclose(x, square.mean((0, 1))[::-1], atol=0.5)


def predict(detector, photo):
    return detector.predict_landmarks(photo, POINTS)


def test_it_works_in_a_forked_process_also_after_use(tensorflow, folder, photo):
    save_graph(tensorflow, folder, lambda photos: tensorflow.nn.conv2d(
        photos, tensorflow.ones((224, 224, 3, 136)) * 1e-5, 1, "VALID"))
    detector = FrozenLandmarkDetector(folder)
    expected = predict(detector, photo)
    with get_context("fork").Pool(1) as pool:
        found = pool.apply_async(predict, (detector, photo)).get(timeout=60)
    np.testing.assert_allclose(found, expected, atol=0.01)   # float32 sums in another order


def test_it_can_be_sent_to_another_process(tensorflow, folder, photo):
    save_graph(tensorflow, folder, lambda photos: photos[:, 0, 0, :1] + tensorflow.ones((1, 136)) * 100)
    detector = FrozenLandmarkDetector(folder)
    expected = predict(detector, photo)
    assert np.array_equal(predict(pickle.loads(pickle.dumps(detector)), photo), expected)


@pytest.mark.parametrize("content", [b"", b"no graph", bytes(range(256)) * 40])
def test_a_file_that_is_no_graph_is_named(tensorflow, folder, photo, content):
    (folder / "68lm_detector.pb").write_bytes(content)
    with pytest.raises(InputError, match=r"68lm_detector\.pb cannot be read"):
        landmark_detector(folder).predict_landmarks(photo, POINTS)


@pytest.mark.parametrize("names, points, message", [
    ({"output": "landmarks"}, 136, "cannot be read"), ({"input": "images"}, 136, "cannot be run"),
    ({}, 10, "not 68 points")])
def test_a_graph_of_another_kind_is_named(tensorflow, folder, photo, names, points, message):
    save_graph(tensorflow, folder, lambda photos: photos[:, 0, 0, :1] * tensorflow.ones((1, points)), **names)
    with pytest.raises(InputError, match=message):
        landmark_detector(folder).predict_landmarks(photo, POINTS)


def test_a_graph_cannot_write_files(tensorflow, folder, photo):
    def attack(photos):
        with tensorflow.control_dependencies([tensorflow.io.write_file(str(folder / "attacked"), "x")]):
            return tensorflow.reduce_mean(photos) * tensorflow.ones((1, 136))

    save_graph(tensorflow, folder, attack)
    with pytest.raises(InputError, match="refused.*WriteFile"):
        landmark_detector(folder).predict_landmarks(photo, POINTS)
    assert not (folder / "attacked").exists()


def test_landmarks_elsewhere_than_the_points_are_refused(tensorflow, folder, photo):
    save_graph(tensorflow, folder, lambda photos: photos[:, 0, 0, :1] * tensorflow.zeros((1, 136)))
    with pytest.raises(InputError, match="far from the face's five points"):
        landmark_detector(folder).predict_landmarks(photo, POINTS)


@pytest.mark.parametrize("points", [np.zeros((5, 2)), np.full((5, 2), np.nan), POINTS + 5000])
def test_points_without_a_face_are_refused(tensorflow, folder, photo, points):
    save_graph(tensorflow, folder, lambda photos: tensorflow.reduce_mean(photos) * tensorflow.ones((1, 136)))
    with pytest.raises(InputError, match="five points|outside the photo"):
        landmark_detector(folder).predict_landmarks(photo, points)


@pytest.mark.parametrize("name", ["BBRegressorParam_r.mat", "test_mean_face.txt"])
def test_a_file_that_is_missing_or_broken_is_named_at_once(folder, name):
    for content in (b"", b"\x00\x01nonsense" * 30, (folder / name).read_bytes()[:-300]):
        (folder / name).write_bytes(content)
        with pytest.raises(InputError, match=name):
            landmark_detector(folder)
    (folder / name).unlink()
    with pytest.raises(InputError, match=f"{name}.*missing"):
        landmark_detector(folder)


def test_without_tensorflow_the_message_tells_what_to_do(folder, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match="pip install tensorflow"):
        landmark_detector(folder)


def test_without_the_graph_dlib_does_it(tmp_path):
    detector = face_detector("dlib")
    assert landmark_detector(tmp_path, detector) is detector
    assert isinstance(landmark_detector(tmp_path), MediapipeDetector)


@pytest.mark.skipif(not SHARED.exists(), reason="extra: needs the original's example photos")
def test_golden_crops(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    monkeypatch.setattr(Path, "is_file", lambda path: True)   # the graph, which is not run here
    detector = FrozenLandmarkDetector(SHARED / "upstream_data" / "lm_model")
    golden = np.load(SHARED / "golden" / "align_for_lm.npz")
    examples = SHARED / "upstream_data" / "examples"
    for index, name in enumerate(golden["names"]):
        points = np.loadtxt(examples / "detections" / f"{name[:-4]}.txt")
        left, top, size = detector.box(points)
        assert [left, top, size, size] == golden["bbox"][index].tolist()
        assert 224 / size == pytest.approx(golden["scale"][index], rel=1e-6)
        crop = cut_and_resize(read_photo(examples / name), left, top, size).astype(np.uint8)[..., ::-1]
        assert zlib.crc32(np.ascontiguousarray(crop)) == golden["crop_crc32"][index]
