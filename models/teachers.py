"""The loss by which a network learns from known faces of photos, such as those that a fit has found.

Coefficients of unlike kinds cannot be compared, and different ones may describe nearly the same face. So this loss
compares what they describe: shape, place in the picture, albedo and lit colours, at some vertices of the face model.
Nothing is drawn for it, which makes a training step several times as fast as with the colour loss.
"""
from typing import NamedTuple

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import nn

from models.coefficients import SHAPE, split
from models.coordinates import CROP_SIZE
from models.face_model import FaceModel, light, rotation
from models.losses import GREY_LEVELS_PER_PIXEL, MM_PER_DECIMETRE
from models.records import Teachers
from models.simplification import choose_vertices
from models.vertex_sample import ChosenVertices

TRIANGLES = 1000   # of the simplified mesh at whose vertices faces are compared
ALBEDO_SHARE = 0.5   # weight of the albedo's brightness and tint, which the light of a photo hides, against its pattern


class Described(NamedTuple):
    """What coefficients describe, at V vertices."""
    shape: torch.Tensor    # (B, V, 3) decimetres, before the face is posed
    pixels: torch.Tensor   # (B, V, 2) px in the crop where they are drawn, y down
    albedo: torch.Tensor   # (B, V, 3) RGB about 0..1
    color: torch.Tensor    # (B, V, 3) RGB about 0..1: the albedo under the light


class TeacherLoss(nn.Module):
    """Distance of predicted faces from those that teachers know."""

    def __init__(self, face_model: FaceModel):
        super().__init__()
        self.face_model = face_model
        mean = face_model.mean_shape.view(-1, 3).cpu().numpy()
        mirrored = mean * [-1, 1, 1]
        chosen = choose_vertices(face_model, TRIANGLES)[0]
        chosen = np.unique(np.concatenate([chosen, cKDTree(mean).query(mirrored[chosen])[1]]))
        partners = cKDTree(mean[chosen]).query(mirrored[chosen])[1]   # the vertices on the other side of the face
        device = face_model.mean_shape.device
        self.vertices = ChosenVertices(face_model, torch.from_numpy(chosen).to(device))
        self.register_buffer("partners", torch.from_numpy(partners).to(device), persistent=False)

    def forward(self, coeffs: torch.Tensor, teachers: Teachers) -> torch.Tensor:
        """The mean distance of faces with coeffs (B, 257) from those of their teachers; 0 if none has a teacher.

        It is the sum of the mean distances of shape in mm, of places in px, of albedo and of colours in units of
        GREY_LEVELS_PER_PIXEL grey levels.
        """
        taught = torch.linalg.det(teachers.to_crop).abs() > 0
        if not taught.any():
            return coeffs.sum() * 0
        found = self.describe(coeffs[taught])
        with torch.no_grad():
            known = self.in_crop(self.describe(teachers.coefficients[taught]), teachers.to_crop[taught])
        grey = 255 / GREY_LEVELS_PER_PIXEL
        albedo = found.albedo - known.albedo
        tint = albedo.mean(1, keepdim=True)
        return (MM_PER_DECIMETRE * _mean_length(found.shape - known.shape) + _mean_length(found.pixels - known.pixels)
                + grey * (_mean_length(albedo - tint) + ALBEDO_SHARE * _mean_length(tint)
                          + _mean_length(found.color - known.color)))

    def describe(self, coeffs: torch.Tensor) -> Described:
        """What coefficients (B, 257) describe at the chosen vertices."""
        c, model = split(coeffs), self.face_model
        shape, normals = self.vertices.shape_and_normals(coeffs[:, SHAPE])
        camera = model.to_camera(shape, c["angle"], c["trans"])
        place = model.focal * camera[..., :2] / camera[..., 2:]
        albedo = self.vertices.albedo(c["tex"])
        return Described(shape, place * place.new_tensor([1, -1]) + (CROP_SIZE - 1) / 2, albedo,
                         albedo * light(normals @ rotation(c["angle"]), c["gamma"]))

    def in_crop(self, faces: Described, to_crop: torch.Tensor) -> Described:
        """The faces as an augmented crop shows them. to_crop: (B, 3, 3), see `Teachers`."""
        mirrored = (torch.linalg.det(to_crop) < 0)[:, None, None]
        shape, pixels, albedo, color = (torch.where(mirrored, values[:, self.partners], values) for values in faces)
        shape = torch.where(mirrored, shape * shape.new_tensor([-1, 1, 1]), shape)
        return Described(shape, pixels @ to_crop[:, :2, :2].mT + to_crop[:, None, :2, 2], albedo, color)


def _mean_length(offsets: torch.Tensor) -> torch.Tensor:
    """Mean length of vectors (..., 3) or (..., 2)."""
    return (offsets.square().sum(-1) + 1e-12).sqrt().mean()
