"""Measures how well the constants of EG3D's labels suit a face model and a network.

    python tests/benchmarks/eg3d_labels.py DIR ...     folders of results, written with --save=coeffs

A label says that the camera is 2.7 away from a point of the head, and it moves the camera there. For each of the two
files of labels this prints, with standard deviations over the photos,
  radius   how far away from that point the camera was before
  origin   where the camera sees the point afterwards: px right of and below the middle of the 512 px picture
  moved    how far the face moves in the picture because the camera was moved, px: mean of the 68 landmarks
"""
import argparse
import sys
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from models.face_model import FaceModel, rotation  # noqa: E402
from models.face_model_files import load_face_model_data  # noqa: E402
from models.outputs.eg3d import DATASETS, FOCAL, ORIGIN, SIZE, UNIT, camera_place, camera_poses  # noqa: E402
from models.outputs.numbers import read_numbers  # noqa: E402


def project(points: np.ndarray, pose: np.ndarray) -> np.ndarray:
    """Returns where a camera sees points (n, 3): (n, 2) px right of and below the middle of its picture."""
    in_camera = (points - pose[:3, 3]) @ pose[:3, :3]
    return SIZE * FOCAL * in_camera[:, :2] / in_camera[:, 2:]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+")
    arguments = parser.parse_args()
    faces = [read_numbers(path) for folder in arguments.folders for path in sorted(folder.rglob("*.npz"))]
    model = FaceModel(load_face_model_data(ROOT / "BFM", faces[0].face_model))
    face = UNIT * model.mean_shape.view(-1, 3).numpy()[model.keypoints] + ORIGIN
    print(f"{len(faces)} faces, {faces[0].face_model}")
    measured = {name: [] for name in DATASETS}
    for numbers in faces:
        angle, trans = numbers.coefficients[224:227], numbers.coefficients[254:257]
        matrix = rotation(torch.from_numpy(angle)[None])[0].numpy()
        for name, pose in camera_poses(matrix, trans).items():
            before = pose.copy()
            before[:3, 3] = camera_place(matrix, trans)
            center = np.array([DATASETS[name]])
            moved = np.linalg.norm(project(face, pose) - project(face, before), axis=1).mean()
            measured[name].append([np.linalg.norm(before[:3, 3] - center), *project(center, pose)[0], moved])
    for name, values in measured.items():
        (radius, x, y, moved), (radius_sd, x_sd, y_sd, moved_sd) = np.mean(values, 0), np.std(values, 0)
        print(f"{name}: radius {radius:.2f} ({radius_sd:.2f}), origin {x:+.1f} ({x_sd:.1f}) {y:+.1f} ({y_sd:.1f}), "
              f"moved {moved:.1f} ({moved_sd:.1f})")


if __name__ == "__main__":
    main()
