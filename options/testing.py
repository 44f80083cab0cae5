"""The options of test.py."""
import argparse
import os
from pathlib import Path

from options.common import Parser, add_base_options, add_flag, add_model_options, natural, parse_arguments, positive


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = Parser("Reconstruct the faces in a folder of photos: a picture, a coloured mesh and the coefficients "
                    "of each go to checkpoints/<name>/results/<folder>/epoch_<epoch>_000000/.")
    add_base_options(parser)
    add_model_options(parser)
    group = parser.add_argument_group("test")
    group.add_argument("--img_folder", type=Path, default=Path("datasets/examples"),
                       help="folder of photos; detections/<photo>.txt in it, where present, holds the five points of "
                            "the face (eyes, nose tip, mouth corners: x y in px, y down) or its 68 landmarks, else the "
                            "face is searched")
    add_flag(group, "--all_faces", False, "reconstruct every face found in a photo, largest first, as <photo>_0, "
                                           "<photo>_1, ...; detections/ is not read then")
    group.add_argument("--fit_iters", type=natural, default=0,
                       help="optimise each face for this many steps from the network's coefficients, or from the "
                            "mean face with --epoch=0; good numbers are 40, and 100")
    group.add_argument("--batch_size", type=positive, default=8, help="faces computed at once")
    group.add_argument("--num_threads", type=natural, default=min(4, os.cpu_count() or 1),
                       help="processes that read photos and threads that write results, over all processes of torchrun "
                            "on this machine")
    group.add_argument("--phase", default="test", help="accepted, no effect")
    group.add_argument("--dataset_mode", default=None, help="accepted, no effect")
    options = parse_arguments(parser, arguments)
    if options.epoch == "0" and not options.fit_iters:
        parser.error("--epoch=0 starts from the mean face without a network: add --fit_iters=100 to fit it to the "
                     "photos, or name a checkpoint with --name and --epoch")
    return options
