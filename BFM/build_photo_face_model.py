#!/usr/bin/env python
"""Builds a face model whose albedo is learned from photos. Shape and expression are those of the open face model.

    python BFM/build_photo_face_model.py --photos DIR... --work DIR     # writes BFM/photo_face_model.npz

It aligns the faces of the photos, fits the face model to each, reads the albedo of each face from its photo at the
photo's own resolution, and learns the mean and the principal components of all faces. Then the fits are repeated with
the learned albedo. At last it moves the vertices of the landmarks to where the detector finds landmarks in pictures of
the model. If photos have annotated landmarks, it also learns at which vertices people annotate them. Each photo takes
about half a second in each round. All steps save their results in the folder of --work, so the same command continues a
run that was stopped. BFM/README.md describes the model.
"""
import argparse
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from BFM.builder.keypoints import annotated_landmarks, choose_keypoints, find_landmarks
from BFM.builder.packing import pack_albedo
from BFM.builder.photo_albedo import (
    AlbedoSamples,
    balance,
    learn_albedo,
    mirror_vertices,
    restore_tones,
    sample_albedo,
    weigh_down_strangers,
)
from datasets.face_detection import face_detector
from datasets.photo_folder import PhotoFolder
from datasets.photos import list_photos, read_photo
from models.coefficients import SIZE, SLICES
from models.coordinates import crop_to_projection
from models.face_model import FaceModel
from models.face_model_files import load_face_model_data
from models.fitting import Fitter
from models.renderer import MeshRenderer
from util.files import InputError, atomic_write, write_lines
from util.progress import Progress
from util.readers import read_in_processes

HERE = Path(__file__).resolve().parent
OPEN_MODEL = "open_face_model.npz"
PHOTOS_OF_A_FILE = 256
BATCH = 8
STEPS = (12, 8)   # of the fits of the first round, which start from the mean face, and of the later rounds
FACES_WITH_LANDMARKS = 800   # about so many show where the detector finds landmarks


@dataclass
class Work:
    """The folder with the results of all steps."""
    folder: Path

    def crops(self, number: int) -> Path:
        return self.folder / f"crops_{number:03d}.npz"

    def fits(self, round_number: int, number: int) -> Path:
        return self.folder / f"round{round_number}_fits_{number:03d}.npz"

    def albedo(self, round_number: int) -> Path:
        return self.folder / f"round{round_number}_albedo.npz"

    @property
    def keypoints(self) -> Path:
        return self.folder / "keypoints.npz"


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, nargs="+", required=True, help="folders of photos; the largest face of "
                        "each photo is used. Names that end with _a<years> tell the age of the person. A file "
                        "landmarks/<photo>.txt in a folder holds the 68 landmarks as people annotated them (optional)")
    parser.add_argument("--work", type=Path, required=True, help="folder for the results of all steps; they take about "
                        "0.5 MB per photo and round")
    parser.add_argument("--out", type=Path, default=HERE / "photo_face_model.npz", help="the file to write")
    parser.add_argument("--rounds", type=int, default=2, help="how often fits and albedo are computed")
    return parser.parse_args()


def main() -> int:
    options = parse_arguments()
    work = Work(options.work)
    try:
        shards = align_photos(options.photos, work)
        data = load_face_model_data(HERE, OPEN_MODEL)
        for number in range(options.rounds):
            face_model = FaceModel(data)
            fit_photos(face_model, work, number, shards)
            if not work.albedo(number).exists():
                mean, basis = learn(face_model, work, number, shards)
                save_arrays(work.albedo(number), mean=mean, basis=basis)
            with np.load(work.albedo(number)) as learned:
                data |= {"meantex": 255 * learned["mean"].reshape(1, -1),
                         "texBase": 255 * learned["basis"].reshape(len(learned["basis"]), -1).T}
        if not work.keypoints.exists():
            # The last fits have the albedo of the round before; their faces are drawn with it.
            placed = {"keypoints": place_keypoints(face_model, work, options.rounds - 1, shards)}
            annotated = place_annotated_keypoints(face_model, work, options.rounds - 1, shards)
            if annotated is not None:
                placed["annotated_keypoints"] = annotated
            save_arrays(work.keypoints, **placed)
        with np.load(work.keypoints) as file:
            placed = dict(file)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    with atomic_write(options.out) as temporary, temporary.open("wb") as file:
        pack_albedo(HERE / OPEN_MODEL, file, data["meantex"].reshape(-1, 3), data["texBase"], **placed)
    print(f"{options.out}: {options.out.stat().st_size / 1e6:.1f} MB")
    return 0


def align_photos(folders: list[Path], work: Work) -> int:
    """Saves the aligned faces of all photos. Returns the number of files. Raises InputError if the folder of work
    belongs to other photos."""
    photos = [photo for folder in folders for photo in list_photos(folder)]
    work.folder.mkdir(parents=True, exist_ok=True)
    listed, names = work.folder / "photos.txt", [str(photo) for photo in photos]
    if not listed.exists():
        write_lines(listed, names)
    elif listed.read_text(encoding="utf-8").splitlines() != names:
        raise InputError(f"{work.folder} holds the work of other photos ({listed}): choose another folder with --work, "
                         "or delete it")
    starts = range(0, len(photos), PHOTOS_OF_A_FILE)
    with Progress(len(photos), "aligned photo") as progress:
        for number, start in enumerate(starts):
            part = photos[start:start + PHOTOS_OF_A_FILE]
            if not work.crops(number).exists():
                faces = []
                for photo in read_in_processes(PhotoFolder(part, for_fit=True), workers=2):
                    faces += photo.faces
                    if photo.problem:
                        progress.say(f"left out: {photo.problem}")
                save_arrays(work.crops(number), paths=[str(face.photo) for face in faces],
                            **{name: np.stack([getattr(face, name) for face in faces])
                               for name in ("crop", "landmarks", "attention", "trans_params")})
            progress.advance(len(part))
    return len(starts)


def fit_photos(face_model: FaceModel, work: Work, round_number: int, shards: int):
    """Saves the coefficients of all faces, and the albedo that the photos show of them."""
    renderer = MeshRenderer(renderer="portable")
    fitter = Fitter(face_model, renderer)
    with Progress(shards, "fitted file") as progress:
        for number in range(shards):
            if not work.fits(round_number, number).exists():
                with np.load(work.crops(number)) as faces:
                    crops = {name: faces[name] for name in faces.files}
                start = np.zeros((len(crops["crop"]), SIZE), np.float32)
                if round_number:
                    with np.load(work.fits(round_number - 1, number)) as fits:
                        start = fits["coeffs"]
                    start[:, SLICES["tex"]] = 0   # the components have changed
                parts = list(fit_batches(face_model, renderer, fitter, crops, start, STEPS[min(round_number, 1)]))
                names = ("coeffs", "colors", "weights", "errors")
                save_arrays(work.fits(round_number, number), paths=crops["paths"],
                            **{name: np.concatenate(part) for name, part in zip(names, zip(*parts, strict=True),
                                                                                strict=True)})
            progress.advance()


def fit_batches(face_model: FaceModel, renderer: MeshRenderer, fitter: Fitter, crops: dict[str, np.ndarray],
                start: np.ndarray, steps: int) -> Iterator[tuple[np.ndarray, ...]]:
    """Coefficients, colours, weights and errors (see `sample_albedo`) of a batch of faces after the other.

    crops: the arrays that `align_photos` saves. start: coefficients (n, 257).
    """
    for first in range(0, len(start), BATCH):
        crop, landmarks, attention, trans_params, paths = (
            crops[name][first:first + BATCH] for name in ("crop", "landmarks", "attention", "trans_params", "paths"))
        photos = torch.from_numpy(crop).permute(0, 3, 1, 2).float() / 255
        attention = torch.from_numpy(attention)[:, None].float() / 255
        projected = np.stack([crop_to_projection(*pair) for pair in zip(landmarks, trans_params, strict=True)])
        coeffs = fitter(torch.from_numpy(start[first:first + BATCH]), photos, torch.from_numpy(projected).float(),
                        attention, steps)
        colors, weights, errors = sample_albedo(face_model, renderer, coeffs, [read_photo(Path(p)) for p in paths],
                                                trans_params, attention)
        yield coeffs.numpy(), colors.astype(np.float16), (255 * weights).astype(np.uint8), errors


def learn(face_model: FaceModel, work: Work, round_number: int, shards: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean (N, 3) and basis (80, N, 3) of the albedo of the fitted faces, RGB 0..1."""
    parts: dict[str, list[np.ndarray]] = {"colors": [], "weights": [], "errors": [], "paths": []}
    for number in range(shards):
        with np.load(work.fits(round_number, number)) as fits:
            good = np.isfinite(fits["errors"])   # enough of the face is seen
            for name, arrays in parts.items():
                arrays.append(fits[name][good])
    colors, weights, errors, paths = (np.concatenate(arrays) for arrays in parts.values())
    ages = [re.search(r"_a(\d+)$", Path(path).stem) for path in paths]
    ages = np.array([int(found[1]) if found else -1 for found in ages])
    samples = AlbedoSamples(colors, weights, balance(colors, weights, errors, ages))
    restore_tones(samples)
    weigh_down_strangers(samples, face_model)
    return learn_albedo(samples, mirror_vertices(face_model), face_model.mean_tex.view(-1, 3).numpy() / 255)


def place_keypoints(face_model: FaceModel, work: Work, round_number: int, shards: int) -> np.ndarray:
    """The vertices (68,) of the landmarks, see BFM/builder/keypoints.py. face_model: of the fits of that round."""
    renderer, detector = MeshRenderer(renderer="portable"), face_detector("mediapipe")
    parts = []
    with Progress(shards, "file with landmarks") as progress:
        for number in range(shards):
            with np.load(work.fits(round_number, number)) as fits, np.load(work.crops(number)) as faces:
                best = fits["errors"].argsort()[:-(-FACES_WITH_LANDMARKS // shards)]
                best = best[np.isfinite(fits["errors"][best])]   # enough of the face is seen
                coeffs, crops = fits["coeffs"][best], faces["crop"][best]
            for first in range(0, len(best), BATCH):
                rows = slice(first, first + BATCH)
                some = torch.from_numpy(coeffs[rows])
                parts.append(find_landmarks(face_model, renderer, detector, some, crops[rows]))
            progress.advance()
    return choose_keypoints(face_model, *(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))


@torch.no_grad()
def place_annotated_keypoints(face_model: FaceModel, work: Work, round_number: int, shards: int) -> np.ndarray | None:
    """The vertices (68,) of the landmarks where people annotate them; None if no photo has annotated landmarks.

    face_model: of the fits of that round. Raises InputError if annotated landmarks cannot be read.
    """
    found, vertices, turned = [], [], []
    for number in range(shards):
        with np.load(work.fits(round_number, number)) as fits, np.load(work.crops(number)) as faces:
            rows = zip(faces["paths"], faces["landmarks"], faces["trans_params"], fits["coeffs"], fits["errors"],
                       strict=True)
        for path, landmarks, trans_params, coeffs, error in rows:
            annotated = annotated_landmarks(Path(path), landmarks, trans_params)
            if annotated is not None and np.isfinite(error):   # enough of the face is seen
                found.append(annotated)
                vertices.append(face_model.project(face_model(torch.from_numpy(coeffs[None])).vertices)[0].numpy())
                turned.append(coeffs[SLICES["angle"]][1])
    return choose_keypoints(face_model, np.stack(found), np.stack(vertices), np.array(turned)) if found else None


def save_arrays(path: Path, **arrays):
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)


if __name__ == "__main__":
    sys.exit(main())
