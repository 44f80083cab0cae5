"""Rasteriser contexts. They hold no state; they exist so that code written for NVIDIA's package runs."""

import torch

from .checks import describe


class RasterizeContext:
    """What `rasterize` accepts as its first argument, for tensors on any device.

    output_db: whether rasterize also computes the screen-space derivatives of the barycentrics.
    device: kept for reference; the work is done where the tensors are.
    """

    def __init__(self, output_db, device):
        self.output_db = bool(output_db)
        self.device = None if device is None else torch.device(device)


class RasterizeCudaContext(RasterizeContext):
    """The rasteriser. Despite the name it draws CPU tensors on the CPU."""

    def __init__(self, device=None):
        super().__init__(True, device)


class RasterizeGLContext(RasterizeContext):
    """The same rasteriser under the name of NVIDIA's OpenGL one; no OpenGL is involved."""

    def __init__(self, output_db=True, mode="automatic", device=None):
        if mode not in ("automatic", "manual"):
            raise ValueError(f"RasterizeGLContext: mode is {mode!r}; it must be 'automatic' or 'manual'")
        super().__init__(output_db, device)

    def set_context(self):
        """Nothing to bind: there is no OpenGL context."""

    def release_context(self):
        """Nothing to release: there is no OpenGL context."""


def check_context(operation, glctx):
    if not isinstance(glctx, RasterizeContext):
        raise TypeError(
            f"{operation}: glctx is {describe(glctx)}; "
            "it must be a RasterizeCudaContext or a RasterizeGLContext"
        )
