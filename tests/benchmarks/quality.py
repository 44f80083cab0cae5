"""How well and how fast test.py does on a folder of photos.

    python tests/benchmarks/quality.py DIR [--tones] [options of test.py]

DIR may hold landmarks/<photo>.txt with 68 true points (x y, y down); then the alignment uses their five points (in a
temporary copy of the folder), and the landmark error is printed too. Printed: the share of photos done, seconds a
photo, and mean, median, 90 % quantile and maximum of
  color   mean over the face of the distance of render and photo, RGB 0..1
  id      distance of dlib's face embeddings of crop and render (0.6 is dlib's limit for the same person)
  nme     mean distance of the 68 landmarks over the distance of the outer eye corners
and with --tones the means of the photos of light, medium and dark skin, by the albedo that a fit to each photo finds.
"""
import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import dlib
import numpy as np
import torch
from scipy.io import loadmat

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from datasets.alignment import five_points  # noqa: E402
from datasets.photos import list_photos  # noqa: E402
from models.coordinates import flip_y, photo_to_crop  # noqa: E402
from models.face_model import FaceModel  # noqa: E402
from models.face_model_files import load_face_model_data  # noqa: E402
from tests.helpers import color_error, crop_and_overlay  # noqa: E402
from util.dlib_models import dlib_model_file  # noqa: E402

# Individual typology angle, degrees: dark up to the first, light from the second. Real skins span -60 to 70, fitted
# albedos less: a photo does not tell dark skin from dim light.
TONES = 20, 32
predictor = dlib.shape_predictor(str(dlib_model_file("shape_predictor_68_face_landmarks.dat")))
recogniser = dlib.face_recognition_model_v1(str(dlib_model_file("dlib_face_recognition_resnet_model_v1.dat")))


def embedding(crop: np.ndarray) -> np.ndarray:
    box = dlib.rectangle(40, 45, 184, 200)   # of the face in an aligned crop
    crop = np.ascontiguousarray(crop)
    return np.array(recogniser.compute_face_descriptor(crop, predictor(crop, box), 5))


def score(results: Path, photo: Path) -> dict[str, float]:
    panel = results / f"{photo.stem}.png"
    crop, overlay = map(embedding, crop_and_overlay(panel))
    scores = {"color": color_error(panel), "id": np.linalg.norm(crop - overlay)}
    truth = photo.parent / "landmarks" / f"{photo.stem}.txt"
    if truth.exists():
        mat = loadmat(results / f"{photo.stem}.mat")
        trans_params = mat["trans_params"][0]
        true = flip_y(photo_to_crop(flip_y(np.loadtxt(truth), trans_params[1]), trans_params), 224)
        error = np.linalg.norm(mat["lm68"][0] - true, axis=1).mean()
        scores["nme"] = error / np.linalg.norm(true[36] - true[45])
    return scores


def linked(folder: Path, photos: list[Path], copy: Path):
    """The folder again, with detections made from the true landmarks."""
    (copy / "detections").mkdir(parents=True)
    for photo in photos:
        (copy / photo.name).symlink_to(photo.resolve())
        points = folder / "landmarks" / f"{photo.stem}.txt"
        np.savetxt(copy / "detections" / f"{photo.stem}.txt", five_points(np.loadtxt(points)))


def reconstruct(photos: Path, checkpoints: Path, options: list[str]) -> Path:
    """Returns the folder of the results: a new one in a folder with links to all checkpoints."""
    for experiment in (ROOT / "checkpoints").iterdir():
        for checkpoint in experiment.glob("epoch_*.pth"):
            (checkpoints / experiment.name).mkdir(parents=True, exist_ok=True)
            (checkpoints / experiment.name / checkpoint.name).symlink_to(checkpoint)
    done = subprocess.run([sys.executable, ROOT / "test.py", *options, f"--img_folder={photos}",
                           f"--checkpoints_dir={checkpoints}"], cwd=ROOT)
    if done.returncode not in (0, 1):   # it has said why
        sys.exit(done.returncode)
    results, = checkpoints.glob("*/results/*/*")
    return results


def tones(results: Path, photos: list[Path]) -> np.ndarray:
    """Individual typology angle of the albedo of fits, degrees: the larger, the lighter the skin."""
    model = FaceModel(load_face_model_data(ROOT / "BFM", "open_face_model.npz"))
    tex = np.concatenate([loadmat(results / f"{photo.stem}.mat")["tex"] for photo in photos])
    skin = model.albedo(torch.from_numpy(tex))[:, model.skin_mask > 0].mean(1).clamp(0, 1)
    lightness, _, yellow = cv2.cvtColor(skin[:, None].numpy(), cv2.COLOR_RGB2LAB)[:, 0].T
    return np.degrees(np.arctan2(lightness - 50, yellow))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--tones", action="store_true")
    arguments, options = parser.parse_known_args()
    folder = arguments.folder
    photos = list_photos(folder)
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        source = folder
        if (folder / "landmarks").is_dir():
            source = work / "photos"
            linked(folder, photos, source)
        start = time.perf_counter()
        results = reconstruct(source, work / "checkpoints", options)
        seconds = time.perf_counter() - start
        done = [photo for photo in photos if (results / f"{photo.stem}.mat").exists()]
        scores = [score(results, photo) for photo in done]
        if arguments.tones:
            angles = tones(reconstruct(source, work / "fits", ["--epoch=0", "--fit_iters=100"]), done)
    print(f"{len(done)} of {len(photos)} photos, {seconds / len(photos):.2f} s a photo, start included")
    for name in scores[0]:
        values = np.array([each[name] for each in scores])
        print(f"{name:6s} mean {values.mean():.4f} median {np.median(values):.4f} p90 {np.quantile(values, 0.9):.4f} "
              f"max {values.max():.4f}")
        if arguments.tones:
            groups = np.digitize(angles, TONES)
            for group, tone in enumerate(("dark", "medium", "light")):
                of_tone = values[groups == group]
                print(f"       {tone} {of_tone.mean():.4f} ({len(of_tone)} photos)")


if __name__ == "__main__":
    main()
