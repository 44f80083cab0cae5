"""Moves faces onto the landmarks that were found in their photos.

A detector of landmarks sees more exactly than a network how far a mouth is open. The result is the most probable face
if the errors of the network and of the landmarks are normally distributed, with the deviations below. They were chosen
on clips of rendered heads and checked with annotated photos.
"""
import numpy as np
import torch

from models.coefficients import SIZE, SLICES
from models.face_model import FaceModel
from models.landmark_jacobian import landmark_jacobian
from models.landmarks import CHIN, COUNT, WITHOUT_JAW

# Standard deviations of the network's errors: expression in units of the face model, rotation in radian, place in
# decimetres. Identity, albedo and light stay as they are.
DEVIATIONS = {"exp": 1.0, "angle": 0.03, "trans": 0.3}
# Standard deviations of the errors of landmarks, px in the crop. Those of the chin are less exact, and the rest of the
# outline does not count, since it lies on another place of the head when the head turns.
INNER_ERROR, CHIN_ERROR = 3, 12
AROUND_CHIN = slice(CHIN - 2, CHIN + 3)
STEPS = 2      # of Gauss and Newton
AT_ONCE = 64   # faces


@torch.no_grad()
def move_onto_landmarks(face_model: FaceModel, coefficients: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """Returns coefficients (M, 257) of faces whose expression and pose agree better with their landmarks.

    coefficients: (M, 257) float32, as a network predicted them. landmarks: (M, 68, 2) px, y up, where
    `FaceModel.project` must put them, see `crop_to_projection`.
    """
    device = face_model.mean_shape.device
    deviations, weights = torch.zeros(SIZE), torch.zeros(COUNT)
    for name, deviation in DEVIATIONS.items():
        deviations[SLICES[name]] = deviation
    weights[WITHOUT_JAW], weights[AROUND_CHIN] = 1 / INNER_ERROR, 1 / CHIN_ERROR
    changes, weights = deviations.diag()[deviations > 0].to(device), weights.to(device)
    faces = zip(torch.from_numpy(coefficients).split(AT_ONCE), torch.from_numpy(landmarks).float().split(AT_ONCE),
                strict=True)
    return torch.cat([_solve(face_model, start.to(device), goal.to(device), changes, weights).cpu()
                      for start, goal in faces]).numpy()


def _solve(face_model: FaceModel, coefficients: torch.Tensor, landmarks: torch.Tensor, changes: torch.Tensor,
           weights: torch.Tensor) -> torch.Tensor:
    """What `move_onto_landmarks` returns for some of the faces, all at once.

    changes: (K, 257), how the coefficients change if one of the K errors of the network grows by one standard
    deviation. weights: (68,) of the landmarks, 1 / px.
    """
    errors = coefficients.new_zeros(len(coefficients), len(changes))   # of the network, in standard deviations
    for _ in range(STEPS):
        moved = coefficients + errors @ changes
        offsets = (weights[:, None] * (landmarks - face_model.landmarks(moved))).flatten(1)[..., None]
        jacobian = (weights[:, None, None] * (landmark_jacobian(face_model, moved) @ changes.T)).flatten(1, 2)
        equations = jacobian.mT @ jacobian + torch.eye(len(changes), device=changes.device)
        errors = torch.linalg.solve(equations, jacobian.mT @ (offsets + jacobian @ errors[..., None]))[..., 0]
    return coefficients + errors @ changes
