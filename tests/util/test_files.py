"""Files that are written whole or not at all, and the messages if that fails."""
import errno
import re

import pytest

from tests.helpers import not_on_windows
from util.files import atomic_write
from util.locks import LOCK, lock_folder


def test_an_error_of_writing_names_the_file_and_leaves_nothing(tmp_path):
    name = "n" * 300 + ".txt"
    with pytest.raises(OSError) as raised, atomic_write(tmp_path / name) as temporary:
        temporary.write_text("text")
    assert raised.value.filename == str(tmp_path / name) and temporary.name not in str(raised.value)
    nowhere = tmp_path / "no folder" / "file.txt"
    with pytest.raises(FileNotFoundError, match="file.txt"), atomic_write(nowhere) as temporary:
        temporary.write_text("text")
    with pytest.raises(FileNotFoundError, match="another.txt"), atomic_write(tmp_path / "file.txt"):
        (tmp_path / "another.txt").read_text()
    assert not list(tmp_path.iterdir())


@not_on_windows
def test_the_error_of_a_full_disk_names_the_file(tmp_path):
    import resource
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))   # as a full disk
    try:
        with pytest.raises(OSError, match="file.txt") as raised, atomic_write(tmp_path / "file.txt") as temporary:
            temporary.write_text("text")
        assert not list(tmp_path.iterdir())
        with pytest.raises(OSError, match=re.escape(LOCK)), lock_folder(tmp_path):
            pass
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert raised.value.errno == errno.EFBIG
