"""MediaPipe's face networks, run by OpenCV: faces in a square picture, the mesh of a face, and the contour of an eye.

The files and their licence are in checkpoints/face_networks. All pictures are uint8 RGB, and all points are px of the
picture, y down, with the centre of the first pixel at (0, 0).
"""
import functools
import os
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from datasets.face_mesh import LEFT_EYE_CONTOUR, MESH_COUNT
from util.files import InputError

FOLDER = Path(__file__).parents[1] / "checkpoints" / "face_networks"
FINDER_SIZE, MESH_SIZE, EYE_SIZE = 192, 192, 64   # px, sides of the pictures that the networks take
_CELL = 4         # px, side of the cells of the picture, each of which gives one candidate for a face
_CELL_CENTERS = (np.argwhere(np.ones(2 * [FINDER_SIZE // _CELL]))[:, ::-1] + 0.5) * _CELL - 0.5   # (C, 2) px
_EYE_POINTS = 71  # the contour, and points round it, which are less exact than those of the mesh


class Candidates(NamedTuple):
    """Places where a face may be: one of each cell of the picture, row by row."""
    scores: np.ndarray      # (C,) 0..1: how sure it is that there is a face
    centers: np.ndarray     # (C, 2) px
    sides: np.ndarray       # (C,) px, of a square round the inner face
    eyes: np.ndarray        # (C, 2, 2) px: the left and the right eye in the picture, for a face that stands upright


def find_faces(picture: np.ndarray) -> Candidates:
    """Find faces from about 18 to 100 px wide in a picture (192, 192, 3)."""
    scores, boxes = _run("face_detection_full_range.tflite", picture, -1,
                         ("reshaped_classifier_face_4", "reshaped_regressor_face_4"))
    points = boxes.reshape(-1, 8, 2)   # centre, size, left eye, right eye, nose tip, mouth, left ear, right ear
    eyes = _CELL_CENTERS[:, None] + points[:, 2:4]
    return Candidates(_sigmoid(scores.ravel()), _CELL_CENTERS + points[:, 0], points[:, 1].max(1), eyes)


def face_mesh(picture: np.ndarray) -> tuple[np.ndarray, float]:
    """Find the mesh of a face that stands upright and fills about two thirds of a picture (192, 192, 3).

    Returns points (468, 3): x and y, and the depth z in the same unit, which grows away from the camera and is about 0
    at the middle of the head; and how sure it is, 0..1, that there is a face.
    """
    points, score = _run("face_landmark.tflite", picture, 0, ("conv2d_21", "conv2d_31"))
    return points.reshape(MESH_COUNT, 3).astype(np.float64) - (0.5, 0.5, 0), float(_sigmoid(score.ravel()[0]))


def eye_contour(picture: np.ndarray) -> np.ndarray:
    """Find the contour (16, 2) of the left eye of a face that stands upright, in the order of LEFT_EYE_CONTOUR.

    picture: (64, 64, 3), with the eye in the middle, so that its corners are about 28 px apart.
    """
    points, = _run("iris_landmark.tflite", picture, 0, ("output_eyes_contours_and_brows",))
    return points.reshape(_EYE_POINTS, 3)[:len(LEFT_EYE_CONTOUR), :2].astype(np.float64) - 0.5


def _run(name: str, picture: np.ndarray, black: int, outputs: tuple[str, ...]) -> list[np.ndarray]:
    """The outputs of a network for a picture (S, S, 3). black: the value of black for the network, whose white is 1."""
    network = _load(name, os.getpid())
    network.setInput(cv2.dnn.blobFromImage(picture, (1 - black) / 255, mean=[-255 * black / (1 - black)] * 3))
    return network.forward(outputs)


@functools.cache
def _load(name: str, process: int) -> cv2.dnn.Net:
    """A network, read once in each process. Raises InputError if its file is missing."""
    path = FOLDER / name
    if not path.is_file():
        raise InputError(f"the face network {path} is missing. It is part of this repository: check it out again")
    # OpenCV's new engine gives only one of the outputs.
    return cv2.dnn.readNetFromTFLite(str(path), cv2.dnn.ENGINE_CLASSIC)


def _sigmoid(values: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-values.clip(-50, 50)))
