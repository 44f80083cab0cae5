"""Builds a face model with the renderer that draws it, and draws faces over photos."""
import copy
from pathlib import Path

import torch

from models.coordinates import crop_focal
from models.face_model import FaceModel, PosedFaces
from models.face_model_files import load_face_model_data
from models.renderer import MeshRenderer

GREY = 0.015    # mean difference of a grey photo's largest and smallest channel, at most
BLANK = 0.01    # standard deviation of a picture that is no photo, such as a white one, at most


def build_face_model(bfm_folder: Path, bfm_model: str, *, focal: float, center: float, camera_d: float, z_near: float,
                     z_far: float, renderer: str, antialias: bool = False) -> tuple[FaceModel, MeshRenderer]:
    """Returns a face model and a renderer that share one camera. The camera's image is the crop.

    bfm_folder, bfm_model: folder and file name of the face model. focal, center: focal length and principal point of
    the camera, px of an image that is 2 * center px wide. camera_d: distance of the camera from the face, decimetres.
    z_near, z_far: nearest and farthest visible distance from the camera, decimetres. renderer, antialias: see
    `MeshRenderer`.
    Raises InputError if the face model cannot be loaded.
    """
    focal = crop_focal(focal, center)
    face_model = FaceModel(load_face_model_data(bfm_folder, bfm_model), focal, camera_d)
    return face_model, MeshRenderer(focal, z_near, z_far, renderer, antialias)


def copy_to_cpu(face_model: FaceModel) -> FaceModel:
    """Returns the face model on the CPU: itself if it is there, or else a copy."""
    return face_model if face_model.mean_shape.device.type == "cpu" else copy.deepcopy(face_model).cpu()


def is_grey(photos: torch.Tensor) -> torch.Tensor:
    """Whether each of the photos (B, 3, S, S) RGB 0..1 has no colours (B, 1, 1, 1), and is not blank."""
    colorfulness = (photos.amax(1, keepdim=True) - photos.amin(1, keepdim=True)).mean((1, 2, 3), keepdim=True)
    return (colorfulness < GREY) & (photos.std((1, 2, 3), keepdim=True) > BLANK)


def render_over(renderer: MeshRenderer, face_model: FaceModel, face: PosedFaces, photos: torch.Tensor) -> torch.Tensor:
    """Returns photos with the faces drawn over them, (B, 224, 224, 3) uint8 RGB. Over grey photos, which do not tell
    the colours of the skin, they are grey.

    photos: (B, 3, 224, 224) RGB 0..1.
    """
    mask, _, image = renderer(face.vertices, face_model.tri, face.color)
    image = torch.where(is_grey(photos), image.mean(1, keepdim=True), image)
    overlay = (image + (1 - mask) * photos).clamp(0, 1)
    return (255 * overlay).round().byte().permute(0, 2, 3, 1)
