import torch

from models.coefficients import SIZE, SLICES
from models.objective import Objective
from models.training import LOSSES
from options.training import parse
from util.distributed import Processes
from util.renderer import MeshRenderer


def test_the_fit_loss_alone_leads_to_the_colours_of_the_photo(face_model, generator):
    options = parse([])
    weights = {name: getattr(options, f"w_{name}") for name in LOSSES} | {"feat": 0, "fit": 1}
    renderer = MeshRenderer()
    objective = Objective(face_model, renderer, None, weights)
    truth = torch.zeros(2, SIZE)
    truth[:, SLICES["tex"]] = 0.5 * torch.randn(2, 80, generator=generator)
    truth[:, SLICES["gamma"]] = 0.2 * torch.randn(2, 9, generator=generator).repeat(1, 3)
    truth[:, SLICES["gamma"].start] += 0.3
    face = face_model(truth)
    mask, _, photo = renderer(face.vertices, face_model.tri, face.color)
    batch = {"photo": photo, "mask": mask, "landmarks": face.landmarks, "truth": truth[:0]}

    steps = torch.zeros(2, SIZE, requires_grad=True)   # in their effects
    optimiser = torch.optim.Adam([steps], lr=0.3)
    scheduler = torch.optim.lr_scheduler.LinearLR(optimiser, 1, 0, total_iters=40)
    colors = []
    for _ in range(40):
        found = objective(steps / objective.effects, batch, Processes(torch.device("cpu")))
        colors.append(found["color"].item())
        optimiser.zero_grad()
        found["fit"].backward()
        optimiser.step()
        scheduler.step()
    assert colors[-1] < colors[0] / 4
