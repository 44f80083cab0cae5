"""Launching Warp kernels on torch tensors.

CUDA: one launch on torch's current stream, without copies. CPU: a launch is a loop on one thread that
lets go of the GIL, so the batch is cut into as many parts as torch has threads. Kernels are compiled
at their first use (seconds, then cached on disk by Warp).
"""

import contextlib
import functools
import itertools
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
import warp as wp

_lock = threading.Lock()
_loaded = set()


def parts(batch, device):
    """Slices of the batch that run at the same time."""
    count = max(1, min(batch, torch.get_num_threads())) if device.type == "cpu" else 1
    bounds = [batch * i // count for i in range(count + 1)]
    return [slice(low, high) for low, high in itertools.pairwise(bounds)]


def threads(count, device):
    """How many threads share the pixels, vertices or triangles of a batch item: the kernels' stride."""
    return 1 if device.type == "cpu" else count


def take(x, part):
    """The part of a batched tensor; all of one that is shared by the batch or empty."""
    return x if x.shape[0] <= 1 else x[part]


def gradient(x, slices):
    """A zeroed gradient buffer for x and one view of it per part.

    A tensor shared by the batch gets one copy per part, for `collect` to add up.
    """
    if x.shape[0] == 1:
        buffer = x.new_zeros((len(slices), *x.shape[1:]))
        return buffer, list(buffer.split(1))
    buffer = torch.zeros_like(x)
    return buffer, [buffer[part] for part in slices]


def collect(buffer, x):
    """The gradient of x from its buffer."""
    return buffer if buffer.shape[0] == x.shape[0] else buffer.sum(0, keepdim=True)


def pixels(x):
    """(B, H, W, C) as (B, H*W, C)."""
    return x if x.dim() == 3 else x.view(x.shape[0], x.shape[1] * x.shape[2], x.shape[3])


def vectors(x):
    """(..., 2 or 4) float32 or (..., 3) int32 as a Warp array of vectors."""
    dtype = wp.vec3i if x.dtype == torch.int32 else {2: wp.vec2, 4: wp.vec4}[x.shape[-1]]
    return wp.from_torch(x, dtype=dtype, requires_grad=False, return_ctype=True)


def launch(kernel, jobs, device):
    """Run a kernel once for each job (dim, arguments); arguments are tensors, scalars or `vectors`."""
    jobs = [(dim, arguments) for dim, arguments in jobs if all(dim)]
    if not jobs:
        return
    _load(kernel, device)
    if device.type == "cpu":
        wp_device = wp.get_device("cpu")
        first, *others = jobs
        futures = [_pool().submit(_launch_one, kernel, job, wp_device, None) for job in others]
        _launch_one(kernel, first, wp_device, None)
        for future in futures:
            future.result()
        return
    with torch.cuda.device(device):
        stream = wp.stream_from_torch(torch.cuda.current_stream(device))
        for job in jobs:
            _launch_one(kernel, job, stream.device, stream)


def _launch_one(kernel, job, device, stream):
    dim, arguments = job
    arguments = [
        wp.from_torch(x, requires_grad=False, return_ctype=True) if isinstance(x, torch.Tensor) else x
        for x in arguments
    ]
    wp.launch(kernel, dim, inputs=arguments, device=device, stream=stream, record_tape=False)


@functools.cache
def _pool():
    return ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="nvdiffrast")


# Threads do not survive a fork, and a data loader may fork after the first launch.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)


@contextlib.contextmanager
def _without_driver_warning():
    """Silence what Warp's native library writes to stderr about a missing CUDA driver."""
    if torch.cuda.is_available():
        yield
        return
    sys.stderr.flush()
    saved = os.dup(2)
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)


def _load(kernel, device):
    """Compile or read the kernel's module once, without Warp's greeting and progress messages."""
    key = (kernel.module.name, device)
    if key in _loaded:
        return
    with _lock:
        if key in _loaded:
            return
        level = wp.config.log_level
        wp.config.log_level = max(level, wp.LOG_WARNING)
        try:
            with _without_driver_warning():
                wp.init()
            wp.load_module(kernel.module, device=wp.device_from_torch(device))
        finally:
            wp.config.log_level = level
        _loaded.add(key)
