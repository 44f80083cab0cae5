"""Reads files of torch.save without running code that they may contain."""
import pickle
import re
from pathlib import Path

import numpy as np
import torch

from util.files import InputError

# NumPy's arrays and numbers are read as what they are. NumPy 1 has other names for the two functions that make them.
_NUMPY = [np.ndarray, np.dtype, *{type(np.dtype(kind)) for kind in "?bhilqBHILQefdgFDSU"}]
_NUMPY += [(function, f"numpy.{core}.multiarray.{name}") for core in ("core", "_core")
           for name, function in (("scalar", np._core.multiarray.scalar),
                                  ("_reconstruct", np._core.multiarray._reconstruct))]

# PyTorch's messages about types that it reads if they are allowed, and about those that it never reads.
_NEVER = re.compile(r"unsupported GLOBAL \S+ whose module")
_TYPE = re.compile(r"GLOBAL (\S+) (?:was not an allowed|whose module)")


class Unread:
    """Stands for an object in a file whose type could run code. Nothing of the object is read but its type's name."""

    def __new__(cls, *_, **__):
        return super().__new__(cls)

    def __setstate__(self, _):
        pass


def read_torch_file(path: Path, device: str = "cpu") -> object:
    """Returns what is in a file of torch.save. Objects of types other than those of tensors, NumPy and plain values are
    replaced by instances of subclasses of `Unread`, which have the names of these types.

    device: where tensors go; "meta" does not read their values, which is quick.
    Raises InputError, which names the type, for an object that cannot be replaced. A broken file raises errors of many
    other kinds.
    """
    stand_ins: dict[str, type] = {}
    while True:
        try:
            with torch.serialization.safe_globals([*_NUMPY, *((kind, name) for name, kind in stand_ins.items())]):
                return torch.load(path, map_location=device, weights_only=True)
        except pickle.UnpicklingError as error:
            name = _type_in(error)
            if name and name not in stand_ins and not _NEVER.search(str(error)):
                stand_ins[name] = type(name.rpartition(".")[2], (Unread,), {})
            elif name or stand_ins:
                raise InputError(f"{path} has objects of the type {name or ' or '.join(stand_ins)}, which are not read "
                                 "because they could run code: let the program that made the file save it again, with "
                                 "tensors, numbers and texts only") from error
            else:
                raise


def _type_in(error: pickle.UnpicklingError) -> str:
    """The dotted name of the type that PyTorch's message says it does not read; "" for other errors."""
    name = _TYPE.search(str(error))
    if not name:
        return ""
    return name[1] if "." in name[1] else f"builtins.{name[1]}"
