"""Decides which samples form which batch, in one process or in several."""
from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler

from util.files import InputError


class EpochBatches(Sampler[list[tuple[int, int]]]):
    """The batches that one process takes in one epoch, as lists of (epoch, index), the keys of `TrainingPhotos`.

    All processes take a step together. A step uses the next batch_size * world_size samples of the epoch's order, and
    each process takes batch_size of them: the first process the first ones, and so on. So the samples of a step are
    the same, however many processes share them.

    size: the number of samples.
    batch_size: the samples that one process takes in a step.
    seed, epoch: with shuffle, the order of the samples is drawn from these two numbers.
    rank, world_size: the number of this process, from 0, and how many processes there are.
    shuffle: False takes the samples in the order of the list.
    drop_last: True leaves out the samples at the end that are too few for a step. With shuffle these are others in each
        epoch. False takes them too: the last batch may then be smaller, and the last processes may have one batch less
        than the first. So use False only where the processes do not wait for each other in a step.
    start_batch: the number of batches to leave out at the start, to continue an interrupted epoch. `len` does not count
        them.
    Raises InputError if there are no samples, or with drop_last fewer samples than a step needs.
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
