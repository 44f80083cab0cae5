"""The options that test.py and train.py share, and the types of option values."""
import argparse
import math
import os
from collections.abc import Callable
from pathlib import Path

# The networks in models/regressor.py and models/recognition.py. They are not imported from there, because that would
# load PyTorch, and --help would take seconds.
BACKBONES = ("resnet50", "resnet34", "resnet18", "mobilenet_v3_large", "dlib_resnet29")
RECOGNITION_NETWORKS = ("r18", "r34", "r50", "r100", "dlib")
RECOGNITION_PATH = Path("recog_model/ms1mv3_arcface_r50_fp16/backbone.pth")   # in checkpoints_dir
DETECTORS = ("mediapipe", "dlib")

TRUE, FALSE = ("yes", "true", "t", "y", "1"), ("no", "false", "f", "n", "0")


def boolean(text: str) -> bool:
    if text.lower() in TRUE + FALSE:
        return text.lower() in TRUE
    raise argparse.ArgumentTypeError(f"'{text}' is none of {', '.join(TRUE + FALSE)}")


def _number(what: str, accepts: Callable[[float], bool], convert: Callable[[float], float] = float
            ) -> Callable[[str], float]:
    """Returns an argparse type for numbers. what: describes them in the error message. accepts: whether a number is
    valid. convert: turns a valid number into the value of the option."""
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
to_ten = _number("a number from 0 to 10", lambda value: 0 <= value <= 10)
below_one = _number("a number from 0 to below 1", lambda value: 0 <= value < 1)
share = _number("a number from 0 to 1", lambda value: 0 <= value <= 1)


def path(text: str) -> Path:
    """Returns the path. A ~ at its beginning is the user's home, which a shell does not replace in --option=~/x."""
    try:
        return Path(text).expanduser()
    except RuntimeError:   # ~name of a user who does not exist
        return Path(text)


def located(checkpoints_dir: Path, name: Path | str) -> Path:
    """Returns the place of a file or folder that several experiments share, such as lm_model: in checkpoints_dir, or
    in the folder `checkpoints`, where Deep3DFaceRecon expects it, if it is only there."""
    own, usual = checkpoints_dir / name, Path("checkpoints", name)
    return usual if usual.exists() and not own.exists() else own


def path_or_empty(text: str) -> Path | str:
    """Returns the path. An empty text stays empty, since Path("") would be the current folder."""
    return path(text) if text else ""


class Parser(argparse.ArgumentParser):
    """argparse with default values in the help texts and with errors of one line."""

    def __init__(self, description: str):
        super().__init__(description=description, formatter_class=HelpFormatter, allow_abbrev=False)

    def error(self, message: str):
        if message.startswith("unrecognized arguments") and any(Path(word).exists() for word in message.split()):
            message += ": did the shell replace a pattern such as *.jpg by several names? Give their folder instead"
        if os.environ.get("RANK", "0") != "0":
            self.exit(2)   # all processes of torchrun get the same options: the first one prints the error
        self.exit(2, f"{self.prog}: {message} (--help lists the options)\n")   # argparse adds the usage, which is long

    def hide(self, *names: str):
        """Leave options without effect out of --help. They are still accepted. names: without dashes."""
        for action in self._actions:
            if action.dest in names:
                action.help = argparse.SUPPRESS


class HelpFormatter(argparse.ArgumentDefaultsHelpFormatter):
    """Adds the default value to each help text, unless there is none."""

    def _get_help_string(self, action: argparse.Action) -> str:
        return action.help if action.default in (None, "") else super()._get_help_string(action)


def add_flag(group: argparse._ActionsContainer, name: str, default: bool, help: str):
    """Add an option that is yes or no. Its name without a value means yes. group: a parser or a group of one."""
    group.add_argument(name, type=boolean, nargs="?", const=True, default=default, metavar="yes|no", help=help)


def add_detector(group: argparse._ActionsContainer):
    """Add the option of the face detector. group: a parser or a group of one."""
    group.add_argument("--detector", default="mediapipe", choices=DETECTORS,
                       help="Who finds faces and landmarks. mediapipe: MediaPipe's networks, which are part of this "
                            "repository and free for every use; they find faces at every angle. dlib: dlib's detectors "
                            "and its landmark predictor, which excludes commercial use. The TensorFlow landmark "
                            "detector in checkpoints_dir/lm_model, if there is one, takes precedence for landmarks.")


def add_base_options(parser: Parser):
    group = parser.add_argument_group("base")
    group.add_argument("--name", default="face_recon", help="The experiment: its folder in checkpoints_dir.")
    group.add_argument("--gpu_ids", default=None,
                       help="The GPUs by number, as in 0 or 0,1; several GPUs share the work. -1 computes on the CPU. "
                            "Without this option the first GPU is used, or the CPU if there is no GPU.")
    group.add_argument("--checkpoints_dir", type=path, default=Path("checkpoints"),
                       help="The folder of all experiments.")
    group.add_argument("--epoch", default="latest",
                       help="Which checkpoint of the experiment is used: epoch_<epoch>.pth. In train.py, latest is the "
                            "newest checkpoint; the training goes back if the checkpoint is an earlier one. In "
                            "test.py, 0 uses no network: the fit starts from the mean face.")
    group.add_argument("--suffix", default="",
                       help="A text that is added to the name. An option in braces stands for its value, as in "
                            "{epoch}.")
    add_flag(group, "--verbose", False, "Prints more, for example the traceback of every error.")
    group.add_argument("--model", default="facerecon", choices=["facerecon"],
                       help="Accepted, but without effect: there is one method.")
    group.add_argument("--vis_batch_nums", type=count, default=1,
                       help="How many batches of a validation are saved as pictures.")
    group.add_argument("--eval_batch_nums", type=count, default=math.inf,
                       help="How many batches a validation computes. inf computes all.")
    add_flag(group, "--display_per_batch", True, "The frequencies count batches. no: they count images.")
    add_flag(group, "--add_image", True, "Writes pictures to TensorBoard too.")
    add_flag(group, "--use_ddp", True, "Uses all GPUs of gpu_ids. no: uses only the first one.")
    group.add_argument("--ddp_port", default="12355", help="Accepted, but without effect: a free port is chosen.")
    group.add_argument("--world_size", type=positive, default=1,
                       help="Accepted, but without effect: gpu_ids or torchrun set the number of processes.")


def add_model_options(parser: Parser):
    group = parser.add_argument_group("model")
    group.add_argument("--net_recon", default=None, choices=BACKBONES,
                       help="The backbone of the network. Without this option it is that of the checkpoint; a new "
                            "training takes resnet50.")
    group.add_argument("--init_path", type=path_or_empty, default=None,
                       help="The file of ImageNet weights, from torchvision, that a new training starts from. Without "
                            "this option it is init_model/<net_recon>-*.pth in checkpoints_dir or in checkpoints, if "
                            "there is one (as resnet50-0676ba61.pth). Empty, as --init_path=, starts from random "
                            "weights.")
    add_flag(group, "--use_last_fc", False, "A new network gets one fully connected layer instead of seven heads.")
    group.add_argument("--bfm_folder", type=path, default=Path("BFM"), help="The folder of face models.")
    group.add_argument("--bfm_model", default=None,
                       help="The file name of the face model in bfm_folder. Without this option it is the first of "
                            "these that applies: (1) with a checkpoint, the face model that its network was trained "
                            "with, which is BFM_model_front.mat for networks of Deep3DFaceRecon; (2) "
                            "BFM_model_front.mat, if bfm_folder has it or all files of the Basel Face Model 2009 that "
                            "it is derived from; (3) photo_face_model.npz; (4) open_face_model.npz.")
    group.add_argument("--focal", type=above_zero, default=1015.0, help="The focal length of the camera, px.")
    group.add_argument("--center", type=above_zero, default=112.0,
                       help="The principal point of the camera, px. It is the middle of the camera's image, which is "
                            "the crop.")
    group.add_argument("--camera_d", type=above_zero, default=10.0,
                       help="The distance of the camera from the face, decimetres.")
    group.add_argument("--z_near", type=above_zero, default=5.0,
                       help="The nearest distance from the camera that is drawn, decimetres.")
    group.add_argument("--z_far", type=above_zero, default=15.0,
                       help="The farthest distance from the camera that is drawn, decimetres.")
    group.add_argument("--renderer", default="auto", choices=["auto", "portable", "nvidia"],
                       help="The rasteriser. portable: the package nvdiffrast/ of this repository. nvidia: NVIDIA's "
                            "package of the same name, which needs a GPU. auto: NVIDIA's, if there is a GPU and the "
                            "package is installed, or else portable.")
    add_flag(group, "--use_opengl", True, "Accepted, but without effect.")


def parse_arguments(parser: Parser, arguments: list[str] | None) -> argparse.Namespace:
    """Returns the values of all options. The value of --name includes the suffix.

    parser: has the base and model options, and others. arguments: None parses those of the command line.
    Raises SystemExit with status 2 if an option is wrong.
    """
    options = parser.parse_args(arguments)
    if options.z_near >= options.z_far:
        parser.error(f"--z_near={options.z_near:g} must be less than --z_far={options.z_far:g}")
    if options.suffix:
        try:
            options.name += f"_{options.suffix.format(**vars(options))}"
        except (LookupError, ValueError, AttributeError, TypeError):
            parser.error(f"--suffix={options.suffix}: write the names of options in braces, as in {{epoch}}")
    return options
