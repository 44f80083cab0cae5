import copy

import pytest
import torch

from models.coefficients import SLICES
from models.losses import coefficient_effects
from models.optimiser import BalancedAdam
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
