"""Face models and trained networks from their files."""
import pickle
import zipfile
from pathlib import Path

import numpy as np
import torch
from scipy.io import loadmat

from models.open_face_model import load_open_face_model
from models.regressor import BACKBONES, Regressor, backbone_of
from util.files import InputError

DEFAULT_MODEL, OPEN_MODEL = "BFM_model_front.mat", "open_face_model.npz"
MODEL_KEYS = ("meanshape", "meantex", "idBase", "exBase", "texBase", "tri", "point_buf", "tri_mask2", "keypoints",
              "frontmask2_idx", "skinmask")


def load_face_model_data(folder: Path, name: str = DEFAULT_MODEL) -> dict[str, np.ndarray]:
    """The arrays of the face model `name` in the folder, in the layout of BFM_model_front.mat. Where there is no
    BFM_model_front.mat, the open model takes its place. Raises InputError."""
    path = folder / name
    if not path.exists() and name == DEFAULT_MODEL:
        path = folder / OPEN_MODEL
    if not path.exists():
        raise InputError(f"no face model {path}: give its folder with --bfm_folder and its name with --bfm_model; "
                         f"the open model is {OPEN_MODEL} in the repository's folder BFM")
    try:
        data = load_open_face_model(path) if path.suffix == ".npz" else loadmat(path)
    except Exception as error:   # the readers raise all kinds for a broken file
        raise InputError(f"the face model {path} cannot be read, it is broken or of another kind ({error})") from error
    missing = [key for key in MODEL_KEYS if key not in data]
    if missing:
        raise InputError(f"{path} is no face model of the layout of {DEFAULT_MODEL}: it lacks {', '.join(missing)}")
    return data


def load_regressor(path: Path, backbone: str | None = None) -> Regressor:
    """The network of a checkpoint; its kind is read from the checkpoint's own keys and must be `backbone`, where that
    is given. Raises InputError."""
    if not path.is_file():
        raise InputError(f"no checkpoint {path}: {_present(path)}. Without a checkpoint, "
                         "--epoch=0 --fit_iters=100 fits the face model to each photo")
    state = load_weights(path, "checkpoint").get("net_recon")
    if not isinstance(state, dict):
        raise InputError(f"the checkpoint {path} holds no network: 'net_recon' is missing in it")
    found = backbone_of(state)
    if found is None:
        raise InputError(f"the network in {path} is none of {', '.join(BACKBONES)}")
    if backbone not in (None, found):
        raise InputError(f"--net_recon={backbone}, but {path} holds a {found}: leave the option out")
    network = Regressor(found, use_last_fc="final_layers.0.weight" not in state)
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise InputError(f"the network in {path} does not fit: {error}") from error
    return network


def load_weights(path: Path, kind: str) -> dict:
    """The dictionary in a file of torch.save; no code in it is run. kind: what the messages call the file. Raises
    InputError."""
    try:
        weights = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, zipfile.BadZipFile, ValueError, KeyError) as error:
        raise InputError(f"the {kind} {path} cannot be read: it is incomplete, or no file of torch.save with "
                         f"tensors only ({type(error).__name__})") from error
    if not isinstance(weights, dict):
        raise InputError(f"the {kind} {path} holds no weights but a {type(weights).__name__}")
    return weights


def _present(path: Path) -> str:
    """What there is instead of the checkpoint."""
    epochs = sorted(file.stem.removeprefix("epoch_") for file in path.parent.glob("epoch_*.pth"))
    if epochs:
        return f"{path.parent} has the epochs {', '.join(epochs)} (--epoch)"
    names = sorted(file.parent.name for file in path.parent.parent.glob("*/epoch_*.pth"))
    if names:
        return f"the experiments with checkpoints are {', '.join(dict.fromkeys(names))} (--name)"
    return f"{path.parent.parent} (--checkpoints_dir) has no experiment with checkpoints"
