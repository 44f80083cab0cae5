"""Measures how fast faces are found, and how close the landmarks are to the true ones.

    python tests/benchmarks/detection.py DIR [--photos 20]

DIR: a folder of photos of one large face each. If it has landmarks/<photo>.txt, with the 68 true landmarks (x y in px,
y down), all photos are compared with them: the face in the middle of the photo counts. The times are those of copies of
some photos, whose longer side is 250 px and 1,024 px. Each is measured on one core, with both detectors in turn.
"""
import argparse
import contextlib
import os
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from datasets.face_detection import DETECTORS, face_detector  # noqa: E402
from datasets.photos import list_photos, read_photo  # noqa: E402
from datasets.preparation import PhotoPreparer  # noqa: E402
from datasets.preparation_plan import plan_folder  # noqa: E402
from models.landmarks import OUTER_EYE_CORNERS, WITHOUT_JAW  # noqa: E402
from tests.benchmarks.reconstructing import annotated_landmarks  # noqa: E402
from util.command import run_command  # noqa: E402

SIZES = (250, 1024)   # px, the longer side of the photos


def landmark_errors(photos: list[Path], detector: str) -> np.ndarray:
    """Find the face in the middle of each photo. Returns the distances of its landmarks from the true ones (P, 68), in
    percent of the distance of the outer eye corners; nan for a photo in which no face is found."""
    finder, errors = face_detector(detector), []
    for path in photos:
        photo = read_photo(path)
        true = annotated_landmarks(path)
        center = np.array(photo.shape[1::-1]) / 2
        faces = finder.detect(photo)
        found = min((face.landmarks for face in faces), key=lambda points: np.linalg.norm(points.mean(0) - center),
                    default=np.full((68, 2), np.nan))
        left, right = true[list(OUTER_EYE_CORNERS)]
        errors.append(100 * np.linalg.norm(found - true, axis=1) / np.linalg.norm(right - left))
    return np.array(errors)


def resized(photos: list[Path], size: int, folder: Path):
    """Write copies of the photos, whose longer side is `size` px, to the folder."""
    folder.mkdir()
    for path in photos:
        photo = Image.fromarray(read_photo(path))
        zoom = size / max(photo.size)
        photo.resize((round(photo.width * zoom), round(photo.height * zoom)), Image.Resampling.LANCZOS).save(
            folder / f"{path.stem}.jpg", quality=95)


def detection_time(photos: list[Path], detector: str) -> float:
    """The median processor time, ms, of finding the face and its landmarks in a photo."""
    finder, times = face_detector(detector), []
    for photo in map(read_photo, [photos[0], *photos]):   # the first time, the models are loaded
        start = time.process_time()
        finder.detect(photo)
        times.append(time.process_time() - start)
    return 1e3 * float(np.median(times[1:]))


def preparation_rate(folder: Path, detector: str) -> float:
    """Photos per second of processor time that data_preparation.py prepares in one process. Writes to the folder."""
    plan = plan_folder(folder, overwrite=True)
    preparer = PhotoPreparer(folder, plan.to_prepare, True, ROOT / "checkpoints" / "lm_model", detector, False)
    preparer[0]   # loads the models
    start = time.process_time()
    for i in range(len(preparer)):
        preparer[i]
    return len(preparer) / (time.process_time() - start)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--photos", type=int, default=20, help="how many photos the times are measured with")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    photos = [path.resolve() for path in list_photos(options.folder)]
    if (options.folder / "landmarks").is_dir():
        for detector in DETECTORS:
            errors = landmark_errors(photos, detector)
            found = ~np.isnan(errors[:, 0])
            per_photo = errors[found].mean(1)
            inner = errors[found][:, WITHOUT_JAW].mean()
            print(f"{detector}: a face in {found.sum()} of {len(photos)} photos; error of all landmarks "
                  f"{per_photo.mean():.2f} %, without the jaw {inner:.2f} %, worst photo {per_photo.max():.1f} %")
    some = photos[::max(len(photos) // options.photos, 1)][:options.photos]
    with tempfile.TemporaryDirectory() as root, contextlib.chdir(root):
        for size in SIZES:
            folder = Path(str(size))
            resized(some, size, folder)
            copies = list_photos(folder)
            times = {detector: detection_time(copies, detector) for detector in DETECTORS}
            rates = {detector: preparation_rate(folder, detector) for detector in DETECTORS}
            print(f"{size} px: detection and landmarks "
                  + ", ".join(f"{name} {ms:.0f} ms" for name, ms in times.items())
                  + "; data preparation " + ", ".join(f"{name} {rate:.1f} photos/s" for name, rate in rates.items())
                  + f", ratio {rates['mediapipe'] / rates['dlib']:.1f}")
    return 0


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(run_command(main, verbose=False))
