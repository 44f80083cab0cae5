"""The options of data_preparation.py."""
import argparse
import os
from pathlib import Path

from options.common import Parser, add_detector, add_flag, natural, path


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = Parser("Prepares folders of photos for train.py: finds 68 landmarks and computes a skin mask for each "
                    "photo, and writes lists of all these files. A second run prepares only photos that are new or "
                    "have changed. datasets/README.md describes the files.")
    parser.add_argument("--data_root", type=path, default=Path("datasets"), help="The folder that holds img_folder.")
    parser.add_argument("--img_folder", type=path, nargs="+", required=True, metavar="FOLDER",
                        help="One or more folders of photos in data_root. Landmarks in landmarks/<photo>.txt and masks "
                             "in mask/<photo>.png that you put there are used. Five points or 68 landmarks in "
                             "detections/<photo>.txt tell where the face is. Without them, the largest face that is "
                             "found is taken.")
    parser.add_argument("--mode", default="train", choices=["train", "val"],
                        help="Whether the lists are for training or for validation.")
    parser.add_argument("--datalist_dir", type=path, default=Path("datalist"),
                        help="The folder of the lists: landmarks.txt, images.txt and masks.txt are written to "
                             "<datalist_dir>/<mode>/.")
    add_flag(parser, "--overwrite", False,
             "Recomputes landmarks and masks that this script wrote. It never replaces files you provided.")
    parser.add_argument("--num_threads", type=natural, default=min(4, os.cpu_count() or 1),
                        help="The number of processes that prepare photos on this machine. All processes of torchrun "
                             "share them. 0: no further processes.")
    add_detector(parser)
    parser.add_argument("--checkpoints_dir", type=path, default=Path("checkpoints"),
                        help="If its folder lm_model holds the TensorFlow landmark detector of Deep3DFaceRecon, that "
                             "detector finds the landmarks.")
    add_flag(parser, "--verbose", False,
             "Prints every photo that is left out, not only the first ten, and the traceback of unexpected errors.")
    return parser.parse_args(arguments)
