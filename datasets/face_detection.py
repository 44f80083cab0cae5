"""The choice of the detector that finds faces and landmarks in photos."""
from typing import Protocol

import numpy as np

from datasets.dlib_detection import DlibDetector
from datasets.mediapipe_detection import MediapipeDetector
from models.records import FoundFace

DETECTORS = {"mediapipe": MediapipeDetector, "dlib": DlibDetector}


class FaceDetector(Protocol):
    """What the detectors have in common."""

    def detect(self, photo: np.ndarray, all_faces: bool = False) -> list[FoundFace]:
        """The faces in a photo (H, W, 3) uint8 RGB, the largest first. Empty if there is none.

        all_faces: take the time to search for small faces even if there is a large one.
        """

    def face_at(self, photo: np.ndarray, points: np.ndarray) -> FoundFace:
        """The face at five known points.

        photo: (H, W, 3) uint8 RGB. points: (5, 2) px, y down, in the order of STANDARD_POINTS.
        Raises InputError if the points cannot be those of a face, or if the face is outside the photo.
        """


def landmarks_found(photo: np.ndarray) -> list[np.ndarray]:
    """The landmarks (68, 2) px, y down, of each face that MediaPipe's networks find in a photo (H, W, 3) uint8 RGB.

    Very small faces are not searched for, since that takes long where the photo shows no face.
    """
    return [face.landmarks for face in MediapipeDetector().detect_large(photo)]


def face_detector(name: str) -> FaceDetector:
    """The detector of that name in DETECTORS. It loads its models when they are first needed, in each process."""
    return DETECTORS[name]()
