"""Fits the 257 coefficients of a face to one photo, by the method's own losses."""
from collections.abc import Callable

import torch
from torch import nn
from torch.nn.functional import avg_pool2d

from models import losses
from models.coefficients import SLICES, join, split
from models.color_fit import ColorFit
from models.face_model import FaceModel
from models.renderer import MeshRenderer

# Weights of the losses. id, exp and tex are multiplied by reg. Those of color and lm are the method's for training. The
# others, which pull towards the mean face and a plain light, are a third of the method's or less: a network learns from
# many photos at once, a fit has to take all from one. Unlike in training, all landmarks that are seen weigh the same:
# the large weights of nose and lips would give the errors of these landmarks to the shape. close holds eyes and mouth.
FIT_WEIGHTS = {"color": 1.92, "lm": 1.6e-3, "close": 1.6e-3, "reg": 1e-4, "gamma": 3, "reflc": 0.7,
               "id": 1.0, "exp": 0.8, "tex": 1.7e-2}
# Adam's step sizes by the part of the coefficients: in the fit to landmarks alone, and in that to landmarks and colour.
LANDMARK_STEPS = {"id": 0.05, "exp": 0.05, "tex": 0, "angle": 0.02, "gamma": 0, "trans": 0.02}
PHOTO_STEPS = {"id": 0.12, "exp": 0.12, "tex": 0.05, "angle": 0.006, "gamma": 0.01, "trans": 0.006}


class Fitter(nn.Module):
    """Optimises the coefficients of a batch of faces, each for its photo.

    It works in four stages: pose, shape and expression by the landmarks alone; albedo and light by `ColorFit`;
    everything by landmarks and colour at half the resolution; the same at full resolution with smaller steps. From the
    second stage on, points of the jaw that the head hides do not count.

    weights: of the losses, by the names of FIT_WEIGHTS.
    """

    def __init__(self, face_model: FaceModel, renderer: MeshRenderer, weights: dict[str, float] = FIT_WEIGHTS):
        super().__init__()
        self.face_model, self.renderer, self.weights = face_model, renderer, weights
        self.color_fit = ColorFit(face_model, renderer, weights)

    def forward(self, coeffs: torch.Tensor, photos: torch.Tensor, landmarks: torch.Tensor, attention: torch.Tensor,
                iterations: int) -> torch.Tensor:
        """Fitted coefficients (B, 257). The loss of no face is higher than at the start.

        coeffs: (B, 257), what to start from. photos: (B, 3, 224, 224) RGB 0..1. landmarks: (B, 68, 2) px, y up, where
        `FaceModel.project` must put them so that they agree with the photos, see `crop_to_projection`. attention:
        (B, 1, 224, 224) 0..1, how much a pixel counts. iterations: Adam's steps on landmarks and colour; there are
        twice as many on the landmarks alone.
        """
        small_photos, small_attention = avg_pool2d(photos, 2), avg_pool2d(attention, 2)

        def coarse_loss(c):
            return self.loss(c, small_photos, landmarks, small_attention, landmark_weights)

        def fine_loss(c):
            return self.loss(c, photos, landmarks, attention, landmark_weights)

        def landmark_loss(c):
            return self.landmark_terms(c, landmarks, torch.ones_like(landmarks[..., 0]))

        start = coeffs.detach()
        coarse = iterations * 3 // 5
        fitted = minimise(landmark_loss, start, LANDMARK_STEPS, 2 * iterations)
        landmark_weights = losses.visible_landmarks(self.face_model, fitted)
        fitted = self.color_fit(fitted, small_photos, small_attention)
        fitted = minimise(coarse_loss, fitted, PHOTO_STEPS, coarse)
        fitted = minimise(fine_loss, fitted, {k: v * 0.3 for k, v in PHOTO_STEPS.items()}, iterations - coarse)
        with torch.no_grad():
            better = fine_loss(fitted) < fine_loss(start)
        return torch.where(better[:, None], fitted, start)

    def landmark_terms(self, coeffs: torch.Tensor, landmarks: torch.Tensor, landmark_weights: torch.Tensor
                       ) -> torch.Tensor:
        """Weighted losses of the landmarks plus regularisation, per face (B,), of coeffs (B, 257) and landmarks
        (B, 68, 2) px, y up, as in `forward`. landmark_weights: (B, 68) 0..1, see `losses.visible_landmarks`."""
        w = self.weights
        predicted = self.face_model.landmarks(coeffs)
        lm = each(losses.landmark_loss, predicted, landmarks, landmark_weights)
        close = each(losses.closing_loss, predicted, landmarks)
        reg = each(lambda c: losses.coefficient_loss(split(c), w["id"], w["exp"], w["tex"]), coeffs)
        return w["lm"] * lm + w["close"] * close + w["reg"] * reg

    def loss(self, coeffs: torch.Tensor, photos: torch.Tensor, landmarks: torch.Tensor, attention: torch.Tensor,
             landmark_weights: torch.Tensor) -> torch.Tensor:
        """The weighted sum of all losses, per face (B,).

        coeffs: (B, 257). photos: (B, 3, S, S) RGB 0..1, of any size S. landmarks: (B, 68, 2) px of the 224 x 224 crop,
        y up, as in `forward`. attention: (B, 1, S, S) 0..1. landmark_weights: as in `landmark_terms`.
        """
        w, model = self.weights, self.face_model
        face = model(coeffs)
        mask, _, image = self.renderer(face.vertices, model.tri, face.color, photos.shape[-1])
        color = each(losses.color_loss, image, photos, mask * attention)
        gamma = each(losses.gamma_loss, split(coeffs)["gamma"])
        reflectance = each(lambda a: losses.reflectance_loss(a, model.skin_mask), face.albedo)
        return (w["color"] * color + w["gamma"] * gamma + w["reflc"] * reflectance
                + self.landmark_terms(coeffs, landmarks, landmark_weights))


def each(loss: Callable, *batches: torch.Tensor) -> torch.Tensor:
    """The loss of every sample separately (B,). loss: takes a batch of each of `batches` and returns one number."""
    return torch.stack([loss(*sample) for sample in zip(*(b.split(1) for b in batches), strict=True)])


def minimise(loss: Callable, start: torch.Tensor, steps: dict[str, float], iterations: int) -> torch.Tensor:
    """Coefficients (B, 257) after that many of Adam's steps from `start` (B, 257).

    loss: maps coefficients (B, 257) to (B,). steps: the step size at the start, by the part of the coefficients; it
    falls to 0 like a cosine. A part of step size 0 stays as it is.
    """
    parts = {name: start[:, SLICES[name]].clone().requires_grad_() for name, step in steps.items() if step}
    optimiser = torch.optim.Adam([{"params": [parts[name]], "lr": steps[name]} for name in parts], betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, max(iterations, 1))
    fixed = split(start)

    def coeffs():
        return join(fixed | parts)

    for _ in range(iterations):
        optimiser.zero_grad(set_to_none=True)
        loss(coeffs()).sum().backward()
        optimiser.step()
        schedule.step()
    return coeffs().detach()
