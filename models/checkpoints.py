"""Trained networks and checkpoints: choose, load, continue from, save."""
from pathlib import Path

import torch
from torch import nn

from models.regressor import BACKBONES, Regressor, backbone_of
from util import assets
from util.files import InputError, atomic_write


def trained_with(checkpoint: dict) -> str:
    """The name of the face model that the checkpoint's network was trained with."""
    name = _options(checkpoint).get("bfm_model")   # the original's checkpoints have none, and are for the Basel model
    return name if isinstance(name, str) else assets.BASEL_FRONT.name


def trained_camera(checkpoint: dict) -> dict[str, float]:
    """The options of the camera that the checkpoint's network was trained with, as far as it tells."""
    return {name: value for name, value in _options(checkpoint).items() if name in ("focal", "center", "camera_d")}


def check_camera(checkpoint: dict, path: Path, focal: float, center: float, camera_d: float):
    """Check that the camera of the options is the one that the network was trained with.

    checkpoint: the content of the file at path. focal, center: px in the crop. camera_d: decimetres.
    Raises InputError if they differ. A checkpoint that does not store its camera fits any.
    """
    given = {"focal": focal, "center": center, "camera_d": camera_d}
    for name, value in trained_camera(checkpoint).items():
        if value != given[name]:
            raise InputError(f"{path} was trained with --{name}={value}, not {given[name]}, so faces would be wrong: "
                             f"give --{name}={value}")


def _options(checkpoint: dict) -> dict:
    options = checkpoint.get("options")
    return options if isinstance(options, dict) else {}


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


def save_checkpoint(path: Path, state: dict):
    """Written whole or not at all. Raises InputError, and the file there before stays."""
    try:
        with atomic_write(path) as temporary:
            torch.save(state, temporary)
    except (OSError, RuntimeError) as error:   # PyTorch reports a full disk by RuntimeError
        raise InputError(f"cannot save the checkpoint {path}: {error}; the one before is whole. Make room on the "
                         "disk, then the same command continues") from error


def newest_checkpoint(folder: Path) -> Path | None:
    """The checkpoint in the folder that has come farthest, by what it says itself; None where there is none. Raises
    InputError where one is broken: the newest may be it."""
    checkpoints = sorted(folder.glob("epoch_*.pth"), key=lambda path: (*_progress(path), path.stat().st_mtime))
    return checkpoints[-1] if checkpoints else None


def _progress(path: Path) -> tuple[int, int]:
    try:
        checkpoint = load_weights(path, "checkpoint", "meta")
    except InputError as error:
        raise InputError(f"{error}; move it away, and the training goes on from the newest of the others") from error
    return checkpoint.get("step", 0), finished_epochs(path, checkpoint)


def finished_epochs(path: Path, checkpoint: dict) -> int:
    """Of a checkpoint of the original, which says it by its name, or, saved within an epoch, by its scheduler."""
    name = path.stem.removeprefix("epoch_")
    if name.isdecimal():
        return int(name)
    scheduler = checkpoint.get("sched_00")
    return scheduler.get("last_epoch", 0) if isinstance(scheduler, dict) else 0
