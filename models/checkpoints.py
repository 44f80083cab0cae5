"""Checkpoints: which one to take, how to read it, how to continue a training from it, and how to save one.

The experiment NAME has its checkpoints in the folder checkpoints/NAME:

    epoch_5.pth          after epoch 5
    epoch_latest.pth     saved every --save_latest_freq batches, after each epoch, and when a signal stops the training
    epoch_iter_500.pth   the same after 500 steps, with --save_by_iter
    epoch_5_run1.pth     the epoch_5.pth of the first run, see below

Which checkpoint is the newest? A training usually continues from the newest one and then has one run. If it goes back
(train.py --epoch=2 while there are newer checkpoints), a second run begins. Checkpoints of a later run are newer than
those of an earlier one. Within a run, the one with more steps is newer. The times of the files do not count, because
copying changes them; they only decide between checkpoints that are equal otherwise.

Going back overwrites nothing: before the second run writes a file that the first run has written, the old file gets the
number of its run in its name.

Checkpoints of the original, Deep3DFaceRecon_pytorch, store neither runs nor steps. Their name or the state of their
scheduler says how many epochs they have finished.
"""
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from models.optimiser import Schedule, make_scheduler
from models.regressor import BACKBONES, Regressor, backbone_of, init_from_dlib
from util import assets
from util.files import InputError, atomic_write
from util.torch_files import Unread, read_torch_file

# The camera of the networks of Deep3DFaceRecon, whose checkpoints do not store it, and of open_face.
USUAL_CAMERA = {"focal": 1015, "center": 112, "camera_d": 10}


class Start(NamedTuple):
    """The checkpoint that a training starts with."""
    path: Path | None   # None if there is none: the training starts from a new network
    continues: bool     # True: the training continues from the checkpoint. False: it only takes the network from it


def choose_start(checkpoints_dir: Path, name: str, epoch: str = "latest", pretrained_name: str | None = None,
                 must_continue: bool = False) -> Start:
    """Choose the checkpoint that the training of the experiment `name` starts with. The first that applies is taken:

    1. If epoch is not "latest" and there is no pretrained_name, the training continues from epoch_<epoch>.pth.
    2. If the experiment has checkpoints, the training continues from the newest one.
    3. With a pretrained_name, the training takes the network from epoch_<epoch>.pth of that experiment, or, if epoch is
       "latest", from its newest checkpoint.
    4. Otherwise the training starts from a new network.

    The chosen file may not exist. must_continue: stop instead of 4.
    Raises InputError if must_continue applies, or if the newest checkpoint is wanted and one of them is broken.
    """
    folder = checkpoints_dir / name
    if epoch != "latest" and not pretrained_name:
        return Start(folder / f"epoch_{epoch}.pth", continues=True)
    newest = newest_checkpoint(folder)
    if newest:
        return Start(newest, continues=True)
    if pretrained_name:
        folder = checkpoints_dir / pretrained_name
        newest = newest_checkpoint(folder) if epoch == "latest" else None
        return Start(newest or folder / f"epoch_{epoch}.pth", continues=False)
    if must_continue:
        raise InputError(f"--continue_train: there is no checkpoint in {folder}")
    return Start(None, continues=False)


def newest_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint in the folder of an experiment, or None. Raises InputError if a checkpoint is broken, since
    it may be the newest."""
    return max(folder.glob("epoch_*.pth"), key=lambda path: (*_progress(path), path.stat().st_mtime), default=None)


def _progress(path: Path) -> tuple[int, int, int]:
    """The run, the steps and the finished epochs of a checkpoint. The newer, the larger. Raises InputError."""
    try:
        checkpoint = load_weights(path, "checkpoint", "meta")
    except InputError as error:
        raise InputError(f"{error}; move it away to continue the training from another checkpoint") from error
    return checkpoint.get("run", 1), checkpoint.get("step", 0), _finished_epochs(checkpoint, path)


def _finished_epochs(checkpoint: dict, path: Path) -> int:
    """How many epochs a checkpoint of the original has finished: its name says it, or, if it was saved within an epoch,
    its scheduler."""
    name = path.stem.removeprefix("epoch_")
    if name.isdecimal():
        return int(name)
    scheduler = checkpoint.get("sched_00")
    return scheduler.get("last_epoch", 0) if isinstance(scheduler, dict) else 0


def trained_with(checkpoint: dict) -> str:
    """The file name of the face model that the network was trained with. The original's checkpoints store none; their
    networks are for the Basel Face Model."""
    name = _options(checkpoint).get("bfm_model")
    return name if isinstance(name, str) else assets.BASEL_FRONT.name


def trained_camera(checkpoint: dict) -> dict[str, float]:
    """The options of the camera that the network was trained with: focal, center and camera_d, if they are stored."""
    return {name: value for name, value in _options(checkpoint).items() if name in ("focal", "center", "camera_d")}


def check_camera(checkpoint: dict, path: Path, focal: float, center: float, camera_d: float,
                 say: Callable[[str], None]):
    """Check that the camera of the options is the one that the network was trained with.

    checkpoint: the content of the file at path. focal, center: px in the crop. camera_d: decimetres. say: prints a
    remark for a camera other than USUAL_CAMERA if the checkpoint does not store the camera of its training.
    Raises InputError if it stores another camera.
    """
    given, trained = {"focal": focal, "center": center, "camera_d": camera_d}, trained_camera(checkpoint)
    for name, value in trained.items():
        if value != given[name]:
            raise InputError(f"{path} was trained with --{name}={value}, not {given[name]}, so faces would be wrong: "
                             f"give --{name}={value}")
    for name, value in USUAL_CAMERA.items():
        if name not in trained and value != given[name]:
            say(f"{path} does not say with which camera it was trained. Usual is --{name}={value:g}: if its network "
                f"was trained with that, faces and landmarks are wrong with --{name}={given[name]:g}")


def _options(checkpoint: dict) -> dict:
    options = checkpoint.get("options")
    return options if isinstance(options, dict) else {}


def load_regressor(path: Path) -> Regressor:
    """The network in a checkpoint file. Raises InputError."""
    return build_regressor(load_checkpoint(path), path)


def build_regressor(checkpoint: dict, path: Path, backbone: str | None = None) -> Regressor:
    """The network in a checkpoint that was read from path. Its kind follows from the names of its weights.

    backbone: the backbone that the network must have; None accepts any. Raises InputError.
    """
    # A network that was saved while compiled or parallel has names such as _orig_mod.module.backbone.conv1.weight.
    state = {name.replace("_orig_mod.", "").removeprefix("module."): values
             for name, values in checkpoint["net_recon"].items()}
    found = backbone_of(state)
    if found is None:
        raise InputError(f"the network in {path} is none of {', '.join(BACKBONES)}")
    if backbone not in (None, found):
        raise InputError(f"--net_recon={backbone}, but {path} holds a {found}: leave the option out")
    network = Regressor(found, use_last_fc="final_layers.0.weight" not in state)
    load_state(network, state, path)
    return network


def load_checkpoint(path: Path) -> dict:
    """The content of a checkpoint file: the weights `net_recon`, and in one of a training the states that
    `save_training` describes. Raises InputError."""
    if not path.is_file():
        raise InputError(f"no checkpoint {path}: {_present(path)}. Get one from {assets.CHECKPOINT.source}; "
                         "--name=photo_face --epoch=20 is one that ships")
    checkpoint = load_weights(path, "checkpoint")
    network = checkpoint.get("net_recon")
    if isinstance(network, Unread):
        raise InputError(f"the network 'net_recon' in the checkpoint {path} is an object of the type "
                         f"{type(network).__name__}: save its state_dict() instead")
    if not _has_names(network):
        raise InputError(f"the checkpoint {path} holds no network: 'net_recon' is missing in it")
    return checkpoint


def new_regressor(backbone: str, use_last_fc: bool, init_path: Path | str | None, init_folder: Path,
                  say: Callable[[str], None]) -> Regressor:
    """A network for a new training. Its backbone starts from ImageNet weights, that of dlib_resnet29 from dlib's.

    init_path: file of the ImageNet weights. None takes those in init_folder, if there are any; "" takes none. Without
        weights the backbone starts from random ones, drawn from PyTorch's random numbers.
    say: prints a line. Raises InputError.
    """
    network = Regressor(backbone, use_last_fc)
    if backbone == "dlib_resnet29":
        if init_path:
            raise InputError(f"--init_path={init_path}: a dlib_resnet29 starts from dlib's weights; leave the option "
                             "out")
        init_from_dlib(network)
        return network
    if init_path is None:
        weights = init_folder / f"{backbone}-*.pth"
        init_path = next(init_folder.glob(weights.name), None)
        if init_path is None:
            say(f"{assets.IMAGENET.missing(weights)}, or name it with --init_path. The network starts from random "
                "weights and needs many more photos")
    if init_path:
        load_imagenet_init(network, init_path)
    return network


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
    """The dictionary in a file of torch.save. No code in the file is run.

    kind: what messages call the file. device: where tensors go; "meta" does not read their values, which is quick.
    Raises InputError.
    """
    try:
        weights = read_torch_file(path, device)
    except InputError:
        raise
    except Exception as error:   # a broken file makes PyTorch raise many kinds of errors
        raise InputError(f"the {kind} {path} cannot be read: it is incomplete, or no file of torch.save "
                         f"({type(error).__name__}); get it again, {assets.WHERE}") from error
    if not _has_names(weights):
        advice = ": save its state_dict() instead" * isinstance(weights, Unread)
        raise InputError(f"the {kind} {path} holds no weights but an object of the type {type(weights).__name__}"
                         f"{advice}")
    return weights


def _has_names(values: object) -> bool:
    return isinstance(values, dict) and all(isinstance(name, str) for name in values)


def load_state(network: nn.Module, state: dict, source: Path):
    """network.load_state_dict, but an error is one line that names the source. Raises InputError, also for weights that
    are not finite."""
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
    """Which checkpoints there are, for the message that one is missing."""
    epochs = sorted(file.stem.removeprefix("epoch_") for file in path.parent.glob("epoch_*.pth"))
    if epochs:
        return f"{path.parent} has the epochs {', '.join(epochs)} (--epoch)"
    names = sorted(file.parent.name for file in path.parent.parent.glob("*/epoch_*.pth"))
    if names:
        return f"the experiments with checkpoints are {', '.join(dict.fromkeys(names))} (--name)"
    return f"{path.parent.parent} (--checkpoints_dir) has no experiment with checkpoints"


@dataclass
class TrainingState:
    """What a training changes, and a checkpoint stores."""
    network: nn.Module
    optimiser: torch.optim.Optimizer
    scheduler: torch.optim.lr_scheduler.LRScheduler
    scaler: torch.amp.GradScaler   # scales the loss with --amp=fp16, and is disabled without
    epoch: int = 1                 # the epoch that is being trained, from 1
    batch: int = 0                 # batches of this epoch that are done
    step: int = 0                  # batches of all epochs that are done
    run: int = 1                   # raised by one when the training goes back to an earlier checkpoint


def restore_training(state: TrainingState, checkpoint: dict, path: Path, schedule: Schedule, batch_size: int,
                     say: Callable[[str], None]):
    """Continue a training: give it the state in the checkpoint that was read from path.

    The network of `state` must already be that of the checkpoint. Schedule and batch_size (over all processes) are
    those of the options; they may differ from those that the checkpoint was trained with. say: prints a line.
    Raises InputError if the checkpoint does not have the state of a training.
    """
    try:
        state.optimiser.load_state_dict(checkpoint["opt_00"])
        trained_lr = state.optimiser.param_groups[0].get("initial_lr", schedule.lr)
        state.scheduler = make_scheduler(state.optimiser, schedule, checkpoint["sched_00"])
        if "step" in checkpoint:
            state.epoch, state.step = checkpoint["epoch"], checkpoint["step"]
            state.batch = checkpoint["batch"] * checkpoint["options"]["batch_size"] // batch_size
            if checkpoint["scaler"]:   # empty if it was trained without --amp=fp16
                state.scaler.load_state_dict(checkpoint["scaler"])
            torch.set_rng_state(checkpoint["random"])
        else:   # of the original
            state.epoch = max(state.epoch, _finished_epochs(checkpoint, path) + 1)
    except (KeyError, ValueError, TypeError, AttributeError, RuntimeError) as error:
        raise InputError(f"{path} has a network but not the state of a training to continue "
                         f"({type(error).__name__}: {error}); start a new experiment (--name) from its network "
                         f"by --pretrained_name={path.parent.name}") from error
    say(f"continues from {path}: epoch {state.epoch}, {state.batch} batches of it done")
    if trained_lr != schedule.lr:
        say(f"the learning rate follows --lr={schedule.lr:g}; until this checkpoint it was --lr={trained_lr:g}")
    newest = max(map(_progress, path.parent.glob("epoch_*.pth")))
    state.run = newest[0]
    if _progress(path) < newest:
        state.run += 1
        say(f"the training goes back: {path.parent} has newer checkpoints. None of them is overwritten: a file that is "
            f"in the way is renamed first, as epoch_latest.pth to epoch_latest_run{newest[0]}.pth")


def save_training(state: TrainingState, folder: Path, name: str, recorded_options: dict):
    """Write the checkpoint epoch_<name>.pth of a training.

    recorded_options: plain values by name. The checkpoint holds the states of network, optimiser and scheduler by the
    names that the original gave them, net_recon, opt_00 and sched_00; and scaler, options, epoch, batch, step, run and
    random, the state of PyTorch's random numbers.
    Raises InputError if it cannot be written; an existing file is then left as it is.
    """
    path = folder / f"epoch_{name}.pth"
    if state.run > 1 and path.exists() and (run := _progress(path)[0]) < state.run:
        path.rename(path.with_name(f"{path.stem}_run{run}.pth"))
    content = {"net_recon": state.network.state_dict(), "opt_00": state.optimiser.state_dict(),
               "sched_00": state.scheduler.state_dict(), "scaler": state.scaler.state_dict(),
               "options": recorded_options, "epoch": state.epoch, "batch": state.batch, "step": state.step,
               "run": state.run, "random": torch.get_rng_state()}
    try:
        with atomic_write(path) as temporary:
            torch.save(content, temporary)
    except (OSError, RuntimeError) as error:   # PyTorch raises RuntimeError for a full disk
        raise InputError(f"cannot save the checkpoint {path}: {error}. The checkpoint before it is whole. Make room on "
                         "the disk; then the same command, without --epoch, continues") from error
