"""Face models and trained networks from their files."""
import sys
import warnings
from argparse import Namespace
from pathlib import Path

import numpy as np
import torch
from scipy.io import savemat
from torch import nn

from models import basel
from models.open_face_model import load_open_face_model
from models.regressor import BACKBONES, Regressor, backbone_of
from util import assets
from util.files import InputError, atomic_write
from util.mat_files import read_mat

DEFAULT_MODEL, OPEN_MODEL = assets.BASEL_FRONT.name, assets.OPEN_MODEL.name
FACE_MODEL_SHAPES = {
    "meanshape": (1, None), "meantex": (1, None), "idBase": (None, None), "exBase": (None, None),
    "texBase": (None, None), "tri": (None, 3), "point_buf": (None, 8), "tri_mask2": (None, 3), "keypoints": (1, 68),
    "frontmask2_idx": (None, 1), "skinmask": (1, None)}


def choose_face_model(folder: Path, name: str | None = None, checkpoint: dict | None = None) -> str:
    """The name of the face model to take from the folder: `name`, or, without one, that which the checkpoint's network
    was trained with, or, without both, BFM_model_front.mat, and where that is not there and cannot be derived, the open
    model. Raises InputError where it cannot take the place of BFM_model_front.mat."""
    wanted = name or (trained_with(checkpoint) if checkpoint else DEFAULT_MODEL)
    if wanted != DEFAULT_MODEL or (folder / wanted).exists():
        return wanted
    missing = basel.missing_files(folder)
    if not missing:
        return wanted
    if name or checkpoint:
        raise InputError(f"{folder / wanted} is missing, {assets.BASEL_FRONT.purpose}, and so are files that it could "
                         f"be derived from (--bfm_model={OPEN_MODEL} takes the open model, with which a network "
                         "trained for the Basel model gives wrong faces):\n  "
                         + "\n  ".join(asset.missing(folder / asset.name) for asset in missing))
    if len(missing) < len(assets.BASEL):
        names = ", ".join(asset.name for asset in missing)
        warnings.warn(f"the open face model is taken: {folder} has not all of the Basel Face Model 2009, it lacks "
                      f"{names} ({assets.WHERE} to get them)", stacklevel=2)
    return OPEN_MODEL


def trained_with(checkpoint: dict) -> str:
    """The name of the face model that the checkpoint's network was trained with."""
    name = _options(checkpoint).get("bfm_model")   # the original's checkpoints have none, and are for the Basel model
    return name if isinstance(name, str) else DEFAULT_MODEL


def trained_camera(checkpoint: dict) -> dict[str, float]:
    """The options of the camera that the checkpoint's network was trained with, as far as it tells."""
    return {name: value for name, value in _options(checkpoint).items() if name in ("focal", "center", "camera_d")}


def check_camera(options: Namespace, checkpoint: dict, path: Path):
    """Raises InputError where the network of the checkpoint, read from the path, was trained with another camera."""
    for name, value in trained_camera(checkpoint).items():
        if value != getattr(options, name):
            raise InputError(f"{path} was trained with --{name}={value}, not {getattr(options, name)}, so faces would "
                             f"be wrong: give --{name}={value}")


def _options(checkpoint: dict) -> dict:
    options = checkpoint.get("options")
    return options if isinstance(options, dict) else {}


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


def load_regressor(path: Path) -> Regressor:
    """The network of a checkpoint file. Raises InputError."""
    return build_regressor(load_checkpoint(path), path)


def build_regressor(checkpoint: dict, path: Path, backbone: str | None = None) -> Regressor:
    """The network of a checkpoint that was read from the path; its kind is read from the checkpoint's own keys and must
    be `backbone`, where that is given. Raises InputError."""
    state = checkpoint["net_recon"]
    nn.modules.utils.consume_prefix_in_state_dict_if_present(state, "module.")   # of a network saved while parallel
    found = backbone_of(state)
    if found is None:
        raise InputError(f"the network in {path} is none of {', '.join(BACKBONES)}")
    if backbone not in (None, found):
        raise InputError(f"--net_recon={backbone}, but {path} holds a {found}: leave the option out")
    network = Regressor(found, use_last_fc="final_layers.0.weight" not in state)
    load_state(network, state, path)
    return network


def load_checkpoint(path: Path) -> dict:
    """What is in a checkpoint: the weights `net_recon`, and the states of optimiser and scheduler, `opt_00` and
    `sched_00`. Raises InputError."""
    if not path.is_file():
        raise InputError(f"no checkpoint {path}: {_present(path)}. Get one from {assets.CHECKPOINT.source}; "
                         "--name=open_face --epoch=20 is the one that ships")
    checkpoint = load_weights(path, "checkpoint")
    if not _has_names(checkpoint.get("net_recon")):
        raise InputError(f"the checkpoint {path} holds no network: 'net_recon' is missing in it")
    return checkpoint


def load_imagenet_init(regressor: Regressor, path: Path):
    """Fill the network up to its pooled feature with torchvision's ImageNet weights. Raises InputError."""
    if not path.is_file():
        raise InputError(assets.IMAGENET.missing(path))
    state = load_weights(path, "ImageNet weights")
    found = backbone_of({f"backbone.{key}": value for key, value in state.items()})
    wanted = backbone_of(regressor.state_dict())
    if found != wanted:
        raise InputError(f"{path} (--init_path) holds a {found or 'network of another kind'}, to start a {wanted} "
                         "(--net_recon)")
    last = BACKBONES[wanted].last
    own_last_layer = {key: value for key, value in regressor.backbone.state_dict().items() if key.startswith(last)}
    trained = {key: value for key, value in state.items() if not key.startswith(last)}
    load_state(regressor.backbone, trained | own_last_layer, path)


def load_weights(path: Path, kind: str, device: str = "cpu") -> dict:
    """The dictionary in a file of torch.save; no code in it is run. kind: what the messages call the file. device:
    meta leaves the tensors in the file, which is quick. Raises InputError."""
    try:
        weights = torch.load(path, map_location=device, weights_only=True)
    except Exception as error:   # the reader raises all kinds for a broken file
        raise InputError(f"the {kind} {path} cannot be read: it is incomplete, or no file of torch.save with "
                         f"tensors only ({type(error).__name__}); get it again, {assets.WHERE}") from error
    if not _has_names(weights):
        raise InputError(f"the {kind} {path} holds no weights but a {type(weights).__name__}")
    return weights


def _has_names(values: object) -> bool:
    return isinstance(values, dict) and all(isinstance(name, str) for name in values)


def load_state(network: nn.Module, state: dict, source: Path):
    """network.load_state_dict with one line for an error. Raises InputError also for weights that are no numbers."""
    try:
        missing, unknown = network.load_state_dict(state, strict=False)
    except (RuntimeError, AttributeError, TypeError) as error:
        raise InputError(f"the network in {source} does not fit: {str(error).splitlines()[-1].strip()}") from error
    if missing or unknown:
        raise InputError(f"the network in {source} does not fit: it lacks {len(missing)} arrays and has {len(unknown)} "
                         f"unknown ones, as {[*missing, *unknown][0]}")
    if not all(values.isfinite().all() for values in network.state_dict().values()):
        raise InputError(f"the network in {source} is broken: it has weights that are no numbers")


def _present(path: Path) -> str:
    """What there is instead of the checkpoint."""
    epochs = sorted(file.stem.removeprefix("epoch_") for file in path.parent.glob("epoch_*.pth"))
    if epochs:
        return f"{path.parent} has the epochs {', '.join(epochs)} (--epoch)"
    names = sorted(file.parent.name for file in path.parent.parent.glob("*/epoch_*.pth"))
    if names:
        return f"the experiments with checkpoints are {', '.join(dict.fromkeys(names))} (--name)"
    return f"{path.parent.parent} (--checkpoints_dir) has no experiment with checkpoints"
