"""The table of outputs: what can be written of a face. `--save` of test.py lists some of their names.

To add an output, write a function that writes its files, add it to OUTPUTS, and add its name to options/testing.py.
"""
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from models.outputs.arkit import FILE as ARKIT_FILE
from models.outputs.details import FaceDetails
from models.outputs.eg3d import FOLDER as EG3D_FOLDER
from models.outputs.eg3d import MIRRORED, write_training_picture
from models.outputs.meshes import write_binary_mesh, write_texture, write_textured_mesh
from models.outputs.numbers import write_arkit_weights, write_landmarks, write_numbers
from models.outputs.panel import write_coefficients, write_colored_mesh, write_panel
from models.outputs.pictures import write_maps, write_overlay
from models.report.parts import write_part
from util.files import InputError


@dataclass(frozen=True)
class Output:
    """A kind of output.

    write: writes the files of one face. It gets the folder with the face's name, to which suffixes are added, and the
    face. If of_photo, it gets all faces of one photo, and the name of the photo, instead.
    files: the suffixes of all files that it may write. parts: what the Reconstructor has to compute for it, of
    `models.reconstruction.PARTS`; everything else is computed by `FaceDetails` when it is used. folder: the folder
    inside that of the results where the files are; "": that of the results.
    """
    write: Callable[[Path, FaceDetails], None] | Callable[[Path, list[FaceDetails]], None]
    files: tuple[str, ...]
    parts: tuple[str, ...] = ()
    of_photo: bool = False
    folder: str = ""


OUTPUTS = {
    "png": Output(write_panel, (".png",), ("overlay",)),
    "obj": Output(write_colored_mesh, (".obj",), ("mesh",)),
    "mat": Output(write_coefficients, (".mat",)),
    "coeffs": Output(write_numbers, (".npz",)),
    "landmarks": Output(write_landmarks, ("_landmarks.txt", "_landmarks.json")),
    "arkit": Output(write_arkit_weights, ("_arkit.json",)),
    "obj_textured": Output(write_textured_mesh, ("_textured.obj", "_textured.mtl", "_texture.png")),
    "glb": Output(write_binary_mesh, (".glb",)),
    "texture": Output(write_texture, ("_texture.png",)),
    "overlay": Output(write_overlay, ("_overlay.png",), ("mesh",), of_photo=True),
    "maps": Output(write_maps, tuple(f"{place}_{name}.png" for place in ("", "_crop")
                                     for name in ("depth", "normals", "albedo", "mask"))),
    "eg3d": Output(write_training_picture, (".png", f"{MIRRORED}.png"), folder=EG3D_FOLDER),
    "report": Output(write_part, (), ("overlay",)),   # by --report; models/report/page.py makes one page of all parts
}


def choose_outputs(names: Collection[str], arkit: bool) -> tuple[str, ...]:
    """Returns the names of outputs, in the order of OUTPUTS. "all" stands for all that the face model allows, except
    the report.

    arkit: whether ARKit's shapes are known for the face model. Raises InputError if they are not, but are needed.
    """
    if "arkit" in names and not arkit:
        raise InputError(f"--save: weights of ARKit's shapes are known for the open face models only, if the folder of "
                         f"face models has {ARKIT_FILE}: leave out arkit")
    not_in_all = {"report"} if arkit else {"report", "arkit"}
    return tuple(name for name in OUTPUTS if name in names or "all" in names and name not in not_in_all)


def files_of(names: Iterable[str]) -> list[str]:
    """What follows the name of a face or photo in the names of the files of these outputs."""
    return [file for name in names for file in OUTPUTS[name].files]


def parts_of(names: Iterable[str]) -> set[str]:
    """What the Reconstructor has to compute for the outputs of these names."""
    return {part for name in names for part in OUTPUTS[name].parts}
