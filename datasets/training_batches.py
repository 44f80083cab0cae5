"""Makes the batches of a training: of photos, of rendered faces, or of both.

PhotoBatches, RenderedBatches and MixedBatches have the same interface:

    batch_size              the number of samples of a batch, over all processes
    per_epoch               the number of batches of an epoch
    epoch(number, start)    the batches of an epoch, from batch `start` on, each a models.records.Batch with this
                            process's part of the samples, on its device. Epochs count from 1, batches from 0.
    unreadable              the photos that could not be read so far, and why: the keys of a dict

The same epoch, batch number, settings and number of processes always give the same batch.
"""
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch.nn.functional import interpolate
from torch.utils.data import DataLoader

from datasets.sampling import EpochBatches
from datasets.training_photos import CollatedSamples, TrainingPhotos, collate
from models.coefficients import SIZE
from models.records import Batch, Teachers
from util.distributed import Processes
from util.files import InputError
from util.readers import start_reader

MOST_UNREADABLE = 0.01   # the share of the training photos that may be unreadable; one photo is always allowed
RENDERED_AHEAD = 2       # batches


@dataclass(frozen=True)
class PhotoLoader:
    """How photos are read and brought to the computing device."""
    processes: Processes
    image_size: int    # px: width and height of the pictures in a batch
    num_workers: int   # processes that read photos, over all training processes of this machine

    def load(self, photos: TrainingPhotos, keys: EpochBatches) -> Iterator[Batch]:
        """The batches of these keys. Raises InputError if too many photos in a row cannot be read."""
        loader = DataLoader(photos, batch_sampler=keys, collate_fn=collate,
                            num_workers=self.processes.workers(self.num_workers),
                            pin_memory=self.processes.device.type == "cuda", worker_init_fn=start_reader)
        try:
            for samples in loader:
                yield to_batch(samples, self.processes.device, self.image_size)
        except InputError as error:   # raised in another process, it has the trace of that process in its text
            raise InputError(str(error).rpartition("InputError: ")[2].strip()) from None
        except (EOFError, ConnectionError):   # a reading process was killed while it sent samples
            time.sleep(5)   # a moment later PyTorch's signal handler raises a RuntimeError that says so
            raise


def to_batch(samples: CollatedSamples, device: torch.device, size: int) -> Batch:
    """Bring samples to the device, their pictures as float32 0..1 of size x size px."""
    def picture(pixels: torch.Tensor) -> torch.Tensor:
        pixels = pixels.to(device, non_blocking=True).float() / 255
        return interpolate(pixels, (size, size), mode="area") if pixels.shape[-1] != size else pixels

    return Batch(picture(samples.photos), picture(samples.seen), picture(samples.masks),
                 samples.landmarks.to(device, non_blocking=True), torch.empty(0, SIZE, device=device), samples.paths,
                 samples.problems, Teachers(*(part.to(device, non_blocking=True) for part in samples.teachers)))


class PhotoBatches:
    """Batches of photos for training. batch_size: photos that each process takes in a step. shuffle: False takes the
    photos in the order of the datalist.

    Raises InputError if there are fewer photos than a step needs, and, in `epoch`, if more than `MOST_UNREADABLE` of
    them cannot be read.
    """

    def __init__(self, photos: TrainingPhotos, batch_size: int, loader: PhotoLoader, shuffle: bool = True):
        self.photos, self.share, self.loader, self.shuffle = photos, batch_size, loader, shuffle
        self.batch_size = batch_size * loader.processes.size
        self.per_epoch = len(self._keys(1, 0))
        self.unreadable: dict[str, None] = {}

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        for batch in self.loader.load(self.photos, self._keys(number, start)):
            self.unreadable |= dict.fromkeys(batch.problems)
            if len(self.unreadable) > max(MOST_UNREADABLE * len(self.photos), 1):
                raise InputError(f"{len(self.unreadable)} of {len(self.photos)} photos cannot be read, more than 1 %: "
                                 "repair the datalist (--flist). Among them are:\n  "
                                 + "\n  ".join(list(self.unreadable)[:10]))
            yield batch

    def _keys(self, epoch: int, start: int) -> EpochBatches:
        processes = self.loader.processes
        return EpochBatches(len(self.photos), self.share, self.photos.seed, epoch, processes.rank, processes.size,
                            self.shuffle, start_batch=start)


class RenderedBatches:
    """Batches of rendered faces.

    render: (number, count) -> a Batch of `count` faces, the same for the same number; it may run in a thread.
    batch_size: faces of a batch in each process. faces_per_epoch: faces of an epoch, over all processes.
    Raises InputError if an epoch has fewer faces than a batch.
    """

    def __init__(self, render: Callable[[int, int], Batch], batch_size: int, faces_per_epoch: int,
                 processes: Processes):
        self.render, self.share, self.processes = render, batch_size, processes
        self.batch_size = batch_size * processes.size
        self.per_epoch = faces_per_epoch // self.batch_size
        if not self.per_epoch:
            raise InputError(f"--max_dataset_size={faces_per_epoch} rendered faces don't fill a batch of "
                             f"{self.batch_size}")
        self.unreadable: dict[str, None] = {}

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        first = (number - 1) * self.per_epoch
        seeds = [(first + batch) * self.processes.size + self.processes.rank
                 for batch in range(start, self.per_epoch)]
        with ThreadPoolExecutor(1) as renderer:   # renders while the training computes
            waiting = [renderer.submit(self.render, seed, self.share) for seed in seeds[:RENDERED_AHEAD]]
            for seed in seeds[RENDERED_AHEAD:]:
                batch = waiting.pop(0).result()
                waiting.append(renderer.submit(self.render, seed, self.share))
                yield batch
            for batch in waiting:
                yield batch.result()


class MixedBatches:
    """Batches of photos and rendered faces. Both must have the same number of batches in an epoch."""

    def __init__(self, photos: PhotoBatches, faces: RenderedBatches):
        self.photos, self.faces = photos, faces
        self.batch_size = photos.batch_size + faces.batch_size
        self.per_epoch, self.unreadable = photos.per_epoch, photos.unreadable

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        for photos, faces in zip(self.photos.epoch(number, start), self.faces.epoch(number, start), strict=True):
            # Photos come first: `Batch.ground_truth` belongs to the last samples.
            yield Batch(torch.cat([photos.photo, faces.photo]), torch.cat([photos.seen, faces.seen]),
                        torch.cat([photos.mask, faces.mask]), torch.cat([photos.landmarks, faces.landmarks]),
                        faces.ground_truth, photos.paths + faces.paths, photos.problems, photos.teachers)


class ValidationBatches:
    """All validation photos once, in order and without augmentation: this process's part of them.

    batch_size: photos that each process takes at a time. `unreadable`: as in the other classes, without a limit.
    """

    def __init__(self, photos: TrainingPhotos, batch_size: int, loader: PhotoLoader):
        self.photos, self.share, self.loader = photos, batch_size, loader
        self.batch_size = batch_size * loader.processes.size
        self.unreadable: dict[str, None] = {}

    def __iter__(self) -> Iterator[Batch]:
        processes = self.loader.processes
        keys = EpochBatches(len(self.photos), self.share, 0, 0, processes.rank, processes.size, shuffle=False,
                            drop_last=False)
        for batch in self.loader.load(self.photos, keys):
            self.unreadable |= dict.fromkeys(batch.problems)
            yield batch
