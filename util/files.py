"""Writing files whole, and the error for an input that can't be used."""

import contextlib
import uuid
from pathlib import Path


class InputError(Exception):
    """A user's input is unusable. The message says what is wrong, where, and what to do about it."""


@contextlib.contextmanager
def atomic_write(path):
    """Write a file whole or not at all.

    Yields a temporary path in the same folder and with the same suffix (writers that choose a format by
    suffix work); it replaces `path` when the block ends, and is removed when the block raises.

    >>> with atomic_write("result.png") as temporary:
    ...     image.save(temporary)
    """
    path = Path(path)
    temporary = path.with_name(f".{uuid.uuid4().hex}{path.suffix}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
