"""Reads the training samples of a datalist: photo, skin mask and 68 landmarks, aligned and augmented together."""
import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.data import Dataset

from datasets.alignment import align
from datasets.augmentation import Augmentation
from datasets.degradation import degrade
from datasets.face_points import read_points
from datasets.photos import SUFFIXES, photo_size, read_photo
from datasets.point_checks import check_points, check_points_inside
from datasets.teachers import NO_TEACHER, Placement, TeacherFiles
from models.coordinates import flip_y, photo_to_crop, turn_points
from models.landmarks import COUNT, five_points, turns_to_upright
from models.records import Teachers
from util.files import InputError

MOST_REPLACED = 100   # so many unreadable samples in a row mean that the list itself is wrong
COLOUR_TOLERANCE = 16   # the red and blue of a grey picture differ by no more than this
FACE_IN_CROP = 150    # px: the larger side of the box round the landmarks, in a crop


class SamplePaths(NamedTuple):
    """The files of a training sample, see datasets/README.md."""
    photo: Path
    mask: Path
    landmarks: Path


class Datalist(Sequence[SamplePaths]):
    """The paths of each sample. A slice of a Datalist is a Datalist too.

    root: the folder that relative paths start from.
    lines: (N, 3) text: photo, mask and landmarks of each sample. An empty photo or landmarks is derived from the mask:
        to DIR/mask/NAME.png belong DIR/NAME.png (or DIR/NAME with another suffix of photos) and
        DIR/landmarks/NAME.txt.

    Whether the files exist is only checked when a sample is read.
    """

    def __init__(self, root: Path, lines: Sequence[Sequence[str]] | np.ndarray):
        self.root = root
        # A NumPy array is one block of memory that all reading processes share. A list of str would slowly be copied
        # into each process, because reading a str changes its reference count.
        self.lines = np.asarray(lines, dtype=np.dtypes.StringDType())

    def __len__(self) -> int:
        return len(self.lines)

    def __getitem__(self, index):
        if isinstance(index, slice):
            return Datalist(self.root, self.lines[index])
        photo, mask, landmarks = self.lines[index]
        mask = self.root / mask
        folder = mask.parent.parent
        return SamplePaths(self.root / photo if photo else _with_existing_suffix(folder / mask.name), mask,
                           self.root / landmarks if landmarks else folder / "landmarks" / f"{mask.stem}.txt")


def _with_existing_suffix(photo: Path) -> Path:
    """The path itself if the file exists, else an existing photo of the same name with another suffix, else itself."""
    if photo.exists():
        return photo
    others = (photo.with_suffix(suffix) for kind in sorted(SUFFIXES) for suffix in (kind, kind.upper()))
    return next((other for other in others if other.exists()), photo)


def read_datalist(flist: Path, data_root: Path) -> Datalist:
    """Read a list of masks, as datalist/train/masks.txt, and images.txt and landmarks.txt beside it if they exist.

    Each list has one path a line, relative to data_root or absolute. Raises InputError if a list cannot be read or is
    empty, or if the lists do not name the same photos in the same order.
    """
    masks = _read_lines(flist)
    if not masks:
        raise InputError(f"the datalist {flist} is empty: let data_preparation.py write it from a folder of photos")
    photos, landmarks = (_lines_beside(flist, masks, name) for name in ("images.txt", "landmarks.txt"))
    return Datalist(data_root, list(zip(photos, masks, landmarks, strict=True)))


def _lines_beside(flist: Path, masks: list[str], name: str) -> list[str]:
    """The lines of the list `name` beside the list of masks, or empty ones if there is no such list.

    Raises InputError unless each line names a file of the same photo as the line of the masks.
    """
    path = flist.with_name(name)
    if not path.exists():
        return [""] * len(masks)
    lines = _read_lines(path)
    advice = "line by line they must name files of the same photo; let data_preparation.py write them anew"
    if len(lines) != len(masks):
        raise InputError(f"{path} has {len(lines)} lines, {flist} has {len(masks)}: {advice}")
    places = [_folder_and_name(mask) for mask in masks]
    folders = {folder for folder, _ in places}
    for line, mask, (mask_folder, mask_name) in zip(lines, masks, places, strict=True):
        folder, name = _folder_and_name(line)
        if name != mask_name or (folder != mask_folder and folder in folders):
            raise InputError(f"{path} names {line} where {flist} names {mask}: {advice}")
        if line == mask:
            raise InputError(f"{path} and {flist} both name {line}, but a photo is not its own mask: let "
                             "data_preparation.py write the lists anew")
    return lines


def _folder_and_name(path: str) -> tuple[str, str]:
    """The folder of the photo that a path in a list belongs to, and its name without suffix. To A/mask/x.png and
    A/landmarks/x.txt belongs a photo x in A. A Path would take several times as long."""
    folder, _, name = path.replace(os.sep, "/").rpartition("/")
    return _photo_folder(folder), name.rpartition(".")[0] or name


@cache
def _photo_folder(folder: str) -> str:
    parts = [part for part in folder.split("/") if part != "."]
    return "/".join(parts[:-1] if parts[-1:] in (["mask"], ["landmarks"]) else parts)


def _read_lines(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError as error:
        raise InputError(f"the datalist {path} does not exist: let data_preparation.py write it from a folder of "
                         "photos, or name another with --flist or --flist_val (none: no validation)") from error
    except UnicodeDecodeError as error:
        raise InputError(f"the datalist {path} is no text in UTF-8: save it with this encoding") from error
    except OSError as error:
        raise InputError(f"cannot read the datalist {path}: {error}") from error
    return [line.strip() for line in lines if line.strip()]


class Sample(NamedTuple):
    """A photo to train on, aligned and augmented."""
    photo: torch.Tensor       # (3, 224, 224) uint8 RGB
    mask: torch.Tensor        # (1, 224, 224) uint8: how likely a pixel is skin, 255 certainly
    landmarks: torch.Tensor   # (68, 2) float32 px in the crop, y up
    seen: torch.Tensor        # (3, 224, 224) uint8 RGB: the photo as the network sees it, which may be degraded
    teacher: Teachers         # of this photo, without the axis B
    path: str                 # of the photo
    problems: list[str]       # what was wrong with the samples that this one replaces


class CollatedSamples(NamedTuple):
    """The samples of a batch. A NamedTuple, because the DataLoader can put one into pinned memory."""
    photos: torch.Tensor      # (B, 3, 224, 224) uint8 RGB
    masks: torch.Tensor       # (B, 1, 224, 224) uint8
    landmarks: torch.Tensor   # (B, 68, 2) float32 px in the crop, y up
    seen: torch.Tensor        # (B, 3, 224, 224) uint8 RGB
    teachers: Teachers
    paths: list[str]          # B paths
    problems: list[str]       # those of all samples


def collate(samples: list[Sample]) -> CollatedSamples:
    photos, masks, landmarks, seen, teachers, paths, problems = zip(*samples, strict=True)
    return CollatedSamples(torch.stack(photos), torch.stack(masks), torch.stack(landmarks), torch.stack(seen),
                           Teachers(*map(torch.stack, zip(*teachers, strict=True))), list(paths), sum(problems, []))


class TrainingPhotos(Dataset[Sample]):
    """The samples of a datalist, by the key (epoch, index).

    paths: the files of each sample. augment: the random changes of each sample; None leaves the photos as they are.
    seed: the changes are drawn from (seed, epoch, index), so a sample does not depend on which process reads it, or
    when. teachers: the known faces of photos; None: no photo has a teacher. degraded: share of the photos that the
    network sees degraded, see datasets/degradation.py.

    A sample that cannot be read is replaced by the next one that can; its error is kept in `Sample.problems`.
    Raises InputError if `MOST_REPLACED` samples in a row, or all of them, cannot be read.
    """

    def __init__(self, paths: Sequence[SamplePaths], augment: Augmentation | None, seed: int,
                 teachers: TeacherFiles | None = None, degraded: float = 0):
        self.paths, self.augment, self.seed = paths, augment, seed
        self.teachers, self.degraded = teachers, degraded

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, key: tuple[int, int]) -> Sample:
        epoch, index = key
        problems = []
        for replacement in range(index, index + min(MOST_REPLACED, len(self))):
            paths = self.paths[replacement % len(self)]
            try:
                photo, mask, landmarks, placement = read_sample(paths)
                teacher = self.teachers.of(paths.photo, placement) if self.teachers else NO_TEACHER
            except InputError as error:
                problems.append(str(error))
                continue
            rng = np.random.default_rng((self.seed, epoch, index))
            if self.augment is not None:
                change = self.augment.draw(rng)
                photo, mask = change.apply_to_picture(photo), change.apply_to_picture(mask)
                landmarks = change.apply_to_landmarks(landmarks)
                teacher = teacher._replace(to_crop=change.pixel_matrix @ teacher.to_crop)
            seen = degrade(photo, rng) if rng.random() < self.degraded else photo
            photo, seen = (torch.from_numpy(pixels).permute(2, 0, 1).contiguous() for pixels in (photo, seen))
            return Sample(photo, torch.from_numpy(mask)[None], torch.from_numpy(landmarks.astype(np.float32)), seen,
                          Teachers(*(torch.from_numpy(part.astype(np.float32)) for part in teacher)),
                          str(paths.photo), problems)
        raise InputError(f"{len(problems)} samples in a row can't be read, the first because: {problems[0]}")


def read_sample(paths: SamplePaths) -> tuple[np.ndarray, np.ndarray, np.ndarray, Placement]:
    """Read and align a sample. As in test.py, a photo whose face lies on its side or upside down is turned first.

    Returns the photo (224, 224, 3) uint8 RGB, its mask (224, 224) uint8, its landmarks (68, 2) px in the crop, y up,
    and the place of the crop in the photo. Raises InputError, which names the file that is missing, is broken or does
    not fit the others.
    """
    landmarks = read_landmarks(paths.landmarks, paths.photo)
    reduce = _reduction(landmarks)
    photo, mask = read_photo(paths.photo, reduce), read_mask(paths.mask, reduce)
    height, width = photo.shape[:2]
    if mask.shape != (height, width):
        raise InputError(f"the mask {paths.mask} has not the size of the upright photo {paths.photo}: "
                         "provide another mask, or delete it: then data_preparation.py computes one")
    check_points_inside(five_points(landmarks), reduce * width, reduce * height, paths.landmarks)
    landmarks = flip_y((landmarks + 0.5) / reduce - 0.5, height)
    turns = turns_to_upright(landmarks)
    photo, mask = np.rot90(photo, turns), np.rot90(mask, turns)
    landmarks = turn_points(landmarks, (width, height), turns)
    try:
        photo, trans_params, mask = align(photo, five_points(landmarks), mask)
    except InputError as error:
        raise InputError(f"{paths.landmarks}: {error}") from error
    return photo, mask, photo_to_crop(landmarks, trans_params), Placement(trans_params, turns, reduce)


def _reduction(landmarks: np.ndarray) -> int:
    """The factor 1, 2, 4 or 8 by which a photo is made smaller while it is read, which saves time. The face stays at
    least twice as large as in the crop. landmarks: (68, 2) px in the photo."""
    return next((reduce for reduce in (8, 4, 2) if np.ptp(landmarks, axis=0).max() > 2 * reduce * FACE_IN_CROP), 1)


def read_landmarks(path: Path, photo: Path) -> np.ndarray:
    """Read the 68 landmarks of a photo -> (68, 2) float64 px in the photo, y down.

    The photo is opened only if the landmarks are fractions of its size. Raises InputError if they cannot be read or
    cannot be those of a face.
    """
    if not path.exists():
        raise InputError(f"the landmarks {path} do not exist: let data_preparation.py find them")
    landmarks, _ = read_points(path, lambda: photo_size(photo))
    if len(landmarks) != COUNT:
        raise InputError(f"{path} has {len(landmarks)} points, expected the 68 landmarks, one a line")
    check_points(landmarks, path)
    return landmarks


def read_mask(path: Path, reduce: int = 1) -> np.ndarray:
    """Read a skin mask, grey or of three equal channels -> (H, W) uint8.

    reduce: 1, 2, 4 or 8: the mask is made smaller by this factor, as `read_photo` does. Raises InputError.
    """
    if not path.exists():
        raise InputError(f"the mask {path} does not exist: let data_preparation.py make it")
    pixels = read_photo(path, reduce)
    if has_colours(pixels[::4, ::4]):   # few pixels, which takes no time
        raise InputError(f"the mask {path} has colours, but a skin mask is grey: does the list of masks name photos?")
    return pixels[..., 0]


def has_colours(pixels: np.ndarray) -> bool:
    """Whether pixels (H, W, 3) uint8 RGB are not all grey."""
    return np.abs(pixels[..., 0].astype(np.int16) - pixels[..., 2]).max() > COLOUR_TOLERANCE
