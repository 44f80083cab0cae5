"""The table of outputs: what can be written of a face. `--save` of test.py lists some of their names.

To add an output, write a function that writes its files, add it to OUTPUTS, and add its name to options/testing.py.
"""
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from models.outputs.details import FaceDetails
from models.outputs.numbers import write_numbers
from models.outputs.panel import write_coefficients, write_colored_mesh, write_panel


@dataclass(frozen=True)
class Output:
    """A kind of output.

    write: writes the files of one face. It gets the folder with the face's name, to which suffixes are added, and the
    face. If of_photo, it gets all faces of one photo, and the name of the photo, instead.
    files: the suffixes of all files that it may write. parts: what the Reconstructor has to compute for it, of
    `models.reconstruction.PARTS`; everything else is computed by `FaceDetails` when it is used.
    """
    write: Callable[[Path, FaceDetails], None] | Callable[[Path, list[FaceDetails]], None]
    files: tuple[str, ...]
    parts: tuple[str, ...] = ()
    of_photo: bool = False


OUTPUTS = {
    "png": Output(write_panel, (".png",), ("overlay",)),
    "obj": Output(write_colored_mesh, (".obj",), ("mesh",)),
    "mat": Output(write_coefficients, (".mat",)),
    "coeffs": Output(write_numbers, (".npz",)),
}


def parts_of(names: Iterable[str]) -> set[str]:
    """What the Reconstructor has to compute for the outputs of these names."""
    return {part for name in names for part in OUTPUTS[name].parts}
