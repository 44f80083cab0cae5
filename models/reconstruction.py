"""Reconstructs 3D faces from aligned faces."""
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
from models.records import AlignedFace, FaceResult
from models.renderer import MeshRenderer


class Reconstructor:
    """Computes coefficients, meshes and pictures of aligned faces: by the network, then by a fit to each photo.

    regressor: the network; None starts the fit from the mean face. fit_iters: number of steps of the fit; 0 makes no
    fit. device: where everything is computed.
    """

    def __init__(self, face_model: FaceModel, renderer: MeshRenderer, regressor: torch.nn.Module | None,
                 fit_iters: int, device: torch.device):
        self.face_model, self.renderer, self.device = face_model.to(device), renderer, device
        self.regressor = regressor.to(device, memory_format=torch.channels_last).eval() if regressor else None
        self.fitter = Fitter(face_model, renderer) if fit_iters else None
        self.fit_iters = fit_iters

    @property
    def triangles(self) -> np.ndarray:
        """The triangles (F, 3) int32 of every mesh: indices of its vertices, from 0."""
        return self.face_model.tri.cpu().numpy()

    def __call__(self, faces: list[AlignedFace]) -> list[FaceResult]:
        """Returns the result of each face. All faces are computed at once, as one batch."""
        photos = self.to_tensor([face.crop for face in faces])
        upright = self.to_tensor([np.rot90(face.crop, face.turns) for face in faces])
        turns = torch.tensor([face.turns for face in faces], device=self.device)
        upright_coefficients = self.coefficients(faces, upright)
        coefficients = turn_coefficients(upright_coefficients, -turns)
        with torch.no_grad():
            drawn = self.face_model(coefficients)
            overlays = render_over(self.renderer, self.face_model, drawn, photos).cpu().numpy()
            vertices = camera_to_world(drawn.vertices, self.face_model.camera_d).cpu().numpy()
            colors = drawn.color.clamp(0, 1).cpu().numpy()
            landmarks = drawn.landmarks.cpu().numpy()
        if self.fitter:   # unlike the network, it has placed each face exactly on the pixels that show it
            landmarks = self.landmarks_in_crops(upright_coefficients, faces)
        parts = {name: part.cpu().numpy() for name, part in split(coefficients).items()}
        return [FaceResult(photo=face.photo, name=face.name, crop=face.crop, overlay=overlays[i],
                           coefficients={name: part[i] for name, part in parts.items()}, vertices=vertices[i],
                           colors=colors[i], landmarks=landmarks[i], given_landmarks=face.landmarks,
                           trans_params=face.trans_params)
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
