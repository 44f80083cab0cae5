"""What the result files of a face are made of. Each part is computed when a file first needs it."""
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from models.coefficients import split
from models.coordinates import camera_matrix, camera_to_world, project
from models.face_model import FaceModel, PosedFaces
from models.records import FaceResult, Origin


@dataclass(frozen=True)
class OutputSettings:
    """What the outputs of all faces share.

    face_model: on the CPU, where the files are made. origin: what the faces were reconstructed with. read_photo:
    returns the pixels (H, W, 3) uint8 RGB of a photo by its path. frontal: meshes face along z, at the origin, and not
    as in the photo. neutral: meshes have no expression.
    """
    face_model: FaceModel
    origin: Origin
    read_photo: Callable[[Path], np.ndarray]
    frontal: bool = False
    neutral: bool = False

    @cached_property
    def triangles(self) -> np.ndarray:
        """The triangles (F, 3) int32 of every mesh: indices of its vertices, from 0."""
        return self.face_model.tri.numpy()


class FaceDetails:
    """A reconstructed face, and what several of its result files need."""

    def __init__(self, result: FaceResult, settings: OutputSettings):
        self.result, self.face, self.settings = result, result.face, settings

    @cached_property
    def coefficients(self) -> np.ndarray:
        """The 257 coefficients (257,) float32."""
        return np.concatenate(list(self.result.coefficients.values()))

    @cached_property
    def posed(self) -> PosedFaces:
        """The face as the camera sees it, as a batch of one on the CPU."""
        with torch.no_grad():
            return self.settings.face_model(torch.from_numpy(self.coefficients)[None])

    @cached_property
    def vertices(self) -> np.ndarray:
        """The vertices (N, 3) of the face in the photo, world coordinates, decimetres."""
        if self.result.vertices is not None:
            return self.result.vertices
        return camera_to_world(self.posed.vertices[0], self.settings.face_model.camera_d).numpy()

    @cached_property
    def mesh_vertices(self) -> np.ndarray:
        """The vertices (N, 3) of the mesh files, decimetres: those of the face in the photo, unless the settings ask
        for a frontal or neutral face."""
        settings, model = self.settings, self.settings.face_model
        if not settings.frontal and not settings.neutral:
            return self.vertices
        parts = split(torch.from_numpy(self.coefficients)[None])
        with torch.no_grad():
            shape = model.shape(parts["id"], parts["exp"] * (not settings.neutral))
            if settings.frontal:
                return shape[0].numpy()
            return camera_to_world(model.to_camera(shape, parts["angle"], parts["trans"])[0], model.camera_d).numpy()

    @cached_property
    def camera_matrix(self) -> np.ndarray:
        """The matrix (3, 4) from world coordinates to pixels of the photo, see `models.coordinates.camera_matrix`."""
        model = self.settings.face_model
        return camera_matrix(model.focal, model.camera_d, self.face.trans_params, self.face.turns)

    @cached_property
    def landmarks_in_photo(self) -> np.ndarray:
        """The 68 landmarks (68, 2) of the reconstructed face, px in the photo, y down, where its mesh is drawn."""
        model = self.settings.face_model
        coefficients = split(torch.from_numpy(self.coefficients)[None])
        with torch.no_grad():
            shape = model.shape(coefficients["id"], coefficients["exp"], model.keypoints)
            points = model.to_camera(shape, coefficients["angle"], coefficients["trans"])
        return project(camera_to_world(points[0], model.camera_d).double().numpy(), self.camera_matrix)

    @cached_property
    def photo(self) -> np.ndarray:
        """The pixels (H, W, 3) uint8 RGB of the whole photo."""
        return self.settings.read_photo(self.face.photo)
