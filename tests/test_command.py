"""Errors of the scripts."""
import pytest


@pytest.mark.parametrize("script, arguments", [
    ("test.py", ["--epoch=0", "--fit_iters=1", "--img_folder=/nowhere"]),
    ("data_preparation.py", ["--img_folder", "/nowhere"]),
    ("train.py", ["--flist=/nowhere", "--gpu_ids=-1"])])
def test_verbose_adds_the_trace_to_the_message(run_script, script, arguments):
    for verbose in (False, True):
        run = run_script(script, *arguments, f"--verbose={verbose}")
        assert run.returncode == 2
        assert run.stderr.splitlines()[-1].startswith(f"{script}: ")
        assert ("Traceback" in run.stderr) == verbose
