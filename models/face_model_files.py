"""Face models from their files."""
import sys
import warnings
from pathlib import Path

import numpy as np
from scipy.io import savemat

from models import basel
from models.open_face_model import load_open_face_model
from util import assets
from util.files import InputError, atomic_write
from util.mat_files import read_mat

DEFAULT_MODEL, OPEN_MODEL = assets.BASEL_FRONT.name, assets.OPEN_MODEL.name
FACE_MODEL_SHAPES = {
    "meanshape": (1, None), "meantex": (1, None), "idBase": (None, None), "exBase": (None, None),
    "texBase": (None, None), "tri": (None, 3), "point_buf": (None, 8), "tri_mask2": (None, 3), "keypoints": (1, 68),
    "frontmask2_idx": (None, 1), "skinmask": (1, None)}


def choose_face_model(folder: Path, requested: str | None = None, trained_with: str | None = None) -> str:
    """Choose the file name of the face model in a folder. The first of these that applies is taken:

    1. `requested`, the name that the user gave;
    2. `trained_with`, the face model that the network was trained with;
    3. BFM_model_front.mat, if the folder has it or has all files that it can be derived from;
    4. the open face model.

    Raises InputError if 1 or 2 names BFM_model_front.mat, which is neither there nor can be derived: another face model
    would give wrong faces.
    """
    wanted = requested or trained_with or DEFAULT_MODEL
    if wanted != DEFAULT_MODEL or (folder / wanted).exists():
        return wanted
    missing = basel.missing_files(folder)
    if not missing:
        return wanted
    if requested or trained_with:
        raise InputError(f"{folder / wanted} is missing, {assets.BASEL_FRONT.purpose}, and so are files that it could "
                         f"be derived from (--bfm_model={OPEN_MODEL} takes the open model, with which a network "
                         "trained for the Basel model gives wrong faces):\n  "
                         + "\n  ".join(asset.missing(folder / asset.name) for asset in missing))
    if len(missing) < len(assets.BASEL):
        names = ", ".join(asset.name for asset in missing)
        warnings.warn(f"the open face model is taken: {folder} has not all of the Basel Face Model 2009, it lacks "
                      f"{names} ({assets.WHERE} to get them)", stacklevel=2)
    return OPEN_MODEL


def load_face_model_data(folder: Path, name: str | None = None) -> dict[str, np.ndarray]:
    """The arrays of the face model `name` in the folder, in the layout of BFM_model_front.mat.

    Where there is no BFM_model_front.mat, it is derived from the Basel Face Model 2009 in the folder and kept there.
    Without a name it is that model, or, where it is not there, the open one. Raises InputError.
    """
    path = folder / choose_face_model(folder, name)
    if path.name == DEFAULT_MODEL and not path.exists():
        return _derive_and_keep(path)
    if not path.exists():
        raise InputError(f"no face model {path}: give its folder with --bfm_folder and its name with --bfm_model; "
                         f"the open model is {OPEN_MODEL} in the repository's folder BFM")
    data = _read_open_model(path) if path.suffix == ".npz" else read_mat(path, FACE_MODEL_SHAPES)
    _check_face_model(data, path)
    return data


def _derive_and_keep(path: Path) -> dict[str, np.ndarray]:
    data = basel.derive(path.parent)
    _check_face_model(data, path.parent)
    try:
        with atomic_write(path) as temporary:
            savemat(temporary, data)
        print(f"{path}: derived from the Basel Face Model 2009", file=sys.stderr)
    except OSError as error:
        warnings.warn(f"{path} cannot be kept and is derived anew each time: {error}", stacklevel=3)
    return data


def _read_open_model(path: Path) -> dict[str, np.ndarray]:
    try:
        return load_open_face_model(path)
    except Exception as error:   # the reader raises all kinds for a broken file
        raise InputError(f"the face model {path} cannot be read, it is broken or of another kind ({error})") from error


def _check_face_model(data: dict[str, np.ndarray], source: Path):
    """Raises InputError unless the arrays fit together."""
    vertices, triangles, front = len(data["point_buf"]), len(data["tri"]), len(data["frontmask2_idx"])
    lengths = {name: data[name].size for name in ("meanshape", "meantex")}
    lengths |= {name: len(data[name]) for name in ("idBase", "exBase", "texBase")}
    lengths["skinmask"] = 3 * data["skinmask"].size
    for name, length in lengths.items():
        if length != 3 * vertices:
            raise InputError(f"{source} has no sound face model: {name} is of {length / 3:g} vertices, point_buf of "
                             f"{vertices}")
    counted = {"tri": vertices, "point_buf": triangles + 1, "keypoints": vertices, "frontmask2_idx": vertices,
               "tri_mask2": front}
    for name, count in counted.items():
        if data[name].min(initial=count) < 1 or data[name].max(initial=1) > count:
            raise InputError(f"{source} has no sound face model: {name} must count from 1 to {count}")
