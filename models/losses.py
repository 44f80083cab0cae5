"""The method's losses: pure functions of tensors that return one number. The caller weighs and adds them.

Formulas: Deng et al., Accurate 3D Face Reconstruction with Weakly-Supervised Learning (CVPRW 2019).
"""
import torch
from torch.nn.functional import normalize

from models.coefficients import SIZE, SLICES, split
from models.face_model import FaceModel, light_basis, rotation
from models.landmarks import COUNT, INNER_LIPS, JAW, LOWER_LIDS, LOWER_LIPS, LOWER_NOSE_BRIDGE, UPPER_LIDS, UPPER_LIPS

# The bridge of the nose and the inner lips weigh more than the other landmarks.
LANDMARK_WEIGHTS = torch.ones(COUNT)
LANDMARK_WEIGHTS[LOWER_NOSE_BRIDGE] = 20
LANDMARK_WEIGHTS[INNER_LIPS] = 20


def pixel_distance(render: torch.Tensor, photo: torch.Tensor) -> torch.Tensor:
    """Colour distance of each pixel (B, 1, H, W) of two images (B, 3, H, W) RGB 0..1."""
    return (1e-6 + (render - photo).square().sum(1, keepdim=True)).sqrt()


def color_loss(render: torch.Tensor, photo: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The published colour loss: mean colour distance of two images (B, 3, H, W) RGB 0..1 over the pixels of all images
    together. `Objective.color_norm_loss` computes it for photos that several processes share.

    mask: (B, 1, H, W) 0..1, how much a pixel counts; it gets no gradient. Returns 0 for an empty mask.
    """
    distances, pixels = color_distances(render, photo, mask)
    return (pixels * distances).sum() / pixels.sum().clamp(min=1)


def color_distances(render: torch.Tensor, photo: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean colour distance of each pair of images separately (B,), and the sum of each mask (B,).

    render, photo: (B, 3, H, W) RGB 0..1. mask: (B, 1, H, W) 0..1, how much a pixel counts; it gets no gradient.
    """
    mask = mask.detach()
    pixels = mask.sum((1, 2, 3))
    return (mask * pixel_distance(render, photo)).sum((1, 2, 3)) / pixels.clamp(min=1), pixels


def perceptual_loss(render_embedding: torch.Tensor, photo_embedding: torch.Tensor) -> torch.Tensor:
    """1 - cosine of the identity embeddings (B, D) of render and photo, mean over the batch. They have unit length."""
    return (1 - (render_embedding * photo_embedding).sum(1)).mean()


def landmark_loss(predicted: torch.Tensor, given: torch.Tensor) -> torch.Tensor:
    """Mean squared distance of landmarks (B, 68, 2) px, weighted by LANDMARK_WEIGHTS, in px^2."""
    return (LANDMARK_WEIGHTS.to(predicted) * (predicted - given).square().sum(-1)).mean()


def closing_loss(predicted: torch.Tensor, given: torch.Tensor) -> torch.Tensor:
    """Mean squared error of how far eyes and mouth are open, of landmarks (B, 68, 2) px, in px^2.

    It compares the offsets from the lower eyelids to the upper ones, and from the lower lip's inner edge to the upper
    one's. They are 0 where an eye or the mouth is closed, wherever it is.
    """
    upper, lower = [*UPPER_LIDS, *UPPER_LIPS], [*LOWER_LIDS, *LOWER_LIPS]
    error = predicted - given
    return (error[:, upper] - error[:, lower]).square().sum(-1).mean()


HIDDEN = -0.4   # cosine of the angle between the normal of a point of the jaw and the line of sight, see below


@torch.no_grad()
def visible_landmarks(face_model: FaceModel, coeffs: torch.Tensor) -> torch.Tensor:
    """How well the landmarks of faces with coeffs (B, 257) are seen: (B, 68), 1 fully, 0 not at all.

    It is less than 1 only for points of the jaw on the side of a head that is turned away. There a photo shows the
    outline of the cheek, which is another place of the head. Between the outline and HIDDEN it falls linearly.
    """
    c = split(coeffs)
    shape, turn = face_model.shape(c["id"], c["exp"]), rotation(c["angle"])
    jaw = face_model.keypoints[JAW]
    normals = face_model.normals(shape)[:, jaw] @ turn
    points = face_model.to_camera(shape[:, jaw], c["angle"], c["trans"])
    to_camera = normalize(points * points.new_tensor([-1, -1, 1]), dim=-1)   # z of points grows away from the camera
    visible = coeffs.new_ones(len(coeffs), COUNT)
    visible[:, JAW] = (1 - (normals * to_camera).sum(-1) / HIDDEN).clamp(0, 1)
    return visible


def coefficient_loss(coeffs: dict[str, torch.Tensor], w_id: float = 1.0, w_exp: float = 0.8,
                     w_tex: float = 1.7e-2) -> torch.Tensor:
    """Weighted sum of the squares of the identity, expression and albedo coefficients, mean over the batch.

    coeffs: by name, of which id (B, 80), exp (B, 64) and tex (B, 80) are used.
    """
    weights = {"id": w_id, "exp": w_exp, "tex": w_tex}
    return sum(w * coeffs[name].square().sum() for name, w in weights.items()) / len(coeffs["id"])


def gamma_loss(gamma: torch.Tensor) -> torch.Tensor:
    """Mean squared difference of the three colour channels of the light gamma (B, 27) to their mean.

    It is 0 for white light, which most photos have nearly.
    """
    channels = gamma.view(-1, 3, 9)
    return (channels - channels.mean(1, keepdim=True)).square().mean()


def reflectance_loss(albedo: torch.Tensor, skin: torch.Tensor) -> torch.Tensor:
    """Variance of the albedo (B, N, 3) RGB about 0..1 over the skin, summed over the channels, mean over the batch.

    skin: (N,) 1 for vertices of the skin, 0 for others. It pushes what varies over the face, such as shadows, into the
    light.
    """
    skin = skin.view(1, -1, 1)
    mean = (albedo * skin).sum(1, keepdim=True) / skin.sum()
    return ((albedo - mean) * skin).square().sum() / (len(albedo) * skin.sum())


MM_PER_DECIMETRE = 100
GREY_LEVELS_PER_PIXEL = 4   # so many grey levels of colour error count as much as one px of position error


@torch.no_grad()
def coefficient_effects(face_model: FaceModel) -> torch.Tensor:
    """The effects of the coefficients (257,): what one unit of each does to the mean face.

    The effect of a coefficient is the root mean square, over the vertices or landmarks, of the change that adding 1 to
    it causes. It makes errors of unlike coefficients comparable:

    - id, exp: movement of the vertices, in mm, which is about 1 px of the crop;
    - angle, trans: movement of the landmarks, in px of the crop;
    - tex, gamma: change of the vertices' colours, in units of GREY_LEVELS_PER_PIXEL grey levels (of 255).
    """
    base = face_model.shape_base.view(len(face_model.shape_base), -1, 3)
    shape = MM_PER_DECIMETRE * base.square().sum(2).mean(1).sqrt()
    grey = 255 / GREY_LEVELS_PER_PIXEL
    tex = grey * (face_model.tex_base / 255).square().mean(1).sqrt()
    mean = torch.zeros(1, SIZE).to(base)
    c = split(mean)
    vertices, albedo = face_model.shape(c["id"], c["exp"]), face_model.albedo(c["tex"])
    lit = light_basis(face_model.normals(vertices)).unsqueeze(2) * albedo.unsqueeze(3)      # (1, N, 3, 9)
    gamma = grey * (lit.square().mean((0, 1)) / 3).sqrt().flatten()
    # The landmarks move almost linearly with a small step of the pose.
    step = 1e-3
    moved = (mean + step * torch.eye(SIZE).to(base))[[*range(SIZE)[SLICES["angle"]], *range(SIZE)[SLICES["trans"]]]]
    place = (face_model.landmarks(moved) - face_model.landmarks(mean)) / step               # (6, 68, 2)
    place = place.square().sum(2).mean(1).sqrt()
    return torch.cat([shape, tex, place[:3], gamma, place[3:]])
