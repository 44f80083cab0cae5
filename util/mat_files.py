"""Reading MATLAB files."""
from pathlib import Path

import numpy as np
from scipy.io import loadmat, whosmat

from util.files import InputError


def read_mat(path: Path, shapes: dict[str, tuple[int | None, ...]]) -> dict[str, np.ndarray]:
    """The variables of a MATLAB file that `shapes` names, each of finite real numbers and of its shape, where None
    stands for any length. Raises InputError."""
    try:
        values = loadmat(path, variable_names=list(shapes))
    except Exception as error:   # the reader raises all kinds for a broken file
        kind = "it is an HDF5 file, not one of MATLAB 5" if is_hdf5(path) else "it is incomplete, or no MATLAB file"
        raise InputError(f"{path} cannot be read: {kind} ({error})") from error
    missing = [name for name in shapes if name not in values]
    if missing:
        present = ", ".join(name for name, *_ in whosmat(path)) or "nothing"
        raise InputError(f"{path} is another file: it lacks {', '.join(missing)} and holds {present}")
    for name, shape in shapes.items():
        array = values[name]
        if not isinstance(array, np.ndarray) or array.dtype.kind not in "iufb":
            raise InputError(f"{path} is broken or another file: {name} must be numbers")
        if len(array.shape) != len(shape) or any(b not in (None, a) for a, b in zip(array.shape, shape, strict=True)):
            wanted = " x ".join("any" if length is None else str(length) for length in shape)
            raise InputError(f"{path} is broken or another file: {name} is {' x '.join(map(str, array.shape))}, "
                             f"not {wanted}")
        if not np.isfinite(array).all():
            raise InputError(f"{path} is broken: {name} has values that are no numbers")
    return {name: values[name] for name in shapes}


def is_hdf5(path: Path) -> bool:
    """Also of MATLAB 7.3, which puts its own header before."""
    with path.open("rb") as file:
        return b"\x89HDF\r\n" in file.read(1024)
