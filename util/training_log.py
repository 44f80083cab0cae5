"""What train.py leaves for people: lines, curves and pictures."""
import contextlib
from pathlib import Path

import numpy as np
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from util.pictures import write_png


class TrainingLog:
    """Writes loss_log.txt, TensorBoard's logs/ and the pictures in results/ of an experiment's folder.

    add_image: put the pictures in TensorBoard too.
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
        """dataset: train or val; seconds: of a training batch, and how many of them were waiting for data, or of a
        whole validation."""
        line = f"(dataset: {dataset}, epoch: {epoch}, iters: {step}, time: {seconds:.3f}, data: {waited:.3f}) "
        line += " ".join(f"{name}: {value:.4g}" for name, value in losses.items())
        print(line, file=self.file)
        tqdm.write(line)   # keeps the progress bar whole
        self.scalars(step, {f"{name}/{dataset}": value for name, value in losses.items()})

    def scalars(self, step: int, values: dict[str, float]):
        for name, value in values.items():
            self.board.add_scalar(name, value, step)

    def pictures(self, dataset: str, epoch: int, step: int, panels: list[np.ndarray], first: int = 0):
        """panels: (224, 672, 3) uint8 each, numbered from `first`."""
        folder = self.folder / "results" / dataset / f"epoch_{epoch}_{step:06d}"
        folder.mkdir(parents=True, exist_ok=True)
        for number, panel in enumerate(panels, first):
            write_png(folder / f"{number:04d}.png", panel)
            if self.add_image:
                self.board.add_image(f"{dataset}/{number}", panel, step, dataformats="HWC")


class NoLog(contextlib.AbstractContextManager):
    """The log of the processes other than the first."""

    def __exit__(self, *_):
        pass

    def losses(self, *_):
        pass

    scalars = pictures = losses
