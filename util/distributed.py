"""Processes that share the work. torchrun starts them, or the program itself if --gpu_ids names several GPUs."""
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

from util.devices import choose_device, gpu_numbers
from util.files import InputError


@dataclass(frozen=True)
class Processes:
    """This process among those that share the work."""
    device: torch.device
    rank: int = 0         # number of this process, from 0
    size: int = 1         # number of processes on all machines
    local_size: int = 1   # number of processes on this machine

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def mean(self, values: torch.Tensor) -> torch.Tensor:
        """Returns the mean over all processes of a tensor, without gradient. Its shape must be the same in all."""
        values = values.detach().clone()
        if self.size > 1:
            dist.all_reduce(values)
        return values / self.size

    def gather(self, value: object) -> list:
        """Returns the values of all processes, in the order of their ranks."""
        values = [value] * self.size
        if self.size > 1:
            dist.all_gather_object(values, value)
        return values

    def any(self, flag: bool) -> bool:
        """Returns whether the flag is set in any process."""
        return bool(self.mean(torch.tensor(float(flag), device=self.device)) > 0)

    def say(self, line: str):
        """Print a line in the first process only."""
        if self.is_first:
            print(line, flush=True)

    def share(self, total: int, what: str) -> int:
        """Returns this process's part of `total`. what: the option that gives it, for the message.

        Raises InputError if `total` is not a multiple of the number of processes.
        """
        if total % self.size:
            raise InputError(f"{what}={total} cannot be shared by {self.size} processes: give a multiple of "
                             f"{self.size}")
        return total // self.size

    def workers(self, total: int) -> int:
        """Returns how many of `total` worker processes on this machine belong to this process, rounded up."""
        return -(-total // self.local_size)

    def parallel(self, network: nn.Module) -> nn.Module:
        """Returns a network whose gradients are averaged over all processes."""
        if self.size == 1:
            return network
        ids = [self.device] if self.device.type == "cuda" else None
        return nn.parallel.DistributedDataParallel(network, device_ids=ids)


def join_processes(gpu_ids: str | None, timeout: timedelta | None = None) -> Processes:
    """Connect this process with the others, if torchrun has started it: by NCCL on GPUs, or else by gloo.

    gpu_ids: see `choose_device`; each process on this machine takes one of the GPUs. timeout: how long a process waits
    for the others; None is PyTorch's default.
    Raises InputError if there are more processes than GPUs on this machine, or if gpu_ids is wrong.
    """
    if not started_by_torchrun():
        device = choose_device(gpu_ids)
        if device.type == "cuda":
            torch.cuda.set_device(device)   # pinned memory belongs to the current GPU
        return Processes(device)
    local_rank, local_size = int(os.environ["LOCAL_RANK"]), int(os.environ["LOCAL_WORLD_SIZE"])
    numbers = gpu_numbers(gpu_ids) or range(torch.cuda.device_count())
    if numbers and min(numbers) >= 0:
        if local_size > len(numbers):
            raise InputError(f"there are {local_size} processes on this machine, but {len(numbers)} GPUs: start fewer "
                             "processes with --nproc_per_node, or give --gpu_ids=-1 for the CPU")
        device = choose_device(str(numbers[local_rank]))
        torch.cuda.set_device(device)
    else:
        device = torch.device("cpu")
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=timeout)
    return Processes(device, dist.get_rank(), dist.get_world_size(), local_size)


def leave_processes():
    """Undo `join_processes` at the end of the work."""
    if dist.is_initialized():
        dist.destroy_process_group()


def run_on_gpus(command: Callable[[], int], gpu_ids: str | None, use_ddp: bool = True) -> int:
    """Run the command, or, if gpu_ids names several GPUs, start this program again in one process for each GPU.

    gpu_ids: see `choose_device`. use_ddp: False runs the command in this process, on the first GPU.
    Returns the exit status. Raises InputError if gpu_ids is wrong.
    """
    gpus = gpu_numbers(gpu_ids) or []
    if len(gpus) < 2 or not use_ddp or started_by_torchrun():
        return command()
    for gpu in gpus:
        choose_device(str(gpu))   # a missing GPU is reported here, once, and not by every process
    return start_processes(len(gpus), sys.argv)


def start_processes(count: int, command: Sequence[str]) -> int:
    """Run `python <command>` in `count` processes on this machine, by torchrun.

    Returns the exit status of the first process that failed, or 0. It is 128 + n if signal n has ended that process, or
    this one.
    """
    from torch.distributed.run import main  # slow to import
    try:
        main(["--standalone", f"--nproc_per_node={count}", *command])
    except ChildFailedError as error:
        status = error.get_first_failure()[1].exitcode
        return status if status > 0 else 128 - status
    except SignalException as error:
        return 128 + error.sigval
    return 0


def started_by_torchrun() -> bool:
    return "LOCAL_RANK" in os.environ


def synchronise_batch_norm(network: nn.Module, device: torch.device) -> nn.Module:
    """Returns the network with batch normalisation over the batches of all processes. The network itself changes."""
    if device.type == "cuda":
        return nn.SyncBatchNorm.convert_sync_batchnorm(network)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.__class__ = CpuSyncBatchNorm   # PyTorch's SyncBatchNorm runs on GPUs only
    return network


class CpuSyncBatchNorm(nn.BatchNorm2d):
    """Batch normalisation over the batches of all processes, which must have the same size."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return super().forward(features)
        size = dist.get_world_size()
        mean = Sum.apply(features.mean((0, 2, 3))) / size
        centered = features - mean[:, None, None]
        variance = Sum.apply(centered.square().mean((0, 2, 3))) / size
        with torch.no_grad():
            count = features.numel() / features.shape[1] * size
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * count / (count - 1), self.momentum)
            self.num_batches_tracked += 1
        factor = self.weight * (variance + self.eps).rsqrt()
        return centered * factor[:, None, None] + self.bias[:, None, None]


class Sum(torch.autograd.Function):
    """The sum of a tensor over all processes. Its gradient is the sum of their gradients."""

    @staticmethod
    def forward(_, values: torch.Tensor) -> torch.Tensor:
        values = values.clone()
        dist.all_reduce(values)
        return values

    @staticmethod
    def backward(_, gradient: torch.Tensor) -> torch.Tensor:
        gradient = gradient.clone()
        dist.all_reduce(gradient)
        return gradient
