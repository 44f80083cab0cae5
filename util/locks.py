"""Tells a process that another one writes to the same folder."""
import contextlib
import errno
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

LOCK = ".lock"   # the name of the locked file in the folder
_FAR = 1 << 20   # the byte that is locked on Windows, where a locked byte cannot be read
_HELD = (errno.EAGAIN, errno.EACCES, errno.EDEADLK)   # errors of locking what another process has locked


@contextlib.contextmanager
def lock_folder(folder: Path) -> Iterator[str]:
    """In this block, other processes that lock the folder learn that this one has locked it.

    Yields "" if this process has locked it, and otherwise which process has. The operating system removes the lock with
    its process, however that ends. On a file system without locks, every process gets one.
    Raises OSError if no file can be written to the folder.
    """
    path = folder / LOCK
    with contextlib.ExitStack() as stack:
        while True:
            file = stack.enter_context(path.open("ab+", buffering=0))
            if not _lock(file):
                file.seek(0)
                yield file.read().decode(errors="replace")
                return
            if _is_at(file, path):   # the process that had the lock before has not just deleted the file
                break
        try:
            file.truncate(0)
            file.write(f"process {os.getpid()} on {socket.gethostname()}".encode())
        except OSError as error:   # of a full disk, which names no file
            raise OSError(error.errno, error.strerror, str(path)) from error
        try:
            yield ""
        finally:
            with contextlib.suppress(OSError):   # Windows does not delete an open file; it stays, without a lock
                path.unlink()
            _unlock(file)   # closing it is not enough: processes that were forked have it open too


def _is_at(file: BinaryIO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


if os.name == "nt":
    import msvcrt

    def _lock(file: BinaryIO) -> bool:
        """Lock a file. Returns False if another process has locked it."""
        file.seek(_FAR)
        return _was_locked(lambda: msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1))

    def _unlock(file: BinaryIO):
        file.seek(_FAR)
        msvcrt.locking(file.fileno(), msvcrt.LK_UNLCK, 1)
else:
    import fcntl

    def _lock(file: BinaryIO) -> bool:
        """Lock a file. Returns False if another process has locked it."""
        return _was_locked(lambda: fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB))

    def _unlock(file: BinaryIO):
        fcntl.flock(file, fcntl.LOCK_UN)


def _was_locked(lock) -> bool:
    try:
        lock()
    except OSError as error:   # others: the file system knows no locks
        return error.errno not in _HELD
    return True
