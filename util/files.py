"""Writes files whole or not at all, and defines the error for unusable input."""
import contextlib
import re
import time
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path

SKIPPED = "skipped.txt"   # the list of the photos that were left out, with the reasons
_TEMPORARY = re.compile(r"\.[0-9a-f]{32}(\.\w+)?")   # names of temporary files
_REMNANT_AGE = 60   # seconds: no file takes longer to write, so an older temporary file is a remnant


class InputError(Exception):
    """A user's input is unusable. The message says what is wrong, where, and what to do about it."""


@contextlib.contextmanager
def atomic_write(path: Path | str) -> Iterator[Path]:
    """Write a file whole or not at all.

    Yields a temporary path in the same folder and with the same suffix, since some writers choose the format by the
    suffix. The temporary file replaces `path` when the block ends. It is deleted when the block raises an error.
    Errors of writing the temporary file are raised as OSError that names `path`.

    >>> with atomic_write("result.png") as temporary:
    ...     image.save(temporary)
    """
    path = Path(path)
    temporary = path.with_name(f".{uuid.uuid4().hex}{path.suffix}")
    try:
        yield temporary
        temporary.replace(path)
    except OSError as error:
        if error.errno is None or error.filename not in (None, str(temporary)):
            raise
        # The error of a full disk names no file, and others name the temporary file, which the user does not know.
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)


def remove_remnants(folder: Path):
    """Delete the temporary files that `atomic_write` left in a folder, or in those inside it, when its process was
    killed."""
    for path in folder.rglob(".*"):
        if _TEMPORARY.fullmatch(path.name):
            with contextlib.suppress(FileNotFoundError):   # another process has just finished its file
                if time.time() - path.stat().st_mtime > _REMNANT_AGE:
                    path.unlink()


def write_lines(path: Path, lines: Iterable[str]):
    """Write a UTF-8 text file whole or not at all. Line breaks within a line, and characters that UTF-8 cannot hold,
    are written as escapes such as \\n."""
    with atomic_write(path) as temporary, temporary.open("w", encoding="utf-8", errors="backslashreplace") as file:
        file.writelines("\\n".join(line.splitlines()) + "\n" for line in lines)
