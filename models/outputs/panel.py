"""The three files that every run writes by default: the picture of three parts, the coloured mesh, the coefficients."""
from pathlib import Path

import cv2
import numpy as np

from models.coordinates import CROP_SIZE, flip_y
from models.outputs.details import FaceDetails
from util.mat_files import write_mat
from util.obj_files import write_obj
from util.pictures import write_png

BLUE, RED = (0, 0, 255), (255, 0, 0)


def write_panel(stem: Path, details: FaceDetails):
    """Write <stem>.png: the crop, the reconstruction over it, and landmarks over that."""
    face, result = details.face, details.result
    write_png(Path(f"{stem}.png"), draw_panel(face.crop, result.overlay, face.landmarks, result.landmarks))


def write_colored_mesh(stem: Path, details: FaceDetails):
    """Write <stem>.obj: the mesh with a colour for each vertex."""
    write_obj(Path(f"{stem}.obj"), details.mesh_vertices, details.result.colors, details.settings.triangles)


def write_coefficients(stem: Path, details: FaceDetails):
    """Write <stem>.mat, a MATLAB file: each coefficient by name (1, n), `lm68` (1, 68, 2) px in the crop, y down, and
    `trans_params` (1, 5): W, H, s, tx, ty, see models/coordinates.py."""
    contents = {name: values[None] for name, values in details.result.coefficients.items()}
    contents |= {"lm68": flip_y(details.result.landmarks, CROP_SIZE)[None],
                 "trans_params": details.face.trans_params[None]}
    write_mat(Path(f"{stem}.mat"), contents)


def draw_panel(crop: np.ndarray, overlay: np.ndarray, given: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Returns a picture (224, 672, 3) uint8 RGB of three parts: the crop, the overlay, and the overlay with landmarks.

    crop: (224, 224, 3) uint8 RGB. overlay: the same with the reconstructed face drawn over it. given: (n, 2) px, y up,
    landmarks of the photo, drawn blue. predicted: (68, 2) px, y up, landmarks of the reconstructed face, drawn red.
    """
    marked = overlay.copy()
    for points, color in ((given, BLUE), (predicted, RED)):
        for x, y in flip_y(points, CROP_SIZE):
            cv2.circle(marked, (round(float(x)), round(float(y))), 1, color, -1, cv2.LINE_AA)
    return np.concatenate([crop, overlay, marked], 1)
