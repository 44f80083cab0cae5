"""Measures how close the fit comes to a known shape.

    python tests/benchmarks/synthetic.py [--faces 16] [--fit_iters 12]

Renders random faces of the open face model and fits the model to these pictures, starting from the mean face. Prints
the mean distance between the vertices and the true ones, in mm after a similarity alignment: of the mean face, of the
fit as test.py does it, and of the fit with the true landmarks. The lips of some random faces pass through each other.
No photo shows that, and no detector can find it, so the mean without these faces is printed too.
"""
import argparse
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from datasets.face_detection import face_detector  # noqa: E402
from datasets.face_finder import FacePoints, align_face  # noqa: E402
from datasets.synthetic.faces import lip_opening  # noqa: E402
from models.coefficients import SIZE, SLICES, split  # noqa: E402
from models.coordinates import flip_y, photo_to_crop  # noqa: E402
from models.face_model import FaceModel  # noqa: E402
from models.face_model_files import load_face_model_data  # noqa: E402
from models.fitting import Fitter  # noqa: E402
from models.landmarks import five_points  # noqa: E402
from models.reconstruction import Reconstructor  # noqa: E402
from models.renderer import MeshRenderer  # noqa: E402
from tests.benchmarks.scores import align_points  # noqa: E402


def random_coefficients(count: int) -> torch.Tensor:
    """Returns coefficients (count, 257): all within 1.5 standard deviations, a moderate pose, light from the front."""
    generator = torch.Generator().manual_seed(0)
    coeffs = torch.randn(count, SIZE, generator=generator).clamp(-1.5, 1.5)
    coeffs[:, SLICES["angle"]] *= torch.tensor([0.15, 0.3, 0.1])
    coeffs[:, SLICES["gamma"]] *= 0.05
    coeffs[:, SLICES["gamma"]].view(-1, 3, 9)[:, :, 2] += 0.2
    coeffs[:, SLICES["trans"]] *= 0.03
    return coeffs


def error_after_alignment(found: np.ndarray, ground_truth: np.ndarray) -> float:
    """Returns the mean distance, mm, of vertices (N, 3), decimetres, after the best similarity."""
    aligned = align_points(found, ground_truth)(found)
    return 100 * np.linalg.norm(aligned - ground_truth, axis=1).mean()


def shape_errors(count: int, fit_iters: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Returns the errors (count,), mm, of the mean face and of fits by their names, and a mask (count,) of the faces
    whose lips do not pass through each other.

    count: number of random faces. fit_iters: steps of the fit.
    """
    model = FaceModel(load_face_model_data(ROOT / "BFM", "open_face_model.npz"))
    renderer = MeshRenderer()
    ground_truth = random_coefficients(count)
    with torch.no_grad():
        face = model(ground_truth)
        mask, _, image = renderer(face.vertices, model.tri, face.color)
    pictures = torch.where(mask > 0, image.clamp(0, 1), torch.tensor(0.45)).mul(255).byte().permute(0, 2, 3, 1).numpy()
    points = face.landmarks.double().numpy() - 0.5   # px of the pictures, see models/coordinates.py
    detector = face_detector("mediapipe")
    faces = [align_face(Path(), str(i), str(i), np.ascontiguousarray(picture),
                        FacePoints(five_points(flip_y(landmarks, 224)), given=True), detector)
             for i, (picture, landmarks) in enumerate(zip(pictures, points, strict=True))]
    reconstructor = Reconstructor(model, renderer, None, Fitter(model, renderer), fit_iters, torch.device("cpu"))
    with_true_landmarks = [
        replace(each, landmarks=photo_to_crop(landmarks, each.trans_params))
        for each, landmarks in zip(faces, points, strict=True)]
    found = {"mean face": torch.zeros_like(ground_truth)}
    for name, given in (("fit, landmarks found by the detector", faces), ("fit, true landmarks", with_true_landmarks)):
        photos = torch.from_numpy(np.stack([each.crop for each in given])).permute(0, 3, 1, 2) / 255
        found[name] = torch.cat([reconstructor.coefficients(given[i:i + 8], photos[i:i + 8])
                                 for i in range(0, len(given), 8)])

    def shapes(coeffs: torch.Tensor) -> np.ndarray:
        return model.shape(split(coeffs)["id"], split(coeffs)["exp"]).numpy()

    parts = split(ground_truth)
    possible = lip_opening(model.shape(parts["id"], parts["exp"], model.keypoints)).numpy() >= 0
    return {name: np.array([error_after_alignment(*pair)
                            for pair in zip(shapes(coeffs), shapes(ground_truth), strict=True)])
            for name, coeffs in found.items()}, possible


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", type=int, default=16, help="number of random faces")
    parser.add_argument("--fit_iters", type=int, default=12, help="steps of the fit")
    options = parser.parse_args()
    errors, possible = shape_errors(options.faces, options.fit_iters)
    for name, values in errors.items():
        print(f"{name}: mean {values.mean():.2f} mm, median {np.median(values):.2f}, max {values.max():.2f}; mean of "
              f"the {possible.sum()} faces whose lips do not pass through each other {values[possible].mean():.2f}")


if __name__ == "__main__":
    main()
