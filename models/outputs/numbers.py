"""Writes the numbers of a face: every coefficient and the camera of its photo, and its landmarks in the photo."""
from pathlib import Path

import numpy as np

from models.outputs.details import FaceDetails
from util.files import atomic_write


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
