"""Errors, signals and output of the programs."""
import errno
import os
import signal
import subprocess
import sys

import pytest

from tests.helpers import ROOT
from util.command import CLOSED_PIPE, run_command


@pytest.mark.parametrize("script, arguments", [
    ("test.py", ["--epoch=0", "--fit_iters=1", "--img_folder=/nowhere"]),
    ("data_preparation.py", ["--img_folder", "/nowhere"]),
    ("train.py", ["--flist=/nowhere", "--gpu_ids=-1"])])
def test_verbose_adds_the_traceback_to_the_message(run_here, script, arguments):
    for verbose in (False, True):
        run = run_here(script, *arguments, f"--verbose={verbose}")
        assert run.returncode == 2
        assert run.stderr.splitlines()[-1].startswith(f"{script}: ")
        assert ("Traceback" in run.stderr) == verbose


def test_a_full_disk_is_reported_in_one_line(capsys):
    def command() -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "skipped.txt")

    assert run_command(command, verbose=False) == 2
    assert capsys.readouterr().err.endswith("No space left on device: 'skipped.txt'\n")


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_signals_that_stop_a_program_give_its_status(name, capsys):
    number = getattr(signal, name, None)
    if number is None:
        pytest.skip(f"this system has no {name}")
    before = signal.getsignal(number)
    assert run_command(lambda: signal.raise_signal(number), verbose=False) == 128 + number
    assert capsys.readouterr().err.endswith("stopped; what it has written stays\n")
    assert signal.getsignal(number) == before


def test_a_signal_that_is_ignored_when_the_program_starts_stays_ignored():
    """As by nohup."""
    number = getattr(signal, "SIGHUP", signal.SIGTERM)
    before = signal.signal(number, signal.SIG_IGN)
    try:
        assert run_command(lambda: signal.raise_signal(number) or 7, verbose=False) == 7
    finally:
        signal.signal(number, before)


def test_signals_that_arrive_again_do_not_disturb_the_end_of_the_program():
    """`timeout` sends its signal twice."""
    def command() -> int:
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            signal.raise_signal(signal.SIGTERM)
            ended.append(True)

    ended = []
    assert run_command(command, verbose=False) == 128 + signal.SIGTERM
    assert ended


def run_printing(code: str, **options) -> subprocess.CompletedProcess:
    code = f"import sys\nfrom util.command import run_command, safe_output\nwith safe_output():\n    {code}"
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, **options)


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-8"])
def test_names_that_the_output_cannot_show_are_printed_as_escapes(encoding):
    code = "print('3 photos of 人脸 and \\udce9: é'); print('é 人', file=sys.stderr)"
    run = run_printing(code, env=os.environ | {"PYTHONIOENCODING": encoding}, capture_output=True)
    assert run.returncode == 0, run.stderr
    for text, output in (("3 photos of 人脸 and \udce9: é", run.stdout), ("é 人", run.stderr)):
        assert output.split(b"\n")[0].rstrip() == text.encode(encoding, errors="backslashreplace")


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
@pytest.mark.parametrize("code", [
    "print('x' * 100_000, file=sys.{stream})",
    "print('x', file=sys.{stream})",   # which is flushed at the end
    "run_command(lambda: print('x' * 100_000, file=sys.{stream}), verbose=False)"])
def test_a_closed_pipe_ends_the_program_quietly(code, stream):
    reader, writer = os.pipe()
    os.close(reader)
    other = "stderr" if stream == "stdout" else "stdout"
    try:
        run = run_printing(code.format(stream=stream), **{stream: writer, other: subprocess.PIPE})
    finally:
        os.close(writer)
    assert run.returncode == CLOSED_PIPE
    assert not getattr(run, other)


def test_an_error_that_all_processes_of_torchrun_meet_is_printed_once(tmp_path):
    script = tmp_path / "fail.py"
    script.write_text("""
import sys
from util.command import run_command
from util.files import InputError

def fail():
    raise InputError("no photos")

sys.exit(run_command(fail, verbose=False))
""")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=3", script]
    run = subprocess.run(command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, text=True, capture_output=True)
    assert run.returncode
    assert run.stderr.count("fail.py: no photos") == 1
