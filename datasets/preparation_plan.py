"""Decides which photos of a folder data_preparation.py has to prepare.

A folder holds the files below. "Provided" files come from the user and are never changed or deleted. "Written" files
come from data_preparation.py. datasets/preparation_masks.py explains how the two are told apart.

    x.jpg                photo: provided
    detections/x.txt     five points or 68 landmarks that say where the face is: provided, optional
    landmarks/x.txt      68 landmarks: provided, or else written
    dense/x.npy          mesh of 468 points: written with the landmarks, if the detector makes one
    mask/x.png           skin mask: provided (also as mask/x.jpg and the like), or else written
    vis/, skipped.txt    contact sheets, and the list of the photos that were left out: written
"""
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from datasets import face_points
from datasets.photos import SUFFIXES, list_photos, remark_on_unread_photos
from datasets.preparation_masks import MaskOrigin, checksum, photo_has_changed, read_origin
from datasets.training_photos import SamplePaths, read_landmarks
from util.files import InputError, remove_remnants

LANDMARKS, MESHES, MASKS, SHEETS = "landmarks", "dense", "mask", "vis"
UNLISTABLE = ("lists for train.py cannot hold a path with spaces at its ends, line breaks, or bytes that are not "
              "UTF-8: rename it")


class FileNames(NamedTuple):
    """The name of a photo, of its mask in mask/ and of its landmarks in landmarks/."""
    photo: str
    mask: str
    landmarks: str


@dataclass(frozen=True)
class TrainingFolder:
    """A folder of photos and what is to be done in it."""
    path: Path
    files: dict[str, FileNames]   # by photo name, sorted: all photos that are not left out
    to_prepare: list[FileNames]   # the photos whose mask and landmarks must be written or checked
    left_out: dict[str, str]      # by photo name: why the photo is left out
    remark: str = ""              # for the user

    def without(self, left_out: dict[str, str]) -> "TrainingFolder":
        """The same folder with more photos left out."""
        files = {name: names for name, names in self.files.items() if name not in left_out}
        return replace(self, files=files, left_out=self.left_out | left_out)

    def samples(self) -> Iterator[SamplePaths]:
        """The paths of the photos that are not left out, and of their masks and landmarks."""
        for names in self.files.values():
            yield sample_paths(self.path, names)


def sample_paths(folder: Path, names: FileNames) -> SamplePaths:
    return SamplePaths(folder / names.photo, folder / MASKS / names.mask, folder / LANDMARKS / names.landmarks)


def mesh_path(paths: SamplePaths) -> Path:
    """The file of the mesh of 468 points that is written beside the landmarks of a photo."""
    return paths.photo.parent / MESHES / f"{paths.photo.stem}.npy"


def find_folders(data_root: Path, names: list[Path]) -> list[Path]:
    """Find the photo folders of these names in data_root. A folder with several names is returned once.

    Raises InputError if a folder does not exist, or if train.py could not find it.
    """
    paths: dict[Path, Path] = {}
    for path in (data_root / name for name in names):
        if not path.exists():
            raise InputError(f"the photo folder {path} does not exist: --img_folder is looked for in "
                             f"--data_root={data_root}")
        if not fits_in_a_list(path):
            raise InputError(f"the photo folder {str(path)!r}: {UNLISTABLE}")
        paths.setdefault(path.resolve(), path)
    return list(paths.values())


def plan_folder(path: Path, overwrite: bool) -> TrainingFolder:
    """Decide which photos of a folder are to be prepared, and create its subfolders.

    overwrite: prepare photos again that an earlier run has prepared.
    Raises InputError if the folder cannot be used, OSError if its subfolders cannot be created.
    """
    photos = list_photos(path)
    for name in (LANDMARKS, MESHES, MASKS, SHEETS):
        (path / name).mkdir(exist_ok=True)
        remove_remnants(path / name)
    landmarks, masks = ({file.name for file in (path / name).iterdir()} for name in (LANDMARKS, MASKS))
    files, to_prepare, left_out = {}, [], {}
    first_of_stem: dict[str, str] = {}
    for photo in photos:
        first = first_of_stem.setdefault(photo.stem, photo.name)
        if photo.name != first:
            left_out[photo.name] = f"{photo}: {first} has landmarks of the same name: rename one of them"
        elif not fits_in_a_list(photo):
            left_out[photo.name] = f"{photo}: {UNLISTABLE}"
        else:
            names = FileNames(photo.name, choose_mask(photo, masks), choose_landmarks(photo, landmarks))
            files[photo.name] = names
            if overwrite or not is_prepared(sample_paths(path, names)):
                to_prepare.append(names)
    unused = [f"{LANDMARKS}/{name}" for name in landmarks - {names.landmarks for names in files.values()}]
    unused += [f"{MASKS}/{name}" for name in masks - {names.mask for names in files.values()}]
    remarks = [remark_on_unread_photos(path), remark_on_unused(path, unused),
               face_points.remark_on_unused_files(path, photos)]
    return TrainingFolder(path, files, to_prepare, left_out, "\n".join(filter(None, remarks)))


def remark_on_unused(path: Path, files: list[str]) -> str:
    if not files:
        return ""
    return (f"{path}: {len(files)} files are not used, for example {min(files)}. Landmarks of a photo x.jpg are read "
            f"from {LANDMARKS}/x.txt, its mask from {MASKS}/x.jpg or {MASKS}/x.png")


def fits_in_a_list(path: Path) -> bool:
    """Whether train.py finds a path again in a list: a UTF-8 file, each line a path, spaces at its ends ignored."""
    text = str(path)
    return text.strip() == text and text.splitlines() == [text] and text == text.encode(errors="replace").decode()


def choose_mask(photo: Path, present: set[str]) -> str:
    """Choose the mask of a photo among the files present in mask/. Returns the name to read or to write.

    data_preparation.py writes mask/x.png. Deep3DFaceRecon gives a mask the full name of its photo. If photos were
    converted since then, their masks have yet another suffix.
    """
    written = f"{photo.stem}.png"
    others = (f"{photo.stem}{suffix}" for kind in sorted(SUFFIXES) for suffix in (kind, kind.upper()))
    return next((name for name in (photo.name, written, *others) if name in present), written)


def choose_landmarks(photo: Path, present: set[str]) -> str:
    """Choose the landmarks of a photo among the files present in landmarks/. Returns the name to read or to write."""
    names = [f"{photo.stem}{suffix}" for suffix in face_points.SUFFIXES]
    return next((name for name in names if name in present), names[0])


def is_prepared(paths: SamplePaths) -> bool:
    """Whether an earlier run has prepared a photo completely and the photo has not changed since.

    A photo with a mask that the user provided is prepared again in each run, which checks the mask and keeps it: it
    has no note that it was checked.
    """
    origin = read_origin(paths.mask)
    mask_was_written = origin is not None
    return mask_was_written and not has_changed(paths, origin) and has_landmarks(paths, origin)


def has_changed(paths: SamplePaths, origin: MaskOrigin) -> bool:
    """Whether a photo is another one than its mask was made from. A copy of the same photo has not changed."""
    # The times are compared first, since they need no reading of the photo.
    return last_change(paths.photo) > last_change(paths.mask) and photo_has_changed(paths.photo, origin)


def last_change(path: Path) -> int:
    """When a file got its content or its name, ns: a file that was moved or copied may keep its old time of writing."""
    times = path.stat()
    return max(times.st_mtime_ns, times.st_ctime_ns)


def has_landmarks(paths: SamplePaths, origin: MaskOrigin) -> bool:
    """Whether the landmarks of a photo exist and can be those of a face. If not, preparing the photo finds them, or
    gives the reason. Landmarks that an earlier run wrote were checked then, and are not read again: this saves time."""
    if not paths.landmarks.exists():
        return False
    if origin.landmarks_checksum == checksum(paths.landmarks):
        return True
    try:
        read_landmarks(paths.landmarks, paths.photo)
    except InputError:
        return False
    return True
