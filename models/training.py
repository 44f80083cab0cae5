"""The training: batches in, checkpoints out."""
import math
import signal
import time
from argparse import Namespace
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import interpolate

from datasets.synthetic.faces import SyntheticFaces
from datasets.training_batches import TrainingBatches, ValidationBatches
from models.checkpoints import (
    build_regressor,
    check_camera,
    finished_epochs,
    load_checkpoint,
    load_imagenet_init,
    newest_checkpoint,
    save_checkpoint,
    trained_with,
)
from models.coordinates import CROP_SIZE
from models.face_files import draw_panel
from models.face_model_files import choose_face_model
from models.face_rendering import build_face_model, render_over
from models.objective import Objective
from models.optimiser import BalancedAdam
from models.recognition import load_recognition
from models.regressor import Regressor, init_from_dlib
from util import assets
from util.devices import explain_out_of_memory
from util.distributed import Processes, join_processes, leave_processes, synchronise_batch_norm
from util.files import InputError, remove_remnants, write_lines
from util.progress import Progress
from util.training_log import NoLog, TrainingLog

INIT_FOLDER = Path("checkpoints/init_model")
LOSSES = ("feat", "color", "fit", "lm", "reg", "gamma", "reflc", "coef", "vertex", "id", "exp", "tex")
PRECISIONS = {"off": None, "bf16": torch.bfloat16, "fp16": torch.float16}


def train(options: Namespace) -> int:
    """Train as the options say; returns the exit status. Raises InputError."""
    processes = join_processes(options.gpu_ids)
    try:
        with explain_out_of_memory():
            return Trainer(options, processes).run()
    except OSError as error:   # a full disk, mostly
        raise InputError(f"{error}: the training in {options.checkpoints_dir / options.name} has stopped, the same "
                         "command continues from the newest checkpoint there") from error
    finally:
        leave_processes()


class Trainer:
    def __init__(self, options: Namespace, processes: Processes):
        self.options, self.processes, device = options, processes, processes.device
        torch.manual_seed(options.seed)   # the weights of a new network
        self.folder = options.checkpoints_dir / options.name
        self.epoch, self.batch, self.step = options.epoch_count, 0, 0   # batch: done in this epoch; step: in all

        path = self.checkpoint_to_continue()
        source = path or self.pretrained_checkpoint()   # of the network
        checkpoint = load_checkpoint(source) if source else None
        if path:
            check_camera(checkpoint, path, options.focal, options.center, options.camera_d)
        options.bfm_model = choose_face_model(options.bfm_folder, options.bfm_model,
                                              checkpoint and trained_with(checkpoint))
        model, self.renderer = build_face_model(
            options.bfm_folder, options.bfm_model, focal=options.focal, center=options.center,
            camera_d=options.camera_d, z_near=options.z_near, z_far=options.z_far, renderer=options.renderer,
            antialias=options.antialias)
        model = model.to(device)
        weights = {name: getattr(options, f"w_{name}") for name in LOSSES}
        recognition = load_recognition(options.net_recog, options.net_recog_path) if weights["feat"] else None
        self.precision = PRECISIONS[options.amp]
        self.objective = Objective(model, self.renderer, recognition, weights, options.use_crop_face,
                                   options.use_predef_M, self.precision, options.color_norm).to(device)
        faces = None
        if options.dataset_mode != "flist":
            faces = SyntheticFaces(model, self.renderer, options.seed, options.image_size)
        self.data = TrainingBatches(options, processes, faces)
        self.validation = None if options.flist_val == Path("none") else ValidationBatches(options, processes)
        if options.lr_policy == "plateau" and (self.validation is None or options.eval_batch_nums == 0):
            raise InputError("--lr_policy=plateau follows the validation, which --flist_val=none and "
                             "--eval_batch_nums=0 leave out: choose another")
        self.network = build_regressor(checkpoint, source, options.net_recon) if source else self.new_network()
        self.restore(path, checkpoint)

    def restore(self, path: Path | None, checkpoint: dict | None):
        """Build what trains the network, in the state of the checkpoint where there is a path to continue from."""
        options, device = self.options, self.processes.device
        self.network.to(device, memory_format=torch.channels_last)
        if self.processes.size > 1:
            self.network = synchronise_batch_norm(self.network, device)
        if options.balance_heads:
            self.optimiser = BalancedAdam(self.network, options.lr, self.objective.effects)
        else:
            self.optimiser = torch.optim.Adam(self.network.parameters(), options.lr)
        self.scheduler = make_scheduler(self.optimiser, options)
        self.scaler = torch.amp.GradScaler(device.type, enabled=options.amp == "fp16")
        if path:
            self.load_state(path, checkpoint)
        if options.compile:
            self.network.compile()
        self.parallel_network = self.processes.parallel(self.network)

    def checkpoint_to_continue(self) -> Path | None:
        options = self.options
        if options.epoch != "latest" and not options.pretrained_name:
            return self.folder / f"epoch_{options.epoch}.pth"
        path = newest_checkpoint(self.folder)
        if path is None and options.continue_train and not options.pretrained_name:
            raise InputError(f"--continue_train: there is no checkpoint in {self.folder}")
        return path

    def pretrained_checkpoint(self) -> Path | None:
        options = self.options
        if not options.pretrained_name:
            return None
        folder = options.checkpoints_dir / options.pretrained_name
        path = newest_checkpoint(folder) if options.epoch == "latest" else None
        return path or folder / f"epoch_{options.epoch}.pth"

    def new_network(self) -> Regressor:
        options = self.options
        name = options.net_recon or "resnet50"
        network = Regressor(name, options.use_last_fc)
        if name == "dlib_resnet29":
            if options.init_path:
                raise InputError(f"--init_path={options.init_path}: a dlib_resnet29 starts from dlib's weights; leave "
                                 "the option out")
            init_from_dlib(network)
            return network
        path = options.init_path or next(INIT_FOLDER.glob(f"{name}-*.pth"), None)
        if path:
            load_imagenet_init(network, path)
        else:
            missing = assets.IMAGENET.missing(INIT_FOLDER / f"{name}-*.pth")
            self.say(f"{missing}, or name it with --init_path. The network starts from random weights and needs many "
                     "more photos")
        return network

    def load_state(self, path: Path, checkpoint: dict):
        try:
            self.optimiser.load_state_dict(checkpoint["opt_00"])
            self.scheduler = make_scheduler(self.optimiser, self.options, checkpoint["sched_00"])
            if "step" not in checkpoint:   # the original's have no more
                self.epoch = max(self.epoch, finished_epochs(path, checkpoint) + 1)
            else:
                self.epoch, self.step = checkpoint["epoch"], checkpoint["step"]
                self.batch = checkpoint["batch"] * checkpoint["options"]["batch_size"] // self.options.batch_size
                if checkpoint["scaler"]:   # empty without --amp=fp16
                    self.scaler.load_state_dict(checkpoint["scaler"])
                torch.set_rng_state(checkpoint["random"])
        except (KeyError, ValueError, TypeError, AttributeError, RuntimeError) as error:
            raise InputError(f"{path} has a network but not the state of a training to continue "
                             f"({type(error).__name__}: {error}); start a new experiment (--name) from its network "
                             f"by --pretrained_name={self.options.name}") from error
        self.say(f"continues from {path}: epoch {self.epoch}, {self.batch} batches of it done")

    def save(self, name: str):
        if not self.processes.is_first:
            return
        options = {key: str(value) if isinstance(value, Path) else value for key, value in vars(self.options).items()}
        save_checkpoint(self.folder / f"epoch_{name}.pth", {
            "net_recon": self.network.state_dict(), "opt_00": self.optimiser.state_dict(),
            "sched_00": self.scheduler.state_dict(), "scaler": self.scaler.state_dict(), "options": options,
            "epoch": self.epoch, "batch": self.batch, "step": self.step, "random": torch.get_rng_state()})

    def save_latest(self):
        self.save(f"iter_{self.step}" if self.options.save_by_iter else "latest")

    def run(self) -> int:
        """Returns the exit status."""
        options, first = self.options, self.processes.is_first
        if first:
            self.prepare_folder()
        if self.epoch > options.n_epochs:
            self.say(f"all {options.n_epochs} epochs are done; a larger --n_epochs goes on")
        with Stop() as stop, TrainingLog(self.folder, options.add_image) if first else NoLog() as log:
            while self.epoch <= options.n_epochs:
                if self.run_epoch(log, stop):
                    self.save_latest()
                    self.summary()
                    again = "" if options.epoch == "latest" or options.pretrained_name else " without --epoch"
                    self.say(f"stopped by a signal; the same command{again} continues")
                    return 128 + (stop.signal or signal.SIGTERM)   # only another process may have got it
                losses = self.evaluate(log)
                self.scheduler.step(*[losses["all"]] if options.lr_policy == "plateau" else [])
                self.epoch, self.batch = self.epoch + 1, 0
                if (self.epoch - 1) % options.save_epoch_freq == 0 or self.epoch > options.n_epochs:
                    self.save(str(self.epoch - 1))
                self.save_latest()
        return self.summary()

    def prepare_folder(self):
        lines = (f"{name}: {value}" for name, value in sorted(vars(self.options).items()))
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            remove_remnants(self.folder)
            write_lines(self.folder / "train_opt.txt", lines)
        except OSError as error:
            raise InputError(f"cannot write to {self.folder}: {error.strerror}; choose another place with "
                             "--checkpoints_dir") from error

    def run_epoch(self, log: TrainingLog, stop: "Stop") -> bool:
        """Train for what is left of this epoch; returns whether a signal has stopped it."""
        options = self.options
        with Progress(self.data.per_epoch, "step", self.batch, quiet=not self.processes.is_first) as progress:
            meter = Meter()
            for batch in meter.waits(self.data.epoch(self.epoch, self.batch)):
                losses = self.train_on(batch)
                if losses:
                    meter.add(losses)
                self.batch, self.step = self.batch + 1, self.step + 1
                progress.advance()
                if self.due(options.print_freq) and meter.count:
                    self.report(log, meter)
                    meter.clear()
                if self.due(options.display_freq):
                    log.pictures("train", self.epoch, self.step, self.panels(batch))
                if self.due(options.evaluation_freq):
                    self.evaluate(log)
                if self.due(options.save_latest_freq):
                    self.save_latest()
                if self.processes.any(stop.signal):
                    return True
            if meter.count:
                self.report(log, meter)
        return False

    def train_on(self, batch: dict) -> dict[str, torch.Tensor]:
        """One step; returns the losses, or none where the batch was left out."""
        self.network.train()
        with torch.autocast(self.processes.device.type, self.precision, enabled=self.precision is not None):
            coeffs = self.parallel_network(batch["photo"].contiguous(memory_format=torch.channels_last))
        losses = self.objective(coeffs.float(), batch, self.processes)
        self.optimiser.zero_grad(set_to_none=True)
        self.scaler.scale(losses["all"]).backward()
        self.scaler.unscale_(self.optimiser)
        gradient = torch.nn.utils.get_total_norm(p.grad for p in self.network.parameters())
        # fp16 overflows now and then: the scaler leaves those steps out and scales less.
        finite = self.processes.mean(losses["all"]) + (0 if self.scaler.is_enabled() else gradient)
        taken = bool(finite.isfinite())
        if taken:
            torch.nn.utils.clip_grads_with_norm_(self.network.parameters(), self.options.max_grad_norm, gradient)
            self.scaler.step(self.optimiser)
        else:
            self.leave_out(batch, losses)
        self.scaler.update()
        return {name: loss.detach() for name, loss in losses.items()} if taken else {}

    def leave_out(self, batch: dict, losses: dict[str, torch.Tensor]):
        bad = [name for name, loss in losses.items() if not loss.isfinite()]
        parts = self.processes.gather((bad, batch["paths"]))
        blamed = [part for part in parts if part[0]] or [(["the gradient"], path) for _, path in parts]
        names, paths = (dict.fromkeys(sum(lists, [])) for lists in zip(*blamed, strict=True))
        message = f"{', '.join(names)} is not finite at step {self.step + 1}, of the photos {' '.join(paths)}"
        if not self.options.skip_nonfinite:
            raise InputError(f"{message}; look at them, or leave such batches out with --skip_nonfinite")
        if not all(buffer.isfinite().all() for buffer in self.network.buffers()):
            raise InputError(f"{message}, and the network's own averages are not finite either: go on from the newest "
                             "checkpoint with a lower --lr, or without --amp=fp16")
        self.say(f"left out: {message}")

    def report(self, log: TrainingLog, meter: "Meter"):
        names = list(meter.sums)
        averages = self.processes.mean(torch.stack(list(meter.sums.values())) / meter.count).tolist()
        seconds, waited = meter.seconds / meter.count, meter.waited / meter.count
        log.losses("train", self.epoch, self.step, dict(zip(names, averages, strict=True)), seconds, waited)
        log.scalars(self.step, {"learning_rate": self.optimiser.param_groups[0]["lr"],
                                "data_wait_share": waited / seconds,
                                "samples_per_second": self.options.batch_size / seconds})

    @torch.no_grad()
    def evaluate(self, log: TrainingLog) -> dict[str, float]:
        """Validation losses, averaged over the photos of all processes; empty without validation."""
        if self.validation is None:
            return {}
        sums, start = Counter(), time.monotonic()
        for number, batch in enumerate(self.validation):
            if number >= self.options.eval_batch_nums:
                break
            losses = self.objective(self.predict(batch), batch, Processes(self.processes.device))
            size = len(batch["paths"])
            sums.update({name: loss.item() * size for name, loss in losses.items()} | {"photos": size})
            if number < self.options.vis_batch_nums:
                log.pictures("val", self.epoch, self.step, self.panels(batch), number * self.options.batch_size_val)
        totals = Counter()
        for part in self.processes.gather(sums):
            totals.update(part)
        count = totals.pop("photos", 0)   # none with --eval_batch_nums=0
        averages = {name: total / count for name, total in totals.items()}
        log.losses("val", self.epoch, self.step, averages, time.monotonic() - start, 0)
        return averages

    @torch.no_grad()
    def predict(self, batch: dict) -> torch.Tensor:
        self.network.eval()
        return self.network(batch["photo"].contiguous(memory_format=torch.channels_last))

    def panels(self, batch: dict) -> list[np.ndarray]:
        """The pictures of a batch: photo, render over it, landmarks."""
        model = self.objective.face_model
        photos = interpolate(batch["photo"], (CROP_SIZE, CROP_SIZE), mode="bilinear")
        with torch.no_grad():
            face = model(self.predict(batch))
            overlays = render_over(self.renderer, model, face, photos).cpu().numpy()
        crops = (255 * photos).round().byte().permute(0, 2, 3, 1).cpu().numpy()
        return [draw_panel(*images) for images in zip(crops, overlays, batch["landmarks"].cpu().numpy(),
                                                      face.landmarks.cpu().numpy(), strict=True)]

    def due(self, frequency: int) -> bool:
        """Whether it is time for what happens every so many batches, or images."""
        unit = 1 if self.options.display_per_batch else self.options.batch_size
        return self.step * unit % frequency < unit

    def summary(self) -> int:
        unreadable = [*self.data.unreadable, *(self.validation.unreadable if self.validation else ())]
        unreadable = sorted(set().union(*self.processes.gather(unreadable)))
        path = self.folder / "unreadable.txt"
        if self.processes.is_first:
            path.unlink(missing_ok=True)   # of an earlier run
            if unreadable:
                write_lines(path, unreadable)
                self.say(f"{len(unreadable)} photos could not be read: {path}")
        return 1 if unreadable else 0

    def say(self, line: str):
        if self.processes.is_first:
            print(line, flush=True)


class Meter:
    """Sums of losses and times since it was cleared."""

    def __init__(self):
        self.clear()

    def clear(self):
        self.sums, self.count, self.waited, self.start = {}, 0, 0.0, time.monotonic()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.start

    def waits(self, batches: Iterator[dict]) -> Iterator[dict]:
        """The batches; the time until each is there counts as waiting."""
        while True:
            start = time.monotonic()
            batch = next(batches, None)
            self.waited += time.monotonic() - start
            if batch is None:
                return
            yield batch

    def add(self, losses: dict[str, torch.Tensor]):
        self.sums = {name: self.sums.get(name, 0) + loss for name, loss in losses.items()}
        self.count += 1


class Stop:
    """Notes SIGINT and SIGTERM, so that the step is finished and saved; a second one ends the program."""

    def __init__(self):
        self.signal = 0

    def __enter__(self) -> "Stop":
        self.before = {number: signal.signal(number, self.note) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def note(self, number: int, _):
        self.signal = number
        signal.signal(number, self.before[number])

    def __exit__(self, *_):
        for number, handler in self.before.items():
            signal.signal(number, handler)


def make_scheduler(optimiser: torch.optim.Optimizer, options: Namespace, state: dict | None = None
                   ) -> torch.optim.lr_scheduler.LRScheduler:
    """The learning rate after each epoch, as the options say also where it goes on from a state that had others."""
    schedulers = torch.optim.lr_scheduler
    decay, epochs = options.lr_decay_epochs, options.n_epochs
    if options.lr_policy == "plateau":
        scheduler = schedulers.ReduceLROnPlateau(optimiser, factor=0.2, patience=5)
        if state:
            scheduler.load_state_dict(state)
        return scheduler
    for group in optimiser.param_groups:
        group.setdefault("initial_lr", options.lr)   # after plateau, which notes none
    factor = {"linear": lambda epoch: min(1.0, (epochs - epoch) / (min(decay, epochs) + 1)),
              "cosine": lambda epoch: (1 + math.cos(math.pi * epoch / epochs)) / 2,
              "step": lambda epoch: 0.2 ** (epoch // decay)}[options.lr_policy]
    return schedulers.LambdaLR(optimiser, factor, (state["last_epoch"] if state else 0) - 1)
