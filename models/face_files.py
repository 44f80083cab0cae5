"""What test.py writes for each face."""
from pathlib import Path

import cv2
import numpy as np
from scipy.io import savemat

from models.coordinates import CROP_SIZE, flip_y
from util.files import atomic_write
from util.obj_files import write_obj
from util.pictures import write_png

BLUE, RED = (0, 0, 255), (255, 0, 0)


def draw_panel(crop: np.ndarray, overlay: np.ndarray, given: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Picture (224, 672, 3) uint8 RGB: the crop, the render over it, and landmarks over that, given ones blue,
    predicted ones red. crop, overlay: (224, 224, 3) uint8 RGB; given (n, 2), predicted (68, 2): px, y up."""
    marked = overlay.copy()
    for points, color in ((given, BLUE), (predicted, RED)):
        for x, y in flip_y(points, CROP_SIZE):
            cv2.circle(marked, (round(float(x)), round(float(y))), 1, color, -1, cv2.LINE_AA)
    return np.concatenate([crop, overlay, marked], 1)


def write_coefficients(path: Path, coeffs: dict[str, np.ndarray], landmarks: np.ndarray, trans_params: np.ndarray):
    """MATLAB file: the coefficients by name, each (1, n); lm68 (1, 68, 2) px in the crop, y down; trans_params (1, 5)
    W, H, s, tx, ty: the way back to the photo. coeffs: by name (n,); landmarks: (68, 2) px, y up."""
    contents = {name: values[None] for name, values in coeffs.items()}
    contents |= {"lm68": flip_y(landmarks, CROP_SIZE)[None], "trans_params": trans_params[None]}
    with atomic_write(path) as temporary:
        savemat(temporary, contents)


def write_face(folder: Path, name: str, result: dict, tri: np.ndarray):
    """The three files of a face: <name>.png, .obj and .mat. result: the arguments of the writers above, and vertices
    (N, 3) world coordinates, color (N, 3) 0..1; tri (F, 3) 0-based."""
    panel = draw_panel(result["crop"], result["overlay"], result["given"], result["landmarks"])
    write_png(folder / f"{name}.png", panel)
    write_obj(folder / f"{name}.obj", result["vertices"], result["color"], tri)
    write_coefficients(folder / f"{name}.mat", result["coeffs"], result["landmarks"], result["trans_params"])
