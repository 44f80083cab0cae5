"""The way of photos to 3D faces: crops in, results out, and the loop over a folder."""
import math
import sys
import traceback
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import numpy as np
import torch

from datasets.photo_folder import PhotoFolder
from datasets.photos import list_photos
from models.checkpoints import build_regressor, check_camera, load_checkpoint, trained_with
from models.coefficients import SIZE, SLICES, split
from models.coordinates import camera_to_world, crop_focal
from models.face_files import write_face
from models.face_model import FaceModel, PosedFaces
from models.face_model_files import choose_face_model, load_face_model_data
from models.fitting import Fitter
from models.records import AlignedFace
from models.renderer import MeshRenderer
from util.devices import memory_errors_told
from util.distributed import join_processes, leave_processes
from util.files import InputError, write_lines
from util.progress import Progress
from util.readers import read_in_processes

MOST_ROLL = math.pi / 4   # of faces that networks are trained on
SKIPPED = "skipped.txt"   # in the folder of results: what was left out and why


class Reconstructor:
    """Aligned faces -> coefficients, meshes and pictures, a batch at a time.

    regressor: the network, or None to start from the mean face; fit_iters: steps of the fit, 0: none.
    """

    def __init__(self, face_model: FaceModel, renderer: MeshRenderer, regressor: torch.nn.Module | None,
                 fit_iters: int, device: torch.device):
        self.face_model, self.renderer, self.device = face_model.to(device), renderer, device
        self.regressor = regressor.to(device, memory_format=torch.channels_last).eval() if regressor else None
        self.fitter = Fitter(face_model, renderer) if fit_iters else None
        self.fit_iters = fit_iters

    def __call__(self, faces: list[AlignedFace]) -> list[dict]:
        """What `models.face_files.write_face` writes, for each face."""
        crops = np.stack([face.crop for face in faces])
        photos = torch.from_numpy(crops).to(self.device).permute(0, 3, 1, 2).float() / 255
        coeffs = self.coefficients(faces, photos)
        with torch.no_grad():
            face = self.face_model(coeffs)
            overlay = render_over(self.renderer, self.face_model, face, photos)
            vertices = camera_to_world(face.vertices, self.face_model.camera_d)
        arrays = {"crop": crops, "overlay": overlay, "landmarks": face.landmarks, "vertices": vertices,
                  "color": face.color.clamp(0, 1)}
        arrays = {name: np.asarray(torch.as_tensor(array).cpu()) for name, array in arrays.items()}
        parts = {name: part.cpu().numpy() for name, part in split(coeffs).items()}
        return [{name: array[i] for name, array in arrays.items()}
                | {"coeffs": {name: part[i] for name, part in parts.items()},
                   "given": faces[i].landmarks, "trans_params": faces[i].trans_params}
                for i in range(len(faces))]

    def coefficients(self, faces: list[AlignedFace], photos: torch.Tensor) -> torch.Tensor:
        """(B, 257) of photos (B, 3, 224, 224): by the network, then by the fit."""
        coeffs = torch.zeros(len(photos), SIZE, device=self.device)
        if self.regressor:
            with torch.inference_mode():
                coeffs = self.regressor(photos)
            coeffs = coeffs.clone()   # an inference tensor takes no part in the fit
        if self.fitter:
            landmarks = torch.from_numpy(np.stack([face.landmarks for face in faces])).to(photos)
            if not self.regressor:   # the mean face, turned as the photo shows it: the crop is not turned upright
                coeffs[:, SLICES["angle"].stop - 1] = torch.tensor([face.roll for face in faces]).to(coeffs)
            attention = torch.from_numpy(np.stack([face.attention for face in faces])).to(photos)[:, None] / 255
            coeffs = self.fitter(coeffs, photos, landmarks, attention, self.fit_iters)
        return coeffs


def build_face_model(options, antialias: bool = False) -> tuple[FaceModel, MeshRenderer]:
    """The face model and the renderer of the options, of one camera, whose image is the crop. Raises InputError."""
    focal = crop_focal(options.focal, options.center)
    data = load_face_model_data(options.bfm_folder, options.bfm_model)
    renderer = MeshRenderer(focal, z_near=options.z_near, z_far=options.z_far, renderer=options.renderer,
                            antialias=antialias)
    return FaceModel(data, focal, camera_d=options.camera_d), renderer


def render_over(renderer: MeshRenderer, face_model: FaceModel, face: PosedFaces, photos: torch.Tensor) -> torch.Tensor:
    """The faces drawn over photos (B, 3, 224, 224) RGB 0..1 -> (B, 224, 224, 3) uint8."""
    mask, _, image = renderer(face.vertices, face_model.tri, face.color)
    overlay = (image + (1 - mask) * photos).clamp(0, 1)
    return (255 * overlay).round().byte().permute(0, 2, 3, 1)


def reconstruct_folder(options) -> int:
    """Reconstruct all photos of a folder as the options say, shared by the processes of torchrun; returns the exit
    status: 1 where photos were left out. Raises InputError when it can't be started, or not go on."""
    processes = join_processes(options.gpu_ids, patience=timedelta(days=100))   # for those with slower photos
    try:
        photos = processes.gather(list_photos(options.img_folder))[0]
        reconstructor = build_reconstructor(options, processes.device)
        folder = make_results_folder(options)
        skipped = same_results(photos)
        if processes.is_first:
            for reason in skipped.values():
                print(f"left out: {reason}", file=sys.stderr)
        share = [path for path in photos if path not in skipped][processes.rank::processes.size]
        dataset = PhotoFolder(share, options.fit_iters > 0, options.all_faces, options.checkpoints_dir / "lm_model",
                              options.verbose)
        for left_out in processes.gather(reconstruct(reconstructor, dataset, folder, options.batch_size,
                                                     processes.workers(options.num_threads),
                                                     options.verbose, quiet=not processes.is_first)):
            skipped |= left_out
        if processes.is_first:
            if skipped:
                write_lines(folder / SKIPPED, [f"{path.name}: {reason}" for path, reason in sorted(skipped.items())])
            print(f"{len(photos) - len(skipped)} of {len(photos)} photos done: {folder}")
        processes.gather(None)   # torchrun ends all when one ends with another status than 0
    finally:
        leave_processes()
    return 1 if skipped else 0


def build_reconstructor(options, device: torch.device) -> Reconstructor:
    """What the options say. Raises InputError."""
    regressor = checkpoint = None
    if options.epoch != "0":
        path = options.checkpoints_dir / options.name / f"epoch_{options.epoch}.pth"
        checkpoint = load_checkpoint(path)
        check_camera(checkpoint, path, options.focal, options.center, options.camera_d)
        regressor = build_regressor(checkpoint, path, options.net_recon)
    options.bfm_model = choose_face_model(options.bfm_folder, options.bfm_model,
                                          checkpoint and trained_with(checkpoint))
    face_model, renderer = build_face_model(options)
    renderer.rasteriser(device)   # fails now rather than after the photos are read
    return Reconstructor(face_model, renderer, regressor, options.fit_iters, device)


def make_results_folder(options) -> Path:
    """The folder of the results, without a list of the photos that an earlier run left out. Raises InputError."""
    folder = (options.checkpoints_dir / options.name / "results" / options.img_folder.resolve().name
              / f"epoch_{options.epoch}_000000")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_lines(folder / SKIPPED, [])   # fails now rather than after the work
        (folder / SKIPPED).unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"cannot write results to {folder}: {error.strerror}. They go to --checkpoints_dir, where the "
                         "checkpoint is: copy it to a folder that can be written to") from error
    return folder


def same_results(photos: list[Path]) -> dict[Path, str]:
    """The photos that are left out since their results would overwrite another's, and why."""
    owners: dict[str, Path] = {}   # of the names of results
    for path in photos:
        owners.setdefault(path.stem, path)
    return {path: f"{path}: its results would overwrite those of {owners[path.stem].name}: rename one"
            for path in photos if owners[path.stem] != path}


def reconstruct(reconstructor: Reconstructor, dataset: PhotoFolder, folder: Path, batch_size: int, num_threads: int,
                verbose: bool, quiet: bool = False) -> dict[Path, str]:
    """Write the results of all photos to the folder. Processes read, threads write, while batches are computed.
    Returns the reason for each photo left out. quiet: show no progress. Raises InputError where memory runs out."""
    skipped: dict[Path, str] = {}
    waiting: list[tuple[Path, AlignedFace]] = []
    writing: list[tuple[Path, Future]] = []
    tri = reconstructor.face_model.tri.cpu().numpy()
    with (memory_errors_told(), ThreadPoolExecutor(max(num_threads, 1)) as writers,
          Progress(len(dataset), "photo", quiet=quiet) as progress):

        def skip(path: Path, reason: str):
            if path not in skipped:
                skipped[path] = reason
                progress.say(f"left out: {reason}")

        def finish_writing():
            for path, future in writing:
                error = future.exception()
                if error:
                    skip(path, f"{path}: its results could not be written: {error}")
                    if verbose:
                        progress.say("".join(traceback.format_exception(error)))
            writing.clear()

        def compute_batch():
            batch = waiting[:batch_size]
            del waiting[:batch_size]
            results = reconstructor([face for _, face in batch])
            finish_writing()   # of the batch before: at most two batches are in memory
            for (path, face), result in zip(batch, results, strict=True):
                writing.append((path, writers.submit(write_face, folder, face.name, result, tri)))
            progress.advance(len({path for path, _ in batch} - {path for path, _ in waiting}))

        for photo in read_in_processes(dataset, num_threads):
            if photo.problem:
                skip(photo.path, photo.problem)
            if photo.remark:
                progress.say(photo.remark)
            if reconstructor.regressor and any(abs(face.roll) > MOST_ROLL for face in photo.faces):
                progress.say(f"{photo.path}: a face on its side or upside down, which a network does not see right: "
                             "turn the photo, or fit without a network (--epoch=0 --fit_iters=100)")
            waiting += [(photo.path, face) for face in photo.faces]
            if not photo.faces:
                progress.advance()
            while len(waiting) >= batch_size:
                compute_batch()
        if waiting:
            compute_batch()
        finish_writing()
    return skipped
