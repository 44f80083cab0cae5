"""Which device computes, and when memory is not enough."""
import contextlib
from collections.abc import Iterator

import torch

from util.files import InputError


def gpu_numbers(gpu_ids: str | None) -> list[int] | None:
    """"0,1" -> [0, 1]; None stays None. Raises InputError for anything but numbers."""
    if gpu_ids is None:
        return None
    try:
        numbers = [int(number) for number in gpu_ids.split(",") if number.strip()]
    except ValueError:
        numbers = []
    if not numbers:
        raise InputError(f"--gpu_ids={gpu_ids}: give GPUs by number, as in 0 or 0,1, or -1 for the CPU")
    return numbers


def choose_device(gpu_ids: str | None) -> torch.device:
    """The first of `gpu_ids` ("0", "0,1", "-1": the CPU; None: the first GPU, or the CPU where there is none).

    Raises InputError for anything else and for a GPU that is not there.
    """
    numbers = gpu_numbers(gpu_ids)
    if numbers is None:
        return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    first = numbers[0]
    if first < 0:
        return torch.device("cpu")
    if first >= torch.cuda.device_count():
        raise InputError(f"--gpu_ids={gpu_ids}: PyTorch sees {torch.cuda.device_count()} GPUs here; leave the option "
                         "out to take what there is, or give -1 for the CPU")
    return torch.device("cuda", first)


@contextlib.contextmanager
def memory_errors_told() -> Iterator[None]:
    """Raise InputError for what PyTorch raises when a GPU, or the processes of a DataLoader, run out of memory."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise InputError("the GPU has not enough memory: give a smaller --batch_size, or in training "
                         f"--amp=bf16. What is done stays ({error})") from error
    except RuntimeError as error:
        if not str(error).startswith("DataLoader worker"):
            raise
        raise InputError("a process that reads photos was ended, as happens when memory runs out: --num_threads=1 "
                         f"takes least. What is done stays ({error})") from error
