"""How close the fit comes to a known shape: random faces of the open model, rendered, found and fitted from the mean.

    python tests/benchmarks/synthetic.py [--faces 16] [--fit_iters 100]

Printed: mean distance of the vertices to the true ones after a similarity alignment, mm, for the mean face,
for the fit as test.py does it, and for the fit with the true landmarks.
"""
import argparse
import sys
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from datasets.alignment import five_points  # noqa: E402
from datasets.photo_folder import PhotoFolder  # noqa: E402
from models.coefficients import SIZE, SLICES, split  # noqa: E402
from models.coordinates import flip_y, photo_to_crop  # noqa: E402
from models.face_model import FaceModel  # noqa: E402
from models.face_model_files import load_face_model_data  # noqa: E402
from models.reconstruction import Reconstructor  # noqa: E402
from models.renderer import MeshRenderer  # noqa: E402


def random_coefficients(count: int) -> torch.Tensor:
    """Shape, expression and albedo within 1.5 sigma, a moderate pose, light from the front."""
    generator = torch.Generator().manual_seed(0)
    coeffs = torch.randn(count, SIZE, generator=generator).clamp(-1.5, 1.5)
    coeffs[:, SLICES["angle"]] *= torch.tensor([0.15, 0.3, 0.1])
    coeffs[:, SLICES["gamma"]] *= 0.05
    coeffs[:, SLICES["gamma"]].view(-1, 3, 9)[:, :, 2] += 0.2
    coeffs[:, SLICES["trans"]] *= 0.03
    return coeffs


def error_after_alignment(found: np.ndarray, true: np.ndarray) -> float:
    """Mean distance, mm, of vertices (N, 3) decimetres after the best similarity (Umeyama, 1991)."""
    found, true = found - found.mean(0), true - true.mean(0)
    u, s, vt = np.linalg.svd(found.T @ true)
    signs = np.array([1, 1, np.sign(np.linalg.det(u @ vt))])
    aligned = found @ (u * signs @ vt) * (s * signs).sum() / np.square(found).sum()
    return 100 * np.linalg.norm(aligned - true, axis=1).mean()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--faces", type=int, default=16)
    parser.add_argument("--fit_iters", type=int, default=100)
    options = parser.parse_args()
    model = FaceModel(load_face_model_data(ROOT / "BFM", "open_face_model.npz"))
    renderer = MeshRenderer()
    truth = random_coefficients(options.faces)
    with torch.no_grad():
        face = model(truth)
        mask, _, image = renderer(face.vertices, model.tri, face.color)
    pictures = torch.where(mask > 0, image.clamp(0, 1), torch.tensor(0.45)).mul(255).byte().permute(0, 2, 3, 1).numpy()
    reader = PhotoFolder([], for_fit=True)
    faces = [reader.aligned(str(i), np.ascontiguousarray(picture), five_points(flip_y(landmarks, 224)))
             for i, (picture, landmarks) in enumerate(zip(pictures, face.landmarks.double().numpy(), strict=True))]
    reconstructor = Reconstructor(model, renderer, None, options.fit_iters, torch.device("cpu"))
    true = [each._replace(landmarks=photo_to_crop(landmarks, each.trans_params))
            for each, landmarks in zip(faces, face.landmarks.double().numpy(), strict=True)]
    report("mean face", model, torch.zeros_like(truth), truth)
    for name, given in (("fit, landmarks found by the detector", faces), ("fit, true landmarks", true)):
        photos = torch.from_numpy(np.stack([each.crop for each in given])).permute(0, 3, 1, 2) / 255
        found = [reconstructor.coefficients(given[i:i + 8], photos[i:i + 8]) for i in range(0, len(given), 8)]
        report(name, model, torch.cat(found), truth)


def report(name: str, model: FaceModel, found: torch.Tensor, truth: torch.Tensor):
    shapes = [model.shape(split(c)["id"], split(c)["exp"]).numpy() for c in (found, truth)]
    errors = [error_after_alignment(*pair) for pair in zip(*shapes, strict=True)]
    print(f"{name}: mean {np.mean(errors):.2f} mm, median {np.median(errors):.2f}, max {np.max(errors):.2f}")


if __name__ == "__main__":
    main()
