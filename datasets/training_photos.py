"""A datalist's photos as training samples: photo, skin mask and 68 landmarks, aligned and augmented alike."""
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.data import Dataset, default_collate

from datasets.alignment import align
from datasets.augmentation import Augmentation
from datasets.face_points import read_points
from datasets.photos import SUFFIXES, photo_size, read_photo
from datasets.point_checks import check_points, check_points_inside
from models.coordinates import flip_y, photo_to_crop
from models.landmarks import COUNT, five_points
from util.files import InputError

MOST_REPLACED = 100   # unreadable samples in a row: then it is not the samples
CROP_FACE = 150       # px, the larger side of the landmarks' box in the crop


class SamplePaths(NamedTuple):
    photo: Path
    mask: Path
    landmarks: Path


class Datalist(Sequence[SamplePaths]):
    """The paths of each sample; a slice of it is a Datalist too. Files are looked for when a sample is asked for.

    root: the folder of relative paths. lines: (N, 3) text, photo, mask and landmarks. An empty photo or landmarks
    follow from the mask: DIR/mask/NAME.png belongs to DIR/NAME.png, or whichever suffix the photo has, and
    DIR/landmarks/NAME.txt.
    """

    def __init__(self, root: Path, lines: Sequence[Sequence[str]] | np.ndarray):
        self.root = root
        # One block of memory, which worker processes share: of str objects each would get a copy over time, because
        # looking at one changes its reference count.
        self.lines = np.asarray(lines, dtype=np.dtypes.StringDType())

    def __len__(self) -> int:
        return len(self.lines)

    def __getitem__(self, index):
        if isinstance(index, slice):
            return Datalist(self.root, self.lines[index])
        photo, mask, landmarks = self.lines[index]
        mask = self.root / mask
        folder = mask.parent.parent
        return SamplePaths(self.root / photo if photo else _with_real_suffix(folder / mask.name), mask,
                           self.root / landmarks if landmarks else folder / "landmarks" / f"{mask.stem}.txt")


def _with_real_suffix(photo: Path) -> Path:
    """The path itself, or that of a photo there which differs in its suffix only."""
    if photo.exists():
        return photo
    others = (photo.with_suffix(suffix) for kind in sorted(SUFFIXES) for suffix in (kind, kind.upper()))
    return next((other for other in others if other.exists()), photo)


def read_datalist(flist: Path, data_root: Path) -> Datalist:
    """Read datalist/<mode>/masks.txt, one path a line, and images.txt and landmarks.txt beside it where they are there.

    Paths are relative to data_root or absolute. Raises InputError when a list can't be read, is empty, or when the
    lists have different lengths.
    """
    masks = _read_lines(flist)
    if not masks:
        raise InputError(f"the datalist {flist} is empty: let data_preparation.py write it from a folder of photos")
    photos, landmarks = (_lines_beside(flist, name, len(masks)) for name in ("images.txt", "landmarks.txt"))
    return Datalist(data_root, list(zip(photos, masks, landmarks, strict=True)))


def _lines_beside(flist: Path, name: str, count: int) -> list[str]:
    path = flist.with_name(name)
    lines = _read_lines(path) if path.exists() else [""] * count
    if len(lines) != count:
        raise InputError(f"{path} has {len(lines)} lines, {flist} has {count}: line by line they must name the same "
                         "photos; let data_preparation.py write them anew")
    return lines


def _read_lines(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError as error:
        raise InputError(f"the datalist {path} does not exist: let data_preparation.py write it from a folder of "
                         "photos, or name another with --flist or --flist_val (none: no validation)") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read the datalist {path}: {error}") from error
    return [line.strip() for line in lines if line.strip()]


class TrainingPhotos(Dataset):
    """Samples by (epoch, index): the same for the same seed and key, whichever process reads them in which order.

    augment: None takes the photos as they are. A sample that can't be read is replaced by the next one that can.
    Raises InputError when that many in a row can't be read that the list itself must be wrong.

    A sample is a dict:
    photo (3, 224, 224) uint8 RGB; mask (1, 224, 224) uint8 skin attention, 255 fully; landmarks (68, 2) float32 px,
    y up; path str of the photo; problems list[str]: the samples that could not be read in its place.
    """

    def __init__(self, paths: Sequence[SamplePaths], augment: Augmentation | None, seed: int):
        self.paths, self.augment, self.seed = paths, augment, seed

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, key: tuple[int, int]) -> dict:
        epoch, index = key
        problems = []
        for replacement in range(index, index + min(MOST_REPLACED, len(self))):
            paths = self.paths[replacement % len(self)]
            try:
                photo, mask, landmarks = read_sample(paths)
            except InputError as error:
                problems.append(str(error))
                continue
            if self.augment is not None:
                change = self.augment.draw(np.random.default_rng((self.seed, epoch, index)))
                photo, mask = change.apply_to_picture(photo), change.apply_to_picture(mask)
                landmarks = change.apply_to_landmarks(landmarks)
            return {"photo": torch.from_numpy(photo).permute(2, 0, 1).contiguous(),
                    "mask": torch.from_numpy(mask)[None],
                    "landmarks": torch.from_numpy(landmarks.astype(np.float32)),
                    "path": str(paths.photo), "problems": problems}
        raise InputError(f"{len(problems)} samples in a row can't be read, the first because: {problems[0]}")


def collate(samples: list[dict]) -> dict:
    """A batch: tensors stacked, `path` a list of str, `problems` those of all samples."""
    batch = {name: default_collate([sample[name] for sample in samples]) for name in ("photo", "mask", "landmarks")}
    return batch | {"path": [sample["path"] for sample in samples],
                    "problems": [problem for sample in samples for problem in sample["problems"]]}


def read_sample(paths: SamplePaths) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Read and align a sample -> photo (224, 224, 3) uint8 RGB, mask (224, 224) uint8, landmarks (68, 2) px, y up.

    Raises InputError naming the file that is missing, broken or doesn't fit the others.
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
    try:
        photo, trans_params, mask = align(photo, five_points(landmarks), mask)
    except InputError as error:
        raise InputError(f"{paths.landmarks}: {error}") from error
    return photo, mask, photo_to_crop(landmarks, trans_params)


def _reduction(landmarks: np.ndarray) -> int:
    """How much smaller a photo can be read for speed, its face still twice as large as in the crop."""
    return next((reduce for reduce in (8, 4, 2) if np.ptp(landmarks, axis=0).max() > 2 * reduce * CROP_FACE), 1)


def read_landmarks(path: Path, photo: Path) -> np.ndarray:
    """Read the 68 landmarks of a photo -> (68, 2) float64 px in the photo, y down.

    The photo is opened only where the landmarks are fractions of its size. Raises InputError when they cannot be read
    or cannot be those of a face.
    """
    if not path.exists():
        raise InputError(f"the landmarks {path} do not exist: let data_preparation.py find them")
    landmarks, _ = read_points(path, lambda: photo_size(photo))
    if len(landmarks) != COUNT:
        raise InputError(f"{path} has {len(landmarks)} points, expected the 68 landmarks, one a line")
    check_points(landmarks, path)
    return landmarks


def read_mask(path: Path, reduce: int = 1) -> np.ndarray:
    """Read a skin mask, grey or of three equal channels -> (H, W) uint8, made smaller as by `read_photo`.

    Raises InputError.
    """
    if not path.exists():
        raise InputError(f"the mask {path} does not exist: let data_preparation.py make it")
    return read_photo(path, reduce)[..., 0]
