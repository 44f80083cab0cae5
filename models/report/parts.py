"""The part of the report page about one face, which is written to a hidden file until the page is put together."""
import base64
import io
import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from models.coefficients import join
from models.coordinates import CROP_SIZE, camera_to_world, flip_y
from models.landmarks import five_points
from models.outputs.details import FaceDetails
from models.report.meshes import pack_mesh
from util.files import write_lines

_SUFFIX = ".report"


def write_part(stem: Path, details: FaceDetails):
    """Write what the page shows of a face to the hidden file .<name>.report: a line of JSON with its numbers, and one
    with its pictures, landmarks and mesh, see `face_numbers` and `face_contents`."""
    lines = [json.dumps(face_numbers(details)), json.dumps(face_contents(details))]
    write_lines(stem.with_name(f".{stem.name}{_SUFFIX}"), lines)


def find_parts(folder: Path) -> list[Path]:
    """Returns the hidden files of all faces in a folder and in those inside it, sorted."""
    return sorted(folder.rglob(f".*{_SUFFIX}"))


def remove_parts(folder: Path):
    """Delete the hidden files of all faces in a folder and in those inside it."""
    for part in find_parts(folder):
        part.unlink(missing_ok=True)


def face_numbers(details: FaceDetails) -> dict:
    """Returns what the page sorts and filters by: name, photo, residuals, pose in degrees and size.

    color: mean distance of the colours of face and photo, RGB 0..1; None if the face covers no pixel. landmarks: mean
    distance of the landmarks in the photo from those of the face where a detector would find them, px of the crop;
    points: their number; None and 0 if no landmarks are known, as for stored coefficients. yaw: positive to the right
    of the picture; pitch: positive downwards; roll: positive anticlockwise. size: of the crop, px of the photo.
    """
    result, face = details.result, details.face
    given = face.landmarks
    predicted = result.detectable_landmarks
    predicted = five_points(predicted) if len(given) == 5 else predicted
    drawn = (result.overlay != face.crop).any(axis=2)
    distances = np.linalg.norm((face.crop[drawn] - result.overlay[drawn].astype(float)) / 255, axis=1)
    pitch, yaw, roll = np.degrees(result.coefficients["angle"]).tolist()
    return {"name": face.name, "photo": str(face.photo), "color": distances.mean() if drawn.any() else None,
            "landmarks": np.linalg.norm(given - predicted, axis=1).mean() if len(given) else None, "points": len(given),
            "pitch": pitch, "yaw": yaw, "roll": roll, "size": CROP_SIZE / face.trans_params[2]}


def face_contents(details: FaceDetails) -> dict:
    """Returns what the page shows of a face: `photo` and `render`, pictures of the crop as data URLs; `given` and
    `predicted`, landmarks (n, 2) px in the crop, y down; `mesh`, see `pack_mesh`."""
    model, result, face = details.settings.preview_model, details.result, details.face
    with torch.no_grad():
        posed = model(join(details.coefficients))
    mesh = pack_mesh(camera_to_world(posed.vertices[0], model.camera_d).numpy(), posed.color[0].numpy())
    return {"photo": picture_url(face.crop), "render": picture_url(result.overlay), "mesh": mesh,
            "given": flip_y(face.landmarks, CROP_SIZE).round(1).tolist(),
            "predicted": flip_y(result.landmarks, CROP_SIZE).astype(float).round(1).tolist()}


def picture_url(pixels: np.ndarray) -> str:
    """Returns a picture (H, W, 3) uint8 RGB as a data URL, which an HTML page can contain."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "WebP", quality=85)
    return "data:image/webp;base64," + base64.b64encode(file.getvalue()).decode("ascii")
