"""Prepares single photos for training: writes the landmarks and the mesh of the face, and the skin mask."""
from contextlib import nullcontext
from pathlib import Path
from typing import NamedTuple

import numpy as np
from torch.utils.data import Dataset

from datasets.alignment import find_crop, points_outside, share_outside
from datasets.face_detection import face_detector, landmarks_found
from datasets.face_finder import find_landmarks
from datasets.frozen_landmarks import landmark_detector
from datasets.photo_folder import find_faces, problem_and_remark
from datasets.photos import read_photo
from datasets.point_checks import check_points
from datasets.preparation_masks import check_provided_mask, checksum, photo_has_changed, read_origin, write_mask
from datasets.preparation_plan import FileNames, mesh_path, sample_paths
from datasets.training_photos import SamplePaths, read_landmarks
from models.coordinates import flip_y
from models.landmarks import five_points
from util.files import InputError, atomic_write

MOST_ENLARGED = 4   # times, from photo to crop: a smaller face shows too few details
# Shares of the crop and of the landmarks that may lie outside the photo. The crop of a photo that shows nothing but the
# face is about half outside.
MOST_OUTSIDE, MOST_POINTS_OUTSIDE = 0.65, 0.15


class Outcome(NamedTuple):
    """What became of a photo."""
    name: str
    written: bool = False   # whether landmarks or mask were written
    problem: str = ""       # why the photo is left out; "": it is not
    remark: str = ""        # for the user
    failure: str = ""       # why its files could not be written: all work must stop


class PhotoPreparer(Dataset):
    """Prepares the photo of each index and returns its Outcome. A DataLoader spreads the work over processes.

    folder: of the photos. names: of the photos to prepare, and of their files. overwrite: compute landmarks and masks
    again that data_preparation.py wrote. lm_model: the folder of the TensorFlow landmark detector, if there is one.
    detector: name of the face detector, of DETECTORS. verbose: put the traceback of an unexpected error into the
    remark.
    Raises InputError if a landmark detector is there but cannot be used.
    """

    def __init__(self, folder: Path, names: list[FileNames], overwrite: bool, lm_model: Path, detector: str,
                 verbose: bool):
        self.folder, self.overwrite, self.verbose = folder, overwrite, verbose
        # One block of memory that all worker processes share. Each process would get its own copies of str objects over
        # time, because looking at one changes its reference count.
        self.names = np.array(names, np.dtypes.StringDType()).reshape(-1, len(FileNames._fields))
        self.detector = face_detector(detector)
        self.landmark_detector = landmark_detector(lm_model, self.detector)

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Outcome:
        names = FileNames(*self.names[index])
        paths = sample_paths(self.folder, names)
        try:
            written, remark = self.prepare(paths)
            return Outcome(names.photo, written, remark=remark)
        except OSError as error:
            return Outcome(names.photo, failure=f"landmarks or mask of {paths.photo}: {error}")
        except Exception as error:   # one photo must not stop the others
            problem, remark = problem_and_remark(error, paths.photo, self.verbose)
            return Outcome(names.photo, problem=problem, remark=remark)

    def prepare(self, paths: SamplePaths) -> tuple[bool, str]:
        """Check what there is for a photo, and write what is missing or out of date.

        Returns whether a file was written, and a remark for the user or "". Raises InputError if the photo cannot be
        used, OSError if a file cannot be written.
        """
        photo = read_photo(paths.photo)
        origin = read_origin(paths.mask)
        mask_is_provided = origin is None and paths.mask.exists()
        landmarks_are_provided = paths.landmarks.exists() and (
            origin is None or origin.landmarks_checksum != checksum(paths.landmarks))
        is_out_of_date = self.overwrite or (origin is not None and photo_has_changed(paths.photo, origin))
        keep_landmarks = landmarks_are_provided or (paths.landmarks.exists() and not is_out_of_date)
        # A written mask notes the checksum of the landmarks, so new landmarks need a new mask.
        keep_mask = mask_is_provided or (paths.mask.exists() and keep_landmarks and not is_out_of_date)

        if keep_landmarks:
            landmarks = read_landmarks(paths.landmarks, paths.photo)
            check_points(landmarks, paths.landmarks, photo.shape[1::-1], lambda: landmarks_found(photo))
            check_face(photo, landmarks, paths.landmarks)
        if mask_is_provided:
            check_provided_mask(paths.mask, photo)
        if keep_landmarks and keep_mask:
            return False, ""
        mesh = mesh_path(paths)
        mesh_is_provided = mesh.exists() and (origin is None or origin.mesh_checksum != checksum(mesh))
        if not mesh_is_provided:
            mesh.unlink(missing_ok=True)
        if keep_landmarks:
            write_mask(paths.mask, paths.photo, photo)
            return True, ""
        (face,), remark = find_faces(paths.photo, photo, self.detector)
        face = find_landmarks(photo, face, self.landmark_detector)
        check_face(photo, face.points, paths.photo)
        writes_mesh = face.mesh is not None and not mesh_is_provided
        paths.landmarks.unlink(missing_ok=True)
        # Landmarks and meshes whose checksums are not in the mask count as provided. So if the program is killed here,
        # none may be there: old ones were deleted, and new ones get their names when the mask is written.
        with (atomic_write(paths.landmarks) as new_landmarks,
              atomic_write(mesh) if writes_mesh else nullcontext() as new_mesh):
            np.savetxt(new_landmarks, face.points, fmt="%.3f")
            if writes_mesh:
                np.save(new_mesh, face.mesh.astype(np.float32))
            if not keep_mask:
                write_mask(paths.mask, paths.photo, photo, checksum(new_landmarks),
                           checksum(new_mesh) if writes_mesh else "")
        return True, remark


def check_face(photo: np.ndarray, landmarks: np.ndarray, source: Path):
    """Raise InputError unless landmarks can be those of a face in a photo that is large enough to learn from.

    photo: (H, W, 3) uint8. landmarks: (68, 2) px, y down. source: the file that the message names.
    """
    points, (height, width) = five_points(landmarks), photo.shape[:2]
    if (points < 0).any() or (points > (width - 1, height - 1)).any():
        raise InputError(f"{source}: eyes, nose or mouth lie outside the photo of {width} x {height} pixels")
    try:
        trans_params = find_crop(flip_y(points, height), width, height)
    except InputError as error:
        raise InputError(f"{source}: {error}") from error
    scale = trans_params[2]
    if scale > MOST_ENLARGED:
        raise InputError(f"{source}: the face is too small: its crop would be enlarged {scale:.1f} times, at most "
                         f"{MOST_ENLARGED} is useful")
    if share_outside(trans_params) > MOST_OUTSIDE or points_outside(landmarks, photo.shape) > MOST_POINTS_OUTSIDE:
        raise InputError(f"{source}: too much of the face lies outside the photo: at most {MOST_OUTSIDE:.0%} of its "
                         f"crop and {MOST_POINTS_OUTSIDE:.0%} of its landmarks may lie there")
