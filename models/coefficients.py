"""The 257 coefficients that describe a face in a photo, and their order in a network's output."""
import math

import numpy as np
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
SHAPE = slice(0, 144)   # identity and expression together
IDENTITY = np.r_[SLICES["id"], SLICES["tex"]]   # (160,) the coefficients that belong to a person, not to a photo


def split(coeffs: torch.Tensor) -> dict[str, torch.Tensor]:
    """Views of `coeffs` (B, 257) by name: id (B, 80), exp (B, 64), tex (B, 80), angle (B, 3), gamma (B, 27),
    trans (B, 3). Raises ValueError for another shape."""
    if coeffs.ndim != 2 or coeffs.shape[1] != SIZE:
        raise ValueError(f"coefficients must have the shape (B, {SIZE}), not {tuple(coeffs.shape)}")
    return {name: coeffs[:, part] for name, part in SLICES.items()}


def join(parts: dict[str, torch.Tensor]) -> torch.Tensor:
    """The inverse of `split`: (B, 257) of the parts by name."""
    return torch.cat([parts[name] for name in SLICES], 1)


def turn_coefficients(coeffs: torch.Tensor, turns: torch.Tensor) -> torch.Tensor:
    """Coefficients (B, 257) of faces in crops -> those of the same faces after the crops are turned anticlockwise.

    turns: (B,) number of quarter turns of each crop. A quarter turn rotates the face, its place and the light about the
    axis of the camera: x becomes y, and y becomes -x. The picture that the coefficients describe is turned exactly.
    """
    parts = split(coeffs.clone())
    for quarter in range(1, 4):
        chosen = turns % 4 >= quarter
        angle, light, place = (parts[name][chosen] for name in ("angle", "gamma", "trans"))
        angle[:, 2] = torch.remainder(angle[:, 2] + 1.5 * math.pi, 2 * math.pi) - math.pi   # within -pi..pi
        # The bands are multiples of 1, -y, z, -x, xy, -yz, 3z^2 - 1, -xz and x^2 - y^2 of the surface's normal.
        bands = light.view(-1, 3, 9)[:, :, [0, 3, 2, 1, 4, 7, 6, 5, 8]]
        bands[:, :, [3, 4, 7, 8]] *= -1
        parts["angle"][chosen], parts["gamma"][chosen] = angle, bands.flatten(1)
        parts["trans"][chosen] = place[:, [1, 0, 2]] * place.new_tensor([-1, 1, 1])
    return join(parts)
