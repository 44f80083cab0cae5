"""Writes a video that shows the frames of a clip beside its reconstruction."""
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import torch

from models.coordinates import camera_to_world, project
from models.outputs.clip_numbers import ClipDetails
from models.outputs.drawing import Drawing, colors_over, window_around
from util.video_files import write_video

MOST_ROWS = 480             # px, height of the video
BACKGROUND, MESH = 30, 215  # grey values of the picture of the mesh
LAMP = np.array([0.3, 0.4, 0.87])   # the direction to the light on the mesh


def write_clip_video(stem: Path, details: ClipDetails):
    """Write <stem>_overlay.mp4 with the sound of the video: each frame, the same with the face drawn over it, and the
    mesh alone, side by side. At most MOST_ROWS px high."""
    clip = details.clip
    size = _picture_size(*clip.trans_params[0, :2])
    write_video(Path(f"{stem}_overlay.mp4"), (3 * size[0], size[1]), _panels(details, size), clip.rate, clip.sound)


def _picture_size(width: float, height: float) -> tuple[int, int]:
    """Width and height, px, of each of the three pictures, both even as H.264 wants it."""
    scale = min(1, MOST_ROWS / height)
    return max(2 * round(scale * width / 2), 2), max(2 * round(scale * height / 2), 2)


def _panels(details: ClipDetails, size: tuple[int, int]) -> Iterator[tuple[float, np.ndarray]]:
    """Yields the time and the pixels of each frame. size: of one of its pictures."""
    clip = details.clip
    width, height = clip.trans_params[0, :2].astype(int).tolist()
    to_picture = np.diag([size[0] / width, size[1] / height, 1])
    to_picture[:2, 2] = (to_picture.diagonal()[:2] - 1) / 2   # the edges of the pixels stay in place
    for number, (time, pixels) in zip(range(len(clip.time)), details.settings.read_video(clip.video), strict=False):
        picture = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
        overlay, mesh = picture.copy(), np.full_like(picture, BACKGROUND)
        if clip.found[number]:
            _draw(details, number, to_picture @ details.camera[number], overlay, mesh)
        yield time, np.concatenate([picture, overlay, mesh], 1)


def _draw(details: ClipDetails, number: int, matrix: np.ndarray, overlay: np.ndarray, mesh: np.ndarray):
    """Draw the face of a frame into two pictures (H, W, 3) uint8: with its colours, and as a grey mesh.

    matrix: (3, 4) from world coordinates to px of the pictures.
    """
    model, coefficients = details.settings.preview_model, details.clip.coefficients[number]
    face = model(torch.from_numpy(coefficients)[None])
    placed = camera_to_world(face.vertices, model.camera_d)
    vertices = placed[0].numpy()
    window = window_around(project(vertices.astype(float), matrix), overlay.shape[1::-1])
    if window is None:
        return
    shade = (model.normals(placed)[0].numpy() @ LAMP).clip(0, 1)
    shade = (BACKGROUND + (MESH - BACKGROUND) * shade)[:, None].repeat(3, 1)
    drawing = Drawing(vertices, model.tri, window.from_photo() @ matrix, window.size)
    colors = colors_over(overlay, face.color[0].clamp(0, 1).numpy())
    values = drawing.interpolate(np.column_stack([255 * colors, shade]))
    for picture, colors in ((overlay, values[..., :3]), (mesh, values[..., 3:])):
        np.copyto(picture[window.slices], np.rint(colors).astype(np.uint8), where=drawing.mask[..., None])
