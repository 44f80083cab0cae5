"""The method's losses: pure functions of tensors that return one number. Weights are the caller's.

Formulas: Deng et al., Accurate 3D Face Reconstruction with Weakly-Supervised Learning (CVPRW 2019).
"""
import torch

# The tip of the nose and the inner lips (29 to 31 and 61 to 68, counted from 1) weigh more than the contour.
LANDMARK_WEIGHTS = torch.ones(68)
LANDMARK_WEIGHTS[28:31] = 20
LANDMARK_WEIGHTS[60:68] = 20


def pixel_distance(render: torch.Tensor, photo: torch.Tensor) -> torch.Tensor:
    """Colour distance per pixel (B, 1, H, W) of two images (B, 3, H, W) RGB 0..1."""
    return (1e-6 + (render - photo).square().sum(1, keepdim=True)).sqrt()


def color_loss(render: torch.Tensor, photo: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Mean colour distance of two images (B, 3, H, W) RGB 0..1 over the mask (B, 1, H, W) 0..1, which carries no
    gradient."""
    mask = mask.detach()
    return (mask * pixel_distance(render, photo)).sum() / mask.sum().clamp(min=1)


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
