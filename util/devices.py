"""Chooses the device that computes, and explains errors of memory."""
import contextlib
from collections.abc import Iterator

import torch

from util.files import InputError


def gpu_numbers(gpu_ids: str | None) -> list[int] | None:
    """Returns the numbers in `gpu_ids`: "0,1" gives [0, 1]. -1 stands for the CPU. None stays None.

    Raises InputError if the text has anything but numbers, the same number twice, or the CPU together with a GPU.
    """
    if gpu_ids is None:
        return None
    try:
        numbers = [int(number) for number in gpu_ids.split(",") if number.strip()]
    except ValueError:
        numbers = []
    if not numbers:
        raise InputError(f"--gpu_ids={gpu_ids}: give GPUs by number, as in 0 or 0,1, or -1 for the CPU")
    if len(set(numbers)) < len(numbers):
        raise InputError(f"--gpu_ids={gpu_ids}: a GPU cannot be used twice, give each number once")
    if len(numbers) > 1 and min(numbers) < 0:
        raise InputError(f"--gpu_ids={gpu_ids}: the CPU (-1) and GPUs cannot share the work, give one or the other")
    return numbers


def choose_device(gpu_ids: str | None) -> torch.device:
    """Returns the first device of `gpu_ids`; for None the first GPU, or the CPU if there is no GPU.

    gpu_ids: GPUs by number, as in "0" or "0,1", or "-1" for the CPU.
    Raises InputError if `gpu_numbers` rejects gpu_ids, or if PyTorch does not see that GPU.
    """
    numbers = gpu_numbers(gpu_ids)
    if numbers is None:
        return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    first = numbers[0]
    if first < 0:
        return torch.device("cpu")
    if first >= torch.cuda.device_count():
        raise InputError(f"--gpu_ids={gpu_ids}: the number of GPUs that PyTorch sees here is "
                         f"{torch.cuda.device_count()}; leave the option out to use the first GPU or else the CPU, or "
                         "give -1 for the CPU")
    return torch.device("cuda", first)


@contextlib.contextmanager
def explain_out_of_memory() -> Iterator[None]:
    """In this block, raises InputError instead of PyTorch's errors when the memory of a GPU, or of the processes of a
    DataLoader, runs out."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise InputError("the GPU has not enough memory: give a smaller --batch_size, or in training --amp=bf16. "
                         f"Files that were written stay ({error})") from error
    except RuntimeError as error:
        if not str(error).startswith("DataLoader worker"):
            raise
        raise InputError("a process that reads photos was killed, which happens when memory runs out: --num_threads=1 "
                         f"needs the least memory. Files that were written stay ({error})") from error
