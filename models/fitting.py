"""Fits the 257 coefficients of a face to one photo, by the method's own losses."""
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn.functional import avg_pool2d

from models import losses
from models.coefficients import IDENTITY, SIZE
from models.face_model import FaceModel
from models.face_rendering import is_grey
from models.gauss_newton import GaussNewton
from models.landmarks import JAW
from models.renderer import MeshRenderer
from models.simplification import simplify

if TYPE_CHECKING:
    from models.recognition import Recognition

# Weights of the losses. id, exp and tex are multiplied by reg. Those of color, lm and id are the method's for training.
# The others, which pull towards the mean face and a plain light, are a third of the method's or less: a network learns
# from many photos at once, a fit has to take all from one. The shape of the person is the exception: with a weaker
# pull, what the fit takes from one photo brings it no nearer to scanned heads than the mean face is. Unlike in
# training, all inner landmarks weigh the same: the large weights of nose and lips would give the errors of these
# landmarks to the shape. close keeps eyes and mouth as far open as the landmarks show them. The weight of the identity
# loss, feat, depends on the recognition network, see models/recognition.py.
FIT_WEIGHTS = {"color": 1.92, "lm": 1.6e-3, "close": 1.6e-3, "reg": 1e-4, "gamma": 3, "reflc": 0.7,
               "id": 3.0, "exp": 0.8, "tex": 1.2e-2}
# In the short fit no recognition network tells the colours of the person, so they are held less to those of plain skin.
SHORT_FIT_WEIGHTS = FIT_WEIGHTS | {"reflc": 0.2}
# Resolutions of the two stages: triangles of the mesh at whose vertices colours are compared, and the factor by which
# the photo is made smaller.
COARSE_TRIANGLES, COARSE_FACTOR = 1500, 4
FINE_TRIANGLES, FINE_FACTOR = 5000, 2
# Detectors place points of the jaw less exactly than others: along the outline, and where hair and beards hide it.
JAW_WEIGHT = 0.4
# Steps of the short fit after a network. It finds the colours, and how shape and pose must change so that they agree.
SHORT_FIT_STEPS = 4
DRAWN_TRIANGLES = 20000   # of the mesh that is drawn for the recognition network


class Fitter(nn.Module):
    """Optimises the coefficients of a batch of faces, each for its photo.

    It works in two stages of Gauss-Newton steps. The first uses landmarks and colours at a quarter of the resolution.
    The second uses colours at half the resolution and, where there is a recognition network, makes the rendered face
    look like the same person to it.

    recognition: see models/recognition.py; None fits without identity. weights: of the losses, by the names of
    FIT_WEIGHTS, and "feat" for the identity loss, if there is a recognition network.
    """

    def __init__(self, face_model: FaceModel, renderer: MeshRenderer, recognition: "Recognition | None" = None,
                 weights: dict[str, float] = FIT_WEIGHTS):
        super().__init__()
        self.face_model, self.renderer, self.recognition, self.weights = face_model, renderer, recognition, weights
        self.coarse = GaussNewton(face_model, renderer, weights, COARSE_TRIANGLES)
        self.fine = GaussNewton(face_model, renderer, weights, FINE_TRIANGLES)
        self.drawn = simplify(face_model, DRAWN_TRIANGLES) if recognition else None

    def forward(self, coeffs: torch.Tensor, photos: torch.Tensor, landmarks: torch.Tensor, attention: torch.Tensor,
                iterations: int, hold_identity: bool = False) -> torch.Tensor:
        """Fitted coefficients (B, 257). It takes the same as `fit`. On a CPU, each thread fits a part of the faces."""
        fit = partial(self.fit, iterations=iterations, hold_identity=hold_identity)
        return in_threads(fit, coeffs, photos, landmarks, attention)

    def fit(self, coeffs: torch.Tensor, photos: torch.Tensor, landmarks: torch.Tensor, attention: torch.Tensor,
            iterations: int, hold_identity: bool = False) -> torch.Tensor:
        """Fitted coefficients (B, 257), all at once.

        coeffs: (B, 257), what to start from. photos: (B, 3, 224, 224) RGB 0..1. landmarks: (B, 68, 2) px, y up, where
        `FaceModel.project` must put them so that they agree with the photos, see `crop_to_projection`. attention:
        (B, 1, 224, 224) 0..1, how much a pixel counts. iterations: number of steps of both stages together.
        hold_identity: keep the identity and the albedo of `coeffs`.
        """
        free = torch.ones(SIZE, dtype=torch.bool, device=coeffs.device)
        free[IDENTITY] = not hold_identity
        coarse = iterations // 2
        compare = self.recognition and not hold_identity
        identity_loss = self.identity_loss(photos, landmarks) if compare else None
        for stage, factor, steps, further_loss in ((self.coarse, COARSE_FACTOR, coarse, None),
                                                   (self.fine, FINE_FACTOR, iterations - coarse, identity_loss)):
            landmark_weights = losses.visible_landmarks(self.face_model, coeffs)
            landmark_weights[:, JAW] *= JAW_WEIGHT
            small_photos, small_attention = shrink(photos, attention, factor)
            coeffs = stage(coeffs, small_photos, landmarks, landmark_weights, small_attention, steps, further_loss,
                           free.nonzero()[:, 0])
        return coeffs

    def identity_loss(self, photos: torch.Tensor, landmarks: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
        """A function from coefficients (B, 257) to the weighted identity loss (B,): 1 - cosine of the embeddings of the
        photos with and without the rendered face over them. photos, landmarks: as in `fit`."""
        model = self.drawn
        points = landmarks - 0.5   # the pixels that show them, see models/coordinates.py
        grey = is_grey(photos)
        with torch.no_grad():
            of_photos = self.recognition(photos, points)

        def loss(coeffs: torch.Tensor) -> torch.Tensor:
            face = model(coeffs)
            mask, _, image = self.renderer(face.vertices, model.tri, face.color)
            image = torch.where(grey, image.mean(1, keepdim=True), image)
            of_renders = self.recognition(image + (1 - mask) * photos, points)
            return self.weights["feat"] * (1 - (of_renders * of_photos).sum(1))

        return loss


def in_threads(function: Callable[..., torch.Tensor], *batch: torch.Tensor) -> torch.Tensor:
    """What the function returns (B, ...) for a batch, tensors (B, ...). Each sample must be computed on its own.

    On a CPU, PyTorch's threads each compute a part of the batch. That is faster than if all of them share each of the
    many small operations.
    """
    threads = min(torch.get_num_threads(), len(batch[0]))
    if batch[0].device.type != "cpu" or threads < 2:
        return function(*batch)
    with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        return torch.cat(list(pool.map(function, *(tensor.tensor_split(threads) for tensor in batch))))


def shrink(photos: torch.Tensor, attention: torch.Tensor, factor: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Photos (B, 3, S, S) and attention (B, 1, S, S), made smaller by that factor.

    A pixel of the result is the mean of those that it replaces, weighted by their attention.
    """
    small_attention = avg_pool2d(attention, factor)
    return avg_pool2d(photos * attention, factor) / small_attention.clamp(min=1e-6), small_attention
