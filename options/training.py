"""The options of train.py."""
import argparse
import math
import os
from pathlib import Path

from options.common import (
    RECOGNITION_NETWORKS,
    Parser,
    above_zero,
    add_base_options,
    add_flag,
    add_model_options,
    below_one,
    count,
    from_zero,
    natural,
    parse_arguments,
    positive,
)

RECOGNITION_PATH = Path("checkpoints/recog_model/ms1mv3_arcface_r50_fp16/backbone.pth")


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = Parser("Train the network on photos, or on rendered faces. Checkpoints, logs and pictures go to "
                    "checkpoints/<name>/; the same command continues from the newest checkpoint there.")
    add_base_options(parser)
    add_model_options(parser)
    _add_data_options(parser)
    _add_schedule_options(parser)
    _add_loss_options(parser)
    return parse_arguments(parser, arguments)


def _add_data_options(parser: Parser):
    group = parser.add_argument_group("data")
    group.add_argument("--dataset_mode", default="flist", choices=["flist", "synthetic", "mixed"],
                       help="flist: photos of the datalist; synthetic: rendered faces with known coefficients; mixed: "
                            "half of each batch rendered")
    group.add_argument("--data_root", type=Path, default=Path(), help="what relative paths in datalists start from")
    group.add_argument("--flist", type=Path, default=Path("datalist/train/masks.txt"),
                       help="list of the masks, one path a line; images.txt and landmarks.txt beside it are read too")
    group.add_argument("--flist_val", type=Path, default=Path("datalist/val/masks.txt"),
                       help="the same for validation; none: no validation")
    group.add_argument("--batch_size", type=positive, default=32, help="of a step, over all processes")
    group.add_argument("--batch_size_val", type=positive, default=32, help="of validation, over all processes")
    group.add_argument("--image_size", type=positive, default=224,
                       help="px, of what the network sees and of the render: 112 trains 4 times as fast; end with 224")
    group.add_argument("--max_dataset_size", type=count, default=math.inf,
                       help="photos taken from the datalist; rendered faces in an epoch (inf: 100000)")
    add_flag(group, "--serial_batches", False, "take the photos in the order of the datalist")
    group.add_argument("--num_threads", type=natural, default=min(4, os.cpu_count() or 1),
                       help="processes that read photos, over all processes of this machine")
    add_flag(group, "--use_aug", True, "augment the photos as --preprocess says")
    group.add_argument("--preprocess", default="shift_scale_rot_flip",
                       help="augmentations joined by _, of shift, scale, rot, flip; none: none")
    group.add_argument("--shift_pixs", type=natural, default=10, help="largest shift, px")
    group.add_argument("--scale_delta", type=below_one, default=0.1, help="largest change of the scale")
    group.add_argument("--rot_angle", type=from_zero, default=10, help="largest rotation, degrees")
    group.add_argument("--seed", type=natural, default=0, help="of order, augmentation and rendered faces")
    group.add_argument("--phase", default="train", help="accepted, no effect")


def _add_schedule_options(parser: Parser):
    group = parser.add_argument_group("schedule")
    group.add_argument("--n_epochs", type=positive, default=20, help="the last epoch")
    group.add_argument("--epoch_count", type=positive, default=1, help="the first epoch, where no checkpoint tells it")
    group.add_argument("--lr", type=above_zero, default=1e-4, help="Adam's learning rate in a new experiment")
    group.add_argument("--lr_policy", default="step", choices=["linear", "step", "plateau", "cosine"],
                       help="step: x 0.2 every lr_decay_epochs; linear: falls to 0 over the last lr_decay_epochs; "
                            "plateau: x 0.2 when the validation stops falling; cosine: falls to 0 over n_epochs")
    group.add_argument("--lr_decay_epochs", type=positive, default=10, help="see lr_policy")
    add_flag(group, "--balance_heads", False, "coefficients of small effect learn faster than those of large effect")
    group.add_argument("--max_grad_norm", type=above_zero, default=math.inf,
                       help="longer gradients are shortened to this: against jumps of the losses")
    add_flag(group, "--continue_train", False, "stop unless there is a checkpoint to continue from")
    group.add_argument("--pretrained_name", default=None,
                       help="experiment whose network a new experiment starts from (its checkpoint --epoch)")
    group.add_argument("--amp", default="off", choices=["off", "bf16", "fp16"],
                       help="precision of the networks; losses and rendering stay in float32")
    add_flag(group, "--compile", False, "compile the network (torch.compile)")
    add_flag(group, "--skip_nonfinite", False, "leave out batches whose loss is not finite, instead of stopping")
    for name, default, what in (("--print_freq", 100, "the losses are printed"),
                                ("--display_freq", 1000, "pictures of the training are saved"),
                                ("--evaluation_freq", 5000, "the validation runs (and after every epoch)"),
                                ("--save_latest_freq", 5000, "epoch_latest.pth is saved (and after every epoch)")):
        group.add_argument(name, type=positive, default=default, help=f"batches or images after which {what}")
    group.add_argument("--save_epoch_freq", type=positive, default=1, help="epochs after which epoch_<n>.pth is saved")
    add_flag(group, "--save_by_iter", False, "epoch_iter_<n>.pth instead of epoch_latest.pth")


def _add_loss_options(parser: Parser):
    group = parser.add_argument_group("losses")
    group.add_argument("--net_recog", default="r50", choices=RECOGNITION_NETWORKS,
                       help="recognition network of the feat loss: ArcFace, or dlib's, which needs no download")
    group.add_argument("--net_recog_path", type=Path, default=RECOGNITION_PATH, help="weights of an ArcFace network")
    add_flag(group, "--use_crop_face", True, "compare colours inside the face only, without ears and neck")
    group.add_argument("--color_norm", type=positive, default=1,
                       help="power of the mean over the photos' colours; above 1: those that are far off weigh more")
    add_flag(group, "--use_predef_M", False, "align the rendered face for recognition by the photo's landmarks")
    add_flag(group, "--antialias", False, "smooth the render's silhouettes, which then have a gradient")
    for name, default, what in (
            ("feat", 0.2, "identity: 1 - cosine of the recognition embeddings of render and photo; 0: not computed"),
            ("color", 1.92, "colour of the pixels"), ("lm", 1.6e-3, "landmarks"),
            ("fit", 0, "distance of albedo and light from those that fit the photo best on the predicted shape; 0: not "
                       "computed"),
            ("reg", 3e-4, "regularisation: id, exp and tex below within it"), ("id", 1.0, "identity within reg"),
            ("exp", 0.8, "expression within reg"), ("tex", 1.7e-2, "albedo within reg"),
            ("gamma", 10.0, "light that is not white"), ("reflc", 5.0, "albedo that is not uniform"),
            ("coef", 1.0, "coefficients of rendered faces, by their effects"),
            ("vertex", 1.0, "vertices of rendered faces, mm")):
        group.add_argument(f"--w_{name}", type=from_zero, default=default, help=f"weight: {what}")
