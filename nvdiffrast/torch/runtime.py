"""Launches Warp kernels on torch tensors.

On CUDA there is one launch, on torch's current stream and without copies. On the CPU a launch is a loop in one thread,
which releases the GIL. The batch is therefore cut into as many parts as torch has threads, and each part is launched in
its own thread. Kernels are compiled at their first use. This takes seconds; Warp keeps the result on disk.
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
    """Returns the slices of the batch that are computed at the same time: one per thread on the CPU, one on CUDA."""
    count = max(1, min(batch, torch.get_num_threads())) if device.type == "cpu" else 1
    bounds = [batch * i // count for i in range(count + 1)]
    return [slice(low, high) for low, high in itertools.pairwise(bounds)]


def threads(count, device):
    """Returns how many threads share the `count` pixels, vertices or triangles of a batch item: the kernels' stride."""
    return 1 if device.type == "cpu" else count


def take(x, part):
    """Returns a part of a batched tensor, or the whole tensor if the batch shares it or if it is empty."""
    return x if x.shape[0] <= 1 else x[part]


def gradient(x, slices):
    """Returns a gradient buffer for x, filled with zeros, and one view of it per part of the batch.

    If the batch shares x, every part gets its own copy. `collect` adds them up.
    """
    if x.shape[0] == 1:
        buffer = x.new_zeros((len(slices), *x.shape[1:]))
        return buffer, list(buffer.split(1))
    buffer = torch.zeros_like(x)
    return buffer, [buffer[part] for part in slices]


def collect(buffer, x):
    """Returns the gradient of x from its buffer."""
    return buffer if buffer.shape[0] == x.shape[0] else buffer.sum(0, keepdim=True)


def pixels(x):
    """Returns a view of (B, H, W, C) as (B, H*W, C)."""
    return x if x.dim() == 3 else x.view(x.shape[0], x.shape[1] * x.shape[2], x.shape[3])


def vectors(x):
    """Returns a Warp array of vectors that shares the memory of a tensor (..., 2 or 4) float32 or (..., 3) int32."""
    dtype = wp.vec3i if x.dtype == torch.int32 else {2: wp.vec2, 4: wp.vec4}[x.shape[-1]]
    return _warp_array(x, dtype)


def _warp_array(x, dtype=None):
    """Returns a Warp array that shares the memory of a tensor. Raises ValueError if it cannot index all of it."""
    if x.shape[0] > 1 and x.stride(0) * x.element_size() >= 2**31:
        raise ValueError(
            f"an item of a batch, of shape {tuple(x.shape[1:])}, takes 2 GiB or more, which kernels cannot "
            "index: compute the items one by one, or a smaller image"
        )
    return wp.from_torch(x, dtype=dtype, requires_grad=False, return_ctype=True)


def launch(kernel, jobs, device):
    """Runs a kernel once for each job (dim, arguments). Arguments are tensors, scalars or results of `vectors`."""
    jobs = [(dim, arguments) for dim, arguments in jobs if all(dim)]
    if not jobs:
        return
    load(kernel, device)
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
    arguments = [_warp_array(x) if isinstance(x, torch.Tensor) else x for x in arguments]
    wp.launch(kernel, dim, inputs=arguments, device=device, stream=stream, record_tape=False)


@functools.cache
def _pool():
    return ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="nvdiffrast")


# The threads do not exist in a forked process, such as the worker of a data loader. It makes new ones.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)


@contextlib.contextmanager
def _without_driver_warning():
    """Hides what Warp's native library writes to stderr if there is no CUDA driver."""
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


def load(kernel, device):
    """Compiles the kernel's module, or reads it from disk, once. Warp's own messages are hidden."""
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
