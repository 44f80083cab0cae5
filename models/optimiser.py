"""Adam, with the last layer's rows learning at rates that suit their coefficients."""
import torch

from models.coefficients import SLICES
from models.regressor import Regressor


class BalancedAdam(torch.optim.Adam):
    """Adam for a network whose coefficients (257,) have such `effects` (models.losses.coefficient_effects).

    Adam moves every weight by about the learning rate, however little its coefficient does: pose and light then shake
    while identity, expression and albedo hardly move. Here the update of each row of the last layer is multiplied by
    the root of an angle's effect over that of the row's coefficient. The state is Adam's.
    """

    def __init__(self, network: Regressor, lr: float, effects: torch.Tensor):
        super().__init__(network.parameters(), lr)
        rates = (effects[SLICES["angle"]].min() / effects).sqrt()
        rates[effects == 0] = 0   # of components that a smaller face model lacks
        heads = network.heads
        self.rows = [(parameter, rate.view(-1, *[1] * (parameter.dim() - 1)))
                     for head, rate in zip(heads, rates.split([len(head.bias) for head in heads]), strict=True)
                     for parameter in (head.weight, head.bias)]

    @torch.no_grad()
    def step(self, closure=None):
        before = [parameter.clone() for parameter, _ in self.rows]
        loss = super().step(closure)
        for (parameter, rate), old in zip(self.rows, before, strict=True):
            parameter.copy_(old + rate * (parameter - old))
        return loss
