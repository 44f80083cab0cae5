"""One step of a training: network, losses, gradients, update of the weights."""
import math

import torch

from models.checkpoints import TrainingState
from models.objective import Objective
from models.records import Batch
from util.distributed import Processes
from util.files import InputError

LARGEST = 1000   # beyond any coefficient of a face
PRECISIONS = {"off": None, "bf16": torch.bfloat16, "fp16": torch.float16}


class TrainingStep:
    """Trains the network of `state` on one batch at a time.

    precision: "off" (float32), "bf16" or "fp16", of the networks; rendering and losses always compute in float32.
    max_grad_norm: the largest length of the gradient of all weights; a longer one is shortened to it.
    skip_nonfinite: True leaves out a batch whose losses or gradients are not finite; False raises InputError.
    """

    def __init__(self, state: TrainingState, objective: Objective, processes: Processes, precision: str = "off",
                 max_grad_norm: float = math.inf, skip_nonfinite: bool = False):
        self.state, self.objective, self.processes = state, objective, processes
        self.precision, self.max_grad_norm, self.skip_nonfinite = PRECISIONS[precision], max_grad_norm, skip_nonfinite
        self.parallel_network = processes.parallel(state.network)   # averages the gradients over the processes

    def __call__(self, batch: Batch) -> dict[str, torch.Tensor]:
        """Train on a batch. Returns the losses of this process's part of it, by name; none if the batch was left out.
        Raises InputError for losses or gradients that are not finite."""
        network, optimiser, scaler = self.state.network, self.state.optimiser, self.state.scaler
        network.train()
        with torch.autocast(self.processes.device.type, self.precision, enabled=self.precision is not None):
            coeffs = self.parallel_network(batch.seen.contiguous(memory_format=torch.channels_last))
        losses = self.objective(coeffs.float(), batch, self.processes)
        optimiser.zero_grad(set_to_none=True)
        scaler.scale(losses["all"]).backward()
        scaler.unscale_(optimiser)
        gradient_norm = torch.nn.utils.get_total_norm(p.grad for p in network.parameters())
        # All processes must decide alike. The gradients are the same in all of them, but the losses are not. With fp16
        # gradients overflow now and then; the scaler then leaves out the step and lowers its scale.
        checked = self.processes.mean(losses["all"]) + (0 if scaler.is_enabled() else gradient_norm)
        finite = bool(checked.isfinite())
        if finite:
            torch.nn.utils.clip_grads_with_norm_(network.parameters(), self.max_grad_norm, gradient_norm)
            scaler.step(optimiser)
        else:
            self._leave_out(batch, coeffs, losses)
        scaler.update()
        return {name: loss.detach() for name, loss in losses.items()} if finite else {}

    def _leave_out(self, batch: Batch, coeffs: torch.Tensor, losses: dict[str, torch.Tensor]):
        """Say which losses of this step are not finite and on which photos; raise InputError if that must not be.

        coeffs: (B, 257), predicted for the batch.

        Each process knows its own losses and photos only, so all of them are gathered. If the coefficients of all
        photos are impossible, the training has diverged. Else, if losses are not finite, the suspects are the photos of
        the processes where this happened. If only the gradient is not finite, which is the same in all processes, the
        suspects are all photos of the step.
        """
        not_finite = [name for name, loss in losses.items() if not loss.isfinite()]
        has_diverged = not bool((coeffs.abs().amax(1) < LARGEST).any())
        of_processes = self.processes.gather((not_finite, has_diverged, batch.paths))
        if all(diverged for _, diverged, _ in of_processes):
            raise InputError(f"the training has diverged: at step {self.state.step + 1} the network predicts "
                             "coefficients that no face has, for all photos. The photos are not to blame. Begin anew, "
                             "or go back to an earlier checkpoint with --epoch, with a lower --lr, or with "
                             "--max_grad_norm=1")
        if any(names for names, _, _ in of_processes):
            what = _unique(name for names, _, _ in of_processes for name in names)
            suspects = _unique(path for names, _, paths in of_processes if names for path in paths)
        else:
            what = ["the gradient"]
            suspects = _unique(path for _, _, paths in of_processes for path in paths)
        message = (f"{', '.join(what)} is not finite at step {self.state.step + 1}, of the photos "
                   f"{' '.join(suspects)}")
        if not self.skip_nonfinite:
            raise InputError(f"{message}; look at them, or leave such batches out with --skip_nonfinite")
        if not all(buffer.isfinite().all() for buffer in self.state.network.buffers()):
            raise InputError(f"{message}, and the network's own averages are not finite either: go on from the newest "
                             "checkpoint with a lower --lr, or without --amp=fp16")
        self.processes.say(f"left out: {message}")

    @torch.no_grad()
    def predict(self, batch: Batch) -> torch.Tensor:
        """The coefficients (B, 257) of a batch, without training."""
        self.state.network.eval()
        return self.state.network(batch.seen.contiguous(memory_format=torch.channels_last))


def _unique(values) -> list[str]:
    return list(dict.fromkeys(values))
