"""Which folder the results of photos go to, and to which photos the results in a folder belong."""
import os
import re
from pathlib import Path

from models.outputs.table import OUTPUTS, files_of
from util.files import SKIPPED, InputError, atomic_write, remove_remnants, write_lines

_OWNER = ".photos"   # in a folder of results: the path of the folder, or of the list, that has the photos


def holds_results(folder: Path) -> bool:
    """Whether results were written to a folder, or to folders in it."""
    return (folder / _OWNER).is_file()


def choose_results_folder(folder: Path, source: Path) -> tuple[Path, str]:
    """Returns the folder in `folder` for the results of the photos of a source, and a remark for the user or "".

    It has the name of the source, without the suffix of a list. If that folder holds the results of another source that
    still exists, the name of the folder above the source is put before it: clipB_frames instead of frames.

    source: absolute path of a folder of photos, or of a list of photos.
    Raises InputError if no name is free.
    """
    name = source.stem if source.is_file() else source.name
    remark = ""
    for parent in source.parents:
        owner = _owner(folder / name)
        if owner in (None, source):
            return folder / name, remark
        remark = f"{folder / name} holds the results of {owner}, so those of {source} get another folder"
        name = f"{parent.name}_{name}"
    raise InputError(f"there is no free name in {folder} for the results of {source}: give a folder with --results_dir")


def check_results_folder(folder: Path, source: Path):
    """Raises InputError if a folder that the user chose holds the results of another source that still exists."""
    owner = _owner(folder)
    if owner not in (None, source):
        raise InputError(f"{folder} holds the results of {owner}, and those of {source} could overwrite them: give "
                         f"another folder, such as --results_dir={folder / source.stem}")


def make_results_folder(folder: Path, marked: Path, source: Path) -> float:
    """Make the folder of results. Delete the list of photos that an earlier run left out, and the temporary files of
    one that was killed.

    marked: the folder of results, or one above it. It is noted there that it holds the results of the source.
    Returns the time of the start, by the clock that gives the files in the folder their times: seconds since 1970.
    Raises InputError if no file can be written there.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_lines(folder / SKIPPED, [])   # reports a folder that cannot be written to now, not after the work
        (folder / SKIPPED).unlink(missing_ok=True)
        remove_remnants(folder)
        with atomic_write(marked / _OWNER) as temporary:
            temporary.write_bytes(os.fsencode(source))
        return (marked / _OWNER).stat().st_mtime
    except OSError as error:
        raise InputError(f"cannot write results to {folder}: {error.strerror}. Give a folder that can be written to "
                         "with --results_dir") from error


def old_results(folder: Path, name: Path, before: float, numbered: bool) -> list[Path]:
    """Returns the result files of a photo that were written before a time, sorted.

    folder: of all results. name: of the photo's results, relative to the folder and without suffix. before: seconds
    since 1970. numbered: also the files of numbered faces, <name>_0 and so on.
    """
    suffixes = "|".join(re.escape(file) for file in files_of(OUTPUTS))
    pattern = re.compile(re.escape(name.name) + (r"(_\d+)?" if numbered else "") + f"({suffixes})")
    parents = {(folder / output.folder / name).parent for output in OUTPUTS.values()}
    files = [path for parent in parents if parent.is_dir() for path in parent.iterdir()]
    return sorted(path for path in files if pattern.fullmatch(path.name) and path.stat().st_mtime < before)


def _owner(folder: Path) -> Path | None:
    """Returns the source of the results in a folder. None if there is none, or if it does not exist any more."""
    try:
        source = Path(os.fsdecode((folder / _OWNER).read_bytes()))
    except OSError:
        return None
    return source if source.exists() else None
