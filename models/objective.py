"""What the training minimises."""
import torch
from torch import nn
from torch.nn.functional import interpolate

from models import losses
from models.coefficients import SLICES, split
from models.color_fit import ColorFit
from models.coordinates import CROP_SIZE
from models.face_model import FaceModel
from models.renderer import MeshRenderer
from util.distributed import Processes

MM = 100   # in a decimetre
FIT_SIZE, FIT_ROUNDS = 56, 3   # px and rounds of the fit of colours: enough for what the network shall learn of it


class Objective(nn.Module):
    """The method's losses of predicted coefficients and, for rendered faces, the distance from the truth.

    recognition: network (images, landmarks) -> unit embeddings, or None without the loss feat. weights: by the names
    feat, color, fit, lm, reg, gamma, reflc, coef, vertex, and id, exp, tex within reg. What feat and fit need is
    not computed where their weights are 0, nor is the image where those of feat and color are. crop_face: compare
    colours inside the face only. given_alignment: align the render for recognition by the photo's landmarks, not by
    the predicted ones. precision: of the recognition network; None: float32.
    """

    def __init__(self, face_model: FaceModel, renderer: MeshRenderer, recognition: nn.Module | None,
                 weights: dict[str, float], crop_face: bool = True, given_alignment: bool = False,
                 precision: torch.dtype | None = None, color_norm: int = 1):
        super().__init__()
        self.face_model, self.renderer, self.recognition = face_model, renderer, recognition
        self.weights, self.crop_face, self.given_alignment = weights, crop_face, given_alignment
        self.precision, self.color_norm = precision, color_norm
        self.color_fit = ColorFit(face_model, renderer, weights, FIT_ROUNDS) if weights["fit"] else None
        self.register_buffer("effects", losses.coefficient_effects(face_model), persistent=False)

    def forward(self, coeffs: torch.Tensor, batch: dict, processes: Processes) -> dict[str, torch.Tensor]:
        """The losses by name, and `all`, their weighted sum, of coeffs (B, 257).

        batch: photo (B, 3, S, S) RGB 0..1, mask (B, 1, S, S) skin attention 0..1, landmarks (B, 68, 2) px in the
        224 crop, y up, and truth (T, 257): the coefficients of the last T faces (T = 0: none is known); processes:
        those that share the batch.
        """
        w, model, c = self.weights, self.face_model, split(coeffs)
        terms = {}
        if w["feat"] or w["color"]:
            face = model(coeffs)
            albedo, landmarks = face.albedo, face.landmarks
            photos = batch["photo"]
            mask, _, image = self.renderer(face.vertices, model.tri, face.color, photos.shape[-1])
            if w["feat"]:
                terms["feat"] = self.identity_loss(image, landmarks, batch)
            over_photos = image + (1 - mask) * photos   # antialiased edges are mixed with the photo, not with black
            mask = batch["mask"] * (self.inner_mask(face.vertices, photos.shape[-1]) if self.crop_face else mask)
            terms["color"] = self.color_norm_loss(over_photos, photos, mask, processes)
        else:
            albedo, landmarks = model.albedo(c["tex"]), model.landmarks(coeffs)
        if self.color_fit:
            terms["fit"] = self.color_fit_loss(coeffs, batch)
        terms["lm"] = losses.landmark_loss(landmarks, batch["landmarks"])
        terms["reg"] = losses.coefficient_loss(c, w["id"], w["exp"], w["tex"])
        terms["gamma"] = losses.gamma_loss(c["gamma"])
        terms["reflc"] = losses.reflectance_loss(albedo, model.skin_mask)
        if len(batch["truth"]):
            terms |= self.truth_losses(coeffs[-len(batch["truth"]):], batch["truth"])
        return {"all": sum(w[name] * term for name, term in terms.items()), **terms}

    def color_norm_loss(self, images: torch.Tensor, photos: torch.Tensor, mask: torch.Tensor, processes: Processes
                        ) -> torch.Tensor:
        """The norm, of the power color_norm, of the photos' colour distances; 1: the mean over all pixels."""
        distances, pixels = losses.color_distances(images, photos, mask)
        # Over the pixels of all processes, not of this one's part of the batch.
        shares = pixels / processes.mean(pixels.sum()).clamp(min=1)
        norm = processes.mean((shares * distances ** self.color_norm).sum()) ** (1 / self.color_norm)
        weights = (distances.detach() / norm.clamp(min=1e-6)) ** (self.color_norm - 1)   # the norm's gradient
        return (shares * weights * distances).sum()

    def identity_loss(self, image: torch.Tensor, landmarks: torch.Tensor, batch: dict) -> torch.Tensor:
        zoom = image.shape[-1] / CROP_SIZE

        def to_pixels(points: torch.Tensor) -> torch.Tensor:   # of an image of another size
            return (points + 0.5) * zoom - 0.5

        given = to_pixels(batch["landmarks"])
        with torch.autocast(image.device.type, self.precision, enabled=self.precision is not None):
            with torch.no_grad():
                wanted = self.recognition(batch["photo"], given)
            found = self.recognition(image, given if self.given_alignment else to_pixels(landmarks.detach()))
        return losses.perceptual_loss(found, wanted)

    def color_fit_loss(self, coeffs: torch.Tensor, batch: dict) -> torch.Tensor:
        """Distance, in their effects, of albedo and light from those that fit the photo best on the predicted shape.
        It says what to change where the colours' own gradient, of which shadow, hair and glasses have a part, tells
        little."""
        photos, mask = (interpolate(batch[name], (FIT_SIZE, FIT_SIZE), mode="area") for name in ("photo", "mask"))
        wanted = self.color_fit(coeffs.detach(), photos, mask)
        return self.effect_distance(coeffs - wanted)

    @torch.no_grad()
    def inner_mask(self, vertices: torch.Tensor, size: int) -> torch.Tensor:
        """Where the inner face, without ears and neck, is in the picture (B, 1, size, size), 0 or 1."""
        return (self.renderer.rasterize(vertices, self.face_model.inner_tri, size)[..., 3] > 0).float()[:, None]

    def truth_losses(self, coeffs: torch.Tensor, truth: torch.Tensor) -> dict[str, torch.Tensor]:
        """coef: distance of the coefficients in their effects, a sum over id, exp, tex, angle, gamma and trans; vertex:
        mean distance of the unposed vertices, mm. Distances, not their squares: hard faces must not drown the rest."""
        error = coeffs - truth
        offsets = error[:, :SLICES["exp"].stop] @ self.face_model.shape_base
        vertex = MM * offsets.view(len(offsets), -1, 3).norm(dim=-1).mean()
        return {"coef": self.effect_distance(error), "vertex": vertex}

    def effect_distance(self, error: torch.Tensor) -> torch.Tensor:
        """Of coefficients (B, 257) that are off by error: the sum over id, exp, tex, angle, gamma and trans, mean over
        the batch."""
        return sum(part.norm(dim=1).mean() for part in split(self.effects * error).values())
