"""Reads the known faces of photos, from which a network learns: files that test.py --save=coeffs has written."""
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from models.coefficients import SIZE, turn_coefficients
from models.coordinates import crop_pixels_to_photo, turn_trans_params
from models.outputs.numbers import StoredNumbers, read_numbers
from models.records import Teachers
from util.files import InputError


class Placement(NamedTuple):
    """Where in its photo the upright crop of a training sample lies."""
    trans_params: np.ndarray   # (5,) of the upright photo as it was read, see models/coordinates.py
    turns: int                 # quarter turns anticlockwise that have brought the photo upright
    reduce: int                # the factor by which the photo was made smaller while it was read


NO_TEACHER = Teachers(np.zeros(SIZE), np.zeros((3, 3)))


class TeacherFiles:
    """The files of coefficients in a folder and the folders in it, each for the photo that it names.

    face_model: file name of the face model that the training uses.
    Raises InputError if the folder has no such files, if one cannot be read or belongs to another face model or camera,
    or if two belong to one photo.
    """

    def __init__(self, folder: Path, face_model: str, focal: float, camera_d: float):
        self.paths: dict[str, Path] = {}   # by the photo
        for path in sorted(folder.rglob("*.npz")):
            numbers = read_numbers(path)
            if numbers.face_model != face_model:
                raise InputError(f"{path} belongs to the face model {numbers.face_model}, but the training uses "
                                 f"{face_model}: give --bfm_model={numbers.face_model}, or other teachers")
            if not np.allclose((numbers.focal, numbers.camera_d), (focal, camera_d)):
                raise InputError(f"{path} belongs to a camera of focal={numbers.focal:g} and camera_d="
                                 f"{numbers.camera_d:g}, but the training has {focal:g} and {camera_d:g}")
            photo = str(numbers.photo.resolve())
            if photo in self.paths:
                raise InputError(f"{self.paths[photo]} and {path} both belong to {photo}: a photo has one teacher")
            self.paths[photo] = path
        if not self.paths:
            raise InputError(f"{folder} has no teachers: let test.py write files of coefficients there, with "
                             f"--save=coeffs --results_dir={folder}")

    def of(self, photo: Path, placement: Placement) -> Teachers:
        """The teacher of a photo, without the axis B, for a crop of it; NO_TEACHER if it has none, or one of a face
        that is turned otherwise. Raises InputError if the file cannot be read or the photo has another size."""
        path = self.paths.get(str(photo.resolve()))
        numbers = read_numbers(path) if path else None
        if not numbers or numbers.turns != placement.turns:
            return NO_TEACHER
        upright = torch.from_numpy(numbers.coefficients)[None]
        upright = turn_coefficients(upright, torch.tensor([numbers.turns]))[0].numpy()
        return Teachers(upright, _matrix_between(numbers, placement))


def _matrix_between(numbers: StoredNumbers, placement: Placement) -> np.ndarray:
    """The matrix (3, 3) from pixels of the teacher's upright crop to those of the sample's, y down."""
    known = turn_trans_params(numbers.trans_params, numbers.turns)
    reduce = placement.reduce
    if not np.array_equal(-(-known[:2] // reduce), placement.trans_params[:2]):
        raise InputError(f"{numbers.path} belongs to a photo of {known[0]:.0f} x {known[1]:.0f} pixels, but "
                         f"{numbers.photo} has another size: reconstruct it again, or delete the file")
    enlarge = np.array([[reduce, 0, (reduce - 1) / 2], [0, reduce, (reduce - 1) / 2], [0, 0, 1]])
    return np.linalg.inv(enlarge @ crop_pixels_to_photo(placement.trans_params)) @ crop_pixels_to_photo(known)
