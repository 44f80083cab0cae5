"""Errors of the programs."""
import errno
import os

import pytest

from util.command import run_command


@pytest.mark.parametrize("script, arguments", [
    ("test.py", ["--epoch=0", "--fit_iters=1", "--img_folder=/nowhere"]),
    ("data_preparation.py", ["--img_folder", "/nowhere"]),
    ("train.py", ["--flist=/nowhere", "--gpu_ids=-1"])])
def test_verbose_adds_the_traceback_to_the_message(run_script, script, arguments):
    for verbose in (False, True):
        run = run_script(script, *arguments, f"--verbose={verbose}")
        assert run.returncode == 2
        assert run.stderr.splitlines()[-1].startswith(f"{script}: ")
        assert ("Traceback" in run.stderr) == verbose


def test_a_full_disk_is_reported_in_one_line(capsys):
    def command() -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "skipped.txt")

    assert run_command(command, verbose=False) == 2
    assert capsys.readouterr().err.endswith("No space left on device: 'skipped.txt'\n")
