"""Checkpoints of a training: everything it needs to go on as if it had never stopped."""
from pathlib import Path

import torch

from models.files import load_weights
from util.files import InputError, atomic_write


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
