"""Folders of photos -> a training set: 68 landmarks and a skin mask beside each photo, and the lists of all."""
import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch.utils.data import DataLoader, Dataset

from datasets.alignment import align
from datasets.face_detection import FaceDetector
from datasets.frozen_landmarks import landmark_detector
from datasets.photo_folder import as_is, find_faces, problem_and_remark
from datasets.photos import BROKEN, list_photos, read_photo
from datasets.preparation_sheets import write_contact_sheets
from datasets.skin_mask import skin_mask
from datasets.training_photos import SamplePaths, read_landmarks
from models.coordinates import flip_y
from models.landmarks import five_points
from util.command import ignore_signals
from util.devices import memory_errors_told
from util.distributed import Processes, join_processes, leave_processes
from util.files import InputError, atomic_write, remove_remnants, write_lines
from util.progress import Progress

LANDMARKS, MASKS, SHEETS = "landmarks", "mask", "vis"
MOST_ENLARGED = 4   # times, from photo to crop: a smaller face shows too little

# What a mask of ours says in its PNG: the checksum of the photo, and that of the landmarks if they are ours too. So a
# photo that has changed is told from one that was copied, and our files from the user's.
PHOTO_CHECKSUM, LANDMARKS_CHECKSUM = "photo crc32", "landmarks crc32"


@dataclass
class TrainingFolder:
    """A folder of photos and what was prepared of them, by the photos' names."""
    path: Path
    masks: dict[str, str] = field(default_factory=dict)     # name of the mask of each photo not left out
    todo: list[str] = field(default_factory=list)           # photos to prepare
    skipped: dict[str, str] = field(default_factory=dict)   # why a photo was left out

    def leave_out(self, skipped: dict[str, str]):
        self.skipped |= skipped
        for name in skipped:
            self.masks.pop(name, None)

    def samples(self) -> Iterator[SamplePaths]:
        for name, mask in self.masks.items():
            yield SamplePaths(self.path / name, self.path / MASKS / mask,
                              self.path / LANDMARKS / f"{Path(name).stem}.txt")


def prepare_folders(options) -> int:
    """Prepare all photos of the folders as the options say and write the lists; returns how many were left out. Raises
    InputError when it can't be started, or not go on."""
    processes = join_processes("-1", patience=timedelta(days=100))   # for those with slower photos
    paths = dict.fromkeys(options.data_root / folder for folder in options.img_folder)
    try:
        folders = [scan(path, options) for path in paths] if processes.is_first else []
        folders = processes.gather(folders)[0]
        for folder in folders:
            for skipped in processes.gather(prepare(folder, options, processes)):
                folder.leave_out(skipped)
            if processes.is_first:
                finish(folder)
        if processes.is_first:
            write_datalist(Path("datalist") / options.mode, folders)
        processes.gather(None)   # torchrun ends all when the first one ends with another status than 0
    except OSError as error:   # of writing: what can't be read is an InputError
        raise InputError(f"cannot write: {error}. What is done stays; the same command goes on from there") from error
    finally:
        leave_processes()
    return sum(len(folder.skipped) for folder in folders)


def scan(path: Path, options) -> TrainingFolder:
    """Find out what is to do in a folder of photos, and make the folders for it. Raises InputError, OSError."""
    if not path.exists():
        raise InputError(f"the photo folder {path} does not exist: --img_folder is taken below "
                         f"--data_root={options.data_root}")
    folder = TrainingFolder(path)
    photos = list_photos(path)
    for name in (LANDMARKS, MASKS, SHEETS):
        (path / name).mkdir(exist_ok=True)
        remove_remnants(path / name)
    with os.scandir(path / LANDMARKS) as entries:
        landmarks = {entry.name for entry in entries}
    with os.scandir(path / MASKS) as entries:
        mask_times = {entry.name: last_change(entry.stat()) for entry in entries}
    first: dict[str, str] = {}
    for photo in photos:
        name, mask = photo.name, f"{photo.stem}.png"
        if mask not in mask_times and name in mask_times:
            mask = name   # as Deep3DFaceRecon names it
        if first.setdefault(photo.stem, name) != name:
            folder.skipped[name] = f"{photo}: {first[photo.stem]} has landmarks of the same name: rename one"
        elif not is_a_line(name):
            folder.skipped[name] = f"{photo}: no list can hold its name, not UTF-8 or with line breaks: rename it"
        else:
            folder.masks[name] = mask
            if (options.overwrite or f"{photo.stem}.txt" not in landmarks or mask not in mask_times
                    or last_change(photo.stat()) > mask_times[mask]
                    and has_changed(photo, read_record(path / MASKS / mask))
                    or are_broken(path / LANDMARKS / f"{photo.stem}.txt")):   # who prepares it will tell why
                folder.todo.append(name)
    return folder


def last_change(file: os.stat_result) -> int:
    """When a file got its content or its place, ns: a moved or copied one may keep an old time of writing."""
    return max(file.st_mtime_ns, file.st_ctime_ns)


def are_broken(landmarks: Path) -> bool:
    try:
        read_landmarks(landmarks)
    except InputError:
        return True
    return False


def is_a_line(text: str) -> bool:
    return text.splitlines() == [text] and text == text.encode(errors="replace").decode()


def prepare(folder: TrainingFolder, options, processes: Processes) -> dict[str, str]:
    """Prepare this process's share of the photos to do. Returns the reason for each one left out. Raises InputError,
    OSError."""
    skipped = {}
    names = folder.todo[processes.rank::processes.size]
    photos = PhotoPreparation(folder, names, options.overwrite, options.checkpoints_dir / "lm_model", options.verbose)
    loader = DataLoader(photos, batch_size=None, num_workers=processes.workers(options.num_threads), collate_fn=as_is,
                        worker_init_fn=ignore_signals, in_order=False)
    with memory_errors_told(), Progress(len(photos), "photo", quiet=not processes.is_first) as progress:
        for outcome in loader:
            if outcome.failure:
                raise OSError(outcome.failure)
            if outcome.problem:
                skipped[outcome.name] = outcome.problem
                progress.say(f"left out: {outcome.problem}")
            if outcome.remark:
                progress.say(outcome.remark)
            progress.advance()
    return skipped


class Outcome(NamedTuple):
    """What became of a photo: why it was left out, if it was; a remark, if any; what kept it from being written."""
    name: str
    problem: str = ""
    remark: str = ""
    failure: str = ""


class PhotoPreparation(Dataset):
    """Prepares the photos of these names in the folder, each when it is asked for."""

    def __init__(self, folder: TrainingFolder, names: list[str], overwrite: bool, lm_model: Path, verbose: bool):
        self.folder, self.overwrite, self.verbose = folder.path, overwrite, verbose
        # One block of memory that worker processes share, as str objects are not.
        self.names = np.array([(name, folder.masks[name]) for name in names], np.dtypes.StringDType()).reshape(-1, 2)
        self.detector = FaceDetector()
        self.landmark_detector = landmark_detector(lm_model, self.detector)

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Outcome:
        name, mask = self.names[index]
        try:
            return Outcome(name, remark=self.prepare(self.folder / name, self.folder / MASKS / mask))
        except OSError as error:
            return Outcome(name, failure=f"landmarks or mask of {self.folder / name}: {error}")
        except Exception as error:   # one photo must not stop the others
            return Outcome(name, *problem_and_remark(error, self.folder / name, self.verbose))

    def prepare(self, path: Path, mask: Path) -> str:
        """Write landmarks and mask of a photo, unless they are there; returns a remark. Raises InputError, OSError."""
        photo = read_photo(path)
        landmarks = self.folder / LANDMARKS / f"{path.stem}.txt"
        record = read_record(mask)
        again = self.overwrite or has_changed(path, record)
        ours = landmarks.exists() and checksum(landmarks) == record.get(LANDMARKS_CHECKSUM)
        writable = not mask.exists() or bool(record)   # else it is the user's
        if landmarks.exists() and not (ours and again):
            check_face(photo, read_landmarks(landmarks), landmarks)
            if writable and (again or not mask.exists()):
                write_mask(mask, path, photo)
            return ""
        (points,), remark = find_faces(path, photo, self.detector)
        found = points if len(points) == 68 else self.landmark_detector.predict_landmarks(photo, points)
        check_face(photo, found, path)
        landmarks.unlink(missing_ok=True)   # ours, of a photo that has changed
        with atomic_write(landmarks) as temporary:
            np.savetxt(temporary, found, fmt="%.3f")
            if writable:   # before the landmarks are there: without its record they would count as the user's
                write_mask(mask, path, photo, checksum(temporary))
        return remark


def write_mask(mask: Path, path: Path, photo: np.ndarray, landmarks_checksum: str = ""):
    """Write the skin mask of the photo at `path`, with a record of how it came about. landmarks_checksum: of landmarks
    that are ours."""
    info = PngInfo()
    info.add_text(PHOTO_CHECKSUM, checksum(path))
    if landmarks_checksum:
        info.add_text(LANDMARKS_CHECKSUM, landmarks_checksum)
    with atomic_write(mask) as temporary:
        Image.fromarray(skin_mask(photo)).convert("RGB").save(temporary, pnginfo=info, compress_level=1)


def read_record(mask: Path) -> dict[str, str]:
    """What a mask of ours says of how it came about; empty where there is none."""
    try:
        with Image.open(mask) as image:
            return image.info if PHOTO_CHECKSUM in image.info else {}
    except BROKEN:
        return {}


def has_changed(photo: Path, record: dict[str, str]) -> bool:
    """Whether the photo is another than the mask with this record was made of."""
    try:
        return bool(record) and record[PHOTO_CHECKSUM] != checksum(photo)
    except OSError:   # who prepares it will tell why it can't be read
        return True


def checksum(path: Path) -> str:
    return str(zlib.crc32(path.read_bytes()))


def check_face(photo: np.ndarray, landmarks: np.ndarray, source: Path):
    """Raise InputError unless (68, 2) px, y down, can be the landmarks of a face in the photo that is large enough."""
    points, (height, width) = five_points(landmarks), photo.shape[:2]
    if (points < 0).any() or (points > (width - 1, height - 1)).any():
        raise InputError(f"{source}: eyes, nose or mouth lie outside the photo of {width} x {height} pixels")
    try:
        _, (_, _, scale, _, _) = align(photo, flip_y(points, height))
    except InputError as error:
        raise InputError(f"{source}: {error}") from error
    if scale > MOST_ENLARGED:
        raise InputError(f"{source}: the face is too small: its crop would be enlarged {scale:.1f} times, at most "
                         f"{MOST_ENLARGED} is useful")


def finish(folder: TrainingFolder):
    """Write skipped.txt and the contact sheets, and say how it went."""
    skipped = folder.path / "skipped.txt"
    if folder.skipped:
        write_lines(skipped, (f"{name}: {reason}" for name, reason in sorted(folder.skipped.items())))
    else:
        skipped.unlink(missing_ok=True)
    # The time of a folder is that of the last file written into it.
    since = max((folder.path / name).stat().st_mtime_ns for name in (LANDMARKS, MASKS))
    write_contact_sheets(folder.path / SHEETS, folder.samples(), since)
    now = len(set(folder.todo) - set(folder.skipped))
    total = len(folder.masks) + len(folder.skipped)
    left_out = f"; {len(folder.skipped)} left out: {skipped}" if folder.skipped else ""
    print(f"{folder.path}: {len(folder.masks)} of {total} photos prepared, {now} now{left_out}", flush=True)


def write_datalist(path: Path, folders: list[TrainingFolder]):
    """Write landmarks.txt, images.txt and masks.txt, one path a line, in the same order."""
    if not any(folder.masks for folder in folders):
        raise InputError(f"no photo could be prepared, the lists in {path} stay as they are")
    path.mkdir(parents=True, exist_ok=True)
    for name, part in (("landmarks", "landmarks"), ("images", "photo"), ("masks", "mask")):
        write_lines(path / f"{name}.txt", (str(getattr(sample, part))
                                           for folder in folders for sample in folder.samples()))
    print(f"{sum(len(folder.masks) for folder in folders)} photos listed in {path}")
