"""Reads the items of a dataset in worker processes."""
from collections.abc import Iterable

from torch.utils.data import DataLoader, Dataset

from util.command import ignore_signals


def read_in_processes(dataset: Dataset, workers: int, in_order: bool = True) -> Iterable:
    """Returns the items of the dataset one by one. Worker processes read them before they are needed.

    workers: number of processes; 0 reads in this process. in_order: yield the items in the order of the dataset, or
    else each one as soon as it is read.
    """
    return DataLoader(dataset, batch_size=None, num_workers=workers, collate_fn=no_collate,
                      worker_init_fn=ignore_signals, in_order=in_order)


def no_collate(item: object) -> object:
    """Returns the item as it is. Without this, the DataLoader turns its arrays into tensors."""
    return item
