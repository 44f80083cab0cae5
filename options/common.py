"""Options that test.py and train.py share, and the kinds of values."""
import argparse
import math
from collections.abc import Callable
from pathlib import Path

# Names that the modules of networks know: not imported from there, which would load PyTorch for a mere --help.
BACKBONES = ("resnet50", "resnet34", "resnet18", "mobilenet_v3_large", "dlib_resnet29")
RECOGNITION_NETWORKS = ("r18", "r34", "r50", "r100", "dlib")

TRUE, FALSE = ("yes", "true", "t", "y", "1"), ("no", "false", "f", "n", "0")


def boolean(text: str) -> bool:
    if text.lower() in TRUE + FALSE:
        return text.lower() in TRUE
    raise argparse.ArgumentTypeError(f"'{text}' is neither of {', '.join(TRUE)} nor of {', '.join(FALSE)}")


def _number(what: str, accepts: Callable[[float], bool], convert: Callable[[float], float] = float
            ) -> Callable[[str], float]:
    """A type of options: numbers that it accepts."""
    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not accepts(value):
            raise argparse.ArgumentTypeError(f"'{text}' is not {what}")
        return convert(value)
    return parse


natural = _number("a whole number from 0", lambda value: value >= 0 and value % 1 == 0, int)
positive = _number("a whole number from 1", lambda value: value >= 1 and value % 1 == 0, int)
count = _number("a whole number from 0, or inf", lambda value: value == math.inf or value >= 0 and value % 1 == 0,
                lambda value: value if value == math.inf else int(value))
above_zero = _number("a finite number above 0", lambda value: 0 < value < math.inf)
from_zero = _number("a finite number from 0", lambda value: 0 <= value < math.inf)
below_one = _number("a number from 0 to below 1", lambda value: 0 <= value < 1)


class Parser(argparse.ArgumentParser):
    """argparse with the default value in every help text, and errors of one line."""

    def __init__(self, description: str):
        super().__init__(description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter,
                         allow_abbrev=False)

    def error(self, message: str):
        self.exit(2, f"{self.prog}: {message} (--help tells what there is)\n")   # without the usage: pages long


def add_flag(group: argparse._ActionsContainer, name: str, default: bool, help: str):
    """An option that is yes or no, and yes where only its name is given. group: a parser or a group of one."""
    group.add_argument(name, type=boolean, nargs="?", const=True, default=default, metavar="yes|no", help=help)


def add_base_options(parser: Parser):
    group = parser.add_argument_group("base")
    group.add_argument("--name", default="face_recon", help="the experiment: its folder in checkpoints_dir")
    group.add_argument("--gpu_ids", default=None,
                       help="GPUs by number, as in 0 or 0,1, which share the work; -1 for the CPU; by default the "
                            "first GPU, or the CPU where there is none")
    group.add_argument("--checkpoints_dir", type=Path, default=Path("checkpoints"),
                       help="folder of all experiments")
    group.add_argument("--epoch", default="latest",
                       help="which checkpoint of the experiment: epoch_<epoch>.pth; test.py: 0: none, start from the "
                            "mean face; train.py: latest: the newest one")
    group.add_argument("--suffix", default="", help="added to the name; {option} stands for an option's value")
    add_flag(group, "--verbose", False, "say more, with the trace of every error")
    group.add_argument("--model", default="facerecon", choices=["facerecon"],
                       help="accepted, no effect: there is one method")
    group.add_argument("--vis_batch_nums", type=count, default=1,
                       help="training: batches of an evaluation that are saved as pictures")
    group.add_argument("--eval_batch_nums", type=count, default=math.inf,
                       help="training: batches of an evaluation; inf: all")
    add_flag(group, "--display_per_batch", True, "training: the frequencies count batches, not images")
    add_flag(group, "--add_image", True, "training: pictures go to TensorBoard too")
    add_flag(group, "--use_ddp", True, "no: of several gpu_ids only the first one")
    group.add_argument("--ddp_port", default="12355", help="accepted, no effect: a free port is taken")
    group.add_argument("--world_size", type=positive, default=1,
                       help="accepted, no effect: gpu_ids or torchrun tell the number of processes")


def add_model_options(parser: Parser):
    group = parser.add_argument_group("model")
    group.add_argument("--net_recon", default=None, choices=BACKBONES,
                       help="the network; by default what the checkpoint holds")
    group.add_argument("--init_path", type=Path, default=None,
                       help="training: torchvision's ImageNet weights to start from; by default "
                            "checkpoints/init_model/<net_recon>-*.pth, where present (resnet50-0676ba61.pth)")
    add_flag(group, "--use_last_fc", False, "training: one fully connected layer instead of seven heads; else the "
                                              "checkpoint tells")
    group.add_argument("--bfm_folder", type=Path, default=Path("BFM"), help="folder of face models")
    group.add_argument("--bfm_model", default=None,
                       help="the face model in bfm_folder; by default that which the checkpoint was trained with, a "
                            "published one with BFM_model_front.mat, which is made of the Basel Face Model 2009 there; "
                            "without a checkpoint that one, or where it is not there open_face_model.npz")
    group.add_argument("--focal", type=above_zero, default=1015.0, help="focal length of the camera, px")
    group.add_argument("--center", type=above_zero, default=112.0,
                       help="principal point of the camera, px: half its image, which is the crop")
    group.add_argument("--camera_d", type=above_zero, default=10.0, help="distance of the camera, decimetres")
    group.add_argument("--z_near", type=above_zero, default=5.0, help="nearest visible distance, decimetres")
    group.add_argument("--z_far", type=above_zero, default=15.0, help="farthest visible distance, decimetres")
    group.add_argument("--renderer", default="auto", choices=["auto", "portable", "nvidia"],
                       help="the rasteriser: portable is nvdiffrast/ in this repository; nvidia is NVIDIA's package of "
                            "that name, which needs a GPU; auto takes NVIDIA's on a GPU where it is installed")
    add_flag(group, "--use_opengl", True, "accepted, no effect")


def parse_arguments(parser: Parser, arguments: list[str] | None) -> argparse.Namespace:
    """Parse the base and model options and the parser's others; the name gets its suffix."""
    options = parser.parse_args(arguments)
    if options.z_near >= options.z_far:
        parser.error(f"--z_near={options.z_near:g} must be less than --z_far={options.z_far:g}")
    if options.suffix:
        try:
            options.name += f"_{options.suffix.format(**vars(options))}"
        except (LookupError, ValueError, AttributeError, TypeError):
            parser.error(f"--suffix={options.suffix}: write the names of options in braces, as in lr{{lr}}")
    return options
