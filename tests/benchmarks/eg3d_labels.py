"""Measures how well the constants of EG3D's labels suit a face model and a network.

    python tests/benchmarks/eg3d_labels.py DIR ...     folders of results, written with --save=coeffs

A label says that the camera is 2.7 away from a point of the head, and it moves the camera there. For each of the two
files of labels this prints, with standard deviations over the photos,
  radius   how far away from that point the camera was before
  origin   where the camera sees the point afterwards: px right of and below the middle of the 512 px picture
  moved    how far the face moves in the picture because the camera was moved, px: mean of the landmarks
first for the face model, and then for the standard points of the published method, which belong to the Basel Face
Model's space: they are placed where the five points of the reconstructed face are.
"""
import argparse
import sys
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from models.coefficients import SLICES  # noqa: E402
from models.coordinates import CROP_SIZE, flip_y, photo_to_crop  # noqa: E402
from models.face_model import FaceModel, rotation  # noqa: E402
from models.face_model_files import load_face_model_data  # noqa: E402
from models.landmarks import STANDARD_POINTS, five_points  # noqa: E402
from models.outputs.eg3d import DATASETS, FOCAL, ORIGIN, SIZE, UNIT, camera_place, camera_poses  # noqa: E402
from models.outputs.numbers import StoredNumbers, read_numbers  # noqa: E402


def project(points: np.ndarray, pose: np.ndarray) -> np.ndarray:
    """Returns where a camera sees points (n, 3): (n, 2) px right of and below the middle of its picture."""
    in_camera = (points - pose[:3, 3]) @ pose[:3, :3]
    return SIZE * FOCAL * in_camera[:, :2] / in_camera[:, 2:]


def standard_trans(numbers: StoredNumbers, matrix: np.ndarray) -> np.ndarray:
    """Returns the translation (3,) that brings the standard points, which belong to the Basel model's space, nearest to
    the five points of the reconstructed face when they are turned by the face's rotation.

    A point p of the turned ones is seen at u = focal (p + t)_xy / (camera_d - p_z - t_z), which is linear in t.
    """
    seen = flip_y(five_points(numbers.landmarks), numbers.trans_params[1])
    seen = photo_to_crop(seen, numbers.trans_params) - CROP_SIZE / 2
    turned = STANDARD_POINTS @ matrix
    x_and_y = numbers.focal * np.tile(np.eye(2), (5, 1))   # a row for x and one for y of each point
    values = seen * (numbers.camera_d - turned[:, 2:]) - numbers.focal * turned[:, :2]
    return np.linalg.lstsq(np.column_stack([x_and_y, seen.ravel()]), values.ravel(), rcond=None)[0]


def measure(matrix: np.ndarray, trans: np.ndarray, face: np.ndarray) -> list[list[float]]:
    """Returns radius, x and y of the origin, and moved, of each of DATASETS. face: its points in EG3D's world."""
    measured = []
    for center, pose in zip(DATASETS.values(), camera_poses(matrix, trans).values(), strict=True):
        before = pose.copy()
        before[:3, 3] = camera_place(matrix, trans)
        moved = np.linalg.norm(project(face, pose) - project(face, before), axis=1).mean()
        measured.append([np.linalg.norm(before[:3, 3] - center), *project(np.array([center]), pose)[0], moved])
    return measured


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+")
    arguments = parser.parse_args()
    faces = [read_numbers(path) for folder in arguments.folders for path in sorted(folder.rglob("*.npz"))]
    model = FaceModel(load_face_model_data(ROOT / "BFM", faces[0].face_model))
    landmarks = UNIT * model.mean_shape.view(-1, 3).numpy()[model.keypoints] + ORIGIN
    standard = UNIT * STANDARD_POINTS + ORIGIN
    matrices = [rotation(torch.from_numpy(face.coefficients[None, SLICES["angle"]]))[0].numpy() for face in faces]
    print(f"{len(faces)} faces")
    for space, values in (
            (faces[0].face_model, [measure(matrix, face.coefficients[SLICES["trans"]], landmarks)
                                   for face, matrix in zip(faces, matrices, strict=True)]),
            ("standard points", [measure(matrix, standard_trans(face, matrix), standard)
                                 for face, matrix in zip(faces, matrices, strict=True)])):
        for name, mean, deviation in zip(DATASETS, np.mean(values, 0), np.std(values, 0), strict=True):
            radius, x, y, moved = (f"{a:.2f} ({b:.2f})" for a, b in zip(mean, deviation, strict=True))
            print(f"{space}, {name}: radius {radius}, origin {x} {y}, moved {moved}")


if __name__ == "__main__":
    main()
