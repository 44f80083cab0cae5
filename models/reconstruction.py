"""Reconstructs 3D faces from aligned faces."""
from collections.abc import Collection

import numpy as np
import torch

from models.coefficients import SIZE, SLICES, split, turn_coefficients
from models.coordinates import (
    CROP_SIZE,
    camera_to_world,
    crop_to_projection,
    projection_to_crop,
    turn_points,
    turn_trans_params,
)
from models.face_model import FaceModel
from models.face_rendering import render_over
from models.fitting import Fitter
from models.landmarks import roll
from models.records import AlignedFace, FaceResult, Origin
from models.renderer import MeshRenderer

# What is computed of a face only if an output needs it: its vertices and colours, and the render over its crop.
PARTS = ("mesh", "overlay")
NO_FILES = Origin()


class Reconstructor:
    """Computes coefficients, meshes and pictures of aligned faces: by the network, then by a fit to each photo.

    regressor: the network; None starts the fit from the mean face. fit_iters: number of steps of the fit; 0 makes no
    fit. device: where everything is computed. origin: the files of the face model and of the network, for outputs that
    name them.
    """

    def __init__(self, face_model: FaceModel, renderer: MeshRenderer, regressor: torch.nn.Module | None,
                 fit_iters: int, device: torch.device, origin: Origin = NO_FILES):
        self.face_model, self.renderer, self.device = face_model.to(device), renderer, device
        self.regressor = regressor.to(device, memory_format=torch.channels_last).eval() if regressor else None
        self.fitter = Fitter(face_model, renderer) if fit_iters else None
        self.fit_iters, self.origin = fit_iters, origin

    def __call__(self, faces: list[AlignedFace], parts: Collection[str] = PARTS) -> list[FaceResult]:
        """Returns the result of each face. All faces are computed at once, as one batch.

        parts: which of PARTS are computed in addition to the coefficients and the landmarks.
        """
        upright = self.to_tensor([np.rot90(face.crop, face.turns) for face in faces])
        upright_coefficients = self.coefficients(faces, upright)
        turns = torch.tensor([face.turns for face in faces], device=self.device)
        coefficients = turn_coefficients(upright_coefficients, -turns)
        landmarks = None
        if self.fitter:   # unlike the network, it has placed each face exactly on the pixels that show it
            landmarks = self.landmarks_in_crops(upright_coefficients, faces)
        return self.results(coefficients, faces, parts, landmarks)

    def results(self, coefficients: torch.Tensor, faces: list[AlignedFace], parts: Collection[str] = PARTS,
                landmarks: list[np.ndarray] | None = None) -> list[FaceResult]:
        """Returns the result of each face from its coefficients (B, 257), which belong to the crops as they are.

        parts: see `__call__`. landmarks: (68, 2) px in the crop, y up, of each face; None: they are projected as the
        published method does it.
        """
        computed = {}
        with torch.no_grad():
            if parts:
                drawn = self.face_model(coefficients)
            if "overlay" in parts:
                photos = self.to_tensor([face.crop for face in faces])
                computed["overlay"] = render_over(self.renderer, self.face_model, drawn, photos).cpu().numpy()
            if "mesh" in parts:
                computed["vertices"] = camera_to_world(drawn.vertices, self.face_model.camera_d).cpu().numpy()
                computed["colors"] = drawn.color.clamp(0, 1).cpu().numpy()
            if landmarks is None:
                landmarks = (drawn.landmarks if parts else self.face_model.landmarks(coefficients)).cpu().numpy()
        split_coefficients = {name: part.cpu().numpy() for name, part in split(coefficients).items()}
        return [FaceResult(face, {name: part[i] for name, part in split_coefficients.items()}, landmarks[i],
                           **{name: values[i] for name, values in computed.items()})
                for i, face in enumerate(faces)]

    def landmarks_in_crops(self, upright_coefficients: torch.Tensor, faces: list[AlignedFace]) -> list[np.ndarray]:
        """Returns the landmarks (68, 2) px in the crop, y up, of each fitted face, see `projection_to_crop`.

        upright_coefficients: (B, 257), as `coefficients` returns them.
        """
        with torch.no_grad():
            projected = self.face_model.landmarks(upright_coefficients).cpu().numpy()
        return [turn_points(projection_to_crop(points, upright_trans_params(face)), (CROP_SIZE, CROP_SIZE), -face.turns)
                for points, face in zip(projected, faces, strict=True)]

    def to_tensor(self, crops: list[np.ndarray]) -> torch.Tensor:
        """Returns B crops (224, 224, 3) uint8 as photos (B, 3, 224, 224) RGB 0..1 on the device."""
        return torch.from_numpy(np.stack(crops)).to(self.device).permute(0, 3, 1, 2).float() / 255

    def coefficients(self, faces: list[AlignedFace], photos: torch.Tensor) -> torch.Tensor:
        """Returns the coefficients (B, 257) of B faces in upright crops.

        photos: the crops (B, 3, 224, 224) RGB 0..1, turned upright by `face.turns`.
        """
        coefficients = torch.zeros(len(photos), SIZE, device=self.device)
        if self.regressor:
            with torch.inference_mode():
                coefficients = self.regressor(photos)
            coefficients = coefficients.clone()   # autograd, which the fit needs, rejects tensors of inference mode
        if self.fitter:
            upright = [turn_points(face.landmarks, (CROP_SIZE, CROP_SIZE), face.turns) for face in faces]
            landmarks = [crop_to_projection(points, upright_trans_params(face))
                         for points, face in zip(upright, faces, strict=True)]
            landmarks = torch.from_numpy(np.stack(landmarks)).to(photos)
            if not self.regressor:   # start with the face turned as in the crop, which is upright within 45 degrees
                angle_z = SLICES["angle"].stop - 1
                coefficients[:, angle_z] = torch.tensor([roll(points) for points in upright]).to(coefficients)
            attention = np.stack([np.rot90(face.attention, face.turns) for face in faces])
            attention = torch.from_numpy(attention).to(photos)[:, None] / 255
            coefficients = self.fitter(coefficients, photos, landmarks, attention, self.fit_iters)
        return coefficients


def upright_trans_params(face: AlignedFace) -> np.ndarray:
    """Returns the trans_params (5,) of the photo and the crop, both turned so that the face is upright."""
    return turn_trans_params(face.trans_params, face.turns)
