"""Writes the result files of reconstructed faces."""
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
from scipy.io import savemat

from models.coordinates import CROP_SIZE, flip_y
from models.records import FaceResult
from util.files import atomic_write
from util.obj_files import write_obj
from util.pictures import write_png

BLUE, RED = (0, 0, 255), (255, 0, 0)


class FaceWriter:
    """Writes the files of faces in threads, so that the next faces can be computed at the same time.

    folder: where the files go. triangles: (F, 3) vertex indices from 0, of every mesh. threads: how many files are
    written at once. At the end of a `with` block all files are complete, also if the block raises an error.
    """

    def __init__(self, folder: Path, triangles: np.ndarray, threads: int):
        self.folder, self.triangles = folder, triangles
        self.pool = ThreadPoolExecutor(threads)
        self.started: list[tuple[Path, Future]] = []   # photo of each face, and the writing of its files

    def __enter__(self) -> "FaceWriter":
        return self

    def __exit__(self, *_):
        self.pool.shutdown()

    def start(self, results: list[FaceResult]):
        """Start to write the files of these faces."""
        self.started += [(result.photo, self.pool.submit(write_face, self.folder, result, self.triangles))
                         for result in results]

    def finish(self) -> list[tuple[Path, BaseException]]:
        """Wait until everything that was started is written. Returns the errors, each with the photo of its face."""
        errors = [(photo, writing.exception()) for photo, writing in self.started]
        self.started.clear()
        return [(photo, error) for photo, error in errors if error]


def write_face(folder: Path, result: FaceResult, triangles: np.ndarray):
    """Write the three files of a face: <name>.png, .obj and .mat. triangles: (F, 3) vertex indices from 0."""
    (folder / result.name).parent.mkdir(parents=True, exist_ok=True)   # a name may have folders in it
    panel = draw_panel(result.crop, result.overlay, result.given_landmarks, result.landmarks)
    write_png(folder / f"{result.name}.png", panel)
    write_obj(folder / f"{result.name}.obj", result.vertices, result.colors, triangles)
    write_coefficients(folder / f"{result.name}.mat", result.coefficients, result.landmarks, result.trans_params)


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


def write_coefficients(path: Path, coefficients: dict[str, np.ndarray], landmarks: np.ndarray,
                       trans_params: np.ndarray):
    """Write a MATLAB file: each coefficient by name (1, n), `lm68` (1, 68, 2) px in the crop, y down, and
    `trans_params` (1, 5).

    coefficients: by name, (n,) each. landmarks: (68, 2) px in the crop, y up. trans_params: (5,) W, H, s, tx, ty, see
    models/coordinates.py.
    """
    contents = {name: values[None] for name, values in coefficients.items()}
    contents |= {"lm68": flip_y(landmarks, CROP_SIZE)[None], "trans_params": trans_params[None]}
    with atomic_write(path) as temporary:
        savemat(temporary, contents)
