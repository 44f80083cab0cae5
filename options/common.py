"""Options that test.py and train.py share, and the kinds of values."""
import argparse
import math
from pathlib import Path

TRUE, FALSE = ("yes", "true", "t", "y", "1"), ("no", "false", "f", "n", "0")


def boolean(text: str) -> bool:
    if text.lower() in TRUE + FALSE:
        return text.lower() in TRUE
    raise argparse.ArgumentTypeError(f"'{text}' is neither of {', '.join(TRUE)} nor of {', '.join(FALSE)}")


def count(text: str) -> float:
    """A whole number from 0, or `inf`."""
    value = math.inf if text == "inf" else int(text)
    if value < 0:
        raise ValueError
    return value


def natural(text: str) -> int:
    """A whole number from 0."""
    return int(count(text))


def positive(text: str) -> int:
    """A whole number from 1."""
    if natural(text) < 1:
        raise ValueError
    return int(text)


class Parser(argparse.ArgumentParser):
    """argparse with the default value in every help text and options that are yes or no."""

    def __init__(self, description: str):
        super().__init__(description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter,
                         allow_abbrev=False)

    def flag(self, name: str, default: bool, help: str):
        self.add_argument(name, type=boolean, nargs="?", const=True, default=default, metavar="yes|no", help=help)


def add_base_options(parser: Parser):
    group = parser.add_argument_group("base")
    group.add_argument("--name", default="face_recon", help="the experiment: its folder in checkpoints_dir")
    group.add_argument("--gpu_ids", default=None,
                       help="GPUs by number, as in 0 or 0,1; -1 for the CPU; by default the first GPU, or the CPU "
                            "where there is none")
    group.add_argument("--checkpoints_dir", type=Path, default=Path("checkpoints"),
                       help="folder of all experiments")
    group.add_argument("--epoch", default="latest",
                       help="which checkpoint of the experiment: epoch_<epoch>.pth; 0: none, start from the mean face")
    group.add_argument("--suffix", default="", help="added to the name; {option} stands for an option's value")
    parser.flag("--verbose", False, "say more, with the trace of every error")
    group.add_argument("--model", default="facerecon", choices=["facerecon"], help="the method; there is one")
    for name, default, kind in (("--vis_batch_nums", 1, count), ("--eval_batch_nums", math.inf, count),
                                ("--ddp_port", "12355", str), ("--world_size", 1, positive)):
        group.add_argument(name, type=kind, default=default, help="accepted; for training")
    for name in ("--use_ddp", "--display_per_batch", "--add_image"):
        parser.flag(name, True, "accepted; for training")


def add_model_options(parser: Parser):
    group = parser.add_argument_group("model")
    group.add_argument("--net_recon", default=None, choices=["resnet18", "resnet34", "resnet50"],
                       help="the network; by default what the checkpoint holds")
    group.add_argument("--init_path", type=Path, default=Path("checkpoints/init_model/resnet50-0676ba61.pth"),
                       help="accepted; for training")
    parser.flag("--use_last_fc", False, "accepted; the checkpoint tells")
    group.add_argument("--bfm_folder", type=Path, default=Path("BFM"), help="folder of face models")
    group.add_argument("--bfm_model", default="BFM_model_front.mat",
                       help="the face model in bfm_folder; where there is none of this name, the open model "
                            "open_face_model.npz is taken")
    group.add_argument("--focal", type=float, default=1015.0, help="focal length, px")
    group.add_argument("--center", type=float, default=112.0, help="principal point, px: half the image")
    group.add_argument("--camera_d", type=float, default=10.0, help="distance of the camera, decimetres")
    group.add_argument("--z_near", type=float, default=5.0, help="nearest visible distance, decimetres")
    group.add_argument("--z_far", type=float, default=15.0, help="farthest visible distance, decimetres")
    parser.flag("--use_opengl", True, "accepted, no effect")


def expand_name(options: argparse.Namespace) -> str:
    """The experiment's name with its suffix."""
    if not options.suffix:
        return options.name
    return f"{options.name}_{options.suffix.format(**vars(options))}"
