"""Which photos --img_folder names: those of a folder, of a tree of folders, or of a list, or a single photo."""
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from datasets.photos import BESIDE_PHOTOS, SUFFIXES, is_photo, list_photos, photos_in
from models.result_places import holds_results
from util.files import InputError

LIST_SUFFIX = ".txt"


@dataclass(frozen=True)
class ChosenPhotos:
    """The photos to reconstruct."""
    paths: list[Path]
    root: Path            # the folder that holds all photos, perhaps in subfolders; results keep paths relative to it
    source: Path          # absolute path of the folder or list that names the photos; of a single photo, its folder
    folders: list[Path]   # folders of which all photos are chosen

    @classmethod
    def of_list(cls, paths: list[Path], file: Path) -> "ChosenPhotos":
        """Returns the photos that a list names. paths: absolute, of the photos. file: the list."""
        return cls(paths, Path(os.path.commonpath([path.parent for path in paths])), absolute(file), [])

    def check_results(self, folder: Path):
        """Raises InputError if results in this folder could overwrite photos, because they would lie beside them."""
        for parent in {photo.parent for photo in self.paths}:
            if (folder / parent.relative_to(self.root)).resolve() == parent.resolve():
                raise InputError(f"results in {folder} could overwrite photos in {parent}: give another folder with "
                                 "--results_dir")


def choose_photos(place: Path, recursive: bool = False) -> ChosenPhotos:
    """Returns the photos that a path names: all photos of a folder, the photos of a list, or a single photo.

    A list is a text file that ends with .txt. It has one path in each line. Relative paths start at the folder of the
    list. A photo of the list that does not exist is returned too, so that it is reported like one that is broken.

    recursive: take the photos in the folders inside the folder too, at any depth. Left out are hidden folders, folders
    of results, and those of BESIDE_PHOTOS.
    Raises InputError if the path does not exist or names no photos.
    """
    if recursive and not place.is_dir():
        raise InputError(f"{place} is not a folder, so --recursive cannot search it: give a folder, or leave out "
                         "the option")
    if place.is_file() and is_photo(place):
        return ChosenPhotos([place], place.parent, absolute(place.parent), [])
    if place.suffix.lower() == LIST_SUFFIX and place.is_file():
        return ChosenPhotos.of_list(read_photo_list(place), place)
    if not recursive:
        return ChosenPhotos(list_photos(place), place, absolute(place), [place])
    folders = list(folders_in(place))
    paths = [path for folder in folders for path in photos_in(folder)]
    if not paths:
        raise InputError(f"no photos in {place} and the folders in it: looked for {' '.join(sorted(SUFFIXES))}")
    return ChosenPhotos(paths, place, absolute(place), folders)


def read_photo_list(path: Path) -> list[Path]:
    """Returns the absolute paths in a list of photos, each once, in their order. Raises InputError if it has none."""
    try:
        with path.open(encoding="utf-8-sig", errors="surrogateescape") as file:
            lines = [line.strip() for line in file]
    except OSError as error:
        raise InputError(f"cannot read the list of photos {path}: {error.strerror}") from error
    photos = dict.fromkeys(absolute(path.parent / line) for line in lines if line)
    if not photos:
        raise InputError(f"the list {path} names no photos: write the path of a photo in each line")
    return list(photos)


def folders_in(folder: Path, above: tuple[Path, ...] = ()) -> Iterator[Path]:
    """Yields a folder and those inside it that may hold photos. Links to folders are followed, but not in circles.

    above: the real paths of the folders that lead to this one.
    """
    yield folder
    above = (*above, folder.resolve())
    try:
        children = sorted(path for path in folder.iterdir() if path.is_dir())
    except OSError as error:
        raise InputError(f"cannot read the photo folder {folder}: {error.strerror}") from error
    for child in children:
        if (not child.name.startswith(".") and child.name not in BESIDE_PHOTOS and not holds_results(child)
                and child.resolve() not in above):
            yield from folders_in(child, above)


def absolute(path: Path) -> Path:
    """Returns the absolute path without "..". Symbolic links stay, since results have the name that the user gave."""
    return Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would follow symbolic links
