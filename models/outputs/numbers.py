"""Writes the numbers of a face: coefficients and camera, landmarks in the photo, and weights of ARKit's shapes."""
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from models.coefficients import SLICES
from models.coordinates import project
from models.outputs.details import FaceDetails
from util.files import InputError, atomic_write, write_lines


def write_numbers(stem: Path, details: FaceDetails):
    """Write <stem>.npz, which `np.load` opens:

    - id (80,), exp (64,), tex (80,), angle (3,), gamma (27,), trans (3,): the coefficients by name, float32;
    - camera_matrix (3, 4): from a point of the mesh (x, y, z, 1) in decimetres to homogeneous px of the photo, y down;
    - landmarks (68, 2): of the reconstructed face, px in the photo, y down;
    - trans_params (5,): W, H, s, tx, ty, see models/coordinates.py;
    - turns: quarter turns anticlockwise that bring the face upright;
    - focal, camera_d: focal length of the camera, px of the crop, and its distance from the face, decimetres;
    - photo, face_model, checkpoint, checkpoint_sha256: texts. The latter two are "" without a network.
    """
    model, origin = details.settings.face_model, details.settings.origin
    contents = details.result.coefficients | {
        "camera_matrix": details.camera_matrix, "landmarks": details.landmarks_in_photo,
        "trans_params": details.face.trans_params, "turns": details.face.turns, "focal": model.focal,
        "camera_d": model.camera_d, "face_model": origin.face_model, "checkpoint": str(origin.checkpoint or ""),
        "checkpoint_sha256": origin.checkpoint_sha256, "photo": str(details.face.photo)}
    with atomic_write(Path(f"{stem}.npz")) as temporary:
        np.savez(temporary, **contents)


@dataclass(frozen=True)
class StoredNumbers:
    """What is read from a file that `write_numbers` wrote."""
    path: Path                 # of the file
    coefficients: np.ndarray   # (257,) float32
    trans_params: np.ndarray   # (5,) float64 W, H, s, tx, ty, see models/coordinates.py
    turns: int                 # quarter turns anticlockwise that bring the face upright
    focal: float               # of the camera, px of the crop
    camera_d: float            # distance of the camera, decimetres
    landmarks: np.ndarray      # (68, 2) px of the photo, y down
    face_model: str            # file name of the face model
    checkpoint_sha256: str     # "" without a network
    photo: Path                # the photo that shows the face


def read_numbers(path: Path) -> StoredNumbers:
    """Returns what `write_numbers` wrote to a file. Its numbers may have been edited.

    Raises InputError if the file cannot be read, or if numbers are missing, have another shape or are not finite.
    """
    shapes = {name: (part.stop - part.start,) for name, part in SLICES.items()}
    shapes |= {"landmarks": (68, 2), "trans_params": (5,), "turns": (), "focal": (), "camera_d": ()}
    try:
        with np.load(path) as file:
            content = {name: file[name] for name in (*shapes, "face_model", "checkpoint_sha256", "photo")}
    except FileNotFoundError as error:
        raise InputError(f"the file of coefficients {path} does not exist") from error
    except ValueError as error:   # NumPy's message says how to load an unsafe file
        raise InputError(f"{path} is no .npz file that --save=coeffs has written, or it is broken") from error
    except Exception as error:   # for a broken file, exceptions of many kinds
        raise InputError(f"{path} is no complete file of coefficients, as --save=coeffs writes it: {error}") from error
    for name, shape in shapes.items():
        values = content[name]
        if values.shape != shape or values.dtype.kind not in "fiu":
            raise InputError(f"{path}: {name} must be numbers of the shape {shape}, not {values.dtype} of the shape "
                             f"{values.shape}")
        if not np.isfinite(values).all():
            raise InputError(f"{path}: {name} has a number that is infinite or nan")
    coefficients = np.concatenate([content[name] for name in SLICES]).astype(np.float32)
    return StoredNumbers(path, coefficients, content["trans_params"].astype(float), int(content["turns"]),
                         float(content["focal"]), float(content["camera_d"]), content["landmarks"],
                         str(content["face_model"]), str(content["checkpoint_sha256"]), Path(str(content["photo"])))


def write_landmarks(stem: Path, details: FaceDetails):
    """Write the landmarks of the reconstructed face, px in the photo, y down.

    <stem>_landmarks.txt has the 68 landmarks, one `x y` per line. <stem>_landmarks.json has them too, the size of the
    photo, and as `dense` the places of all vertices of the mesh.
    """
    landmarks = details.landmarks_in_photo.round(2)
    dense = project(details.vertices.astype(float), details.camera_matrix)
    width, height = details.face.trans_params[:2].astype(int).tolist()
    write_lines(Path(f"{stem}_landmarks.txt"), [f"{x:.2f} {y:.2f}" for x, y in landmarks])
    size = {"width": width, "height": height, "landmarks": landmarks.tolist()}
    places = ", ".join(["[%.2f, %.2f]"] * len(dense)) % tuple(dense.ravel().tolist())   # json takes twice as long
    with atomic_write(Path(f"{stem}_landmarks.json")) as temporary:
        temporary.write_text(f'{json.dumps(size)[:-1]}, "dense": [{places}]}}')


def write_arkit_weights(stem: Path, details: FaceDetails):
    """Write <stem>_arkit.json: the expression as weights 0..1 of ARKit's 52 shapes, by name."""
    weights = details.settings.arkit.weights(details.result.coefficients["exp"])
    with atomic_write(Path(f"{stem}_arkit.json")) as temporary:
        temporary.write_text(json.dumps(weights, indent=1) + "\n")
