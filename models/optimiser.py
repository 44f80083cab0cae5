"""The optimiser of a training and the schedule of its learning rate."""
import math
from dataclasses import dataclass

import torch
from torch.optim import lr_scheduler

from models.coefficients import SLICES
from models.regressor import Regressor


class BalancedAdam(torch.optim.Adam):
    """Adam, but coefficients of small effect learn faster than those of large effect.

    Adam moves every weight by about the learning rate, whatever its effect on the face. Pose and light, of large
    effect, then shake, while identity, expression and albedo hardly move. Here the update of each row of the last
    layer is multiplied by sqrt(a / e), where e is the effect of the row's coefficient and a that of the angle with the
    smallest effect. The state is that of Adam, so a training with Adam can be continued.

    effects: (257,), see models.losses.coefficient_effects. Rows of effect 0 do not learn: they belong to components
    that a smaller face model lacks.
    """

    def __init__(self, network: Regressor, lr: float, effects: torch.Tensor):
        super().__init__(network.parameters(), lr)
        rates = (effects[SLICES["angle"]].min() / effects).sqrt()
        rates[effects == 0] = 0
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


@dataclass(frozen=True)
class Schedule:
    """The learning rate over the epochs of a training."""
    policy: str = "step"     # step, linear, plateau or cosine, see the help of --lr_policy in options/training.py
    lr: float = 1e-4         # of the first epoch
    n_epochs: int = 20       # the last epoch
    decay_epochs: int = 10   # step: epochs between two reductions; linear: epochs of the decline


def make_scheduler(optimiser: torch.optim.Optimizer, schedule: Schedule, state: dict | None = None
                   ) -> lr_scheduler.LRScheduler:
    """The scheduler that sets the optimiser's learning rate after each epoch.

    state: of the scheduler in a checkpoint, to continue after its last epoch; the optimiser must already have its state
    of that checkpoint. The values of `schedule` hold, whatever schedule the checkpoint was trained with.
    """
    for group in optimiser.param_groups:
        if schedule.policy == "plateau":   # the reductions so far hold for another learning rate as well
            group["lr"] *= schedule.lr / group.get("initial_lr", schedule.lr)
        group["initial_lr"] = schedule.lr
    if schedule.policy == "plateau":
        scheduler = lr_scheduler.ReduceLROnPlateau(optimiser, factor=0.2, patience=5)
        if state:
            scheduler.load_state_dict(state)
        return scheduler
    decay, epochs = schedule.decay_epochs, schedule.n_epochs
    factor = {"linear": lambda epoch: min(1.0, (epochs - epoch) / (min(decay, epochs) + 1)),
              "cosine": lambda epoch: (1 + math.cos(math.pi * epoch / epochs)) / 2,
              "step": lambda epoch: 0.2 ** (epoch // decay)}[schedule.policy]
    return lr_scheduler.LambdaLR(optimiser, factor, (state["last_epoch"] if state else 0) - 1)
