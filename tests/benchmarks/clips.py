"""Measures how exactly the motion of rendered heads is found in videos.

    python tests/benchmarks/clips.py [--heads 16] [--fit_color] [--out FOLDER]

Renders clips of heads that turn and open their mouths. Identity, light and skin are random; every second head moves two
further shapes of ARKit. Runs test.py on the clips and prints the mean errors of the yaw, and of the weight of jawOpen.
A head that is too dark or too bright to be seen is drawn again.
"""
import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from datasets.synthetic.faces import BRIGHTEST, DARKEST, LIGHT_FACTOR, LIGHT_MEAN  # noqa: E402
from models.coefficients import SIZE, SLICES  # noqa: E402
from models.coordinates import CROP_SIZE  # noqa: E402
from models.face_model import AMBIENT, FaceModel  # noqa: E402
from models.face_model_files import load_face_model_data  # noqa: E402
from models.outputs.arkit import ArkitUnits, load_arkit_units  # noqa: E402
from models.renderer import MeshRenderer  # noqa: E402
from options.testing import parse  # noqa: E402
from test import reconstruct_folder  # noqa: E402
from util.video_files import write_video  # noqa: E402

FRAMES, RATE, BORDER = 24, 25, 60   # of a clip; frames a second; px around the rendered crop
YAW = SLICES["angle"].start + 1
FURTHER = ("mouthSmile", "mouthFrown", "mouthStretch", "mouthUpperUp", "eyeBlink")   # each on both sides of the face


def random_motion(units: ArkitUnits, rng: np.random.Generator, jaw_alone: bool) -> tuple[np.ndarray, torch.Tensor]:
    """Returns how far the jaw is open (FRAMES,), 0..1, and the coefficients (FRAMES, 257) of a head."""
    phase = 2 * np.pi * np.arange(FRAMES) / FRAMES
    coefficients = np.zeros((FRAMES, SIZE))
    for name, deviation in (("id", 0.8), ("tex", 0.7)):
        coefficients[:, SLICES[name]] = deviation * rng.standard_normal(80)
    coefficients[:, YAW - 1] = np.radians(rng.uniform(-8, 8))
    coefficients[:, YAW] = np.radians(rng.uniform(5, 22)) * np.sin(phase + rng.uniform(0, 6.28))
    light = LIGHT_MEAN + LIGHT_FACTOR @ rng.standard_normal(9)
    gamma = np.tile(light / light[0], (3, 1))
    gamma[:, 0] -= AMBIENT
    coefficients[:, SLICES["gamma"]] = gamma.ravel()
    weights = np.zeros((FRAMES, len(units.names)))
    jaw = weights[:, units.names.index("jawOpen")] = rng.uniform(0.25, 0.45) * (1 - np.cos(phase))
    for name in () if jaw_alone else rng.choice(FURTHER, 2, replace=False):
        for side in ("Left", "Right"):
            weights[:, units.names.index(name + side)] = rng.uniform(0, 0.5) * (1 + np.sin(2 * phase)) / 2
    coefficients[:, SLICES["exp"]] = weights @ units.coefficients
    return jaw, torch.from_numpy(coefficients).float()


def render(model: FaceModel, renderer: MeshRenderer, coefficients: torch.Tensor) -> tuple[np.ndarray, float]:
    """Returns the frames (FRAMES, H, W, 3) uint8 RGB of a head before grey, and its mean brightness, 0..1."""
    with torch.no_grad():
        face = model(coefficients)
        mask, _, image = renderer(face.vertices, model.tri, face.color)
    brightness = float((image.clamp(0, 1) * mask).sum() / mask.sum() / 3)
    frames = (255 * (image + 0.5 * (1 - mask))).clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()
    return np.pad(frames, ((0, 0), (BORDER, BORDER), (BORDER, BORDER), (0, 0)), constant_values=127), brightness


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--heads", type=int, default=16, help="number of clips")
    parser.add_argument("--fit_color", action="store_true", help="the short fit after the network")
    parser.add_argument("--out", type=Path, help="folder that keeps the clips and their results")
    options = parser.parse_args()
    model = FaceModel(load_face_model_data(ROOT / "BFM", "photo_face_model.npz"))
    units, renderer, rng = load_arkit_units(model, ROOT / "BFM"), MeshRenderer(), np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as temporary:
        out = options.out or Path(temporary)
        (out / "clips").mkdir(parents=True, exist_ok=True)
        motions = []
        size = (CROP_SIZE + 2 * BORDER,) * 2
        while len(motions) < options.heads:
            jaw, coefficients = random_motion(units, rng, jaw_alone=len(motions) % 2 == 0)
            frames, brightness = render(model, renderer, coefficients)
            if DARKEST < brightness < BRIGHTEST:
                write_video(out / "clips" / f"{len(motions):03}.mp4", size,
                            ((number / RATE, frame) for number, frame in enumerate(frames)), RATE)
                motions.append((jaw, coefficients[:, YAW].numpy()))
        reconstruct_folder(parse(["--name=photo_face", "--epoch=20", *["--fit_color"] * options.fit_color,
                                  f"--img_folder={out / 'clips'}", f"--results_dir={out / 'results'}"]))
        errors = []
        for number, (jaw, yaw) in enumerate(motions):
            with np.load(out / "results" / f"{number:03}.npz") as found:
                expressions, angles = found["coeff"][:, SLICES["exp"]], found["coeff"][:, YAW]
            opened = units.weights_of_clip(expressions)[:, units.names.index("jawOpen")]
            errors.append((np.degrees(np.abs(angles - yaw)).mean(), np.abs(opened - jaw).mean()))
    for name, values in zip(("yaw, degrees", "jawOpen, 0-1"), np.transpose(errors), strict=True):
        print(f"{name}: mean error {values.mean():.3f}, median of the heads {np.median(values):.3f}, "
              f"worst {values.max():.3f}")


if __name__ == "__main__":
    main()
