"""Batches for a step of the training: photos, rendered faces, or both."""
import math
from argparse import Namespace
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import torch
from torch.nn.functional import interpolate
from torch.utils.data import DataLoader

from datasets.augmentation import Augmentation
from datasets.sampling import EpochBatches
from datasets.synthetic.faces import SyntheticFaces
from datasets.training_photos import TrainingPhotos, collate, read_datalist
from models.coefficients import SIZE
from util.command import ignore_signals
from util.distributed import Processes
from util.files import InputError

RENDERED_EPOCH = 100_000   # faces
UNREADABLE = 0.01          # of the photos: so many may be left out


class TrainingBatches:
    """The training data of the options, in batches of this process's part.

    A batch is what `models.objective.Objective` takes, on the device, with `paths`, the photos' names. It is the same
    whenever epoch, number of the batch, options and number of processes are.
    faces: where rendered faces come from, or None without them. `unreadable` collects what was wrong with which photo.
    """

    def __init__(self, options: Namespace, processes: Processes, faces: SyntheticFaces | None):
        self.options, self.processes, self.faces = options, processes, faces
        self.size = processes.share(options.batch_size, "--batch_size")
        self.rendered = {"flist": 0, "synthetic": self.size, "mixed": self.size // 2}[options.dataset_mode]
        if options.dataset_mode == "mixed" and not self.rendered:
            raise InputError("--dataset_mode=mixed needs a --batch_size of 2 for each process, "
                             f"{2 * processes.size} in all, not {options.batch_size}")
        self.unreadable: dict[str, None] = {}
        if options.dataset_mode == "synthetic":
            total = RENDERED_EPOCH if options.max_dataset_size == math.inf else options.max_dataset_size
            self.per_epoch = total // options.batch_size
            if not self.per_epoch:
                raise InputError(f"--max_dataset_size={total} rendered faces don't fill a batch of "
                                 f"{options.batch_size}")
            return
        paths = read_datalist(options.flist, options.data_root)
        if options.max_dataset_size < len(paths):
            paths = paths[:int(options.max_dataset_size)]
        augmentation = Augmentation.from_options(options) if options.use_aug else None
        self.photos = TrainingPhotos(paths, augmentation, options.seed)
        self.per_epoch = len(self._keys(1, 0))

    def epoch(self, epoch: int, start: int = 0) -> Iterator[dict]:
        """The batches of an epoch (counted from 1), from number `start` on."""
        if not self.rendered:
            yield from self._of_photos(epoch, start)
            return
        # Rendered ahead, while the step before computes.
        with ThreadPoolExecutor(1) as renderer:
            numbers = range(start, self.per_epoch)
            ahead = [renderer.submit(self._of_faces, epoch, number) for number in numbers[:2]]
            photos = self._of_photos(epoch, start) if self.rendered < self.size else None
            for number in numbers:
                faces = ahead.pop(0).result()
                if number + 2 in numbers:
                    ahead.append(renderer.submit(self._of_faces, epoch, number + 2))
                yield faces if photos is None else _concatenate(next(photos), faces)

    def _of_faces(self, epoch: int, number: int) -> dict:
        step = ((epoch - 1) * self.per_epoch + number) * self.processes.size + self.processes.rank
        batch = self.faces.batch(step, self.rendered)
        return {name: batch[name] for name in ("photo", "mask", "landmarks")} | {
            "truth": batch["coeffs"], "paths": [f"rendered face {step}.{i}" for i in range(self.rendered)]}

    def _of_photos(self, epoch: int, start: int) -> Iterator[dict]:
        for batch in load(self.photos, self._keys(epoch, start), self.options, self.processes):
            self._check(batch["problems"])
            yield batch

    def _keys(self, epoch: int, start: int) -> EpochBatches:
        return EpochBatches(len(self.photos), self.size - self.rendered, self.options.seed, epoch, self.processes.rank,
                            self.processes.size, shuffle=not self.options.serial_batches, start_batch=start)

    def _check(self, problems: list[str]):
        self.unreadable |= dict.fromkeys(problems)
        if len(self.unreadable) > max(UNREADABLE * len(self.photos), 1):
            raise InputError(f"{len(self.unreadable)} of {len(self.photos)} photos cannot be read, more than 1 %: "
                             f"repair the datalist {self.options.flist}. Among them are:\n  "
                             + "\n  ".join(list(self.unreadable)[:10]))


class ValidationBatches:
    """This process's part of the validation photos, as they are, in the batches of `TrainingBatches`. `unreadable`
    collects what was wrong with which photo."""

    def __init__(self, options: Namespace, processes: Processes):
        self.options, self.processes = options, processes
        self.size = processes.share(options.batch_size_val, "--batch_size_val")
        self.photos = TrainingPhotos(read_datalist(options.flist_val, options.data_root), None, options.seed)
        self.unreadable: dict[str, None] = {}

    def __iter__(self) -> Iterator[dict]:
        keys = EpochBatches(len(self.photos), self.size, self.options.seed, 0, self.processes.rank,
                            self.processes.size, shuffle=False, drop_last=False)
        for batch in load(self.photos, keys, self.options, self.processes):
            self.unreadable |= dict.fromkeys(batch["problems"])
            yield batch


def load(photos: TrainingPhotos, keys: EpochBatches, options: Namespace, processes: Processes) -> Iterator[dict]:
    """The batches of these keys, read by worker processes."""
    loader = DataLoader(photos, batch_sampler=keys, collate_fn=collate,
                        num_workers=processes.workers(options.num_threads),
                        pin_memory=processes.device.type == "cuda", worker_init_fn=ignore_signals)
    try:
        for batch in loader:
            yield to_device(batch, processes.device, options.image_size)
    except InputError as error:   # a worker's comes with its trace
        raise InputError(str(error).rpartition("InputError: ")[2].strip()) from None


def to_device(batch: dict, device: torch.device, size: int) -> dict:
    """A collated batch of photos as `models.objective.Objective` takes it, pictures of size x size px."""
    pictures = {}
    for name in ("photo", "mask"):
        picture = batch[name].to(device, non_blocking=True).float() / 255
        pictures[name] = interpolate(picture, (size, size), mode="area") if picture.shape[-1] != size else picture
    return pictures | {"landmarks": batch["landmarks"].to(device, non_blocking=True), "paths": batch["path"],
                       "truth": torch.empty(0, SIZE, device=device), "problems": batch["problems"]}


def _concatenate(photos: dict, faces: dict) -> dict:
    """The truth is that of the last faces: photos come first."""
    joined = {name: torch.cat([photos[name], faces[name]]) for name in ("photo", "mask", "landmarks", "truth")}
    return joined | {"paths": photos["paths"] + faces["paths"]}
