"""Finds a face from its picture by gradients. Run it in the repository's folder: python -m tests.examples.optimise"""
import torch

from models.coefficients import SLICES
from models.reconstruction import Reconstructor

reconstructor = Reconstructor.load("open_face", epoch=20, device="cpu")
model, renderer = reconstructor.face_model, reconstructor.renderer
renderer.antialias = True   # gives the outline of the face a gradient


def draw(coefficients: torch.Tensor) -> torch.Tensor:
    """Pictures (B, 3, 112, 112) RGB 0..1 of coefficients (B, 257). Their gradient reaches the coefficients."""
    face = model(coefficients)
    mask, depth, image = renderer(face.vertices, model.tri, face.color, size=112)
    return image


wanted = torch.zeros(1, 257)
wanted[:, SLICES["angle"]] = torch.tensor([0.1, -0.3, 0.05])   # radian
wanted[:, SLICES["exp"]][:, 0] = 1.5                           # standard deviations
picture = draw(wanted)

found = torch.zeros(1, 257, requires_grad=True)
optimiser = torch.optim.Adam([found], lr=0.02)
for _ in range(40):
    optimiser.zero_grad()
    loss = (draw(found) - picture).abs().mean()
    loss.backward()
    optimiser.step()
