"""Measures how good and how fast test.py is on a folder of photos.

    python tests/benchmarks/quality.py DIR [--tones] [options of test.py]

DIR may contain landmarks/<photo>.txt with 68 annotated landmarks, one `x y` per line, px, y down. Then the faces are
aligned by five points of these, in a temporary copy of the folder, and the landmark error is measured too.

Prints how many photos were reconstructed, the seconds per photo, and mean, median, 90 % quantile and maximum of
  color   distance between the colours of render and photo, RGB 0..1, mean over the pixels of the face
  id      distance between dlib's face embeddings of crop and render (up to 0.6, dlib takes them for the same person)
  nme     distance between found and annotated landmarks, mean of the 68, divided by that of the outer eye corners
With --tones it also prints the means for the thirds of the photos with the darkest, medium and lightest skin. The skin
tone is that of the albedo which a fit of the open face model to each photo finds. Grey photos do not tell it, and are
in none of the thirds.
"""
import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

import cv2
import dlib
import numpy as np
import torch
from scipy.io import loadmat

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from datasets.photos import list_photos  # noqa: E402
from models.coordinates import CROP_SIZE, flip_y, photo_to_crop  # noqa: E402
from models.face_model import FaceModel  # noqa: E402
from models.face_model_files import load_face_model_data  # noqa: E402
from models.face_rendering import is_grey  # noqa: E402
from models.landmarks import OUTER_EYE_CORNERS, five_points  # noqa: E402
from tests.benchmarks.reconstructing import annotated_landmarks  # noqa: E402
from tests.helpers import color_error, crop_and_overlay  # noqa: E402
from util.command import run_command  # noqa: E402
from util.dlib_models import dlib_model_file  # noqa: E402

TONES = ("dark", "medium", "light")
# The fit whose albedo tells the skin tone
TONE_FIT = ["--epoch=0", "--fit_iters=12", "--bfm_model=open_face_model.npz"]
predictor = dlib.shape_predictor(str(dlib_model_file("shape_predictor_68_face_landmarks.dat")))
recogniser = dlib.face_recognition_model_v1(str(dlib_model_file("dlib_face_recognition_resnet_model_v1.dat")))


def embedding(crop: np.ndarray) -> np.ndarray:
    """Returns dlib's face embedding (128,) of an aligned crop (224, 224, 3), uint8 RGB."""
    box = dlib.rectangle(40, 45, 184, 200)   # where the face is in an aligned crop
    crop = np.ascontiguousarray(crop)
    return np.array(recogniser.compute_face_descriptor(crop, predictor(crop, box), 5))


class Embedder:
    """Computes dlib's face embeddings on all cores, those of each picture only once."""

    def __init__(self):
        self.known: dict[bytes, np.ndarray] = {}   # by the checksum of the picture

    def __call__(self, crops: list[np.ndarray]) -> list[np.ndarray]:
        """Returns the embedding (128,) of each crop, see `embedding`."""
        keys = [hashlib.sha256(crop.tobytes()).digest() for crop in crops]
        new = {key: crop for key, crop in zip(keys, crops, strict=True) if key not in self.known}
        with ProcessPoolExecutor(os.cpu_count()) as processes:
            self.known |= zip(new, processes.map(embedding, new.values()), strict=True)
        return [self.known[key] for key in keys]


def landmark_error(results: Path, photo: Path) -> float:
    """Returns the distance of the landmarks from the annotated ones, relative to that of the outer eye corners."""
    mat = loadmat(results / f"{photo.stem}.mat")
    trans_params = mat["trans_params"][0]
    annotated = flip_y(annotated_landmarks(photo), trans_params[1])
    annotated = flip_y(photo_to_crop(annotated, trans_params), CROP_SIZE)
    error = np.linalg.norm(mat["lm68"][0] - annotated, axis=1).mean()
    return error / np.linalg.norm(np.subtract(*annotated[[*OUTER_EYE_CORNERS]]))


def aligned_photos(folder: Path, photos: list[Path], copy: Path) -> Path:
    """Returns a folder whose photos are aligned by their annotated landmarks, if there are any: `copy`, with links to
    the photos and with detections. Otherwise returns the folder itself."""
    if not (folder / "landmarks").is_dir():
        return folder
    (copy / "detections").mkdir(parents=True)
    for photo in photos:
        (copy / photo.name).symlink_to(photo.resolve())
        np.savetxt(copy / "detections" / f"{photo.stem}.txt", five_points(annotated_landmarks(photo)))
    return copy


def reconstruct(photos: Path, results: Path, options: list[str]) -> Path:
    """Runs test.py. Returns the folder of the results."""
    done = subprocess.run([sys.executable, ROOT / "test.py", *options, f"--img_folder={photos}",
                           f"--results_dir={results}"], cwd=ROOT)
    if done.returncode not in (0, 1):   # test.py has printed why
        sys.exit(done.returncode)
    return results


class Quality(NamedTuple):
    """How good and how fast the reconstruction of a folder was."""
    photos: list[Path]                # those that were reconstructed
    scores: dict[str, np.ndarray]     # color, id and perhaps nme, see above: one number for each of these photos
    seconds: float                    # per photo of the folder, start included


def measure(source: Path, photos: list[Path], results: Path, options: list[str], embedder: Embedder) -> Quality:
    """Runs test.py and compares its results with the photos.

    source: folder from which it reads them, see `aligned_photos`. results: new folder for its results.
    """
    start = time.perf_counter()
    reconstruct(source, results, options)
    seconds = (time.perf_counter() - start) / len(photos)
    done = [photo for photo in photos if (results / f"{photo.stem}.mat").exists()]
    if not done:
        sys.exit(f"no photo of {source} was reconstructed")
    panels = [results / f"{photo.stem}.png" for photo in done]
    crops, overlays = (embedder(pictures) for pictures in zip(*map(crop_and_overlay, panels), strict=True))
    scores = {"color": np.array([color_error(panel) for panel in panels]),
              "id": np.linalg.norm(np.subtract(crops, overlays), axis=1)}
    if (photos[0].parent / "landmarks").is_dir():
        scores["nme"] = np.array([landmark_error(results, photo) for photo in done])
    return Quality(done, scores, seconds)


def tones(results: Path, photos: list[Path]) -> dict[Path, str]:
    """Returns for each photo in which third of them, of TONES, its skin is. They are sorted by the individual typology
    angle of the fitted albedo, which is larger for lighter skin. Grey photos, which do not tell it, are left out.

    results: folder of the results of test.py with TONE_FIT for these photos.
    """
    crops = np.stack([crop_and_overlay(results / f"{photo.stem}.png")[0] for photo in photos])
    grey = is_grey(torch.from_numpy(crops).permute(0, 3, 1, 2) / 255).ravel()
    photos = [photo for photo, without_color in zip(photos, grey, strict=True) if not without_color]
    model = FaceModel(load_face_model_data(ROOT / "BFM", "open_face_model.npz"))
    tex = np.concatenate([loadmat(results / f"{photo.stem}.mat")["tex"] for photo in photos])
    skin = model.albedo(torch.from_numpy(tex))[:, model.skin_mask > 0].mean(1).clamp(0, 1)
    lightness, _, yellow = cv2.cvtColor(skin[:, None].numpy(), cv2.COLOR_RGB2LAB)[:, 0].T
    angles = np.arctan2(lightness - 50, yellow)
    groups = np.digitize(angles, np.quantile(angles, [1 / 3, 2 / 3]))
    return {photo: TONES[group] for photo, group in zip(photos, groups, strict=True)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder of photos")
    parser.add_argument("--tones", action="store_true", help="print the means for dark, medium and light skin too")
    arguments, options = parser.parse_known_args()
    folder = arguments.folder.resolve()   # test.py runs in another working directory
    photos = list_photos(folder)
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        source = aligned_photos(folder, photos, work / "photos")
        done, scores, seconds = measure(source, photos, work / "results", options, Embedder())
        if arguments.tones:
            tone_of = tones(reconstruct(source, work / "fits", TONE_FIT), done)
    print(f"{len(done)} of {len(photos)} photos, {seconds:.2f} s per photo, start included")
    for name, values in scores.items():
        print(f"{name:6s} mean {values.mean():.4f} median {np.median(values):.4f} p90 {np.quantile(values, 0.9):.4f} "
              f"max {values.max():.4f}")
        if arguments.tones:
            for tone in TONES:
                of_tone = values[[tone_of.get(photo) == tone for photo in done]]
                print(f"       {tone} {of_tone.mean():.4f} ({len(of_tone)} photos)")
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main, verbose=False))
