"""Argument checks. Every error names the argument, says what it is, and what it must be."""

import torch


def describe(value):
    if not isinstance(value, torch.Tensor):
        return f"{type(value).__name__} {value!r}"
    layout = "" if value.is_contiguous() else ", not contiguous"
    name = str(value.dtype).removeprefix("torch.")
    return f"a {name} tensor of shape {tuple(value.shape)} on {value.device}{layout}"


def tensor(where, value, shape, dtype=torch.float32, device=None):
    """Checks a tensor argument.

    where: "operation: argument", the start of the message.
    shape: one entry for each dimension. An int must match; a str only names the size in the message.
    device: the device on which it must be; None: the CPU or any CUDA device.

    Raises TypeError if it is no tensor or of another dtype, ValueError if shape, device or layout are wrong.
    """
    wanted = "({})".format(", ".join(str(size) for size in shape))
    name = str(dtype).removeprefix("torch.")
    must = f"a contiguous {name} tensor of shape {wanted}"
    if device is not None:
        must += f" on {device}"
    if not isinstance(value, torch.Tensor):
        raise TypeError(f"{where} is {describe(value)}; it must be {must}")
    fits = len(shape) == value.dim() and all(
        isinstance(size, str) or size == actual for size, actual in zip(shape, value.shape, strict=True)
    )
    if value.dtype != dtype or not fits or (device is not None and value.device != device):
        raise (ValueError if value.dtype == dtype else TypeError)(
            f"{where} is {describe(value)}; it must be {must}"
        )
    if value.device.type not in ("cpu", "cuda"):
        raise ValueError(f"{where} is {describe(value)}; it must be on the CPU or on a CUDA device")
    if not value.is_contiguous():
        raise ValueError(f"{where} is {describe(value)}; it must be {must}: call .contiguous()")


def batch(where, value, size):
    """Checks that the first dimension is the batch size, or 1 to be shared by the batch. Raises ValueError."""
    if value.shape[0] not in (1, size):
        raise ValueError(
            f"{where} is {describe(value)}; its first dimension must be {size}, or 1 to broadcast"
        )


def triangles(operation, tri, vertices, device):
    """Checks tri (F, 3) int32, and on the CPU its indices. On CUDA, reading them would wait for the device.

    Raises TypeError or ValueError.
    """
    tensor(f"{operation}: tri", tri, ("F", 3), torch.int32, device)
    if device.type == "cpu" and tri.numel():
        low, high = (int(x) for x in torch.aminmax(tri))
        if low < 0 or high >= vertices:
            raise ValueError(
                f"{operation}: tri holds vertex indices from {low} to {high}; "
                f"with {vertices} vertices they must be from 0 to {vertices - 1}"
            )
