"""Writes MATLAB files, and reads arrays of real numbers from them (The MathWorks: MAT-File Format, Level 5).

SciPy reads more kinds of content, but some damaged files make it crash the whole process.
"""
import math
import mmap
import struct
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from scipy.io import savemat

from util import assets
from util.files import InputError, atomic_write

# Numbers that the format defines: types of elements, types of stored numbers, classes of arrays, a flag.
_COMPRESSED, _MATRIX = 15, 14
_STORED = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_CLASSES = {6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8"}
_COMPLEX = 0x800
_WRITING = threading.Lock()   # SciPy's writer shares a buffer between threads, which would break their files


def write_mat(path: Path, variables: dict[str, np.ndarray | str]):
    """Write a MATLAB file of these variables. Several threads may write files at the same time."""
    with atomic_write(path) as temporary, _WRITING:
        savemat(temporary, variables)


def read_mat(path: Path, shapes: dict[str, tuple[int | None, ...]]) -> dict[str, np.ndarray]:
    """The variables of a MATLAB file that `shapes` names, as arrays by name.

    shapes: the shape that each must have, where None stands for any length.
    Raises InputError, which names the file, if it cannot be read, if a variable is missing, or if one has another shape
    or is not of finite real numbers.
    """
    try:
        with path.open("rb") as file:
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        values = dict(_variables(data, shapes))
    except Exception as error:   # for a broken file, exceptions of many kinds
        kind = "it is an HDF5 file, not a MATLAB 5 file" if is_hdf5(path) else "it is incomplete, or not a MATLAB file"
        raise InputError(f"{path} cannot be read: {kind} ({error}); get it again, {assets.WHERE}") from error
    missing = [name for name in shapes if name not in values]
    if missing:
        raise InputError(f"{path} is another file: it lacks {', '.join(missing)} and holds "
                         f"{', '.join(values) or 'nothing'}")
    for name, shape in shapes.items():
        array = values[name]
        if array is None:
            raise InputError(f"{path} is broken or another file: {name} must be numbers")
        if len(array.shape) != len(shape) or any(b not in (None, a) for a, b in zip(array.shape, shape, strict=True)):
            wanted = " x ".join("any" if length is None else str(length) for length in shape)
            raise InputError(f"{path} is broken or another file: {name} is {' x '.join(map(str, array.shape))}, "
                             f"not {wanted}")
        if not np.isfinite(array).all():
            raise InputError(f"{path} is broken: {name} has values that are not finite")
    return {name: values[name] for name in shapes}


def is_hdf5(path: Path) -> bool:
    """Whether the file is in the HDF5 format, as files of MATLAB 7.3 are, which have another header before it."""
    try:
        with path.open("rb") as file:
            return b"\x89HDF\r\n" in file.read(1024)
    except OSError:
        return False


def _variables(data: mmap.mmap, wanted: dict) -> Iterator[tuple[str, np.ndarray | None]]:
    """Yields the name of every variable, with its array if it is in `wanted` and of real numbers, else with None."""
    order = {b"IM": "<", b"MI": ">"}[data[126:128]]
    for kind, content in _elements(memoryview(data)[128:], order):
        if kind not in (_COMPRESSED, _MATRIX):
            raise ValueError(f"unknown element {kind}")
        compressed = kind == _COMPRESSED
        start = memoryview(zlib.decompressobj().decompress(content, 1000))[8:] if compressed else content
        parts = _elements(start, order)
        (_, flags), (_, lengths), (_, name) = next(parts), next(parts), next(parts)
        name = bytes(name).decode("ascii")
        array = None
        flags, = struct.unpack_from(f"{order}I", flags)
        if name in wanted and flags & 0xFF in _CLASSES and not flags & _COMPLEX:
            if compressed:
                parts = _elements(memoryview(zlib.decompress(content))[8:], order)
                next(parts), next(parts), next(parts)
            kind, numbers = next(parts)
            shape = struct.unpack(f"{order}{len(lengths) // 4}i", lengths)
            array = np.frombuffer(numbers, order + _STORED[kind]).astype(_CLASSES[flags & 0xFF])
            array = array.reshape(shape, order="F")
        yield name, array


def _elements(data: memoryview, order: str) -> Iterator[tuple[int, memoryview]]:
    """Yields the type and the content of each element of the data, in their order.

    order: of the bytes, "<" or ">". Raises ValueError if an element is cut off.
    """
    place = 0
    while place < len(data):
        kind, size = struct.unpack_from(f"{order}II", data, place)
        start = place + 8
        if kind >> 16:   # a small element, whose tag holds the size and the content, too
            kind, size, start = kind & 0xFFFF, kind >> 16, place + 4
        content = data[start:start + size]
        if len(content) < size:
            raise ValueError(f"an element of {size} bytes is cut off")
        yield kind, content
        place = start + size
        if kind != _COMPRESSED:
            place = math.ceil(place / 8) * 8
