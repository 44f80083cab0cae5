"""Writes the motion of a clip for animation programs: weights of ARKit's shapes, and an animated mesh."""
import csv
import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np

from models.clips import confidence
from models.coefficients import SLICES
from models.outputs.clip_numbers import ClipDetails
from models.outputs.details import FaceDetails
from models.outputs.meshes import METRES
from models.records import AlignedFace, FaceResult
from util.files import InputError, atomic_write
from util.gltf_files import Animation, TexturedMesh, write_glb


def write_clip_arkit_weights(stem: Path, details: ClipDetails):
    """Write <stem>_arkit.csv: a line of names, and for each frame its time in seconds and the weights 0..1 of ARKit's
    52 shapes."""
    names = details.settings.arkit.names
    with atomic_write(Path(f"{stem}_arkit.csv")) as temporary, temporary.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["time", *names])
        for time, weights in zip(details.clip.time, details.arkit_weights, strict=True):
            table.writerow([f"{time:.4f}", *(f"{weight:.4f}" for weight in weights)])


def write_animated_mesh(stem: Path, details: ClipDetails):
    """Write <stem>.glb: the person's mesh without expression, in metres, with a texture from the frame that shows the
    face best; ARKit's shapes, for a face model that has them; and an animation of their weights and of the head's
    rotation and place."""
    clip, settings = details.clip, details.settings
    face = _best_frame(details)
    mesh = TexturedMesh(
        name=stem.name, vertices=METRES * face.mesh_shape, normals=settings.normals(face.mesh_shape),
        uv=settings.layout.uv, triangles=settings.triangles, texture=face.texture_file, lit=settings.lit,
        rotation=np.eye(3), translation=np.zeros(3))
    count = len(clip.time)
    rotations, places = details.rotation.swapaxes(1, 2), METRES * clip.coefficients[:, SLICES["trans"]]
    if settings.frontal:
        rotations, places = np.broadcast_to(np.eye(3), (count, 3, 3)), np.zeros((count, 3))
    shapes = settings.arkit.shapes if settings.arkit else []
    write_glb(Path(f"{stem}.glb"), mesh, shapes, Animation(clip.time, details.arkit_weights, rotations, places))


def _best_frame(details: ClipDetails) -> FaceDetails:
    """Returns the face in the frame that shows it best, with a mesh without expression. Raises InputError if the frame
    cannot be read any more."""
    clip = details.clip
    frame = int(np.where(clip.found, confidence(clip.coefficients, clip.trans_params), 0).argmax())
    best = next(itertools.islice(details.settings.read_video(clip.video), frame, None), None)
    if best is None:
        raise InputError(f"{clip.video} has fewer frames than before")
    face = AlignedFace(clip.video, clip.name, clip.name, np.empty((0, 0, 3), np.uint8), clip.trans_params[frame],
                       np.empty((0, 2)), turns=int(clip.turns[frame]))
    coefficients = {name: clip.coefficients[frame, part] for name, part in SLICES.items()}
    result = FaceResult(face, coefficients, np.empty((0, 2)))
    return FaceDetails(result, replace(details.settings, read_photo=lambda path: best[1], neutral=True))
