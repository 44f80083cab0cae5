"""Reads items before they are needed, in worker processes or in a thread."""
import multiprocessing
import os
import queue
import signal
import threading
from collections.abc import Iterable, Iterator

from torch.utils.data import DataLoader, Dataset

from util.command import STOP_SIGNALS

_AHEAD = 8   # items that each process reads ahead, so that it goes on while a batch of them is computed


def read_in_processes(dataset: Dataset, workers: int, in_order: bool = True) -> Iterable:
    """Returns the items of the dataset one by one. Worker processes read them before they are needed.

    workers: number of processes; 0 reads in this process. in_order: yield the items in the order of the dataset, or
    else each one as soon as it is read.
    """
    return DataLoader(dataset, batch_size=None, num_workers=workers, collate_fn=no_collate,
                      worker_init_fn=start_reader, in_order=in_order, prefetch_factor=_AHEAD if workers else None)


def no_collate(item: object) -> object:
    """Returns the item as it is. Without this, the DataLoader turns its arrays into tensors."""
    return item


def start_reader(_):
    """Prepare this process, which a DataLoader has started to read items.

    It ignores the signals that stop a program: they are often sent to all processes of a program, but the first one
    must end the others. If the first one is gone, whatever has ended it, this process ends too.
    """
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent():
    multiprocessing.parent_process().join()
    os._exit(1)   # sys.exit would wait until the parent takes what was read


def read_ahead(items: Iterable, most: int) -> Iterator:
    """Yields items, which a thread takes from their iterator before they are needed.

    most: the number of items that wait. An error of the iterator is raised here. The thread ends when this generator is
    closed, and then the iterator is closed too.
    """
    waiting: queue.Queue = queue.Queue(most)
    stop = threading.Event()

    def put(entry: tuple[object, BaseException | None]) -> bool:
        while not stop.is_set():
            try:
                waiting.put(entry, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def read():
        try:
            for item in items:
                if not put((item, None)):
                    break
            else:
                put((None, StopIteration()))
        except BaseException as error:   # raised again by the reader of the items
            put((None, error))
        finally:
            if hasattr(items, "close"):
                items.close()

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    try:
        while True:
            item, error = waiting.get()
            if isinstance(error, StopIteration):
                return
            if error:
                raise error
            yield item
    finally:
        stop.set()
        thread.join()
