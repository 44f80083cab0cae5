"""The options of test.py."""
import argparse
import os
from pathlib import Path

from options.common import (
    RECOGNITION_NETWORKS,
    RECOGNITION_PATH,
    Parser,
    above_zero,
    add_base_options,
    add_detector,
    add_flag,
    add_model_options,
    located,
    natural,
    parse_arguments,
    path,
    positive,
    to_ten,
)

# Options that scripts for Deep3DFaceRecon may give, or that only train.py reads.
WITHOUT_EFFECT = ("model", "vis_batch_nums", "eval_batch_nums", "display_per_batch", "add_image", "ddp_port",
                  "world_size", "init_path", "use_last_fc", "use_opengl", "phase", "dataset_mode")

# The names in models/outputs/table.py, which is not imported here because that would load PyTorch
OUTPUTS = ("png", "obj", "mat", "coeffs", "landmarks", "arkit", "obj_textured", "glb", "texture", "overlay", "maps",
           "eg3d")


DEFAULT_OUTPUTS = ("mat", "obj", "png")   # of photos; for videos, see models/outputs/clip_table.py

# Parts of the coefficients that --<name>_from takes from another face
CHANGES = {"exp": "expression", "pose": "rotation and place", "light": "light"}
# Outputs that can be made of coefficients alone, without the photo
OUTPUTS_OF_COEFFICIENTS = ("png", "obj", "mat", "coeffs", "landmarks", "arkit", "maps")


def output_names(text: str) -> tuple[str, ...]:
    """Returns the names of outputs in a list with commas. "all" is one of them."""
    names = {name.strip() for name in text.split(",")} - {""}
    unknown = sorted(names - {*OUTPUTS, "all"})
    if unknown or not names:
        raise argparse.ArgumentTypeError(f"'{','.join(unknown)}' is no output: list some of {', '.join(OUTPUTS)}, with "
                                         "commas between them, or give all")
    return tuple(sorted(names))


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = Parser("Reconstructs the faces in a folder of photos. A picture, a coloured mesh and the coefficients of "
                    "each face are written to checkpoints/<name>/results/<folder>/epoch_<epoch>_000000/.")
    add_base_options(parser)
    add_model_options(parser)
    group = parser.add_argument_group("test")
    group.add_argument("--img_folder", type=path, default=Path("datasets/examples"),
                       help="The photos: a folder of photos, a single photo, or a list of photos. Or the videos: a "
                            "file such as x.mp4, a folder of such files, or a list of them. detections/<photo>"
                            ".txt beside a photo may hold the five points of the face (eyes, nose tip, mouth corners: "
                            "x y in px, y down) or its 68 landmarks. Without such a file, the largest face that is "
                            "found is reconstructed. A list is a text file <list>.txt with one path in each line; "
                            "relative paths start at the folder of the list. Results keep the path of each photo "
                            "relative to the folder that holds all photos of the list.")
    add_flag(group, "--recursive", False,
             "Takes the photos in all folders inside img_folder too. Results keep the path of each photo relative to "
             "img_folder. Left out are hidden folders, folders of results, and folders named detections, landmarks, "
             "dense, mask or vis, which belong to the photos beside them.")
    group.add_argument("--results_dir", type=path, default=None,
                       help="The folder of the results. Without this option it is "
                            "checkpoints_dir/<name>/results/<folder>/epoch_<epoch>_000000. If the results of another "
                            "folder of the same name are there, the name of the folder above is put before <folder>.")
    add_flag(group, "--all_faces", False,
             "Reconstructs every face that is found in a photo, largest first, as <photo>_0, <photo>_1, ... "
             "detections/ is not read. Of a video, every person gets a clip <video>_0, <video>_1, ...")
    group.add_argument("--fit_iters", type=natural, default=0,
                       help="Fits all coefficients of each face to its photo in this many steps. 8 steps are good "
                            "after a network. With --epoch=0 the fit starts from the mean face, and 12 are good.")
    add_flag(group, "--fit_color", False,
             "Fits the colours of each face to its photo: albedo and light. Where colours and landmarks of the photo "
             "contradict shape, expression and pose of the network, these are corrected. It is a fit of four steps "
             "without a recognition network, and takes a fourth of the time of --fit_iters=8. Together with "
             "--fit_iters, which fits the colours too, it has no effect.")
    add_flag(group, "--same_person", False,
             "All photos show one person: they get one identity and one albedo, the means over the photos. Photos that "
             "show the face from the front and large count most. The fit keeps them fixed. Every video has one "
             "identity anyway.")
    group.add_argument("--frame_rate", type=above_zero, default=None,
                       help="The photos of img_folder are the frames of one video, in the order of the numbers in "
                            "their names, and this is how many of them there are in a second.")
    group.add_argument("--smooth", type=to_ten, default=1.0,
                       help="How strongly the motion in a video is smoothed: the standard deviation of the filters is "
                            "0.12 seconds for a still face, and 0.04 seconds for a quick movement, times this number. "
                            "They cause no delay. 0 does not smooth.")
    group.add_argument("--net_recog", default="auto", choices=("auto", "none", *RECOGNITION_NETWORKS),
                       help="The recognition network by which --fit_iters makes each face look like the same person as "
                            "the photo: an ArcFace network, or dlib's, which needs no download. auto: ArcFace's r50 if "
                            "its file is there, otherwise dlib's.")
    group.add_argument("--net_recog_path", type=path, default=None,
                       help="The file with the weights of the ArcFace network. Without this option it is "
                            f"{RECOGNITION_PATH} in checkpoints_dir or in checkpoints.")
    group.add_argument("--save", type=output_names, default="png,obj,mat", metavar="LIST",
                       help="What is written: a list of these names, with commas between them. png: a picture of the "
                            "crop, the face over it, and landmarks. obj: the mesh with vertex colours. mat: the "
                            "coefficients. coeffs: a .npz file of the coefficients, the camera of the photo, and the "
                            "names of the face model and the checkpoint. landmarks: 68 landmarks and all vertices, px "
                            "in the photo. arkit: weights of ARKit's 52 shapes. obj_textured, glb: the mesh with a "
                            "texture from the photo. texture: the texture alone. overlay: the faces drawn over the "
                            "whole photo. maps: depth, normals, albedo and mask, of photo and crop. eg3d: a training "
                            "set of EG3D, pictures and the labels of their cameras. all: all of them. For a video: "
                            "coeffs, mat and landmarks, which are written without this option; arkit, a .csv file; "
                            "glb, a mesh with an animation; overlay, a video of frames, faces and meshes side by side.")
    group.add_argument("--texture", choices=["lit", "albedo"], default="lit",
                       help="What textures show. lit: the colours of the photo. albedo: the light is divided out.")
    add_flag(group, "--mirror", False, "--save=eg3d writes the mirrored picture of each face too, with its label.")
    add_flag(group, "--report", False,
             "Writes report.html too: a page that shows each photo, its face also in 3D, its landmarks, and what "
             "was left out. A browser opens it without server or network.")
    add_flag(group, "--frontal", False,
             "Meshes face along z, at the origin, and not as in the photo. Pictures stay as they are.")
    add_flag(group, "--neutral", False, "Meshes have no expression. Pictures stay as they are.")
    group.add_argument("--coeffs", type=path, nargs="+", metavar="FILE",
                       help="Draws faces and writes meshes from files of coefficients that --save=coeffs has written, "
                            "not from photos. Their numbers may be edited. Needs --results_dir.")
    for name, what in CHANGES.items():
        group.add_argument(f"--{name}_from", type=path, metavar="FILE",
                           help=f"With --coeffs: all faces get the {what} of this file of coefficients.")
    add_detector(group)
    group.add_argument("--batch_size", type=positive, default=8, help="How many faces are computed at once.")
    group.add_argument("--num_threads", type=natural, default=min(4, os.cpu_count() or 1),
                       help="The number of processes that read photos, and of threads that write results, on this "
                            "machine. All processes of torchrun share them.")
    group.add_argument("--phase", default="test")
    group.add_argument("--dataset_mode", default=None)
    parser.hide(*WITHOUT_EFFECT)
    options = parse_arguments(parser, arguments)
    options.net_recog_path = options.net_recog_path or located(options.checkpoints_dir, RECOGNITION_PATH)
    if options.mirror and not {"eg3d", "all"} & set(options.save):
        parser.error("--mirror is for the training set of EG3D: add eg3d to --save")
    if options.same_person and (options.all_faces or options.coeffs):
        parser.error("--same_person is for photos of one person: leave out --all_faces and --coeffs")
    if options.coeffs:
        check_coeffs(parser, options)
    elif given := [name for name in CHANGES if getattr(options, f"{name}_from")]:
        parser.error(f"--{given[0]}_from changes faces of --coeffs: add --coeffs=FILE")
    elif options.epoch == "0" and not options.fit_iters:
        parser.error("--epoch=0 uses no network and starts from the mean face: add --fit_iters=12 to fit it to the "
                     "photos, or name a checkpoint with --name and --epoch")
    return options


def check_coeffs(parser: Parser, options: argparse.Namespace):
    """Stop with an error if other options cannot be combined with --coeffs."""
    if not options.results_dir:
        parser.error("--coeffs needs a folder for the results: add --results_dir=DIR")
    if others := sorted(set(options.save) - set(OUTPUTS_OF_COEFFICIENTS)):
        parser.error(f"--save={','.join(others)} needs the photo, and --coeffs has none: list some of "
                     f"{', '.join(OUTPUTS_OF_COEFFICIENTS)}")
    if options.img_folder != parser.get_default("img_folder") or options.fit_iters or options.fit_color:
        parser.error("--coeffs draws faces from coefficients: leave out --img_folder, --fit_iters and --fit_color")
