"""Measures how far photos can be made worse until their faces are reconstructed badly.

    python tests/benchmarks/robustness.py DIR --out robustness [--photos 40] [--name photo_face --epoch 20]

DIR: a folder of photos with landmarks/<photo>.txt, the 68 annotated landmarks of each, one `x y` per line, px, y down.

Each photo is made smaller, darker, noisier, blurred, compressed, occluded and turned, in four steps each. The face is
searched in the changed photo and reconstructed. Measured are
  nme       landmark error: the mean distance of all 68 from the annotated ones, relative to the distance of the outer
            eye corners, mean over the photos in which a face was found
  failures  share of the photos in which no face was found, or with a landmark error above 10 %
  id        distance between dlib's face embeddings of the unchanged photo and of the render over the changed one
Writes robustness.md with these numbers and the weakest spots, and a picture of curves for each measure. 40 photos take
about 5 minutes on two CPU cores.
"""
import argparse
import os
import sys
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from torch.utils.data import Dataset

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from datasets.alignment import align  # noqa: E402
from datasets.face_detection import face_detector  # noqa: E402
from datasets.face_finder import FacePoints, align_face  # noqa: E402
from datasets.photos import list_photos, read_photo  # noqa: E402
from models.coordinates import flip_y  # noqa: E402
from models.landmarks import five_points  # noqa: E402
from models.reconstruction import Reconstructor  # noqa: E402
from models.records import AlignedFace  # noqa: E402
from tests.benchmarks.plots import draw_curves  # noqa: E402
from tests.benchmarks.quality import Embedder  # noqa: E402
from tests.benchmarks.reconstructing import (  # noqa: E402
    add_options,
    annotated_landmarks,
    box_center,
    landmarks_in_photo,
    load_reconstructor,
)
from tests.benchmarks.scores import failure_rate, normalised_error, outer_eye_distance  # noqa: E402
from util.command import run_command  # noqa: E402
from util.files import atomic_write  # noqa: E402
from util.readers import read_in_processes  # noqa: E402

FAILURE = 0.1        # a larger landmark error is a failure
MOST_FAILURES = 0.1  # a larger share of failures makes a weak spot
FARTHEST = 0.5       # of the middle of a face from the annotated one, as a share of its size: a farther one is another


class Face(NamedTuple):
    """A photo of a face."""
    pixels: np.ndarray      # (H, W, 3) uint8 RGB
    landmarks: np.ndarray   # (68, 2) px, y down: where they truly are


def same(face: Face, _: float) -> Face:
    return face


def smaller(face: Face, times: float) -> Face:
    size = [max(round(length / times), 1) for length in face.pixels.shape[1::-1]]
    pixels = cv2.resize(face.pixels, size, interpolation=cv2.INTER_AREA)
    return Face(pixels, (face.landmarks + 0.5) * np.divide(size, face.pixels.shape[1::-1]) - 0.5)


def darker(face: Face, times: float) -> Face:
    return face._replace(pixels=np.rint(face.pixels / times).astype(np.uint8))


def noisier(face: Face, deviation: float) -> Face:
    noise = np.random.default_rng(0).normal(0, deviation, face.pixels.shape)
    return face._replace(pixels=np.rint(face.pixels + noise).clip(0, 255).astype(np.uint8))


def blurred(face: Face, percent: float) -> Face:
    sigma = percent / 100 * outer_eye_distance(face.landmarks)
    return face._replace(pixels=cv2.GaussianBlur(face.pixels, (0, 0), sigma))


def compressed(face: Face, quality: float) -> Face:
    _, encoded = cv2.imencode(".jpg", face.pixels[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, int(quality)])
    return face._replace(pixels=np.ascontiguousarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR)[:, :, ::-1]))


def occluded(face: Face, percent: float) -> Face:
    """Covers the lower part of the face, as a mask or a hand does."""
    (left, top), (right, bottom) = face.landmarks.min(0), face.landmarks.max(0)
    pixels = face.pixels.copy()
    rows = slice(max(round(bottom - percent / 100 * (bottom - top)), 0), max(round(bottom), 0))
    pixels[rows, max(round(left), 0):max(round(right), 0)] = 128
    return face._replace(pixels=pixels)


def turned(face: Face, degrees: float) -> Face:
    """Turns the photo anticlockwise. What it does not show is black."""
    height, width = face.pixels.shape[:2]
    matrix = cv2.getRotationMatrix2D(box_center(face.landmarks).tolist(), degrees, 1)
    corners = np.array([[0, 0], [width, 0], [0, height], [width, height]]) @ matrix[:, :2].T + matrix[:, 2]
    size = np.ceil(np.ptp(corners, axis=0)).astype(int)
    matrix[:, 2] -= corners.min(0)
    return Face(cv2.warpAffine(face.pixels, matrix, size.tolist()), face.landmarks @ matrix[:, :2].T + matrix[:, 2])


class Change(NamedTuple):
    """A way in which photos become worse."""
    name: str
    apply: Callable[[Face, float], Face]
    strengths: tuple[float, ...]
    unit: str   # what the strengths are


CHANGES = [
    Change("smaller", smaller, (2, 4, 8, 16), "times"),
    Change("darker", darker, (2, 4, 8, 16), "times"),
    Change("noise", noisier, (15, 30, 60, 120), "grey levels, standard deviation"),
    Change("blur", blurred, (3, 6, 12, 24), "% of the distance of the eyes, standard deviation"),
    Change("JPEG", compressed, (30, 15, 8, 4), "quality"),
    Change("occluded", occluded, (20, 35, 50, 65), "% of the face, from below"),
    Change("turned", turned, (45, 90, 135, 180), "degrees"),
]


class Scores(NamedTuple):
    """How well changed photos were reconstructed."""
    nme: float        # 0..1; nan if no face was found
    failures: float   # 0..1
    id: float         # nan if no face was found


class ChangedFaces(Dataset):
    """The faces of changed photos: first those of the first step, then those of the next one.

    Item i is the changed photo's landmarks (68, 2) px, y down, and its face, or None if none is found in it.
    faces: the unchanged photos. steps: functions that change them, with the strength. for_fit: also find what a fit
    needs.
    """

    def __init__(self, faces: list[Face], steps: list[tuple[Callable[[Face, float], Face], float]], for_fit: bool):
        self.faces, self.steps, self.for_fit = faces, steps, for_fit
        self.detector = face_detector("mediapipe")

    def __len__(self) -> int:
        return len(self.faces) * len(self.steps)

    def __getitem__(self, index: int) -> tuple[np.ndarray, AlignedFace | None]:
        change, strength = self.steps[index // len(self.faces)]
        face = change(self.faces[index % len(self.faces)], strength)
        center, size = box_center(face.landmarks), np.ptp(face.landmarks, axis=0).max()
        for found in self.detector.detect(face.pixels):
            if np.linalg.norm(box_center(found.landmarks) - center) < FARTHEST * size:
                points = FacePoints(found.landmarks, given=False, mesh=found.mesh)
                return face.landmarks, align_face(Path(), "", "", face.pixels, points,
                                                  self.detector if self.for_fit else None)
        return face.landmarks, None


def score(changed: list[tuple[np.ndarray, AlignedFace | None]], reconstructor: Reconstructor,
          unchanged: list[np.ndarray], embedder: Embedder) -> Scores:
    """Returns the scores of changed photos.

    changed: see `ChangedFaces`. unchanged: the embedding (128,) of each unchanged photo.
    """
    found = [number for number, (_, face) in enumerate(changed) if face]
    if not found:
        return Scores(np.nan, 1.0, np.nan)
    results = reconstructor([changed[number][1] for number in found], parts=("overlay",))
    errors = np.full(len(changed), np.nan)
    for number, result in zip(found, results, strict=True):
        landmarks = changed[number][0]
        errors[number] = normalised_error(landmarks_in_photo(result), landmarks, outer_eye_distance(landmarks))
    embeddings = embedder([np.rot90(result.overlay, result.face.turns) for result in results])
    distances = np.linalg.norm(np.subtract(embeddings, [unchanged[number] for number in found]), axis=1)
    return Scores(float(errors[found].mean()), failure_rate(errors, FAILURE), float(distances.mean()))


def read_faces(folder: Path, count: int) -> list[Face]:
    """Returns up to `count` photos at equal steps in a folder. Raises InputError if one has no landmarks."""
    photos = list_photos(folder)
    chosen = [photos[i] for i in np.linspace(0, len(photos) - 1, min(count, len(photos))).astype(int)]
    return [Face(read_photo(photo), annotated_landmarks(photo)) for photo in chosen]


def change_scores(faces: list[Face], reconstructor: Reconstructor) -> dict[str, list[Scores]]:
    """Returns the scores of photos after each of CHANGES, by its name: of the unchanged photos, then of each step."""
    embedder = Embedder()
    unchanged = embedder([align(face.pixels, flip_y(five_points(face.landmarks), face.pixels.shape[0]))[0]
                          for face in faces])
    steps = [(same, 0.0)] + [(change.apply, strength) for change in CHANGES for strength in change.strengths]
    changed = iter(read_in_processes(ChangedFaces(faces, steps, reconstructor.fitter is not None), os.cpu_count()))

    def scores_of_step() -> Scores:
        return score(list(islice(changed, len(faces))), reconstructor, unchanged, embedder)

    first, scores = scores_of_step(), {}
    for change in CHANGES:
        print(f"{change.name} ...", file=sys.stderr, flush=True)
        scores[change.name] = [first, *(scores_of_step() for _ in change.strengths)]
    return scores


def markdown(scores: dict[str, list[Scores]]) -> str:
    """Returns a table of the scores of all changes, see `change_scores`, and the weakest spots."""
    columns = ["unchanged", *(f"step {number + 1}" for number in range(len(CHANGES[0].strengths)))]
    lines = ["| nme / failures / id | " + " | ".join(columns) + " |", "| --- |" + " --- |" * len(columns)]
    weak = []
    for change in CHANGES:
        steps = scores[change.name]
        cells = [f"{100 * each.nme:.1f} % / {100 * each.failures:.0f} % / {each.id:.2f}" for each in steps]
        cells[1:] = [f"{strength:g}: {cell}" for strength, cell in zip(change.strengths, cells[1:], strict=True)]
        lines.append(f"| {change.name} ({change.unit}) | " + " | ".join(cells) + " |")
        failing = [strength for strength, each in zip(change.strengths, steps[1:], strict=True)
                   if each.failures > MOST_FAILURES]
        if failing:
            weak.append(f"{change.name} from {failing[0]:g} ({change.unit})")
    lines += ["", f"Weakest spots, with failures of more than {MOST_FAILURES:.0%}: {'; '.join(weak) or 'none'}."]
    return "\n".join(lines) + "\n"


def measure(options: argparse.Namespace) -> int:
    """Measures all changes and writes the table and the pictures. Returns the exit status."""
    reconstructor = load_reconstructor(options)
    faces = read_faces(options.folder, options.photos)
    scores = change_scores(faces, reconstructor)
    steps = np.arange(1 + len(CHANGES[0].strengths))
    for key, factor, label in (("nme", 100, "landmark error, %"), ("failures", 100, "failures, %"),
                               ("id", 1, "distance of the embeddings")):
        curves = {name: (steps, np.array([factor * getattr(each, key) for each in values]))
                  for name, values in scores.items()}
        draw_curves(Path(f"{options.out}_{key}.png"), curves, f"{options.name}, {len(faces)} photos", "step", label)
    text = markdown(scores)
    with atomic_write(Path(f"{options.out}.md")) as temporary:
        temporary.write_text(text, encoding="utf-8")
    print(text)
    return 0


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="DIR", help="folder of photos with landmarks/")
    parser.add_argument("--out", type=Path, required=True, help="the files are written as OUT.md and OUT_<measure>.png")
    parser.add_argument("--photos", type=int, default=40, help="number of photos, at equal steps in the folder")
    add_options(parser)
    options = parser.parse_args(arguments)
    return run_command(lambda: measure(options), verbose=False)


if __name__ == "__main__":
    sys.exit(main())
