"""Several processes that share the work, started by torchrun or by --gpu_ids."""
import os
import sys
from argparse import Namespace
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
    rank: int = 0
    size: int = 1
    local_size: int = 1   # on this machine

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def mean(self, values: torch.Tensor) -> torch.Tensor:
        """The mean over all processes of a tensor of the same shape in each; carries no gradient."""
        values = values.detach().clone()
        if self.size > 1:
            dist.all_reduce(values)
        return values / self.size

    def gather(self, value: object) -> list:
        """The values of all processes."""
        values = [value] * self.size
        if self.size > 1:
            dist.all_gather_object(values, value)
        return values

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any process."""
        return bool(self.mean(torch.tensor(float(flag), device=self.device)) > 0)

    def share(self, total: int, what: str) -> int:
        """This process's part of `total`. Raises InputError where it does not divide."""
        if total % self.size:
            raise InputError(f"{what}={total} cannot be shared by {self.size} processes: give a multiple of "
                             f"{self.size}")
        return total // self.size

    def workers(self, total: int) -> int:
        """This process's part of `total` worker processes on each machine, rounded up."""
        return -(-total // self.local_size)

    def parallel(self, network: nn.Module) -> nn.Module:
        """The network with its gradients averaged over all processes."""
        if self.size == 1:
            return network
        ids = [self.device] if self.device.type == "cuda" else None
        return nn.parallel.DistributedDataParallel(network, device_ids=ids)


def join_processes(gpu_ids: str | None, patience: timedelta | None = None) -> Processes:
    """Join the processes torchrun has started, if it has: on GPUs by NCCL, else by gloo. patience: how long one waits
    for the others, by default as long as PyTorch does. Raises InputError."""
    if not started_by_torchrun():
        device = choose_device(gpu_ids)
        if device.type == "cuda":
            torch.cuda.set_device(device)   # pinned memory belongs to the current GPU
        return Processes(device)
    local_rank, local_size = int(os.environ["LOCAL_RANK"]), int(os.environ["LOCAL_WORLD_SIZE"])
    numbers = gpu_numbers(gpu_ids) or range(torch.cuda.device_count())
    if numbers and min(numbers) >= 0:
        if local_size > len(numbers):
            raise InputError(f"{local_size} processes on this machine, but {len(numbers)} GPUs: start fewer with "
                             "--nproc_per_node, or give --gpu_ids=-1 for the CPU")
        device = choose_device(str(numbers[local_rank]))
        torch.cuda.set_device(device)
    else:
        device = torch.device("cpu")
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=patience)
    return Processes(device, dist.get_rank(), dist.get_world_size(), local_size)


def leave_processes():
    if dist.is_initialized():
        dist.destroy_process_group()


def run_on_gpus(command: Callable[[Namespace], int], options: Namespace) -> int:
    """The exit status of command(options); where --gpu_ids names several GPUs, of this script in a process for each.
    Raises InputError."""
    gpus = gpu_numbers(options.gpu_ids) or []
    if len(gpus) < 2 or not options.use_ddp or started_by_torchrun():
        return command(options)
    for gpu in gpus:
        choose_device(str(gpu))   # one that is not there is told once, not by every process
    return start_processes(len(gpus), sys.argv)


def start_processes(count: int, command: Sequence[str]) -> int:
    """Run `python command` in so many processes of this machine, by torchrun. Returns the exit status: of the first
    process that failed, 128 + n where that, or this one, was ended by signal n."""
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
    """The network with batch normalisation over the batches of all processes."""
    if device.type == "cuda":
        return nn.SyncBatchNorm.convert_sync_batchnorm(network)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.__class__ = CpuSyncBatchNorm   # PyTorch's own runs on GPUs only
    return network


class CpuSyncBatchNorm(nn.BatchNorm2d):
    """Batch normalisation over the batches of all processes, which have the same size, by gloo."""

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
    """The sum over all processes of a tensor, and of the gradients of that sum."""

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
