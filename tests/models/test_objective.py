import pytest
import torch

from models.coefficients import SIZE, SLICES
from models.losses import color_distances, color_loss
from models.objective import WEIGHT_NAMES, Objective
from models.records import Batch
from models.renderer import MeshRenderer
from options.training import parse
from util.distributed import Processes

ONE_PROCESS = Processes(torch.device("cpu"))


def test_the_fit_loss_alone_leads_to_the_colours_of_the_photo(face_model, generator):
    options = parse([])
    weights = {name: getattr(options, f"w_{name}") for name in WEIGHT_NAMES} | {"feat": 0, "fit": 1}
    renderer = MeshRenderer()
    objective = Objective(face_model, renderer, None, weights)
    ground_truth = torch.zeros(2, SIZE)
    ground_truth[:, SLICES["tex"]] = 0.5 * torch.randn(2, 80, generator=generator)
    ground_truth[:, SLICES["gamma"]] = 0.2 * torch.randn(2, 9, generator=generator).repeat(1, 3)
    ground_truth[:, SLICES["gamma"].start] += 0.3
    face = face_model(ground_truth)
    mask, _, photo = renderer(face.vertices, face_model.tri, face.color)
    batch = Batch(photo, photo, mask, face.landmarks, ground_truth=ground_truth[:0], paths=["", ""])

    steps = torch.zeros(2, SIZE, requires_grad=True)   # in their effects
    optimiser = torch.optim.Adam([steps], lr=0.3)
    scheduler = torch.optim.lr_scheduler.LinearLR(optimiser, 1, 0, total_iters=40)
    colors = []
    for _ in range(40):
        found = objective(steps / objective.effects, batch, ONE_PROCESS)
        colors.append(found["color"].item())
        optimiser.zero_grad()
        found["fit"].backward()
        optimiser.step()
        scheduler.step()
    assert colors[-1] < colors[0] / 4


@pytest.mark.parametrize("power", [1, 3])
def test_the_power_of_the_colour_loss_is_that_of_a_norm_over_the_photos(face_model, generator, power):
    options = parse([])
    weights = {name: getattr(options, f"w_{name}") for name in WEIGHT_NAMES}
    objective = Objective(face_model, MeshRenderer(), None, weights, color_norm=power)
    render = torch.rand(3, 3, 8, 8, generator=generator, requires_grad=True)
    photos = torch.rand(3, 3, 8, 8, generator=generator) * torch.tensor([1, 2, 0.5]).view(3, 1, 1, 1)
    mask = (torch.rand(3, 1, 8, 8, generator=generator) < torch.tensor([0.3, 0.9, 0]).view(3, 1, 1, 1)).float()
    found = objective.color_norm_loss(render, photos, mask, ONE_PROCESS)
    distances, pixels = color_distances(render, photos, mask)
    wanted = ((distances ** power * pixels).sum() / mask.sum()) ** (1 / power)
    assert torch.isclose(found, wanted)
    gradients = [torch.autograd.grad(loss, render, retain_graph=True)[0] for loss in (found, wanted)]
    assert torch.allclose(*gradients, atol=1e-7)
    mean = color_loss(render, photos, mask)
    assert torch.isclose(found, mean) if power == 1 else found > 1.01 * mean
