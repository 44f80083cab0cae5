"""Finds the 68 landmarks of a face with the TensorFlow detector that users of the original method have.

The detector works on a crop of 224 x 224 px. A small network with one hidden layer computes the place of the crop from
the five points of the face.
"""
import functools
import importlib.util
import os
from pathlib import Path

import cv2
import numpy as np

from datasets.face_detection import FaceDetector, face_detector
from models.coordinates import flip_y
from models.landmarks import five_points
from util import assets
from util.files import InputError
from util.mat_files import read_mat

GRAPH, BOX_NETWORK, MEAN_FACE = "68lm_detector.pb", "BBRegressorParam_r.mat", "test_mean_face.txt"
_BOX_SHAPES = {"W1": (200, 10), "B1": (200, 1), "W2": (3, 200), "B2": (3, 1)}
_SIZE = 224   # px, width and height of the detector's crop
_HARMLESS = {"Assert", "RandomUniform"}   # stateful operations that old graphs may contain


def landmark_detector(folder: Path, otherwise: FaceDetector | None = None) -> "FrozenLandmarkDetector | FaceDetector":
    """The detector that finds 68 landmarks at five known points.

    It is the TensorFlow detector if the folder has its graph. Otherwise it is the other one, MediaPipe's by default.
    Raises InputError if the TensorFlow detector cannot be used.
    """
    if (folder / GRAPH).exists():
        return FrozenLandmarkDetector(folder)
    return otherwise or face_detector("mediapipe")


class FrozenLandmarkDetector:
    """The detector in the files 68lm_detector.pb, BBRegressorParam_r.mat and test_mean_face.txt of a folder.

    It can be sent to other processes: each process loads the graph when it uses it first.
    Raises InputError if TensorFlow or a file is missing, or if a file is broken.
    """

    def __init__(self, folder: Path):
        self.graph = folder / GRAPH
        for asset in (assets.LANDMARK_DETECTOR, assets.LANDMARK_DETECTOR_BOX, assets.LANDMARK_DETECTOR_MEAN):
            path = folder / Path(asset.name).name
            if not path.is_file():
                raise InputError(asset.missing(path))
        self.box_network = read_box_network(folder / BOX_NETWORK)
        self.mean_face = read_mean_face(folder / MEAN_FACE)
        if importlib.util.find_spec("tensorflow") is None:
            raise InputError(f"the landmark detector {self.graph} needs TensorFlow: pip install tensorflow, or rename "
                             "the file, so that the detector of --detector finds the landmarks")

    def predict_landmarks(self, photo: np.ndarray, points: np.ndarray) -> np.ndarray:
        """The 68 landmarks of the face at five known points.

        photo: (H, W, 3) uint8 RGB. points: (5, 2) px, y down: eyes, nose tip, mouth corners.
        Returns (68, 2) float64 px in the photo, y down.
        Raises InputError if the points cannot be those of a face, or if the face lies outside the photo.
        """
        left, top, size = self.box(points)
        found = self.in_crop(cut_and_resize(photo, left, top, size))
        found = flip_y(found, _SIZE) * (size / _SIZE) + (left, top)
        if not np.linalg.norm(five_points(found) - points, axis=1).mean() < size / 4:   # usually about size / 40
            raise InputError(f"{self.graph} finds the landmarks far from the face's five points: the points are "
                             "wrong, or the graph is of another kind")
        return found

    def in_crop(self, crop: np.ndarray) -> np.ndarray:
        """The 68 landmarks (68, 2) px, y up, of the face in a crop (224, 224, 3) float32 RGB 0..255.

        Raises InputError if the graph cannot be run.
        """
        return _run(self.graph, crop[None, ..., ::-1]).reshape(68, 2) + self.mean_face   # the graph takes BGR

    def box(self, points: np.ndarray) -> tuple[int, int, int]:
        """Left edge, top edge and side, px in the photo, y down, of the square crop for a face with these five points.

        points: (5, 2) px in the photo, y down. They are centred and divided by their root mean square distance from
        the centre; then the box network gives the crop's corner and side in these units.
        Raises InputError if the points cannot be those of a face.
        """
        points = np.asarray(points, np.float64)
        center = points.mean(0)
        scale = np.sqrt(((points - center) ** 2).sum(1).mean())
        if not scale > 0.5:   # also refuses nan
            raise InputError("the five points of the face are equal or not finite")
        w1, b1, w2, b2 = self.box_network
        x, y, size = (w2 @ np.tanh(w1 @ ((points - center) / scale).reshape(10, 1) + b1) + b2).ravel()
        if not size > 10:   # for a face it is about 32
            raise InputError("the five points of the face are not those of a face, or out of order")
        left, top, side = (round(value) for value in (*(center + scale * np.array([x, y])), _SIZE / size * scale))
        return left, top, side


def cut_and_resize(photo: np.ndarray, left: int, top: int, size: int) -> np.ndarray:
    """A square part of a photo, resized to (224, 224, 3) float32 of whole numbers 0..255, black outside the photo.

    photo: (H, W, 3) uint8. left, top, size: of the square, px in the photo, y down.
    Raises InputError if the square lies outside the photo.
    """
    rows = slice(max(top, 0), max(top + size, 0))
    columns = slice(max(left, 0), max(left + size, 0))
    inside = photo[rows, columns].astype(np.float32)
    if not inside.size:
        raise InputError("the face lies outside the photo")
    before = rows.start - top, columns.start - left
    square = np.zeros((size, size, 3), np.float32)
    square[before[0]:before[0] + inside.shape[0], before[1]:before[1] + inside.shape[1]] = inside
    # It is resized in float32, because for bytes OpenCV rounds the weights of its cubic kernel.
    return cv2.resize(square, (_SIZE, _SIZE), interpolation=cv2.INTER_CUBIC).round().clip(0, 255)


def read_box_network(path: Path) -> list[np.ndarray]:
    """Weights and biases W1 (200, 10), B1 (200, 1), W2 (3, 200), B2 (3, 1) of the box network's two layers. Raises
    InputError."""
    return [array.astype(np.float64) for array in read_mat(path, _BOX_SHAPES).values()]


def read_mean_face(path: Path) -> np.ndarray:
    """The landmarks of the mean face (68, 2) px in the crop, y up. Raises InputError."""
    try:
        values = np.array(path.read_text().split(), np.float64)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    if values.size != 136 or not np.isfinite(values).all():
        raise InputError(f"{path} must hold 136 numbers, x and y of 68 points, not {values.size}")
    return values.reshape(68, 2)


def _run(graph: Path, crops: np.ndarray) -> np.ndarray:
    """The graph's output `lm`, 136 numbers, for its input `input_imgs` = crops (1, 224, 224, 3) BGR 0..255. Raises
    InputError."""
    try:
        found = _session(graph, os.getpid()).run("lm:0", {"input_imgs:0": crops})
    except InputError:
        raise
    except Exception as error:   # for a graph of another kind TensorFlow raises exceptions of many kinds
        raise InputError(f"the landmark detector {graph} cannot be run: {error}") from error
    if found.size != 136:
        raise InputError(f"the landmark detector {graph} gives {found.shape} numbers, not 68 points")
    return found.astype(np.float64)


@functools.cache
def _session(graph: Path, process: int):
    """A TensorFlow session with the graph, one per process.

    process: the id of this process, so that a forked process does not get its parent's session, which would hang there.
    Raises InputError if the graph cannot be read or contains operations that a detector does not need.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")   # it prints a message at every start, and rounds differently
    # Without it, a network of torchvision that is built later would crash the process, see util/training_log.py.
    import torch._dynamo  # noqa: F401, I001
    import tensorflow.compat.v1 as tf

    tf.logging.set_verbosity(tf.logging.ERROR)
    definition = tf.GraphDef()
    try:
        definition.ParseFromString(graph.read_bytes())
        definition = tf.graph_util.extract_sub_graph(definition, ["lm"])
    except Exception as error:
        raise InputError(f"the landmark detector {graph} cannot be read: it is broken or of another kind "
                         f"({type(error).__name__})") from error
    with tf.Graph().as_default() as loaded:
        tf.import_graph_def(definition, name="")
    # A detector only computes. Anything harmful that a graph could do, such as writing files, is a stateful operation.
    for operation in loaded.get_operations():
        if operation.op_def.is_stateful and operation.type not in _HARMLESS:
            raise InputError(f"the landmark detector {graph} is refused: it has the operation {operation.type}, "
                             "which a detector does not need")
    threads = tf.ConfigProto(device_count={"GPU": 0}, intra_op_parallelism_threads=1, inter_op_parallelism_threads=1,
                             use_per_session_threads=True)
    return tf.Session(graph=loaded, config=threads)
