"""Trains the network on photos, without known 3D faces, or on rendered faces.

    python train.py --name=M                                      on the first GPU, or on the CPU if there is none
    python train.py --name=M --gpu_ids=0,1                        on several GPUs of this machine
    python train.py --name=M --gpu_ids=-1                         on the CPU
    torchrun --nproc_per_node=2 train.py --name=M --gpu_ids=-1    on the CPU, by two processes
    torchrun --nnodes=2 --nproc_per_node=8 --rdzv_backend=c10d --rdzv_endpoint=HOST:PORT train.py --name=M
                                                                  on several machines: the same line on each of them

Reads the datalists that data_preparation.py writes. Writes checkpoints, logs and pictures to checkpoints/<name>/.

The same command continues from the newest checkpoint there. --epoch=5 goes back to epoch_5.pth instead. The newer
checkpoints are then kept, renamed if necessary, and count as older from then on: without --epoch, the command continues
the training that went back. The docstring of models/checkpoints.py has the exact rules.

Exit status: 0 if everything was done, 1 if some photos could not be read, 2 after an error, 128 + n if signal n has
stopped it.
"""
import math
import os
import sys
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from options.common import located
from options.training import parse
from util.command import run_command, safe_output

if TYPE_CHECKING:
    from datasets.teachers import TeacherFiles
    from datasets.training_batches import PhotoLoader
    from models.face_model import FaceModel
    from models.renderer import MeshRenderer
    from models.training import Trainer, TrainingData
    from util.distributed import Processes

# TensorBoard imports TensorFlow if it is installed, which prints many lines.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# Threads of PyTorch that wait leave the cores to the processes that read photos. It is read when PyTorch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

RENDERED_EPOCH = 100_000   # rendered faces of an epoch, unless --max_dataset_size says otherwise


def main() -> int:
    options = parse()
    # Importing PyTorch takes seconds. All functions here import what they need, so that --help and wrong options answer
    # at once.
    from util.distributed import run_on_gpus
    return run_command(lambda: run_on_gpus(lambda: train(options), options.gpu_ids, options.use_ddp), options.verbose)


def train(options: Namespace) -> int:
    """Train in this process, which may be one of several. Returns the exit status. Raises InputError."""
    from util.devices import explain_out_of_memory
    from util.distributed import join_processes, leave_processes
    from util.files import InputError
    processes = join_processes(options.gpu_ids)
    try:
        with explain_out_of_memory():
            return build_trainer(options, processes).run()
    except OSError as error:   # mostly a full disk
        raise InputError(f"{error}: the training in {options.checkpoints_dir / options.name} has stopped; "
                         f"{command_to_continue(options)} continues from the newest checkpoint there") from error
    finally:
        leave_processes()


def build_trainer(options: Namespace, processes: "Processes") -> "Trainer":
    """Build all parts of the training from the options, which go no further than this file. Raises InputError."""
    import torch

    from datasets.teachers import TeacherFiles
    from datasets.training_batches import PhotoLoader, ValidationBatches
    from datasets.training_photos import TrainingPhotos, read_datalist
    from models import checkpoints
    from models.face_model_files import choose_face_model
    from models.face_rendering import build_face_model
    from models.objective import WEIGHT_NAMES, Objective
    from models.optimiser import BalancedAdam, Schedule, make_scheduler
    from models.recognition import load_recognition
    from models.training import Course, Trainer
    from models.training_step import PRECISIONS, TrainingStep
    from util.distributed import synchronise_batch_norm
    from util.files import InputError
    device = processes.device
    torch.manual_seed(options.seed)   # draws the weights of a new network

    # The checkpoint that the training continues from, or whose network it starts from.
    start = checkpoints.choose_start(options.checkpoints_dir, options.name, options.epoch, options.pretrained_name,
                                     must_continue=options.continue_train)
    checkpoint = checkpoints.load_checkpoint(start.path) if start.path else None
    if start.continues:
        checkpoints.check_camera(checkpoint, start.path, options.focal, options.center, options.camera_d,
                                 processes.say)

    # The face model, and the renderer that draws it.
    face_model_name = choose_face_model(options.bfm_folder, options.bfm_model,
                                        checkpoint and checkpoints.trained_with(checkpoint))
    face_model, renderer = build_face_model(
        options.bfm_folder, face_model_name, focal=options.focal, center=options.center, camera_d=options.camera_d,
        z_near=options.z_near, z_far=options.z_far, renderer=options.renderer, antialias=options.antialias)
    face_model = face_model.to(device)
    renderer.check_size(options.image_size, device)

    # The losses.
    weights = {name: getattr(options, f"w_{name}") for name in WEIGHT_NAMES}
    weights["teacher"] *= options.teachers is not None
    recognition = load_recognition(options.net_recog, options.net_recog_path) if weights["feat"] else None
    objective = Objective(face_model, renderer, recognition, weights, crop_face=options.use_crop_face,
                          given_alignment=options.use_predef_M, precision=PRECISIONS[options.amp],
                          color_norm=options.color_norm).to(device)

    # The batches of training and validation.
    loader = PhotoLoader(processes, options.image_size, options.num_threads)
    teachers = None
    if options.teachers:
        teachers = TeacherFiles(options.teachers, face_model_name, face_model.focal, face_model.camera_d)
    data = build_data(options, processes, loader, face_model, renderer, teachers)
    validation = None
    if options.flist_val != Path("none"):
        photos = TrainingPhotos(read_datalist(options.flist_val, options.data_root), None, options.seed)
        validation = ValidationBatches(photos, processes.share(options.batch_size_val, "--batch_size_val"), loader)
    if options.lr_policy == "plateau" and (validation is None or options.eval_batch_nums == 0):
        raise InputError("--lr_policy=plateau follows the validation, which --flist_val=none and --eval_batch_nums=0 "
                         "leave out: choose another")

    # The network, its optimiser and the schedule of the learning rate, in the state of the checkpoint to continue from.
    if checkpoint:
        network = checkpoints.build_regressor(checkpoint, start.path, options.net_recon)
    else:
        network = checkpoints.new_regressor(options.net_recon or "resnet50", options.use_last_fc, options.init_path,
                                            located(options.checkpoints_dir, "init_model"), processes.say)
    network.to(device, memory_format=torch.channels_last)
    if processes.size > 1:
        network = synchronise_batch_norm(network, device)
    if options.balance_heads:
        optimiser = BalancedAdam(network, options.lr, objective.effects)
    else:
        optimiser = torch.optim.Adam(network.parameters(), options.lr)
    schedule = Schedule(options.lr_policy, options.lr, options.n_epochs, options.lr_decay_epochs)
    scaler = torch.amp.GradScaler(device.type, enabled=options.amp == "fp16")
    state = checkpoints.TrainingState(network, optimiser, make_scheduler(optimiser, schedule), scaler,
                                      epoch=options.epoch_count)
    if start.continues:
        checkpoints.restore_training(state, checkpoint, start.path, schedule, options.batch_size, processes.say)
    if options.compile:
        network.compile()

    # One step, and the loop of steps.
    step = TrainingStep(state, objective, processes, options.amp, options.max_grad_norm, options.skip_nonfinite)
    course = Course(
        n_epochs=options.n_epochs, print_freq=options.print_freq, display_freq=options.display_freq,
        evaluation_freq=options.evaluation_freq, save_latest_freq=options.save_latest_freq,
        count_images=not options.display_per_batch, save_epoch_freq=options.save_epoch_freq,
        save_by_iter=options.save_by_iter, eval_batch_nums=options.eval_batch_nums,
        vis_batch_nums=options.vis_batch_nums, add_image=options.add_image)
    recorded = {name: str(value) if isinstance(value, Path) else value for name, value in vars(options).items()}
    return Trainer(state, step, data, validation, processes, options.checkpoints_dir / options.name, course,
                   recorded | {"bfm_model": face_model_name}, command_to_continue(options))


def build_data(options: Namespace, processes: "Processes", loader: "PhotoLoader", face_model: "FaceModel",
               renderer: "MeshRenderer", teachers: "TeacherFiles | None") -> "TrainingData":
    """Returns the training batches: of photos, of rendered faces, or of both, as --dataset_mode says.

    loader: reads the photos. face_model, renderer: draw the rendered faces. teachers: the known faces of photos; None:
    no photo has a teacher. Raises InputError.
    """
    from datasets.augmentation import Augmentation
    from datasets.training_batches import MixedBatches, PhotoBatches, RenderedBatches
    from datasets.training_photos import TrainingPhotos, read_datalist
    from util.files import InputError
    batch_size = processes.share(options.batch_size, "--batch_size")   # of this process
    rendered = {"flist": 0, "mixed": batch_size // 2, "synthetic": batch_size}[options.dataset_mode]
    if options.dataset_mode == "mixed" and not rendered:
        raise InputError("--dataset_mode=mixed needs a --batch_size of 2 for each process, "
                         f"{2 * processes.size} in all, not {options.batch_size}")
    photos = faces = None
    if options.dataset_mode != "synthetic":
        paths = read_datalist(options.flist, options.data_root)
        paths = paths[:min(len(paths), options.max_dataset_size)]
        augmentation = None
        if options.use_aug:
            augmentation = Augmentation(options.preprocess, options.shift_pixs, options.scale_delta, options.rot_angle)
        photos = TrainingPhotos(paths, augmentation, options.seed, teachers, options.degraded)
        photos = PhotoBatches(photos, batch_size - rendered, loader, shuffle=not options.serial_batches)
    if options.dataset_mode != "flist":
        from datasets.synthetic.faces import SyntheticFaces
        synthetic = SyntheticFaces(face_model, renderer, options.seed, options.image_size)
        if photos:
            faces_per_epoch = photos.per_epoch * rendered * processes.size
        else:
            faces_per_epoch = RENDERED_EPOCH if options.max_dataset_size == math.inf else options.max_dataset_size
        faces = RenderedBatches(synthetic.batch, rendered, faces_per_epoch, processes)
    return MixedBatches(photos, faces) if photos and faces else photos or faces


def command_to_continue(options: Namespace) -> str:
    """What a user runs to continue this training after it was stopped."""
    goes_back = options.epoch != "latest" and not options.pretrained_name   # else --epoch is that of the other network
    return "the same command without --epoch" if goes_back else "the same command"


if __name__ == "__main__":
    with safe_output():
        sys.exit(main())
