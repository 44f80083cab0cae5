"""Reconstructs the 3D faces in photos.

    python test.py --name=photo_face --epoch=20 --img_folder=DIR    with the network checkpoints/photo_face/epoch_20.pth
    python test.py --name=photo_face --epoch=20 --fit_color --img_folder=DIR  its faces corrected by a short fit
    python test.py --epoch=0 --fit_iters=12 --img_folder=DIR        without a network, by a fit to each photo
    python test.py --name=M --epoch=20 --gpu_ids=0,1 --img_folder=DIR         two GPUs of this machine share the photos
    torchrun --nproc_per_node=4 test.py --name=M --epoch=20 --img_folder=DIR  four processes share the photos
    python test.py --name=photo_face --epoch=20 --img_folder=x.mp4 --save=all   a video, whose faces are followed
    python test.py --coeffs A.npz --exp_from B.npz --results_dir=DIR          stored coefficients instead of photos

Writes <photo>.png, <photo>.obj and <photo>.mat, or for a video <video>.npz, <video>.mat and <video>_landmarks.txt, to
checkpoints/<name>/results/<folder>/epoch_<epoch>_000000/, or to --results_dir. If photos or videos were
left out, skipped.txt in that folder says which and why.
Exit status: 0 if everything was done, 1 if something was left out, 2 if it could not start or go on, 128 + n if signal
n has stopped it.
"""
import os
import shutil
import sys
import traceback
from argparse import Namespace
from collections.abc import Callable
from contextlib import nullcontext
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from options.common import located
from options.testing import DEFAULT_OUTPUTS, parse
from util.command import run_command, safe_output

if TYPE_CHECKING:
    from datasets.photo_choice import ChosenPhotos
    from datasets.photo_folder import PhotoFolder
    from datasets.stored_faces import StoredFaces
    from models.face_files import FaceWriter
    from models.outputs.details import OutputSettings
    from models.outputs.numbers import StoredNumbers
    from models.reconstruction import Reconstructor
    from models.records import FaceResult
    from util.distributed import Processes
    from util.progress import LeftOut

# Threads of PyTorch that wait leave the cores to those that read and write. It is read when PyTorch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# Options that do not change the numbers of a video: a run that was interrupted continues also with other values.
SPEED_AND_MESSAGES = ("gpu_ids", "use_ddp", "num_threads", "batch_size", "verbose")


def main() -> int:
    options = parse()
    # Importing PyTorch takes seconds. All functions here import what they need, so that --help and wrong options answer
    # at once.
    from util.distributed import run_on_gpus
    return run_command(lambda: run_on_gpus(lambda: reconstruct_folder(options), options.gpu_ids, options.use_ddp),
                       options.verbose)


def reconstruct_folder(options: Namespace) -> int:
    """Reconstruct the photos that the options name. Returns the exit status: 1 if photos were left out, or 0.

    Under torchrun, every process runs this function and reconstructs its share of the photos.
    Raises InputError if the work cannot start or go on.
    """
    from datasets.photo_choice import choose_photos
    from datasets.photo_folder import name_collisions
    from datasets.same_person import shared_identity
    from datasets.stored_faces import choose_stored_faces, common_model
    from datasets.video import choose_videos
    from models.face_files import FaceWriter
    from models.outputs.eg3d import write_datasets
    from models.outputs.table import files_of
    from models.report.page import write_report
    from util.distributed import join_processes, leave_processes
    from util.locks import lock_folder

    processes = join_processes(options.gpu_ids, timeout=timedelta(days=100))   # others may have photos that take longer
    try:
        videos = None if options.coeffs else choose_videos(options.img_folder, options.recursive, options.frame_rate)
        if options.coeffs:
            photos = choose_stored_faces(options.coeffs)
        else:
            photos = videos or choose_photos(options.img_folder, options.recursive)
        photos = processes.gather(photos)[0]   # all processes use the list of the first one
        model = common_model(photos.paths) if options.coeffs else None
        reconstructor = build_reconstructor(options, processes, model)
        outputs, settings = prepare_outputs(options, reconstructor, of_videos=videos is not None)
        prepared = prepare_results_folder(options, photos) if processes.is_first else None
        results_folder, start = processes.gather(prepared)[0]

        # Results of numbered faces can only have one name if the photos have one name.
        left_out = name_collisions(photos.paths, [""] if options.all_faces or videos else files_of(outputs))
        if processes.is_first:
            tell_before_the_work(photos, left_out, options, results_folder)
        share = [path for path in photos.paths if path not in left_out][processes.rank::processes.size]
        quiet = not processes.is_first
        with lock_folder(results_folder) if processes.is_first else nullcontext() as other:
            if other:
                print(f"another test.py writes to {results_folder} at the same time ({other}): of two results of one "
                      "name, the later one stays", file=sys.stderr)
            if videos:
                collected = reconstruct_videos(share, photos.root, reconstructor, results_folder, outputs, settings,
                                               options, quiet)
            else:
                folder, reconstruct = choose_faces(share, photos.root, model, reconstructor, options)
                workers = processes.workers(options.num_threads)
                if options.same_person:
                    identity = shared_identity(folder, reconstructor, options.batch_size, workers, processes)
                    reconstruct = partial(reconstruct, identity=identity)
                writer = FaceWriter(results_folder, outputs, settings, max(workers, 1))
                collected = reconstruct_photos(folder, reconstruct, writer, options.batch_size, workers,
                                               options.verbose, quiet)
        remarks: dict[Path, str] = {}
        for reasons_of_process, remarks_of_process in processes.gather((collected.reasons, collected.remarks)):
            left_out |= reasons_of_process
            remarks |= remarks_of_process

        if processes.is_first:
            reasons = write_left_out(left_out, photos.root, results_folder, start, options.all_faces)
            if "eg3d" in outputs:
                write_datasets(results_folder)
            if options.report:
                write_report(results_folder, f"{about(reconstructor)}, {datetime.now():%d %B %Y, %H:%M}",
                             settings.preview_model, remarks, reasons)
            kind = "videos" if videos else "photos"
            print(f"{len(photos.paths) - len(left_out)} of {len(photos.paths)} {kind} done: {results_folder}")
            if videos:
                from datasets.clips import UNFINISHED  # the import takes a second
                shutil.rmtree(results_folder / UNFINISHED, ignore_errors=True)
        processes.gather(None)   # torchrun stops all processes when the first one ends with a status other than 0
    finally:
        leave_processes()
    return 1 if left_out else 0


def choose_faces(paths: list[Path], root: Path, model: "StoredNumbers | None", reconstructor: "Reconstructor",
                 options: Namespace) -> "tuple[PhotoFolder | StoredFaces, Callable[..., list[FaceResult]]]":
    """Returns the faces to reconstruct, and the function that computes them, for `reconstruct_photos`.

    paths: of the photos, or of files of stored faces. root: of them, see `FaceFiles`. model: see `build_reconstructor`.
    Raises InputError.
    """
    from datasets.photo_folder import PhotoFolder
    from datasets.stored_faces import StoredFaces, draw_stored_faces

    if model:
        changes = {"exp": options.exp_from, "pose": options.pose_from, "light": options.light_from}
        changes = {name: path for name, path in changes.items() if path}
        return StoredFaces(paths, model, changes, root, options.verbose), partial(draw_stored_faces, reconstructor)
    photos = PhotoFolder(paths, reconstructor.fitter is not None, options.all_faces,
                         located(options.checkpoints_dir, "lm_model"), options.detector, options.verbose, root)
    return photos, reconstructor


def tell_before_the_work(photos: "ChosenPhotos", collisions: dict[Path, str], options: Namespace, results_folder: Path):
    """Print which photos are left out because of their names, and which files in the folders of photos are not read.

    collisions: the photos with such names, and the reasons.
    """
    from datasets.face_points import remark_on_unused_files
    from datasets.photos import remark_on_unread_photos
    from util.progress import LeftOut

    left_out = LeftOut(lambda line: print(line, file=sys.stderr), options.verbose)
    for photo, reason in collisions.items():
        left_out.add(photo, reason)
    for folder in photos.folders:
        left_out.add(folder, remark=remark_on_unread_photos(folder, subfolders=not options.recursive))
        if not options.all_faces:
            inside = [path for path in photos.paths if path.parent == folder]
            left_out.add(folder, remark=remark_on_unused_files(folder, inside))
    left_out.count_others(results_folder)


def prepare_results_folder(options: Namespace, photos: "ChosenPhotos") -> tuple[Path, float]:
    """Choose and make the folder of results. Returns it, and the time of the start, see `make_results_folder`.

    Prints a remark if the folder does not have the name of the folder of photos. Raises InputError.
    """
    from models.report.parts import remove_parts
    from models.result_places import check_results_folder, choose_results_folder, make_results_folder

    if options.results_dir:
        marked = results_folder = options.results_dir
        check_results_folder(results_folder, photos.source)
    else:
        results = options.checkpoints_dir / options.name / "results"
        marked, remark = choose_results_folder(results, photos.source)
        if remark:
            print(remark, file=sys.stderr)
        results_folder = marked / f"epoch_{options.epoch}_000000"
    photos.check_results(results_folder)
    start = make_results_folder(results_folder, marked, photos.source)
    remove_parts(results_folder)   # of a report that was stopped
    return results_folder, start


def build_reconstructor(options: Namespace, processes: "Processes", model: "StoredNumbers | None" = None
                        ) -> "Reconstructor":
    """Load the network and the face model that the options name. Raises InputError.

    model: has the face model and the camera of stored faces, which need no network. None: the faces are in photos.
    """
    from models.reconstruction import Reconstructor

    common = {"checkpoints_dir": options.checkpoints_dir, "bfm_folder": options.bfm_folder, "z_near": options.z_near,
              "z_far": options.z_far, "renderer": options.renderer, "say": processes.say}
    if model:
        return Reconstructor.load("", 0, processes.device, bfm_model=model.face_model, focal=model.focal,
                                  camera_d=model.camera_d, **common)
    return Reconstructor.load(
        options.name, options.epoch, processes.device, fit_iters=options.fit_iters, fit_color=options.fit_color,
        net_recog=options.net_recog, net_recog_path=options.net_recog_path, bfm_model=options.bfm_model,
        net_recon=options.net_recon, focal=options.focal, center=options.center, camera_d=options.camera_d, **common)


def prepare_outputs(options: Namespace, reconstructor: "Reconstructor", of_videos: bool
                    ) -> tuple[tuple[str, ...], "OutputSettings"]:
    """Returns the names of the outputs, and what they share. Raises InputError if one of them cannot be made."""
    from datasets.photos import read_incomplete_photo
    from datasets.video import frames_of
    from models.face_rendering import copy_to_cpu
    from models.outputs.arkit import load_arkit_units
    from models.outputs.clip_table import DEFAULT_CLIP_OUTPUTS, choose_clip_outputs
    from models.outputs.details import OutputSettings
    from models.outputs.table import choose_outputs, parts_of
    from util.files import InputError

    face_model = copy_to_cpu(reconstructor.face_model)
    arkit = load_arkit_units(face_model, options.bfm_folder)
    if of_videos and options.report:
        raise InputError("--report shows photos: leave it out for videos; --save=overlay writes a video of the faces")
    if of_videos:
        save = DEFAULT_CLIP_OUTPUTS if options.save == DEFAULT_OUTPUTS else options.save
        outputs = choose_clip_outputs(save, arkit is not None)
    else:
        outputs = choose_outputs(options.save + ("report",) * options.report, arkit is not None)
    if reconstructor.fitter or not of_videos and "overlay" in parts_of(outputs):
        reconstructor.renderer.rasteriser(reconstructor.device)   # an unusable one is reported now, not after reading
    return outputs, OutputSettings(face_model, reconstructor.origin, lambda path: read_incomplete_photo(path)[0],
                                   options.frontal, options.neutral, options.texture == "lit", arkit, options.mirror,
                                   partial(frames_of, frame_rate=options.frame_rate))


def about(reconstructor: "Reconstructor") -> str:
    """Returns what a report says about where its faces come from."""
    origin = reconstructor.origin
    network = f"Network {origin.checkpoint}" if origin.checkpoint else "No network"
    steps = f", {reconstructor.fit_iters} steps of the fit" * bool(reconstructor.fit_iters)
    return f"{network}, face model {origin.face_model}{steps}"


def reconstruct_photos(photos: "PhotoFolder | StoredFaces", reconstruct: Callable[..., "list[FaceResult]"],
                       writer: "FaceWriter", batch_size: int, workers: int, verbose: bool, quiet: bool = False
                       ) -> "LeftOut":
    """Reconstruct the faces of photos in batches. While one batch is computed, processes read the photos of the next
    ones and threads write the results of the one before.

    reconstruct: computes a batch of faces, see `Reconstructor.__call__`. writer: writes the results; it is closed at
    the end. workers: number of processes that read photos; 0 reads in this process. verbose: print the traceback of
    errors. quiet: show no progress.
    Returns the photos that were left out, and why, and the remarks. Raises InputError if memory runs out.
    """
    from datasets.photo_folder import batches
    from util.devices import explain_out_of_memory
    from util.progress import LeftOut, Progress
    from util.readers import read_in_processes

    with explain_out_of_memory(), writer, Progress(len(photos), "photo", quiet=quiet) as progress:
        left_out = LeftOut(progress.say, verbose)
        for complete_photos, faces in batches(read_in_processes(photos, workers), batch_size):
            for photo in complete_photos:
                left_out.add(photo.path, photo.problem, photo.remark)
            if faces:
                results = reconstruct(faces, writer.parts)
                # Wait for the files of the batch before, so that at most two batches of results are in memory.
                report_errors(writer.finish(), verbose, left_out)
                writer.start(results)
            for photo in complete_photos:
                writer.start_photo(photo.path)
            progress.advance(len(complete_photos))
        report_errors(writer.finish(), verbose, left_out)
        left_out.count_others(writer.folder)
    return left_out


def reconstruct_videos(paths: list[Path], root: Path, reconstructor: "Reconstructor", results_folder: Path,
                       outputs: tuple[str, ...], settings: "OutputSettings", options: Namespace, quiet: bool
                       ) -> "LeftOut":
    """Reconstruct the faces in videos, one video after the other, and write their results.

    root: the folder that the names of results are relative to. outputs: names in CLIP_OUTPUTS. quiet: show no progress.
    Returns the videos that were left out, and why, and the remarks. Raises InputError if memory runs out.
    """
    from datasets.clips import UNFINISHED, ClipReconstructor, choose_clip_settings
    from datasets.video import open_video
    from models.outputs.clip_table import write_clip
    from util.devices import explain_out_of_memory
    from util.files import InputError
    from util.progress import LeftOut, Progress

    videos, problems = {}, {}
    for path in paths:
        try:
            videos[path] = open_video(path, options.frame_rate)
        except InputError as error:
            problems[path] = str(error)
    work = {name: str(value) for name, value in vars(options).items() if name not in SPEED_AND_MESSAGES}
    clip_settings = choose_clip_settings(
        options.detector, located(options.checkpoints_dir, "lm_model"), reconstructor.fitter is not None,
        options.all_faces, options.smooth, options.batch_size, results_folder / UNFINISHED,
        f"{work} {reconstructor.origin.checkpoint_sha256}")
    frames = sum(video.count for video in videos.values()) * (2 if reconstructor.fitter else 1)
    with explain_out_of_memory(), Progress(frames, "frame", quiet=quiet) as progress:
        left_out = LeftOut(progress.say, options.verbose)
        for path, problem in problems.items():
            left_out.add(path, problem)
        make_clips = ClipReconstructor(reconstructor, clip_settings, progress.advance)
        for path, video in videos.items():
            name = path.relative_to(root).with_suffix("").as_posix()
            if make_clips.is_finished(video, name):
                progress.advance(video.count)
                continue
            try:
                clips, remark = make_clips(video, name)
                for clip in clips:
                    write_clip(results_folder, clip, outputs, settings)
                make_clips.finish(video, name)
                left_out.add(path, remark=remark)
            except InputError as error:
                left_out.add(path, str(error))
            except OSError as error:
                report_errors([(path, error)], options.verbose, left_out)
        left_out.count_others(results_folder)
    return left_out


def write_left_out(left_out: dict[Path, str], root: Path, results_folder: Path, start: float, all_faces: bool
                   ) -> dict[str, str]:
    """Write skipped.txt, if photos were left out. It also names their results of earlier runs, which are still there.

    left_out: the reason for each photo. root: of the photos. start: time of the start of this run, see
    `make_results_folder`. Returns the reasons as they are written, by the path of the photo in the root.
    """
    from models.result_places import old_results
    from util.files import SKIPPED, write_lines

    reasons = {}
    for photo, reason in sorted(left_out.items()):
        path = photo.relative_to(root)
        old = old_results(results_folder, path.with_suffix(""), start, all_faces)
        if old:
            names = ", ".join(file.relative_to(results_folder).as_posix() for file in old)
            reason += f"; results of an earlier run are still there: {names}"
        reasons[str(path)] = reason
    if reasons:
        write_lines(results_folder / SKIPPED, [f"{path}: {reason}" for path, reason in reasons.items()])
    return reasons


def report_errors(errors: list[tuple[Path, BaseException]], verbose: bool, left_out: "LeftOut"):
    """Take note of the errors of writing results, each with its photo, which is left out."""
    for photo, error in errors:
        trace = "".join(traceback.format_exception(error)) if verbose else ""
        reason = f"{photo}: not all of its results could be written, the others are complete: {error}"
        left_out.add(photo, reason, trace)


if __name__ == "__main__":
    with safe_output():
        sys.exit(main())
