"""Finds the face in a photo and crops it for the network."""
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from datasets.alignment import align
from datasets.face_detection import FaceDetector, face_detector, landmarks_found
from datasets.frozen_landmarks import FrozenLandmarkDetector, landmark_detector
from datasets.point_checks import check_points
from datasets.skin_mask import skin_posterior
from models.coordinates import CROP_SIZE, flip_y, photo_to_crop, turn_points, turn_trans_params
from models.landmarks import WITHOUT_JAW, five_points, turns_to_upright
from models.records import AlignedFace
from util.files import InputError

SKIN_ATTENTION = 0.3   # attention of skin outside the features: people differ most between brows and mouth
LM_MODEL = Path(__file__).parents[1] / "checkpoints" / "lm_model"   # may hold a TensorFlow landmark detector


@dataclass(frozen=True)
class FacePoints:
    """The points of one face in a photo."""
    points: np.ndarray   # (5, 2) or (68, 2) px in the photo, y down; always 68 if found by a detector
    given: bool          # by the user, not found by a detector
    mesh: np.ndarray | None = None   # (468, 3), see models.records.FoundFace. None: no detector has made one


class FaceFinder:
    """Finds and crops the largest face of photos that are in memory.

    detector: name of the face detector, of DETECTORS. lm_model: folder that may hold a TensorFlow landmark detector.
    Raises InputError if the TensorFlow detector is there but cannot be used.
    """

    def __init__(self, detector: str = "mediapipe", lm_model: Path = LM_MODEL):
        self.detector = face_detector(detector)
        self.landmark_detector = landmark_detector(lm_model, self.detector)

    def __call__(self, photo: np.ndarray, points: np.ndarray | None, name: str, for_fit: bool) -> AlignedFace | None:
        """Returns the face of a photo, cropped for the network. None if no face is found.

        photo: (H, W, 3) uint8 RGB. points: (5, 2) or (68, 2) px in the photo, y down, where the face is; None: the
        largest face is searched for. name: of the photo, for messages and result files. for_fit: also find what a fit
        needs, the 68 landmarks and the attention mask.
        Raises InputError if the points cannot be those of a face in this photo.
        """
        if points is None:
            found = self.detector.detect(photo)
            if not found:
                return None
            face = FacePoints(found[0].landmarks, given=False, mesh=found[0].mesh)
        else:
            points = np.asarray(points, float)
            if points.shape not in ((5, 2), (68, 2)):
                raise InputError(f"{name}: points must have the shape (5, 2) or (68, 2), not {points.shape}")
            points, _ = check_points(points, name, photo.shape[1::-1], lambda: landmarks_found(photo))
            face = FacePoints(points, given=True)
        return align_face(Path(name), name, name, photo, face, self.landmark_detector if for_fit else None)


def align_face(path: Path, photo_name: str, name: str, photo: np.ndarray, face: FacePoints,
               landmark_detector: FaceDetector | FrozenLandmarkDetector | None) -> AlignedFace:
    """Returns a face cropped from a photo.

    If the face lies on its side or upside down, the photo is turned for everything that is computed here. The
    results are turned back, so that they belong to the photo as it is.

    path: of the photo. photo_name, name: of the result files of the photo and of the face, without suffix. photo:
    (H, W, 3) uint8 RGB. landmark_detector: with it, the result has the 68 landmarks and the attention mask that a fit
    needs.
    Raises InputError if the points cannot be those of a face.
    """
    height, width = photo.shape[:2]
    turns = turns_to_upright(flip_y(face.points, height))
    photo = np.rot90(photo, turns)
    points = turn_points(face.points, (width, height), -turns)   # -: turn_points takes y up
    face = FacePoints(points, face.given)
    height = photo.shape[0]
    five = five_points(face.points)
    crop, trans_params = align(photo, flip_y(five, height))
    if landmark_detector:
        points = find_landmarks(photo, face, landmark_detector).points
    else:
        points = face.points if face.given else five
    landmarks = photo_to_crop(flip_y(points, height), trans_params)
    attention = np.rot90(attention_mask(crop, landmarks), -turns) if landmark_detector else None
    return AlignedFace(path, photo_name, name, np.rot90(crop, -turns), turn_trans_params(trans_params, -turns),
                       turn_points(landmarks, (CROP_SIZE, CROP_SIZE), -turns), attention, turns)


def find_landmarks(photo: np.ndarray, face: FacePoints,
                   landmark_detector: FaceDetector | FrozenLandmarkDetector) -> FacePoints:
    """Returns a face in a photo (H, W, 3) uint8 RGB with its 68 landmarks, and with its mesh if there is one.

    68 given landmarks are returned as they are. The 68 landmarks that the face detector found are returned as they
    are, too, unless there is a TensorFlow landmark detector: it takes precedence. In all other cases the landmark
    detector finds the landmarks at the five points.
    Raises InputError if the five points cannot be those of a face.
    """
    five = five_points(face.points)
    if isinstance(landmark_detector, FrozenLandmarkDetector) and not (face.given and len(face.points) == 68):
        return replace(face, points=landmark_detector.predict_landmarks(photo, five))
    if len(face.points) == 68:
        return face
    found = landmark_detector.face_at(photo, five)
    return replace(face, points=found.landmarks, mesh=found.mesh)


def attention_mask(crop: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """Returns how much each pixel of a crop counts in a fit: (224, 224) uint8, 255 counts fully.

    All pixels between brows and mouth count fully, whatever their colour. Each other pixel counts in proportion to the
    probability that it is skin, SKIN_ATTENTION at most.
    crop: (224, 224, 3) uint8 RGB. landmarks: (68, 2) px in the crop, y up.
    """
    mask = np.rint(255 * SKIN_ATTENTION * skin_posterior(crop)).astype(np.uint8)
    features = flip_y(landmarks[WITHOUT_JAW], CROP_SIZE).round().astype(np.int32)
    return cv2.fillConvexPoly(mask, cv2.convexHull(features), 255)
