"""Chooses and reads the file of a face model."""
import sys
import warnings
from pathlib import Path

import numpy as np

from models import basel
from models.open_face_model import load_open_face_model
from util import assets
from util.files import InputError
from util.mat_files import read_mat, write_mat

# The arrays of a face model by name, with their shapes; None: any length
FACE_MODEL_SHAPES = {
    "meanshape": (1, None), "meantex": (1, None), "idBase": (None, None), "exBase": (None, None),
    "texBase": (None, None), "tri": (None, 3), "point_buf": (None, 8), "tri_mask2": (None, 3), "keypoints": (1, 68),
    "frontmask2_idx": (None, 1), "skinmask": (1, None)}


def choose_face_model(folder: Path, requested: str | None = None, trained_with: str | None = None) -> str:
    """Choose the file name of the face model in a folder. The first of these that applies is taken:

    1. `requested`, the name that the user gave;
    2. `trained_with`, the face model that the network was trained with;
    3. BFM_model_front.mat, if the folder has it or has all files from which it can be derived;
    4. photo_face_model.npz, the open face model with an albedo learned from photos, if the folder has it;
    5. the open face model.

    Raises InputError if 1 or 2 names BFM_model_front.mat, which is neither there nor can be derived: another face model
    would give wrong faces. Raises it also if the folder shows that the user wants the Basel Face Model, but files are
    missing, see `basel.missing_files`.
    """
    wanted = requested or trained_with or assets.BASEL_FRONT.name
    if wanted != assets.BASEL_FRONT.name or (folder / wanted).exists():
        return wanted
    free = assets.PHOTO_MODEL if (folder / assets.PHOTO_MODEL.name).exists() else assets.OPEN_MODEL
    missing = basel.missing_files(folder)
    if not missing:
        return wanted
    if requested or trained_with:
        raise InputError(f"{folder / wanted} is missing, {assets.BASEL_FRONT.purpose}, and so are files from which it "
                         f"could be derived (--bfm_model={assets.OPEN_MODEL.name} chooses the open face model; a "
                         "network that was trained for the Basel model gives wrong faces with it):\n  "
                         + "\n  ".join(asset.missing(folder / asset.name) for asset in missing))
    if len(missing) < len(assets.BASEL):
        names = ", ".join(asset.name for asset in missing)
        warnings.warn(f"{free.name} is used, since the Basel Face Model 2009 in {folder} is not complete: "
                      f"{names} missing ({assets.WHERE} to get them)", stacklevel=2)
    return free.name


def load_face_model_data(folder: Path, name: str | None = None) -> dict[str, np.ndarray]:
    """Read the arrays of a face model in the layout of BFM_model_front.mat, see `models.face_model.FaceModel`.

    name: of the file in the folder; None: `choose_face_model` decides. If BFM_model_front.mat is chosen and does not
    exist, it is derived from the files of the Basel Face Model 2009 in the folder and saved there.

    Raises InputError if files are missing or broken, or if the arrays do not fit together.
    """
    path = folder / choose_face_model(folder, name)
    if path.name == assets.BASEL_FRONT.name and not path.exists():
        return _derive_and_save(path)
    if not path.exists():
        raise InputError(f"no face model {path}: give its folder with --bfm_folder and its name with --bfm_model; "
                         f"the open model is {assets.OPEN_MODEL.name} in the repository's folder BFM")
    data = _read_open_model(path) if path.suffix == ".npz" else read_mat(path, FACE_MODEL_SHAPES)
    _check_face_model(data, path)
    return data


def _derive_and_save(path: Path) -> dict[str, np.ndarray]:
    """The arrays of BFM_model_front.mat, derived from the files beside it; warns if it cannot be saved to the path."""
    data = basel.derive(path.parent)
    _check_face_model(data, path.parent)
    try:
        write_mat(path, data)
        print(f"{path}: derived from the Basel Face Model 2009", file=sys.stderr)
    except OSError as error:
        warnings.warn(f"{path} cannot be saved, so each run derives it again: {error}", stacklevel=3)
    return data


def _read_open_model(path: Path) -> dict[str, np.ndarray]:
    try:
        return load_open_face_model(path)
    except Exception as error:   # for a broken file the reader raises exceptions of many kinds
        raise InputError(f"the face model {path} cannot be read: it is broken or of another kind ({error})") from error


def _check_face_model(data: dict[str, np.ndarray], source: Path):
    """Raises InputError, which names the source, if the lengths or the indices of the arrays do not fit together."""
    vertices, triangles, front = len(data["point_buf"]), len(data["tri"]), len(data["frontmask2_idx"])
    lengths = {name: data[name].size for name in ("meanshape", "meantex")}
    lengths |= {name: len(data[name]) for name in ("idBase", "exBase", "texBase")}
    lengths["skinmask"] = 3 * data["skinmask"].size
    for name, length in lengths.items():
        if length != 3 * vertices:
            raise InputError(f"the face model {source} is broken: {name} has values of {length / 3:g} vertices, "
                             f"point_buf of {vertices}")
    counted = {"tri": vertices, "point_buf": triangles + 1, "keypoints": vertices, "frontmask2_idx": vertices,
               "tri_mask2": front}
    if "annotated_keypoints" in data:
        counted["annotated_keypoints"] = vertices
    for name, count in counted.items():
        if data[name].min(initial=count) < 1 or data[name].max(initial=1) > count:
            raise InputError(f"the face model {source} is broken: the indices in {name} must be from 1 to {count}")
