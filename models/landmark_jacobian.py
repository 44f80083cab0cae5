"""How the landmarks of a face move in its picture when its coefficients change."""
import torch

from models.coefficients import SHAPE, SIZE, SLICES, split
from models.face_model import FaceModel, coordinates_of, rotation
from models.landmarks import COUNT


def landmark_jacobian(model: FaceModel, coeffs: torch.Tensor) -> torch.Tensor:
    """Derivatives (B, 68, 2, 257) of the projected landmarks, px, y up, by the coefficients (B, 257)."""
    c = split(coeffs)
    turn, turn_changes = rotation(c["angle"]), rotation_changes(c["angle"])
    shape = model.shape(c["id"], c["exp"], model.keypoints)
    positions = shape @ turn + c["trans"][:, None]
    by_position = torch.stack(pixel_by_position(model.focal, positions, model.camera_d - positions[..., 2]), 2)
    jacobian = coeffs.new_zeros(len(coeffs), COUNT, 2, SIZE)
    base = coordinates_of(model.shape_base, model.keypoints).view(144, COUNT, 3)
    jacobian[..., SHAPE] = torch.einsum("bvcj,kvj->bvck", by_position @ turn.mT[:, None], base)
    jacobian[..., SLICES["angle"]] = by_position @ torch.einsum("bvi,bkij->bvjk", shape, turn_changes)
    jacobian[..., SLICES["trans"]] = by_position
    return jacobian


def pixel_by_position(focal: float, positions: torch.Tensor, distance: torch.Tensor
                      ) -> tuple[torch.Tensor, torch.Tensor]:
    """Derivatives (B, V, 3) of a point's place in the crop, px to the right and px up, by its position.

    focal: px. positions: (B, V, 3) world coordinates. distance: (B, V) from the camera along its axis. Both decimetres.
    """
    zero, one = torch.zeros_like(distance), torch.ones_like(distance)
    scale = (focal / distance)[..., None]
    x, y = (positions[..., :2] / distance[..., None]).unbind(-1)
    return scale * torch.stack([one, zero, x], -1), scale * torch.stack([zero, one, y], -1)


def rotation_changes(angle: torch.Tensor) -> torch.Tensor:
    """Derivatives (B, 3, 3, 3) of `rotation(angle)` by the three angles (B, 3): the second axis counts the angles."""
    steps = 1e-3 * torch.eye(3, device=angle.device)
    return torch.stack([(rotation(angle + step) - rotation(angle - step)) / 2e-3 for step in steps], 1)
