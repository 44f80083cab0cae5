"""Rasteriser contexts. They hold no state. They exist so that code for NVIDIA's package runs unchanged."""

import torch

from .checks import describe


class RasterizeContext:
    """The first argument of `rasterize`, for tensors on any device.

    output_db: whether rasterize also computes the screen-space derivatives of the barycentrics.
    device: has no effect; the work is done on the device of the tensors.
    """

    def __init__(self, output_db, device):
        self.output_db = bool(output_db)
        self.device = None if device is None else torch.device(device)


class RasterizeCudaContext(RasterizeContext):
    """The rasteriser. Despite the name it draws CPU tensors on the CPU."""

    def __init__(self, device=None):
        super().__init__(True, device)


class RasterizeGLContext(RasterizeContext):
    """The same rasteriser under the name of NVIDIA's OpenGL rasteriser. OpenGL is not used.

    Raises ValueError if mode is neither 'automatic' nor 'manual'.
    """

    def __init__(self, output_db=True, mode="automatic", device=None):
        if mode not in ("automatic", "manual"):
            raise ValueError(f"RasterizeGLContext: mode is {mode!r}; it must be 'automatic' or 'manual'")
        super().__init__(output_db, device)

    def set_context(self):
        """Does nothing, since there is no OpenGL context."""

    def release_context(self):
        """Does nothing, since there is no OpenGL context."""


def check_context(operation, glctx):
    """Raises TypeError if glctx is no context of this package."""
    if not isinstance(glctx, RasterizeContext):
        raise TypeError(
            f"{operation}: glctx is {describe(glctx)}; "
            "it must be a RasterizeCudaContext or a RasterizeGLContext"
        )
