"""Which samples make up which batch, on one process or many."""
from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler

from util.files import InputError


class EpochBatches(Sampler[list[tuple[int, int]]]):
    """The batches of one process in one epoch: lists of (epoch, index), the keys of `TrainingPhotos`.

    Global batch k is samples k * B to (k + 1) * B of the epoch's order, B = batch_size * world_size, and rank r takes
    the r-th part of it, so what a step sees together doesn't depend on the number of processes.

    size: number of samples. batch_size: samples a process and step. shuffle: in an order drawn from (seed, epoch).
    drop_last: leave out what doesn't fill a global batch, with shuffle other samples each epoch; else the last batch is
    smaller, and the last ranks may have one less than the first, which only steps without communication allow.
    start_batch: where an interrupted epoch goes on; `len` counts from there.
    Raises InputError when there are no samples, or with drop_last less than a global batch.
    """

    def __init__(self, size: int, batch_size: int, seed: int, epoch: int, rank: int = 0, world_size: int = 1,
                 shuffle: bool = True, drop_last: bool = True, start_batch: int = 0):
        step = batch_size * world_size
        least = step if drop_last else 1
        if size < least:
            raise InputError(f"{size} samples don't fill a batch of {least}: "
                             "give more photos or a smaller --batch_size")
        self.epoch, self.batch_size = epoch, batch_size
        self.order = np.random.default_rng((seed, epoch)).permutation(size) if shuffle else np.arange(size)
        end = size - size % step if drop_last else size
        self.starts = range(start_batch * step + rank * batch_size, end, step)

    def __len__(self) -> int:
        return len(self.starts)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        for start in self.starts:
            yield [(self.epoch, index) for index in self.order[start:start + self.batch_size].tolist()]
