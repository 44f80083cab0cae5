"""Faces whose coefficients are stored in files, which `--save=coeffs` of test.py writes."""
import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from datasets.alignment import crop_again
from datasets.photo_choice import ChosenPhotos, absolute
from datasets.photo_folder import FaceFiles, Photo
from datasets.photos import read_incomplete_photo
from models.coefficients import SLICES
from models.coordinates import CROP_SIZE
from models.outputs.numbers import StoredNumbers, read_numbers
from models.reconstruction import Reconstructor
from models.records import AlignedFace, FaceResult
from util.files import InputError

# What a face can take from another face, and the parts of the coefficients that this consists of
CHANGES = {"exp": ("exp",), "pose": ("angle", "trans"), "light": ("gamma",)}


@dataclass(frozen=True)
class StoredFace(AlignedFace):
    """A face whose coefficients are known."""
    coefficients: np.ndarray | None = None   # (257,) float32


class StoredFaces(FaceFiles):
    """The faces of files of coefficients.

    paths: of the files. model: the files must have the face model and the camera of this one. changes: what is taken
    from another face, by the names in CHANGES, and the file of that face. root, verbose: see `FaceFiles`.
    Raises InputError if a file of `changes` cannot be used.
    """

    def __init__(self, paths: list[Path], model: StoredNumbers, changes: dict[str, Path], root: Path,
                 verbose: bool = False):
        super().__init__(paths, verbose, root)
        self.model = model
        others = {name: self.read_numbers(path).coefficients for name, path in changes.items()}
        self.changes = {part: others[name][SLICES[part]] for name in others for part in CHANGES[name]}

    def read(self, path: Path) -> Photo:
        """Returns the face of a file. Its crop is cut from its photo, if that can still be read, or else white.

        Raises InputError if the file is broken, or if its face model or camera differ from those of the others.
        """
        numbers = self.read_numbers(path)
        coefficients = numbers.coefficients.copy()
        for part, values in self.changes.items():
            coefficients[SLICES[part]] = values
        remark = ""
        try:
            crop = crop_again(read_incomplete_photo(numbers.photo)[0], numbers.trans_params, numbers.turns)
        except InputError as error:
            crop = np.full((CROP_SIZE, CROP_SIZE, 3), 255, np.uint8)
            remark = f"{path}: the face is drawn over white, not over its photo: {error}"
        name = self.name_of_results(path)
        face = StoredFace(path, name, name, crop, numbers.trans_params, np.empty((0, 2)), turns=numbers.turns,
                          coefficients=coefficients)
        return Photo(path, [face], remark=remark)

    def read_numbers(self, path: Path) -> StoredNumbers:
        """Returns the content of a file. Raises InputError."""
        numbers = read_numbers(path)
        for name in ("face_model", "focal", "camera_d"):
            value, expected = getattr(numbers, name), getattr(self.model, name)
            if value != expected:
                raise InputError(f"{path} has {name} {value}, and {self.model.path} has {expected}: faces of different "
                                 "face models or cameras cannot be combined")
        return numbers


def common_model(paths: list[Path]) -> StoredNumbers:
    """Returns the content of the first file that can be read, whose face model and camera the others must have.

    Raises InputError if none can be read.
    """
    for path in paths:
        try:
            return read_numbers(path)
        except InputError as error:
            problem = error
    raise problem


def draw_stored_faces(reconstructor: Reconstructor, faces: list[StoredFace], parts: Collection[str]
                      ) -> list[FaceResult]:
    """Returns the results of faces whose coefficients are known. parts: see `Reconstructor.__call__`."""
    coefficients = torch.from_numpy(np.stack([face.coefficients for face in faces]))
    return reconstructor.results(coefficients.to(reconstructor.device), faces, parts)


def choose_stored_faces(paths: list[Path]) -> ChosenPhotos:
    """Returns files of coefficients as photos: the names of their results are relative to the folder that has all."""
    paths = [absolute(path) for path in paths]
    root = Path(os.path.commonpath([path.parent for path in paths]))
    return ChosenPhotos(paths, root, root, [])
