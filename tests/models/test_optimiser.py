import copy
import math

import pytest
import torch

from models.coefficients import SLICES
from models.losses import coefficient_effects
from models.optimiser import BalancedAdam, Schedule, make_scheduler
from models.regressor import Regressor

LR = 1e-3


@pytest.mark.parametrize("use_last_fc", [False, True])
def test_rows_learn_at_rates_of_their_coefficients_effects_and_the_rest_as_by_adam(face_model, use_last_fc):
    effects = coefficient_effects(face_model)
    start = Regressor("resnet18", use_last_fc)
    for head in start.heads:
        torch.nn.init.normal_(head.weight)
    balanced, plain = copy.deepcopy(start), copy.deepcopy(start)
    crops = torch.rand(2, 3, 64, 64)
    for network, optimiser in ((balanced, BalancedAdam(balanced, LR, effects)),
                               (plain, torch.optim.Adam(plain.parameters(), LR))):
        network(crops).square().sum().backward()
        optimiser.step()

    def change(network: Regressor) -> torch.Tensor:
        return torch.cat([head.bias.detach() for head in network.heads])   # they start at 0

    rates = (effects[SLICES["angle"]].min() / effects).sqrt()
    assert torch.allclose(change(balanced), rates * change(plain), rtol=1e-3)
    assert change(balanced)[SLICES["tex"]].abs().min() > change(balanced)[SLICES["trans"]].abs().max()
    assert torch.equal(balanced.backbone.conv1.weight, plain.backbone.conv1.weight)


def test_components_that_the_face_model_lacks_do_not_learn(face_model):
    effects = coefficient_effects(face_model)
    effects[SLICES["id"]][50:] = 0
    network = Regressor("mobilenet_v3_large")
    optimiser = BalancedAdam(network, LR, effects)
    network(torch.rand(2, 3, 64, 64)).sum().backward()
    optimiser.step()
    bias = network.heads[0].bias
    assert (bias[:50] != 0).all() and (bias[50:] == 0).all()


def test_a_training_by_adam_can_be_continued(face_model):
    network = Regressor("mobilenet_v3_large")
    plain = torch.optim.Adam(network.parameters(), LR)
    network(torch.rand(2, 3, 64, 64)).sum().backward()
    plain.step()
    balanced = BalancedAdam(network, LR, coefficient_effects(face_model))
    balanced.load_state_dict(plain.state_dict())
    balanced.step()
    state, = {int(state["step"]) for state in balanced.state_dict()["state"].values()}
    assert state == 2


def adam(lr: float = 1e-4) -> torch.optim.Adam:
    return torch.optim.Adam([torch.zeros(1, requires_grad=True)], lr)


@pytest.mark.parametrize(("policy", "factors"), [
    ("step", [1, 1, 0.2, 0.2, 0.04, 0.04]),
    ("linear", [1, 1, 1, 1, 2 / 3, 1 / 3]),
    ("cosine", [(1 + math.cos(math.pi * epoch / 6)) / 2 for epoch in range(6)])])
def test_learning_rate_policies(policy, factors):
    optimiser = adam()
    schedule = Schedule(policy, n_epochs=6, decay_epochs=2)
    scheduler = make_scheduler(optimiser, Schedule(policy, n_epochs=3, decay_epochs=1))
    found = []
    for epoch in range(len(factors)):
        if epoch in (0, 3):   # continues with the new schedule
            scheduler = make_scheduler(optimiser, schedule, scheduler.state_dict())
        found.append(optimiser.param_groups[0]["lr"] / 1e-4)
        optimiser.step()
        scheduler.step()
    assert found == pytest.approx(factors)


@pytest.mark.parametrize("policy", ["step", "plateau"])
def test_another_policy_continues_after_plateau(policy):
    optimiser = adam()
    state = make_scheduler(optimiser, Schedule("plateau")).state_dict()
    make_scheduler(optimiser, Schedule(policy), state)
    assert optimiser.param_groups[0]["lr"] == 1e-4


def test_plateau_lowers_the_rate_when_the_validation_stands_still():
    optimiser = adam()
    scheduler = make_scheduler(optimiser, Schedule("plateau"))
    for _ in range(8):
        scheduler.step(1.0)
    assert optimiser.param_groups[0]["lr"] == pytest.approx(2e-5)


@pytest.mark.parametrize("policy", ["step", "plateau"])
def test_another_learning_rate_holds_in_a_continued_training_after_the_reductions_so_far(policy):
    optimiser = adam()
    scheduler = make_scheduler(optimiser, Schedule(policy, 1e-4, decay_epochs=7))
    for _ in range(8):
        optimiser.step()
        scheduler.step(*[1.0] if policy == "plateau" else [])
    assert optimiser.param_groups[0]["lr"] == pytest.approx(2e-5)
    continued = adam(3e-4)
    continued.load_state_dict(optimiser.state_dict())
    make_scheduler(continued, Schedule(policy, 3e-4, decay_epochs=7), scheduler.state_dict())
    assert continued.param_groups[0]["lr"] == pytest.approx(6e-5)
