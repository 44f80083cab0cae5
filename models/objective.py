"""What a training minimises: the weighted sum of the losses of the predicted coefficients."""
import torch
from torch import nn
from torch.nn.functional import interpolate

from models import losses
from models.coefficients import SHAPE, split
from models.coordinates import CROP_SIZE
from models.face_model import FaceModel
from models.gauss_newton import GaussNewton
from models.records import Batch
from models.renderer import MeshRenderer
from models.teachers import TeacherLoss
from util.distributed import Processes

# The names of the weights. id, exp and tex are weights of the parts of reg; the others are those of losses.
WEIGHT_NAMES = ("feat", "color", "fit", "lm", "close", "reg", "gamma", "reflc", "coef", "vertex", "teacher", "id",
                "exp", "tex")
# Of the fit of colours: px of the photos, triangles of the mesh at whose vertices colours are compared, and steps
FIT_SIZE, FIT_TRIANGLES, FIT_STEPS = 56, 1500, 3


class Objective(nn.Module):
    """The losses of predicted coefficients.

    face_model, renderer: draw the predicted faces; both have the same camera.
    recognition: network (images (B, 3, S, S) RGB 0..1, landmarks (B, 68, 2) px in the images, y up) -> unit embeddings
        (B, D). None is possible if the weight of `feat` is 0.
    weights: one for each of `WEIGHT_NAMES`. What only losses of weight 0 need is not computed: the embeddings for
        `feat`, the fit of colours for `fit`, the openings for `close`, the described faces for `teacher`, and the
        render if both `feat` and `color` are 0.
    crop_face: True compares colours inside the face only, without ears and neck; False on the whole rendered face.
    given_alignment: True aligns the render for recognition by the landmarks of the photo; False by the predicted ones.
    precision: in which the recognition network computes; None is float32.
    color_norm: the power p of the colour loss, from 1; see `color_norm_loss`.
    """

    def __init__(self, face_model: FaceModel, renderer: MeshRenderer, recognition: nn.Module | None,
                 weights: dict[str, float], crop_face: bool = True, given_alignment: bool = False,
                 precision: torch.dtype | None = None, color_norm: int = 1):
        super().__init__()
        self.face_model, self.renderer, self.recognition = face_model, renderer, recognition
        self.weights, self.crop_face, self.given_alignment = weights, crop_face, given_alignment
        self.precision, self.color_norm = precision, color_norm
        self.color_fit = GaussNewton(face_model, renderer, weights, FIT_TRIANGLES) if weights["fit"] else None
        self.teacher_loss = TeacherLoss(face_model) if weights["teacher"] else None
        self.register_buffer("effects", losses.coefficient_effects(face_model), persistent=False)   # (257,)

    def forward(self, coeffs: torch.Tensor, batch: Batch, processes: Processes) -> dict[str, torch.Tensor]:
        """The losses by name, each a number, and their weighted sum `all`, of coefficients (B, 257).

        processes: those that share the samples of the step; `batch` has this process's part. If the batch has ground
        truth, the losses include `coef` and `vertex`.
        """
        w, model, c = self.weights, self.face_model, split(coeffs)
        terms = {}
        if w["feat"] or w["color"]:
            face = model(coeffs)
            albedo, landmarks = face.albedo, face.landmarks
            size = batch.photo.shape[-1]
            mask, _, image = self.renderer(face.vertices, model.tri, face.color, size)
            if w["feat"]:
                terms["feat"] = self.identity_loss(image, landmarks, batch)
            # With antialiasing, pixels at the outline show a part of the face and a part of the photo behind it.
            over_photo = image + (1 - mask) * batch.photo
            compared = batch.mask * (self.inner_mask(face.vertices, size) if self.crop_face else mask)
            terms["color"] = self.color_norm_loss(over_photo, batch.photo, compared, processes)
        else:
            albedo, landmarks = model.albedo(c["tex"]), model.landmarks(coeffs)
        if self.color_fit:
            terms["fit"] = self.color_fit_loss(coeffs, batch)
        terms["lm"] = losses.landmark_loss(landmarks, batch.landmarks)
        if w["close"]:
            terms["close"] = losses.closing_loss(landmarks, batch.landmarks)
        terms["reg"] = losses.coefficient_loss(c, w["id"], w["exp"], w["tex"])
        terms["gamma"] = losses.gamma_loss(c["gamma"])
        terms["reflc"] = losses.reflectance_loss(albedo, model.skin_mask)
        known = len(batch.ground_truth)
        if known:
            terms |= self.ground_truth_losses(coeffs[-known:], batch.ground_truth)
        if self.teacher_loss and batch.teachers:
            terms["teacher"] = self.teacher_loss(coeffs[:len(batch.teachers.to_crop)], batch.teachers)
        return {"all": sum(w[name] * term for name, term in terms.items()), **terms}

    def color_norm_loss(self, images: torch.Tensor, photos: torch.Tensor, mask: torch.Tensor, processes: Processes
                        ) -> torch.Tensor:
        """The colour loss of images and photos (B, 3, S, S) RGB 0..1 over a mask (B, 1, S, S) 0..1:

            norm = (sum_i n_i d_i^p / sum_i n_i)^(1/p)

        Photo i has n_i pixels, the sum of its mask, and the mean colour distance d_i over them; p is `color_norm`. The
        sums run over the photos of all processes. With p = 1 this is the published loss, the mean over all pixels.
        With a larger p, photos whose colours are far off count more.
        """
        distances, pixels = losses.color_distances(images, photos, mask)   # d_i and n_i
        # The sums of all processes are known, but carry no gradient. So the loss is written as a sum over the photos of
        # this process whose value and gradient are those of the norm. The norm's derivative by d_i is
        # n_i / sum n * (d_i / norm)^(p-1), which takes the place of a constant factor of d_i. Since
        # sum_i n_i / sum n * (d_i / norm)^(p-1) * d_i = norm^p / norm^(p-1) = norm, the value is right too.
        shares = pixels / processes.mean(pixels.sum()).clamp(min=1)   # the mean, since gradients are averaged as well
        norm = processes.mean((shares * distances ** self.color_norm).sum()) ** (1 / self.color_norm)
        factors = (distances.detach() / norm.clamp(min=1e-6)) ** (self.color_norm - 1)
        return (shares * factors * distances).sum()

    def identity_loss(self, image: torch.Tensor, landmarks: torch.Tensor, batch: Batch) -> torch.Tensor:
        """1 - cosine of the embeddings of render and photo, mean over the batch.

        image: the rendered faces (B, 3, S, S) RGB 0..1. landmarks: the predicted ones (B, 68, 2) px in the crop, y up.
        """
        zoom = image.shape[-1] / CROP_SIZE

        def to_pixels(points: torch.Tensor) -> torch.Tensor:   # of the crop -> of the image
            return (points + 0.5) * zoom - 0.5

        given = to_pixels(batch.landmarks)
        with torch.autocast(image.device.type, self.precision, enabled=self.precision is not None):
            with torch.no_grad():
                of_photo = self.recognition(batch.photo, given)
            of_render = self.recognition(image, given if self.given_alignment else to_pixels(landmarks.detach()))
        return losses.perceptual_loss(of_render, of_photo)

    def color_fit_loss(self, coeffs: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Distance of albedo and light from those that fit the photo best on the predicted shape (`effect_distance`).

        The gradient of the colour loss also follows shadows, hair and glasses. The fit leaves those out and so says
        more clearly how albedo and light must change.
        """
        photos, masks = (interpolate(pictures, (FIT_SIZE, FIT_SIZE), mode="area")
                         for pictures in (batch.photo, batch.mask))
        fitted = self.color_fit.fit_colors(coeffs.detach(), photos, masks, FIT_STEPS)
        return self.effect_distance(coeffs - fitted)

    @torch.no_grad()
    def inner_mask(self, vertices: torch.Tensor, size: int) -> torch.Tensor:
        """Pixels (B, 1, size, size) that show the inner face, without ears and neck: 1, others 0. vertices: (B, N, 3)
        in camera coordinates."""
        return (self.renderer.rasterize(vertices, self.face_model.inner_tri, size)[..., 3] > 0).float()[:, None]

    def ground_truth_losses(self, coeffs: torch.Tensor, ground_truth: torch.Tensor) -> dict[str, torch.Tensor]:
        """Distances of coefficients (T, 257) from their ground truth (T, 257).

        coef: distance of the coefficients (`effect_distance`). vertex: mean distance of the vertices before the face is
        posed, mm. They are not squared, so that faces which are hard to predict do not outweigh all others.
        """
        error = coeffs - ground_truth
        offsets = error[:, SHAPE] @ self.face_model.shape_base
        vertex = losses.MM_PER_DECIMETRE * offsets.view(len(offsets), -1, 3).norm(dim=-1).mean()
        return {"coef": self.effect_distance(error), "vertex": vertex}

    def effect_distance(self, error: torch.Tensor) -> torch.Tensor:
        """The size of an error (B, 257) of coefficients, each multiplied by its effect (losses.coefficient_effects):
        the length of each of the parts id, exp, tex, angle, gamma and trans, summed; mean over the batch."""
        return sum(part.norm(dim=1).mean() for part in split(self.effects * error).values())
