"""The loop of a training over epochs and batches, with validation, log and checkpoints."""
import contextlib
import math
import signal
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch.nn.functional import interpolate

from models.checkpoints import TrainingState, save_training
from models.coordinates import CROP_SIZE
from models.face_rendering import render_over
from models.objective import Objective
from models.outputs.panel import draw_panel
from models.records import Batch
from models.training_step import TrainingStep
from util.command import handle_stop_signals
from util.distributed import Processes
from util.files import InputError, remove_remnants, write_lines
from util.locks import lock_folder
from util.progress import Progress
from util.training_log import NoLog, StepMeter, TrainingLog


class TrainingData(Protocol):
    """What the loop needs of the training batches, see datasets/training_batches.py."""
    batch_size: int               # samples of a batch, over all processes
    per_epoch: int                # batches of an epoch
    unreadable: Iterable[str]     # a line for each photo that could not be read so far

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        """The batches of an epoch (from 1), from batch `start` (from 0) on: this process's part of them."""


class ValidationData(Protocol):
    """What the loop needs of the validation batches: iterating over them gives this process's part of all photos."""
    batch_size: int
    unreadable: Iterable[str]

    def __iter__(self) -> Iterator[Batch]:
        ...


@dataclass(frozen=True)
class Course:
    """How long a training runs, and how often it reports, shows, validates and saves."""
    n_epochs: int = 20                  # the last epoch
    print_freq: int = 100               # batches from one line of losses to the next, see count_images
    display_freq: int = 1000            # batches from one set of pictures to the next
    evaluation_freq: int = 5000         # batches from one validation to the next; there is one after each epoch too
    save_latest_freq: int = 5000        # batches from one latest checkpoint to the next; also after each epoch
    count_images: bool = False          # True: these four numbers count images instead of batches
    save_epoch_freq: int = 1            # epochs from one checkpoint epoch_<n>.pth to the next
    save_by_iter: bool = False          # True: the latest checkpoint is epoch_iter_<step>.pth, not epoch_latest.pth
    eval_batch_nums: float = math.inf   # batches of a validation
    vis_batch_nums: float = 1           # batches of a validation that are saved as pictures
    add_image: bool = True              # TensorBoard gets the pictures too


class Trainer:
    """Trains for some epochs; writes the log, pictures and checkpoints to an experiment's folder.

    state: where the training starts. train_step: trains the network of `state` on a batch.
    validation: None trains without validation.
    recorded_options: plain values by name, which train_opt.txt and the checkpoints record.
    command_to_continue: what the user is told to run after the training was stopped.
    """

    def __init__(self, state: TrainingState, train_step: TrainingStep, data: TrainingData,
                 validation: ValidationData | None, processes: Processes, folder: Path, course: Course,
                 recorded_options: dict, command_to_continue: str = "the same command"):
        self.state, self.train_step, self.data, self.validation = state, train_step, data, validation
        self.processes, self.folder, self.course = processes, folder, course
        self.recorded_options, self.command_to_continue = recorded_options, command_to_continue

    def run(self) -> int:
        """Train up to the last epoch, or until a signal stops it.

        Returns the exit status: 0, 1 if photos could not be read, 128 + n after signal n. Raises InputError.
        """
        state, course = self.state, self.course
        if state.epoch > course.n_epochs:
            self.processes.say(f"all {course.n_epochs} epochs are done; a larger --n_epochs goes on")
        with StopSignal.noted() as stop, self.own_folder(), self.open_log() as log:
            while state.epoch <= course.n_epochs:
                if self.run_epoch(log, stop):
                    self.save_latest()
                    self.list_unreadable()
                    self.processes.say(f"stopped by a signal; {self.command_to_continue} continues")
                    return 128 + (stop.number or signal.SIGTERM)   # 0 if only another process has received it
                losses = self.evaluate(log)
                follows_losses = isinstance(state.scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau)
                state.scheduler.step(*[losses["all"]] if follows_losses else [])
                finished = state.epoch
                state.epoch, state.batch = finished + 1, 0
                if finished % course.save_epoch_freq == 0 or finished == course.n_epochs:
                    self.save(str(finished))
                self.save_latest()
            return 1 if self.list_unreadable() else 0

    @contextlib.contextmanager
    def own_folder(self) -> Iterator[None]:
        """In this block, the experiment's folder is there, and no other training writes to it. Raises InputError."""
        with contextlib.ExitStack() as stack:
            if self.processes.is_first:
                try:
                    self.folder.mkdir(parents=True, exist_ok=True)
                    other = stack.enter_context(lock_folder(self.folder))
                    if other:
                        raise InputError(f"another training writes to {self.folder} ({other}): wait until it has "
                                         "ended, or start this one under another --name")
                    remove_remnants(self.folder)
                    lines = (f"{name}: {value}" for name, value in sorted(self.recorded_options.items()))
                    write_lines(self.folder / "train_opt.txt", lines)
                except OSError as error:
                    raise InputError(f"cannot write to {self.folder}: {error.strerror}; choose another place with "
                                     "--checkpoints_dir") from error
            yield

    def open_log(self) -> TrainingLog | NoLog:
        return TrainingLog(self.folder, self.course.add_image) if self.processes.is_first else NoLog()

    def run_epoch(self, log: TrainingLog | NoLog, stop: "StopSignal") -> bool:
        """Train on the batches of this epoch that are not done yet. Returns whether a signal has stopped it."""
        state, course, first = self.state, self.course, self.processes.is_first
        meter = StepMeter()
        with Progress(self.data.per_epoch, "step", state.batch, quiet=not first) as progress:
            for batch in meter.wait_for(self.data.epoch(state.epoch, state.batch)):
                with meter.computing():
                    losses = self.train_step(batch)
                if losses:
                    meter.add(losses)
                state.batch, state.step = state.batch + 1, state.step + 1
                progress.advance()
                if self.is_due(course.print_freq):
                    self.report(log, meter)
                if self.is_due(course.display_freq) and first:
                    panels = draw_predictions(batch, self.train_step.predict(batch), self.train_step.objective)
                    log.pictures("train", state.epoch, state.step, panels)
                if self.is_due(course.evaluation_freq):
                    self.evaluate(log)
                if self.is_due(course.save_latest_freq):
                    self.save_latest()
                if self.processes.any(stop.number):
                    return True
            self.report(log, meter)
        return False

    def is_due(self, frequency: int) -> bool:
        """Whether this step completes another `frequency` batches, or images."""
        unit = self.data.batch_size if self.course.count_images else 1
        return self.state.step * unit % frequency < unit

    def report(self, log: TrainingLog | NoLog, meter: StepMeter):
        """Log the losses since the last report, averaged over steps and processes; nothing if there are none."""
        if not meter.count:
            return
        state, (losses, seconds, waited) = self.state, meter.averages()
        averages = self.processes.mean(torch.stack(list(losses.values()))).tolist()
        log.losses("train", state.epoch, state.step, dict(zip(losses, averages, strict=True)), seconds, waited)
        log.scalars(state.step, {"learning_rate": state.optimiser.param_groups[0]["lr"],
                                 "data_wait_share": waited / seconds,
                                 "samples_per_second": self.data.batch_size / seconds})
        meter.clear()

    @torch.no_grad()
    def evaluate(self, log: TrainingLog | NoLog) -> dict[str, float]:
        """Log the losses of the validation photos, averaged over those of all processes, and some pictures.

        Returns the losses by name; none without validation.
        """
        if self.validation is None:
            return {}
        state, sums, start = self.state, Counter(), time.monotonic()
        for number, batch in enumerate(self.validation):
            if number >= self.course.eval_batch_nums:
                break
            coeffs = self.train_step.predict(batch)
            # Processes may have different numbers of batches, so each computes its losses alone.
            losses = self.train_step.objective(coeffs, batch, Processes(self.processes.device))
            sums.update({name: loss.item() * len(batch) for name, loss in losses.items()} | {"photos": len(batch)})
            if number < self.course.vis_batch_nums and self.processes.is_first:
                panels = draw_predictions(batch, coeffs, self.train_step.objective)
                log.pictures("val", state.epoch, state.step, panels, number * self.validation.batch_size)
        totals = Counter()
        for part in self.processes.gather(sums):
            totals.update(part)
        count = totals.pop("photos", 0)   # 0 with --eval_batch_nums=0
        averages = {name: total / count for name, total in totals.items()}
        log.losses("val", state.epoch, state.step, averages, time.monotonic() - start, 0)
        return averages

    def save_latest(self):
        """Save the latest checkpoint, see `Course.save_by_iter`. Raises InputError if it cannot be written."""
        self.save(f"iter_{self.state.step}" if self.course.save_by_iter else "latest")

    def save(self, name: str):
        """Save the checkpoint epoch_<name>.pth, in the first process only. Raises InputError."""
        if self.processes.is_first:
            save_training(self.state, self.folder, name, self.recorded_options)

    def list_unreadable(self) -> bool:
        """Write unreadable.txt: the photos that could not be read in this run. Returns whether there are any."""
        own = [*self.data.unreadable, *(self.validation.unreadable if self.validation else ())]
        unreadable = sorted(set().union(*self.processes.gather(own)))
        if self.processes.is_first:
            path = self.folder / "unreadable.txt"
            path.unlink(missing_ok=True)   # that of an earlier run
            if unreadable:
                write_lines(path, unreadable)
                self.processes.say(f"photos that could not be read: {len(unreadable)}, see {path}")
        return bool(unreadable)


@torch.no_grad()
def draw_predictions(batch: Batch, coeffs: torch.Tensor, objective: Objective) -> list[np.ndarray]:
    """A picture (224, 672, 3) uint8 RGB of each sample, see models.outputs.panel.draw_panel. coeffs: (B, 257)."""
    photos = interpolate(batch.photo, (CROP_SIZE, CROP_SIZE), mode="bilinear")
    face = objective.face_model(coeffs)
    overlays = render_over(objective.renderer, objective.face_model, face, photos).cpu().numpy()
    crops = (255 * photos).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    return [draw_panel(*images) for images in zip(crops, overlays, batch.landmarks.cpu().numpy(),
                                                  face.landmarks.cpu().numpy(), strict=True)]


@dataclass
class StopSignal:
    """Tells whether a signal has arrived that stops the training."""
    number: int = 0   # of the signal that has arrived

    def note(self, number: int):
        self.number = number

    @classmethod
    @contextlib.contextmanager
    def noted(cls) -> Iterator["StopSignal"]:
        """In this block, signals are only noted, so that a step can be finished and saved. A second Ctrl-C ends the
        program at once."""
        stop = cls()
        with handle_stop_signals(stop.note):
            yield stop
