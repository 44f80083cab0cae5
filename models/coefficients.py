"""The 257 coefficients that describe a face in a photo, and their order in a network's output."""
import torch

SLICES = {
    "id": slice(0, 80),          # identity (shape)
    "exp": slice(80, 144),       # expression
    "tex": slice(144, 224),      # albedo; id, exp and tex in standard deviations of the face model
    "angle": slice(224, 227),    # rotation about x, y, z, radian
    "gamma": slice(227, 254),    # spherical-harmonics light, 3 channels x 9 bands
    "trans": slice(254, 257),    # translation, model units (decimetres)
}
SIZE = 257


def split(coeffs: torch.Tensor) -> dict[str, torch.Tensor]:
    """Views of `coeffs` (B, 257) by name: id (B, 80), exp (B, 64), tex (B, 80), angle (B, 3), gamma (B, 27),
    trans (B, 3). Raises ValueError for another shape."""
    if coeffs.ndim != 2 or coeffs.shape[1] != SIZE:
        raise ValueError(f"coefficients must have the shape (B, {SIZE}), not {tuple(coeffs.shape)}")
    return {name: coeffs[:, part] for name, part in SLICES.items()}


def join(parts: dict[str, torch.Tensor]) -> torch.Tensor:
    """The inverse of `split`: (B, 257) of the parts by name."""
    return torch.cat([parts[name] for name in SLICES], 1)
