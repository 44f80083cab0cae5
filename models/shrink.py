"""Makes a small checkpoint to give away: the network alone, in half precision, without the state of its training.

    python -m models.shrink checkpoints/M/epoch_20.pth OUT.pth

OUT.pth is a sixth as large. test.py can use it like any other checkpoint, and a new training can start from it
(train.py --pretrained_name). It stores which face model and camera the network was trained with, and no other option.
"""
import argparse
import sys
from pathlib import Path

import torch

from models.checkpoints import build_regressor, load_checkpoint, trained_camera, trained_with
from util.command import safe_output
from util.files import InputError, atomic_write


def shrink(source: Path, target: Path):
    """Write the network of the checkpoint `source` to the new file `target`. Raises InputError if source cannot be
    read, if its weights are too large for half precision, or if target exists or cannot be written."""
    if target.exists():
        raise InputError(f"{target} is there already: move it away or choose another name")
    checkpoint = load_checkpoint(source)
    state = build_regressor(checkpoint, source).half().state_dict()
    if not all(values.isfinite().all() for values in state.values()):
        raise InputError(f"{source} has weights that are too large for half precision")
    options = {"bfm_model": trained_with(checkpoint)} | trained_camera(checkpoint)
    try:
        with atomic_write(target) as temporary:
            torch.save({"net_recon": state, "options": options}, temporary)
    except (OSError, RuntimeError) as error:   # PyTorch raises RuntimeError for a missing folder and for a full disk
        raise InputError(f"cannot write {target}: {error}") from error


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="the checkpoint of a training")
    parser.add_argument("target", type=Path, help="the file to write")
    options = parser.parse_args()
    try:
        shrink(options.source, options.target)
    except InputError as error:
        print(f"models.shrink: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    with safe_output():
        sys.exit(main())
