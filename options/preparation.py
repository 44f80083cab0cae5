"""The options of data_preparation.py."""
import argparse
import os
from pathlib import Path

from options.common import Parser, add_flag, natural


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = Parser("Prepare folders of photos for training: 68 landmarks and a skin mask of each photo go to "
                    "landmarks/ and mask/ in its folder, their paths to datalist/<mode>/. Run again, it does what is "
                    "not done yet.")
    parser.add_argument("--data_root", type=Path, default=Path("datasets"), help="where the folders are")
    parser.add_argument("--img_folder", type=Path, nargs="+", required=True, metavar="FOLDER",
                        help="folders of photos in data_root; landmarks/<photo>.txt in it, where present, holds 68 "
                             "landmarks and is kept; detections/<photo>.txt, where present, the five points of the "
                             "face (eyes, nose tip, mouth corners: x y in px, y down) or its 68 landmarks, else the "
                             "face is searched")
    parser.add_argument("--mode", default="train", choices=["train", "val"],
                        help="write the lists for training or for validation")
    add_flag(parser, "--overwrite", False, "do again what it has done before; landmarks and masks that are yours stay")
    parser.add_argument("--num_threads", type=natural, default=min(4, os.cpu_count() or 1),
                        help="processes that prepare photos, over all processes of torchrun on this machine")
    parser.add_argument("--checkpoints_dir", type=Path, default=Path("checkpoints"),
                        help="lm_model in it, where present, is the TensorFlow landmark detector that is taken")
    add_flag(parser, "--verbose", False, "say more, with the trace of every error")
    return parser.parse_args(arguments)
