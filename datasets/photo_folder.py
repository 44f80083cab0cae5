"""A folder of photos as faces ready for the network."""
import math
import traceback
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from torch.utils.data import Dataset

from datasets.alignment import align
from datasets.face_detection import FaceDetector
from datasets.face_points import check_points_inside, read_detections
from datasets.frozen_landmarks import landmark_detector
from datasets.photos import read_photo
from datasets.skin_mask import skin_posterior
from models.coordinates import CROP_SIZE, flip_y, photo_to_crop
from models.landmarks import five_points
from util.files import InputError


class AlignedFace(NamedTuple):
    """A face of a photo, cropped; points in px of the crop, y up."""
    name: str                      # of its result files
    crop: np.ndarray               # (224, 224, 3) uint8 RGB
    trans_params: np.ndarray       # (5,) the way back to the photo, see models.coordinates
    landmarks: np.ndarray          # (5, 2) or, for a fit or where they are given, (68, 2)
    attention: np.ndarray | None   # (224, 224) uint8: how much a pixel counts in a fit, 255 fully

    @property
    def roll(self) -> float:
        """How far the face is turned in the picture, radian, counterclockwise."""
        left_eye, right_eye = five_points(self.landmarks)[:2]
        x, y = right_eye - left_eye
        return math.atan2(y, x)


class Photo(NamedTuple):
    """What became of a photo: its faces, the reason why there are none or not all, and a remark, if any."""
    path: Path
    faces: list[AlignedFace]
    problem: str = ""
    remark: str = ""


def as_is(item: object) -> object:
    """For readers that collect no batches: arrays stay arrays."""
    return item


class PhotoFolder(Dataset):
    """photos: paths. for_fit: find 68 landmarks and the attention mask too. all_faces: every face of a photo, not the
    one in detections/ or the largest. lm_model: folder of the TensorFlow landmark detector, if there is one. verbose:
    remark the trace of an unexpected error."""

    def __init__(self, photos: list[Path], for_fit: bool = False, all_faces: bool = False,
                 lm_model: Path = Path("checkpoints/lm_model"), verbose: bool = False):
        self.photos, self.for_fit, self.all_faces, self.verbose = photos, for_fit, all_faces, verbose
        self.detector = FaceDetector()
        self.landmark_detector = landmark_detector(lm_model, self.detector) if for_fit else None

    def __len__(self) -> int:
        return len(self.photos)

    def __getitem__(self, index: int) -> Photo:
        path = self.photos[index]
        try:
            return self.read(path)
        except Exception as error:   # one photo must not stop the others
            return Photo(path, [], *problem_and_remark(error, path, self.verbose))

    def read(self, path: Path) -> Photo:
        photo = read_photo(path)
        points, remark = find_faces(path, photo, self.detector, self.all_faces)
        faces, problems = [], []
        for number, face_points in enumerate(points):
            name = f"{path.stem}_{number}" if self.all_faces else path.stem
            try:
                faces.append(self.aligned(name, photo, face_points))
            except InputError as error:
                problems.append(f"{path}: {f'face {number}: ' * self.all_faces}{error}")
        return Photo(path, faces, "; ".join(problems), remark)

    def aligned(self, name: str, photo: np.ndarray, points: np.ndarray) -> AlignedFace:
        height = photo.shape[0]
        crop, trans_params = align(photo, flip_y(five_points(points), height))
        if self.for_fit and len(points) == 5:
            points = self.landmark_detector.predict_landmarks(photo, points)
        landmarks = photo_to_crop(flip_y(points, height), trans_params)
        return AlignedFace(name, crop, trans_params, landmarks,
                           attention_mask(crop, landmarks) if self.for_fit else None)


def problem_and_remark(error: Exception, photo: Path, verbose: bool) -> tuple[str, str]:
    """Why an error leaves the photo out, and, with verbose, the trace of an unexpected one."""
    if isinstance(error, InputError):
        return str(error), ""
    return (f"{photo}: {type(error).__name__}: {error}",
            "".join(traceback.format_exception(error)) if verbose else "")


def find_faces(path: Path, photo: np.ndarray, detector: FaceDetector,
               all_faces: bool = False) -> tuple[list[np.ndarray], str]:
    """Points of the face in detections/ beside the photo, five (5, 2) or all 68 (68, 2) px, y down, as they stand
    there; else five of the largest found, or of each one found. And a remark, if any. Raises InputError where there is
    none."""
    given = path.parent / "detections" / f"{path.stem}.txt"
    if given.exists() and not all_faces:
        points = read_detections(given)
        check_points_inside(points, photo.shape[1], photo.shape[0], given)
        return [points], ""
    found = [five_points(face.landmarks) for face in detector.detect(photo)]
    if not found:
        raise InputError(f"{path}: no face found; if there is one, give its five points in {given}")
    if all_faces or len(found) == 1:
        return found, ""
    return found[:1], f"{path}: the largest of {len(found)} faces"


SKIN_ATTENTION = 0.3   # of skin outside the features: what tells people apart is between brows and mouth


def attention_mask(crop: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """How much each pixel of a crop (224, 224, 3) counts in a fit, (224, 224) uint8: everything between brows and mouth
    fully, also what has not the colour of skin, and the rest by how likely it is skin. landmarks: (68, 2) px, y up."""
    mask = np.rint(255 * SKIN_ATTENTION * skin_posterior(crop)).astype(np.uint8)
    features = flip_y(landmarks[17:], CROP_SIZE).round().astype(np.int32)
    return cv2.fillConvexPoly(mask, cv2.convexHull(features), 255)
