"""The method's losses: pure functions of tensors that return one number. Weights are the caller's.

Formulas: Deng et al., Accurate 3D Face Reconstruction with Weakly-Supervised Learning (CVPRW 2019).
"""
import torch

from models.coefficients import SIZE, SLICES, split
from models.face_model import FaceModel, light_basis
from models.landmarks import COUNT, INNER_LIPS, LOWER_NOSE_BRIDGE

# The bridge of the nose and the inner lips weigh more than the other landmarks.
LANDMARK_WEIGHTS = torch.ones(COUNT)
LANDMARK_WEIGHTS[LOWER_NOSE_BRIDGE] = 20
LANDMARK_WEIGHTS[INNER_LIPS] = 20


def pixel_distance(render: torch.Tensor, photo: torch.Tensor) -> torch.Tensor:
    """Colour distance per pixel (B, 1, H, W) of two images (B, 3, H, W) RGB 0..1."""
    return (1e-6 + (render - photo).square().sum(1, keepdim=True)).sqrt()


def color_loss(render: torch.Tensor, photo: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Mean colour distance of two images (B, 3, H, W) RGB 0..1 over the mask (B, 1, H, W) 0..1, which carries no
    gradient."""
    distances, pixels = color_distances(render, photo, mask)
    return (pixels * distances).sum() / pixels.sum().clamp(min=1)


def color_distances(render: torch.Tensor, photo: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The same of each pair of images by itself (B,), and its pixels (B,): the sum of its mask."""
    mask = mask.detach()
    pixels = mask.sum((1, 2, 3))
    return (mask * pixel_distance(render, photo)).sum((1, 2, 3)) / pixels.clamp(min=1), pixels


def perceptual_loss(render_embedding: torch.Tensor, photo_embedding: torch.Tensor) -> torch.Tensor:
    """1 - cosine of two identity embeddings (B, D) of unit length, mean over the batch."""
    return (1 - (render_embedding * photo_embedding).sum(1)).mean()


def landmark_loss(predicted: torch.Tensor, given: torch.Tensor) -> torch.Tensor:
    """Weighted mean squared distance of landmarks (B, 68, 2), px."""
    weights = LANDMARK_WEIGHTS.to(predicted)
    return (weights * (predicted - given).square().sum(-1)).mean()


def coefficient_loss(coeffs: dict[str, torch.Tensor], w_id: float = 1.0, w_exp: float = 0.8,
                     w_tex: float = 1.7e-2) -> torch.Tensor:
    """Squared length of the identity, expression and albedo coefficients (B, .), weighted, mean over the batch."""
    weights = {"id": w_id, "exp": w_exp, "tex": w_tex}
    return sum(w * coeffs[name].square().sum() for name, w in weights.items()) / len(coeffs["id"])


def gamma_loss(gamma: torch.Tensor) -> torch.Tensor:
    """Mean squared distance of the light's colour channels gamma (B, 27) to their mean: light is nearly white."""
    channels = gamma.view(-1, 3, 9)
    return (channels - channels.mean(1, keepdim=True)).square().mean()


def reflectance_loss(albedo: torch.Tensor, skin: torch.Tensor) -> torch.Tensor:
    """Variance of the albedo (B, N, 3) over the skin vertices (mask (N,), 0 or 1): skin is nearly of one colour."""
    skin = skin.view(1, -1, 1)
    mean = (albedo * skin).sum(1, keepdim=True) / skin.sum()
    return ((albedo - mean) * skin).square().sum() / (len(albedo) * skin.sum())


GREY_LEVELS_PER_PIXEL = 4   # of error in colour that weigh as much as a pixel of error in place


@torch.no_grad()
def coefficient_effects(face_model: FaceModel) -> torch.Tensor:
    """How far one unit of each coefficient (257,) changes the mean face, root mean square, so that unlike
    coefficients can be compared: identity and expression in mm of the vertices, angle and translation in px of the
    landmarks, which is about as much; albedo and light in grey levels of the vertices' colour, `GREY_LEVELS_PER_PIXEL`
    of them for one."""
    base = face_model.shape_base.view(len(face_model.shape_base), -1, 3)
    shape = 100 * base.square().sum(2).mean(1).sqrt()
    grey = 255 / GREY_LEVELS_PER_PIXEL
    tex = grey * (face_model.tex_base / 255).square().mean(1).sqrt()
    mean = torch.zeros(1, SIZE).to(base)
    c = split(mean)
    vertices, albedo = face_model.shape(c["id"], c["exp"]), face_model.albedo(c["tex"])
    lit = light_basis(face_model.normals(vertices)).unsqueeze(2) * albedo.unsqueeze(3)      # (1, N, 3, 9)
    gamma = grey * (lit.square().mean((0, 1)) / 3).sqrt().flatten()
    step = 1e-3
    moved = (mean + step * torch.eye(SIZE).to(base))[[*range(SIZE)[SLICES["angle"]], *range(SIZE)[SLICES["trans"]]]]
    place = (face_model.landmarks(moved) - face_model.landmarks(mean)) / step               # (6, 68, 2)
    place = place.square().sum(2).mean(1).sqrt()
    return torch.cat([shape, tex, place[:3], gamma, place[3:]])
