"""The table of outputs of videos: what can be written of a clip. `--save` of test.py lists some of their names."""
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from models.outputs.arkit import FILE as ARKIT_FILE
from models.outputs.clip_motion import write_animated_mesh, write_clip_arkit_weights
from models.outputs.clip_numbers import ClipDetails, write_clip_coefficients, write_clip_landmarks, write_clip_numbers
from models.outputs.clip_video import write_clip_video
from models.outputs.details import OutputSettings
from models.records import Clip
from util.files import InputError


@dataclass(frozen=True)
class ClipOutput:
    """A kind of output.

    write: writes the file. It gets the folder with the clip's name, to which a suffix is added, and the clip.
    file: the suffix.
    """
    write: Callable[[Path, ClipDetails], None]
    file: str


CLIP_OUTPUTS = {
    "coeffs": ClipOutput(write_clip_numbers, ".npz"),
    "mat": ClipOutput(write_clip_coefficients, ".mat"),
    "landmarks": ClipOutput(write_clip_landmarks, "_landmarks.txt"),
    "arkit": ClipOutput(write_clip_arkit_weights, "_arkit.csv"),
    "glb": ClipOutput(write_animated_mesh, ".glb"),
    "overlay": ClipOutput(write_clip_video, "_overlay.mp4"),
}
DEFAULT_CLIP_OUTPUTS = ("coeffs", "mat", "landmarks")


def choose_clip_outputs(names: Collection[str], arkit: bool) -> tuple[str, ...]:
    """Returns the names of outputs, in the order of CLIP_OUTPUTS. "all" stands for all that the face model allows.

    arkit: whether ARKit's shapes are known for the face model. Raises InputError if they are not, but are needed, or if
    an output cannot be made of videos.
    """
    if unknown := sorted(set(names) - {*CLIP_OUTPUTS, "all"}):
        raise InputError(f"--save={','.join(unknown)} is for photos: for videos, list some of "
                         f"{', '.join(CLIP_OUTPUTS)}")
    if "arkit" in names and not arkit:
        raise InputError(f"--save: weights of ARKit's shapes are known for the open face models only, if the folder of "
                         f"face models has {ARKIT_FILE}: leave out arkit")
    return tuple(name for name in CLIP_OUTPUTS if name in names or "all" in names and (name != "arkit" or arkit))


def write_clip(folder: Path, clip: Clip, outputs: Collection[str], settings: OutputSettings):
    """Write the files of a clip, <clip's name>.npz and so on. outputs: names in CLIP_OUTPUTS."""
    details = ClipDetails(clip, settings)
    stem = folder / clip.name
    stem.parent.mkdir(parents=True, exist_ok=True)   # a name may have folders in it
    for name in outputs:
        CLIP_OUTPUTS[name].write(stem, details)
