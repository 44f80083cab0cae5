"""Writes pictures of a face: drawn over the whole photo, and maps of depth, normals, albedo and coverage."""
from pathlib import Path

import numpy as np

from models.coordinates import CROP_SIZE, crop_camera_matrix, project
from models.outputs.details import FaceDetails
from models.outputs.drawing import Drawing, colors_over, window_around
from util.pictures import write_png

DEPTH_STEPS = 1000   # of the depth map, for one decimetre


def write_overlay(stem: Path, faces: list[FaceDetails]):
    """Write <stem>_overlay.png: the photo at its own resolution, with all its reconstructed faces drawn over it, the
    largest last."""
    photo = faces[0].photo.copy()
    for details in sorted(faces, key=lambda details: -details.face.trans_params[2]):
        window = window_around(project(details.vertices.astype(float), details.camera_matrix), photo.shape[1::-1])
        if window:
            drawing = Drawing(details.vertices, details.settings.face_model.tri,
                              window.from_photo() @ details.camera_matrix, window.size)
            colors = drawing.interpolate(255 * colors_over(details.face.crop, details.colors))
            np.copyto(photo[window.slices], np.rint(colors).astype(np.uint8), where=drawing.mask[..., None])
    write_png(Path(f"{stem}_overlay.png"), photo)


def write_maps(stem: Path, details: FaceDetails):
    """Write maps of the face, see `draw_maps`: in the photo as <stem>_depth.png, _normals.png, _albedo.png and
    _mask.png, and in the crop as <stem>_crop_depth.png and so on."""
    model = details.settings.face_model
    width, height = details.face.trans_params[:2].astype(int)
    for place, matrix, size in (("", details.camera_matrix, (width, height)),
                                ("_crop", crop_camera_matrix(model.focal, model.camera_d), (CROP_SIZE, CROP_SIZE))):
        for name, pixels in draw_maps(details, matrix, size).items():
            write_png(Path(f"{stem}{place}_{name}.png"), pixels)


def draw_maps(details: FaceDetails, matrix: np.ndarray, size: tuple[int, int]) -> dict[str, np.ndarray]:
    """Returns maps by name, each (height, width) or (height, width, 3), 0 where the face is not:

    - depth: uint16, the distance from the camera along its axis, in tenths of a millimetre;
    - normals: uint8, 255 * (n + 1) / 2 of the unit normal n, x to the image's right, y up, z towards the viewer;
    - albedo: uint8 RGB, by the face model;
    - mask: uint8, 255 on the face.

    matrix: (3, 4) from world coordinates to px of the picture, y down. size: its width and height, px.
    """
    width, height = size
    maps = {"depth": np.zeros((height, width), np.uint16), "normals": np.zeros((height, width, 3), np.uint8),
            "albedo": np.zeros((height, width, 3), np.uint8), "mask": np.zeros((height, width), np.uint8)}
    window = window_around(project(details.vertices.astype(float), matrix), size)
    if window:
        drawing = Drawing(details.vertices, details.settings.face_model.tri, window.from_photo() @ matrix, window.size)
        values = drawing.interpolate(np.column_stack([
            DEPTH_STEPS * drawing.distance, details.normals @ details.rotation, details.albedo.clip(0, 1)]))
        normals = values[..., 1:4] / np.maximum(np.linalg.norm(values[..., 1:4], axis=-1, keepdims=True), 1e-6)
        drawn = {"depth": values[..., 0], "normals": 255 * (normals + 1) / 2, "albedo": 255 * values[..., 4:],
                 "mask": np.full(drawing.mask.shape, 255)}
        for name, pixels in drawn.items():
            maps[name][window.slices][drawing.mask] = np.rint(pixels[drawing.mask]).astype(maps[name].dtype)
    return maps
