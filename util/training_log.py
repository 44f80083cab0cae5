"""The record of a training that people look at: lines, curves and pictures."""
import contextlib
from collections.abc import Iterator
from pathlib import Path
from time import monotonic

import numpy as np
import torch

# TensorBoard imports TensorFlow if it is installed. PyTorch's compiler, which optimisers import, must come first: both
# bring LLVM, and in the other order the process crashes.
import torch._dynamo
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from util.pictures import write_png


class TrainingLog:
    """Writes loss_log.txt, TensorBoard's logs/ and the pictures in results/ of an experiment's folder.

    add_image: write the pictures to TensorBoard too.
    """

    def __init__(self, folder: Path, add_image: bool):
        self.folder, self.add_image = folder, add_image
        self.file = (folder / "loss_log.txt").open("a", encoding="utf-8", buffering=1)
        self.board = SummaryWriter(folder / "logs")

    def __enter__(self) -> "TrainingLog":
        return self

    def __exit__(self, *_):
        self.board.close()
        self.file.close()

    def losses(self, dataset: str, epoch: int, step: int, losses: dict[str, float], seconds: float, waited: float):
        """Write and print the losses.

        dataset: "train" or "val". step: batches trained so far. seconds: the time of one training step, or of a whole
        validation. waited: how many of them were waiting for the data of a step.
        """
        line = f"(dataset: {dataset}, epoch: {epoch}, iters: {step}, time: {seconds:.3f}, data: {waited:.3f}) "
        line += " ".join(f"{name}: {value:.4g}" for name, value in losses.items())
        print(line, file=self.file)
        tqdm.write(line)   # does not break the progress bar
        self.scalars(step, {f"{name}/{dataset}": value for name, value in losses.items()})

    def scalars(self, step: int, values: dict[str, float]):
        """Add a point to each of these curves."""
        for name, value in values.items():
            self.board.add_scalar(name, value, step)

    def pictures(self, dataset: str, epoch: int, step: int, panels: list[np.ndarray], first: int = 0):
        """Write pictures (H, W, 3) uint8 RGB, numbered from `first` on."""
        folder = self.folder / "results" / dataset / f"epoch_{epoch}_{step:06d}"
        folder.mkdir(parents=True, exist_ok=True)
        for number, panel in enumerate(panels, first):
            write_png(folder / f"{number:04d}.png", panel)
            if self.add_image:
                self.board.add_image(f"{dataset}/{number}", panel, step, dataformats="HWC")


class NoLog(contextlib.AbstractContextManager):
    """The log of all processes but the first: writes nothing. Only the first process draws pictures."""

    def __exit__(self, *_):
        pass

    def losses(self, *_):
        pass

    scalars = losses


class StepMeter:
    """Averages the losses and the times of training steps since the last `clear`.

    Only waiting for a batch and computing a step count. So validation, pictures and checkpoints between two steps do
    not change the times.
    """

    def __init__(self):
        self.clear()

    def clear(self):
        self.steps, self.waited, self.computed = 0, 0.0, 0.0      # steps; seconds of waiting and of computing
        self.sums: dict[str, torch.Tensor] = {}                   # of the losses
        self.count = 0                                            # steps with losses; others were left out

    def wait_for(self, batches: Iterator) -> Iterator:
        """The same batches; measures how long each takes to arrive."""
        while True:
            start = monotonic()
            batch = next(batches, None)
            self.waited += monotonic() - start
            if batch is None:
                return
            yield batch

    @contextlib.contextmanager
    def computing(self) -> Iterator[None]:
        """Measures the step in the block."""
        start = monotonic()
        yield
        self.computed += monotonic() - start
        self.steps += 1

    def add(self, losses: dict[str, torch.Tensor]):
        """Count the losses of a step."""
        self.sums = {name: self.sums.get(name, 0) + loss for name, loss in losses.items()}
        self.count += 1

    def averages(self) -> tuple[dict[str, torch.Tensor], float, float]:
        """The mean losses by name, the mean seconds of a step, and how many of these it waited for its batch."""
        losses = {name: total / self.count for name, total in self.sums.items()}
        return losses, (self.waited + self.computed) / self.steps, self.waited / self.steps
