"""Writes the lists of prepared photos that train.py reads, and the list of the photos that were left out."""
import tempfile
from collections.abc import Sequence
from pathlib import Path

from datasets.preparation_plan import TrainingFolder
from util.files import SKIPPED, InputError, write_lines

LISTS = {"landmarks.txt": "landmarks", "images.txt": "photo", "masks.txt": "mask"}   # file name: field of SamplePaths


def check_datalist_folder(folder: Path):
    """Raise InputError if the lists cannot be written to the folder. Leaves nothing there."""
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise InputError(f"cannot write the lists to {folder}: {error.strerror}. Choose another folder with "
                         "--datalist_dir") from error


def write_datalist(folder: Path, photo_folders: Sequence[TrainingFolder]):
    """Write landmarks.txt, images.txt and masks.txt: one path in each line, and the same photo in the same line.

    Raises InputError if no photo was prepared, OSError if the lists cannot be written.
    """
    count = sum(len(photo_folder.files) for photo_folder in photo_folders)
    if not count:
        raise InputError(f"no photo could be prepared. The lists in {folder} were not changed")
    folder.mkdir(parents=True, exist_ok=True)
    for name, field in LISTS.items():
        write_lines(folder / name, (str(getattr(sample, field))
                                    for photo_folder in photo_folders for sample in photo_folder.samples()))
    print(f"photos listed in {folder}: {count}")


def write_skipped(folder: TrainingFolder) -> Path:
    """Write why photos of the folder were left out, or delete the list of an earlier run. Returns its path.

    Raises OSError.
    """
    skipped = folder.path / SKIPPED
    if folder.left_out:
        write_lines(skipped, (f"{name}: {reason}" for name, reason in sorted(folder.left_out.items())))
    else:
        skipped.unlink(missing_ok=True)
    return skipped
