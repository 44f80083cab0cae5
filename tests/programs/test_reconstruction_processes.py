"""test.py that is stopped before its end, or shares the photos with other processes."""
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from datasets.photo_folder import PhotoFolder
from datasets.photos import list_photos, read_photo
from models.face_files import FaceWriter
from models.outputs.details import OutputSettings
from models.reconstruction import Reconstructor
from models.records import Origin
from models.renderer import MeshRenderer
from options.testing import parse
from test import reconstruct_photos
from tests.helpers import EXAMPLES, ROOT, kill_readers, linux_only, not_on_windows, press_ctrl_c, wait_for
from util.files import InputError


def command(photos: Path, checkpoints: Path) -> list:
    return [ROOT / "test.py", "--name=M", "--epoch=20", f"--img_folder={photos}", f"--checkpoints_dir={checkpoints}",
            "--gpu_ids=-1"]


def test_processes_of_torchrun_share_the_photos(checkpoints, astronaut, reconstruct):
    for name in ("other.png", "third.png"):
        shutil.copy(astronaut / "astronaut.png", astronaut / name)
        shutil.copy(astronaut / "detections" / "astronaut.txt", (astronaut / "detections" / name).with_suffix(".txt"))
    results = checkpoints / "M" / "results" / "photos" / "epoch_20_000000"
    shutil.rmtree(results, ignore_errors=True)   # of other tests
    (astronaut / "other.jpg").write_text("has the name of a photo that the other process takes")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2",
                *command(astronaut, checkpoints)]
    done = subprocess.run(torchrun, cwd=ROOT, text=True, capture_output=True)
    assert done.returncode == 1
    assert done.stdout.count("photos done") == done.stdout.count("2 of 4 photos done") == 1, done.stderr
    assert "2/2 photos" in done.stderr and "other.png" in done.stderr
    shared = {path.name: path.read_bytes() for path in results.glob("*.*") if path.suffix != ".mat"}
    assert {Path(name).stem for name in shared} == {"astronaut", "third", "skipped"}
    assert [line.split(":")[0] for line in shared["skipped.txt"].decode().splitlines()] == ["other.jpg", "other.png"]
    shutil.rmtree(results)
    reconstruct(astronaut)
    assert {path.name: path.read_bytes() for path in results.glob("*.*") if path.suffix != ".mat"} == shared


@pytest.fixture
def long_run(checkpoints, astronaut):
    """A process of test.py that has written its first results, and the folder of results."""
    for number in range(300):
        (astronaut / f"{number}.png").hardlink_to(astronaut / "astronaut.png")
        (astronaut / "detections" / f"{number}.txt").hardlink_to(astronaut / "detections" / "astronaut.txt")
    results = checkpoints / "M" / "results" / "photos" / "epoch_20_000000"
    shutil.rmtree(results, ignore_errors=True)
    process = subprocess.Popen(
        [sys.executable, *command(astronaut, checkpoints), "--num_threads=1", "--batch_size=1"],
        cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)
    wait_for(results / "0.obj", process)
    return process, results


@not_on_windows
def test_ctrl_c_prints_one_line(long_run):
    process, results = long_run
    assert press_ctrl_c(process) == "test.py: stopped; what it has written stays"
    assert (results / "0.mat").exists()


@linux_only
def test_finished_results_stay_when_a_reader_is_killed(long_run):
    process, results = long_run
    kill_readers(process)
    _, errors = process.communicate()
    assert process.returncode == 2
    assert "--num_threads=1" in errors and "Traceback" not in errors
    assert (results / "0.mat").exists() and not (results / "skipped.txt").exists()


def test_finished_results_stay_when_the_gpu_runs_out_of_memory(face_model, tmp_path):
    class Regressor(torch.nn.Module):
        batches = 0

        def forward(self, photos):
            self.batches += 1
            if self.batches > 1:
                raise torch.OutOfMemoryError("CUDA out of memory.")
            return torch.zeros(len(photos), 257)

    reconstructor = Reconstructor(face_model, MeshRenderer(), Regressor(), None, 0, torch.device("cpu"))
    with pytest.raises(InputError, match="--batch_size.*out of memory"):
        writer = FaceWriter(tmp_path, parse([]).save, OutputSettings(face_model, Origin(), read_photo), threads=1)
        reconstruct_photos(PhotoFolder(list_photos(EXAMPLES)), reconstructor, writer, batch_size=1, workers=0,
                           verbose=False)
    assert {path.name for path in tmp_path.iterdir()} == {"astronaut.mat", "astronaut.obj", "astronaut.png"}
