"""Folders of photos -> a training set: 68 landmarks and a skin mask beside each photo, and the lists of all."""
import os
import traceback
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch.utils.data import DataLoader, Dataset

from datasets.photo_folder import PhotoFolder
from datasets.training_photos import read_landmarks
from util.alignment import align, five_points
from util.coordinates import flip_y
from util.face_detection import check_points_inside
from util.files import InputError, atomic_write
from util.photos import list_photos, read_photo
from util.progress import Progress
from util.skin_mask import skin_posterior

LANDMARKS, MASKS, SHEETS = "landmarks", "mask", "vis"
MOST_ENLARGED = 4   # times, from photo to crop: a smaller face shows too little

# What a mask's PNG says of how it came about: the photo's size in bytes, and a checksum of the landmarks if they were
# found, not given. It tells our files from the user's when a photo has changed.
PHOTO_BYTES, LANDMARKS_CHECKSUM = "photo bytes", "landmarks crc32"


class Plan(NamedTuple):
    """What there is and what is to do in a folder."""
    folder: Path
    masks: dict[str, str]     # the mask's name for each photo's, in order
    todo: list[str]           # photos to prepare
    skipped: dict[str, str]   # photos that can't be, and why


class Outcome(NamedTuple):
    """What became of a photo: the reason why it was left out, if it was; a remark, if any; an error that stops all."""
    name: str
    problem: str = ""
    remark: str = ""
    failure: str = ""


def prepare_folders(options) -> int:
    """Prepare all photos of the folders as the options say and write the lists; returns how many were left out. Raises
    InputError when nothing can be started, or not go on."""
    folders = dict.fromkeys(options.data_root / folder for folder in options.img_folder)
    plans = [make_plan(folder, options.overwrite) for folder in folders]
    left_out = 0
    lists: dict[str, list[str]] = {"landmarks": [], "images": [], "masks": []}
    for plan in plans:
        skipped = plan.skipped | work(plan, options)
        write_skipped(plan.folder, skipped)
        prepared = [name for name in plan.masks if name not in skipped]
        print(f"{plan.folder}: {len(prepared)} of {len(prepared) + len(skipped)} photos prepared, {len(plan.todo)} of "
              f"them tried now" + (f"; {len(skipped)} left out: {plan.folder / 'skipped.txt'}" if skipped else ""))
        for name in prepared:
            lists["landmarks"].append(f"{plan.folder / LANDMARKS / Path(name).stem}.txt")
            lists["images"].append(str(plan.folder / name))
            lists["masks"].append(str(plan.folder / MASKS / plan.masks[name]))
        left_out += len(skipped)
    folder = Path("datalist") / options.mode
    folder.mkdir(parents=True, exist_ok=True)
    for name, lines in lists.items():
        write_lines(folder / f"{name}.txt", lines)
    print(f"{len(lists['masks'])} photos listed in {folder}")
    return left_out


def make_plan(folder: Path, overwrite: bool) -> Plan:
    photos = list_photos(folder)
    try:
        for name in (LANDMARKS, MASKS, SHEETS):
            (folder / name).mkdir(exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot write to {folder}, where landmarks and masks go: {error.strerror}") from error
    with os.scandir(folder / LANDMARKS) as entries:
        landmarks = {entry.name for entry in entries}
    with os.scandir(folder / MASKS) as entries:
        mask_times = {entry.name: entry.stat().st_mtime_ns for entry in entries}
    plan = Plan(folder, {}, [], {})
    owners: dict[str, str] = {}
    for photo in photos:
        owner = owners.setdefault(photo.stem, photo.name)
        if owner != photo.name:
            plan.skipped[photo.name] = f"{photo}: {owner} has landmarks and mask of the same name: rename one"
            continue
        mask = f"{photo.stem}.png"
        if mask not in mask_times and photo.name in mask_times and not overwrite:
            mask = photo.name   # as the original method names masks
        plan.masks[photo.name] = mask
        if (overwrite or f"{photo.stem}.txt" not in landmarks or mask not in mask_times
                or (photo.stat().st_mtime_ns > mask_times[mask] and has_changed(photo, folder / MASKS / mask))):
            plan.todo.append(photo.name)
    return plan


def read_record(mask: Path) -> dict[str, str]:
    """What the mask says of how it came about; empty if it is not one of ours."""
    try:
        with Image.open(mask) as image:
            return image.info if PHOTO_BYTES in image.info else {}
    except (OSError, SyntaxError):
        return {}


def has_changed(photo: Path, mask: Path) -> bool:
    """Whether the photo is another one than that the mask was made of. A mask that is not ours is the user's care."""
    record = read_record(mask)
    return bool(record) and record[PHOTO_BYTES] != str(photo.stat().st_size)


def work(plan: Plan, options) -> dict[str, str]:
    """Prepare the photos to do. Returns the reason for each one left out."""
    skipped = {}
    photos = PhotoPreparation(plan, options.overwrite, options.checkpoints_dir / "lm_model", options.verbose)
    loader = DataLoader(photos, batch_size=None, num_workers=options.num_threads, collate_fn=_as_is)
    with Progress(len(photos), "photo") as progress:
        try:
            for outcome in loader:
                if outcome.failure:
                    raise InputError(outcome.failure)
                if outcome.problem:
                    skipped[outcome.name] = outcome.problem
                    progress.say(f"left out: {outcome.problem}")
                if outcome.remark:
                    progress.say(outcome.remark)
                progress.advance()
        except RuntimeError as error:
            raise InputError(f"a process that prepares photos ended, as it does when memory runs out ({error}): run "
                             "the same command again, it goes on from here; --num_threads=1 needs least") from error
    return skipped


class PhotoPreparation(Dataset):
    """Prepares the photo of an index when asked for it."""

    def __init__(self, plan: Plan, overwrite: bool, lm_model: Path, verbose: bool):
        self.folder, self.masks, self.names = plan.folder, plan.masks, plan.todo
        self.overwrite, self.verbose = overwrite, verbose
        self.faces = PhotoFolder([], for_fit=True, lm_model=lm_model)

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Outcome:
        name = self.names[index]
        try:
            return Outcome(name, remark=self.prepare(name))
        except InputError as error:
            return Outcome(name, problem=str(error))
        except OSError as error:   # reading raises InputError, so it is writing that fails
            return Outcome(name, failure=f"cannot write: {error}; run the same command again, it goes on from here")
        except Exception as error:   # one photo must not stop the others
            return Outcome(name, problem=f"{self.folder / name}: {type(error).__name__}: {error}",
                           remark=traceback.format_exc() if self.verbose else "")

    def prepare(self, name: str) -> str:
        """Write landmarks and mask of a photo, unless they are there; returns a remark. Raises InputError."""
        path, mask = self.folder / name, self.folder / MASKS / self.masks[name]
        landmarks = self.folder / LANDMARKS / f"{path.stem}.txt"
        record = read_record(mask)
        changed = self.overwrite or has_changed(path, mask)
        ours = LANDMARKS_CHECKSUM in record and landmarks.exists() and checksum(landmarks) == record[LANDMARKS_CHECKSUM]
        photo = read_photo(path)
        remark = ""
        if landmarks.exists() and not self.overwrite and not (changed and ours):
            check_face(photo, read_landmarks(landmarks), landmarks)
            ours = ours and not changed
        else:
            (points,), remark = self.faces.find(path, photo)
            found = self.faces.landmark_detector.predict_landmarks(photo, points)
            check_face(photo, found, path)
            with atomic_write(landmarks) as temporary:
                np.savetxt(temporary, found, fmt="%.3f")
            ours = True
        if changed or not mask.exists():
            info = PngInfo()
            info.add_text(PHOTO_BYTES, str(path.stat().st_size))
            if ours:
                info.add_text(LANDMARKS_CHECKSUM, checksum(landmarks))
            pixels = np.rint(255 * skin_posterior(photo)).astype(np.uint8)
            with atomic_write(mask) as temporary:
                Image.fromarray(pixels).save(temporary, pnginfo=info, compress_level=1)
        return remark


def checksum(path: Path) -> str:
    return str(zlib.crc32(path.read_bytes()))


def check_face(photo: np.ndarray, landmarks: np.ndarray, source: Path):
    """Raise InputError unless (68, 2) px, y down, can be the landmarks of a face in the photo that is large enough."""
    height, width = photo.shape[:2]
    check_points_inside(landmarks, width, height, source)
    try:
        _, trans_params = align(photo, flip_y(five_points(landmarks), height))
    except InputError as error:
        raise InputError(f"{source}: {error}") from error
    if trans_params[2] > MOST_ENLARGED:
        raise InputError(f"{source}: the face is too small: to fill the crop it would be enlarged "
                         f"{trans_params[2]:.1f} times, over {MOST_ENLARGED}")


def write_skipped(folder: Path, skipped: dict[str, str]):
    path = folder / "skipped.txt"
    if skipped:
        write_lines(path, [f"{name}: {reason}" for name, reason in sorted(skipped.items())])
    else:
        path.unlink(missing_ok=True)


def write_lines(path: Path, lines: list[str]):
    with atomic_write(path) as temporary:
        temporary.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _as_is(outcome: Outcome) -> Outcome:
    return outcome
