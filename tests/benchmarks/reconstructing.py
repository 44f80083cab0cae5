"""Reconstructs the photos of a benchmark in the way of test.py."""
import argparse
import os
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

import numpy as np
import torch

from datasets.face_detection import face_detector
from datasets.face_finder import LM_MODEL, FaceFinder, FacePoints, align_face
from datasets.frozen_landmarks import landmark_detector
from datasets.photo_folder import FaceFiles, Photo, batches
from datasets.photos import read_photo
from models.coefficients import SLICES
from models.coordinates import crop_to_photo, flip_y
from models.reconstruction import PARTS, REPOSITORY, Reconstructor
from models.records import FaceResult, FoundFace
from util.devices import choose_device
from util.files import InputError
from util.readers import read_in_processes

SAME_FACE = 0.5   # largest distance of a face that is found from the annotated one, as a share of its size


def add_options(parser: argparse.ArgumentParser):
    """Adds the options that choose what reconstructs the faces. They mean the same as those of test.py."""
    group = parser.add_argument_group("reconstruction, as in test.py")
    group.add_argument("--name", default="photo_face", help="the checkpoint <checkpoints_dir>/<name>/epoch_<epoch>.pth")
    group.add_argument("--epoch", default="20", help="0 uses no network; give --fit_iters then")
    group.add_argument("--fit_iters", type=int, default=0, help="steps of the fit of all coefficients to each photo")
    group.add_argument("--fit_color", action="store_true", help="the short fit after the network")
    group.add_argument("--bfm_model", help="file name of the face model; by default that of the network")
    group.add_argument("--bfm_folder", type=Path, default=REPOSITORY / "BFM", help="folder of the face models")
    group.add_argument("--checkpoints_dir", type=Path, default=REPOSITORY / "checkpoints", help="folder of checkpoints")
    group.add_argument("--gpu_ids", help="the GPU that computes; -1 is the CPU")
    group.add_argument("--batch_size", type=int, default=8, help="how many faces are computed at once")


def load_reconstructor(options: argparse.Namespace) -> Reconstructor:
    """Returns what reconstructs faces, from the options of `add_options`. Raises InputError."""
    if options.epoch == "0" and not options.fit_iters:
        raise InputError("--epoch=0 uses no network: give --fit_iters=12 too, which fits the mean face to each photo")
    return Reconstructor.load(options.name, options.epoch, choose_device(options.gpu_ids), FaceFinder(),
                              fit_iters=options.fit_iters, fit_color=options.fit_color, bfm_model=options.bfm_model,
                              bfm_folder=options.bfm_folder, checkpoints_dir=options.checkpoints_dir)


class AnnotatedFaces(FaceFiles):
    """Photos of which each has one annotated face. Of the faces that the detector finds, the one nearest to the middle
    of the annotated face is taken. The annotation is used for nothing else.

    photos: paths. center: returns the middle (2,) of the annotated face of a photo, px, y down. reconstructor: it says
    whether the faces need landmarks and attention for a fit.
    """

    def __init__(self, photos: list[Path], center: Callable[[Path], np.ndarray], reconstructor: Reconstructor,
                 detector: str = "mediapipe"):
        super().__init__(photos, verbose=False, root=None)
        self.center, self.detector = center, face_detector(detector)
        self.landmark_detector = landmark_detector(LM_MODEL, self.detector) if reconstructor.fitter else None

    def read(self, path: Path) -> Photo:
        photo = read_photo(path)
        center = self.center(path)

        def distance(face: FoundFace) -> float:
            """Returns the distance of the face from the annotated one, as a share of the size of the face."""
            return np.linalg.norm(box_center(face.landmarks) - center) / np.ptp(face.landmarks, axis=0).max()

        found = self.detector.detect(photo)
        if not any(distance(face) < SAME_FACE for face in found):
            found = self.detector.detect(photo, all_faces=True)   # this takes longer, but finds small faces too
        if not found:
            raise InputError(f"{path}: no face found")
        face = min(found, key=distance)
        points = FacePoints(face.landmarks, given=False, mesh=face.mesh)
        name = self.name_of_results(path)
        return Photo(path, [align_face(path, name, name, photo, points, self.landmark_detector)])


def reconstruct(files: FaceFiles, reconstructor: Reconstructor, batch_size: int = 8,
                parts: Collection[str] = PARTS) -> Iterator[tuple[Photo, FaceResult | None]]:
    """Yields each photo with its face, and with None if it is left out. `Photo.problem` says why then.

    files: photos with one face each. parts: see `Reconstructor.__call__`.
    """
    for complete, faces in batches(read_in_processes(files, os.cpu_count()), batch_size):
        results = dict(zip([face.photo for face in faces], reconstructor(faces, parts) if faces else [], strict=True))
        for photo in complete:
            yield photo, results.get(photo.path)


def annotated_landmarks(photo: Path) -> np.ndarray:
    """Returns the 68 annotated landmarks (68, 2) of a photo, px, y down: those in landmarks/<photo>.txt beside it, one
    `x y` per line. Raises InputError if there is no such file."""
    path = photo.parent / "landmarks" / f"{photo.stem}.txt"
    if not path.is_file():
        raise InputError(f"{path} is missing: each photo needs its 68 annotated landmarks there")
    return np.loadtxt(path)


def landmarks_in_photo(result: FaceResult) -> np.ndarray:
    """Returns the 68 landmarks (68, 2) of a reconstructed face, px in the photo, y down."""
    trans_params = result.face.trans_params
    return flip_y(crop_to_photo(result.landmarks, trans_params), trans_params[1])


def neutral_shape(reconstructor: Reconstructor, result: FaceResult) -> np.ndarray:
    """Returns the vertices (N, 3) of a reconstructed face without its expression, neither turned nor moved,
    decimetres."""
    identity = torch.from_numpy(result.coefficients["id"])[None].to(reconstructor.device)
    expression = identity.new_zeros(1, SLICES["exp"].stop - SLICES["exp"].start)
    return reconstructor.face_model.shape(identity, expression)[0].cpu().numpy()


def box_center(points: np.ndarray) -> np.ndarray:
    """Returns the middle (2,) of the upright box around points (N, 2)."""
    return (points.min(0) + points.max(0)) / 2
