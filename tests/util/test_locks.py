"""Two processes that write to one folder."""
import os
import subprocess
import sys

from tests.helpers import ROOT
from util.locks import LOCK, lock_folder

HOLD = """
import pathlib
import sys

from util.locks import lock_folder

with lock_folder(pathlib.Path(sys.argv[1])) as other:
    print(other or "mine", flush=True)
    sys.stdin.read()
"""


def hold(folder) -> subprocess.Popen:
    """Another process that locks the folder."""
    return subprocess.Popen([sys.executable, "-c", HOLD, folder], cwd=ROOT, text=True, stdin=subprocess.PIPE,
                            stdout=subprocess.PIPE)


def test_the_second_process_learns_of_the_first(tmp_path):
    with lock_folder(tmp_path) as other:
        assert not other
        process = hold(tmp_path)
        assert f"process {os.getpid()} on " in process.stdout.readline()
        process.communicate("")
    assert os.name == "nt" or not list(tmp_path.iterdir())   # Windows does not delete an open file
    with lock_folder(tmp_path) as other:
        assert not other


def test_a_killed_process_leaves_no_lock(tmp_path):
    process = hold(tmp_path)
    assert process.stdout.readline() == "mine\n"
    with lock_folder(tmp_path) as other:
        assert other.startswith(f"process {process.pid} on ")
    process.kill()
    process.communicate()
    assert (tmp_path / LOCK).exists()
    with lock_folder(tmp_path) as other:
        assert not other
