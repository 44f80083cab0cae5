"""The options of train.py."""
import argparse
import math
import os
from pathlib import Path

from options.common import (
    RECOGNITION_NETWORKS,
    RECOGNITION_PATH,
    Parser,
    above_zero,
    add_base_options,
    add_flag,
    add_model_options,
    below_one,
    count,
    from_zero,
    located,
    natural,
    parse_arguments,
    path,
    positive,
    share,
)


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = Parser("Trains the network on photos, or on rendered faces. Checkpoints, logs and pictures go to "
                    "checkpoints/<name>/. The same command continues from the newest checkpoint there; --epoch=5 goes "
                    "back to epoch_5.pth. Newer checkpoints are then kept, renamed if necessary, and count as older "
                    "from then on: without --epoch, the command continues the training that went back.")
    add_base_options(parser)
    add_model_options(parser)
    _add_data_options(parser)
    _add_schedule_options(parser)
    _add_loss_options(parser)
    options = parse_arguments(parser, arguments)
    options.net_recog_path = options.net_recog_path or located(options.checkpoints_dir, RECOGNITION_PATH)
    return options


def _add_data_options(parser: Parser):
    group = parser.add_argument_group("data")
    group.add_argument("--dataset_mode", default="flist", choices=["flist", "synthetic", "mixed"],
                       help="flist trains on the photos of the datalist. synthetic trains on rendered faces, whose "
                            "coefficients are known. mixed takes half of each batch from each.")
    group.add_argument("--data_root", type=path, default=Path(),
                       help="The folder that relative paths in datalists start from.")
    group.add_argument("--flist", type=path, default=Path("datalist/train/masks.txt"),
                       help="The list of the masks, one path a line. The lists images.txt and landmarks.txt in the "
                            "same folder are read too, if they exist.")
    group.add_argument("--flist_val", type=path, default=Path("datalist/val/masks.txt"),
                       help="The list of the validation photos, as --flist. none trains without validation.")
    group.add_argument("--teachers", type=path, default=None,
                       help="A folder with known faces of the photos, from which the network learns (--w_teacher): "
                            "files that test.py has written with --fit_iters=12 --save=coeffs. Photos without such a "
                            "file are used too, without that loss.")
    group.add_argument("--batch_size", type=positive, default=32,
                       help="The number of samples of a training step, of all processes together.")
    group.add_argument("--batch_size_val", type=positive, default=32,
                       help="The number of photos of a validation batch, of all processes together.")
    group.add_argument("--image_size", type=positive, default=224,
                       help="Width and height, in px, of the pictures that the network sees and that are rendered. 112 "
                            "trains 4 times as fast; train the last epochs with 224.")
    group.add_argument("--max_dataset_size", type=count, default=math.inf,
                       help="The largest number of photos taken from the datalist. With --dataset_mode=synthetic it is "
                            "the number of rendered faces in an epoch, and inf means 100000.")
    add_flag(group, "--serial_batches", False, "Takes the photos in the order of the datalist, without shuffling.")
    group.add_argument("--num_threads", type=natural, default=min(4, os.cpu_count() or 1),
                       help="The number of processes that read photos, of all training processes of this machine "
                            "together.")
    add_flag(group, "--use_aug", True, "Augments the photos as --preprocess says.")
    group.add_argument("--preprocess", default="shift_scale_rot_flip",
                       help="Which random changes augment a photo: some of shift, scale, rot and flip, joined by _; or "
                            "none.")
    group.add_argument("--shift_pixs", type=natural, default=10, help="The largest random shift, px.")
    group.add_argument("--scale_delta", type=below_one, default=0.1,
                       help="The largest random change of the scale: 0.1 means a scale from 0.9 to 1.1.")
    group.add_argument("--rot_angle", type=from_zero, default=10, help="The largest random rotation, degrees.")
    group.add_argument("--degraded", type=share, default=0,
                       help="The share of the photos, from 0 to 1, that the network sees with less colour, blurred, "
                            "small, noisy, partly covered or compressed. The losses compare with the photo as it is.")
    group.add_argument("--seed", type=natural, default=0,
                       help="The seed of the random numbers. The same seed gives the same order of photos, the same "
                            "augmentation, the same rendered faces and the same weights of a new network.")
    group.add_argument("--phase", default="train", help="Accepted, but without effect.")


def _add_schedule_options(parser: Parser):
    group = parser.add_argument_group("schedule")
    group.add_argument("--n_epochs", type=positive, default=20, help="The number of the last epoch.")
    group.add_argument("--epoch_count", type=positive, default=1,
                       help="The number of the first epoch, unless the training continues from a checkpoint that "
                            "stores its epoch.")
    group.add_argument("--lr", type=above_zero, default=1e-4,
                       help="Adam's learning rate, before --lr_policy lowers it. It also holds when the training "
                            "continues from a checkpoint that had another one.")
    group.add_argument("--lr_policy", default="step", choices=["linear", "step", "plateau", "cosine"],
                       help="How the learning rate falls. step: to a fifth after every --lr_decay_epochs. linear: to 0 "
                            "over the last --lr_decay_epochs. plateau: to a fifth when the validation loss stops "
                            "falling. cosine: to 0 over all epochs.")
    group.add_argument("--lr_decay_epochs", type=positive, default=10, help="A number of epochs, see --lr_policy.")
    add_flag(group, "--balance_heads", False,
             "Coefficients that change the face little learn faster than those that change it much.")
    group.add_argument("--max_grad_norm", type=above_zero, default=math.inf,
                       help="The largest length of the gradient of all weights. A longer one is shortened to it, which "
                            "prevents jumps of the losses.")
    add_flag(group, "--continue_train", False, "Stops with an error if there is no checkpoint to continue from.")
    group.add_argument("--pretrained_name", default=None,
                       help="The name of another experiment. A new training starts from its network, and --epoch "
                            "chooses the checkpoint of that experiment.")
    group.add_argument("--amp", default="off", choices=["off", "bf16", "fp16"],
                       help="Mixed precision: the networks compute in bf16 or fp16. Losses and rendering stay in "
                            "float32.")
    add_flag(group, "--compile", False, "Compiles the network with torch.compile.")
    add_flag(group, "--skip_nonfinite", False,
             "Leaves out a batch whose losses or gradients are not finite, instead of stopping with an error.")
    for name, default, what in (
            ("--print_freq", 100, "the losses are printed."),
            ("--display_freq", 1000, "pictures of the training are saved."),
            ("--evaluation_freq", 5000, "the validation runs. It also runs after every epoch."),
            ("--save_latest_freq", 5000, "epoch_latest.pth is saved. It is also saved after every epoch.")):
        group.add_argument(name, type=positive, default=default,
                           help=f"The number of batches (or images, see --display_per_batch) after which {what}")
    group.add_argument("--save_epoch_freq", type=positive, default=1,
                       help="The number of epochs after which epoch_<n>.pth is saved.")
    add_flag(group, "--save_by_iter", False,
             "Saves epoch_iter_<step>.pth, which are all kept, instead of epoch_latest.pth.")


def _add_loss_options(parser: Parser):
    group = parser.add_argument_group("losses")
    group.add_argument("--net_recog", default="r50", choices=RECOGNITION_NETWORKS,
                       help="The recognition network of the identity loss: an ArcFace network, or dlib's, which needs "
                            "no download.")
    group.add_argument("--net_recog_path", type=path, default=None,
                       help="The file with the weights of the ArcFace network. Without this option it is "
                            f"{RECOGNITION_PATH} in checkpoints_dir or in checkpoints.")
    add_flag(group, "--use_crop_face", True,
             "Compares colours inside the face only, without ears and neck. no: on the whole rendered face.")
    group.add_argument("--color_norm", type=positive, default=1,
                       help="The power of the mean over the photos' colour errors. 1 is the plain mean. With a larger "
                            "power, photos with large errors count more.")
    add_flag(group, "--use_predef_M", False,
             "Aligns the rendered face for the recognition network by the landmarks of the photo. no: by the predicted "
             "landmarks.")
    add_flag(group, "--antialias", False,
             "Smooths the outlines of the rendered face. The colour loss then moves the outlines too.")
    for name, default, what in (
            ("feat", 0.2, "the identity loss: 1 - cosine of the recognition network's embeddings of render and photo. "
                          "With 0 that network is not needed."),
            ("color", 1.92, "the colour loss: the difference of render and photo at each pixel."),
            ("lm", 1.6e-3, "the landmark loss."),
            ("close", 0, "the error of how far eyes and mouth are open, by the landmarks of eyelids and lips. The fit "
                         "of test.py uses 1.6e-3."),
            ("fit", 0, "the distance of albedo and light from those that fit the photo best on the predicted shape. "
                       "With 0 these are not computed."),
            ("teacher", 0.01, "the distance of the predicted face from that of --teachers: shape, place, albedo and "
                              "lit colours at some vertices. With --w_color=0 --w_feat=0 nothing is drawn then, which "
                              "saves much time."),
            ("reg", 3e-4, "the regularisation, which keeps coefficients small. --w_id, --w_exp and --w_tex are weights "
                          "within it."),
            ("id", 1.0, "identity within the regularisation."), ("exp", 0.8, "expression within the regularisation."),
            ("tex", 1.7e-2, "albedo within the regularisation."),
            ("gamma", 10.0, "the difference of the light's colour channels, so that light is nearly white."),
            ("reflc", 5.0, "the variance of the albedo, so that skin has nearly one colour."),
            ("coef", 1.0, "the distance of the coefficients from the known ones, for rendered faces."),
            ("vertex", 1.0, "the distance of the vertices from the known ones in mm, for rendered faces.")):
        group.add_argument(f"--w_{name}", type=from_zero, default=default, help=f"The weight of {what}")
