"""data_preparation.py in processes of its own: signals, killed processes, and several that share the work."""
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image

from tests.helpers import linux_only, not_on_windows, press_ctrl_c, wait_for
from tests.programs.preparing import EXAMPLE, add_photo, add_photos, command, masks_listed, start, written


@not_on_windows
def test_ctrl_c_is_answered_in_a_line(root):
    folder = root / "photos"
    add_photos(folder, 1000)
    process = start("--img_folder", "photos", "--num_threads=1", start_new_session=True)
    wait_for(folder / "mask" / "000.png", process)
    assert press_ctrl_c(process) == "data_preparation.py: stopped; what it has written stays"


def test_killed_at_any_moment_it_leaves_whole_files_and_goes_on(root, prepare):
    folder = root / "photos"
    add_photos(folder, 40)
    remnant = folder / "mask" / f".{'0' * 32}.png"

    def masks():
        return sorted((folder / "mask").glob("[!.]*"))

    process = start("--img_folder", "photos", "--num_threads=1")
    while len(masks()) < 10 and process.poll() is None:
        time.sleep(0.01)
    assert process.poll() is None
    process.kill()
    process.communicate()
    assert 10 <= len(masks()) < 40
    assert not (root / "datalist").exists()
    for mask in masks():
        assert np.asarray(Image.open(mask)).shape == (224, 224, 3)
    remnant.touch()
    os.utime(remnant, (0, 0))
    assert prepare("--img_folder", "photos") == 0
    assert len(masks()) == 40 == len(masks_listed(root))
    assert not remnant.exists()


@linux_only
def test_a_worker_that_is_killed(root):
    """As the system does when memory runs out."""
    folder = root / "photos"
    folder.mkdir()
    for number in range(50):
        Image.fromarray(EXAMPLE).save(folder / f"{number}.png", compress_level=0)
    process = start("--img_folder", "photos", "--num_threads=1")
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    while not (folder / "mask").is_dir() or not any((folder / "mask").iterdir()):
        assert process.poll() is None
        time.sleep(0.01)
    for child in children.read_text().split():
        os.kill(int(child), signal.SIGKILL)
    _, errors = process.communicate()
    assert process.returncode == 2
    assert "memory" in errors and "--num_threads=1" in errors and "Traceback" not in errors


def test_processes_of_torchrun_share_the_photos(root, two_photos, prepare):
    add_photo(two_photos, "given.png")
    (two_photos / "text.jpg").write_text("not a photo")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2",
                *command("--img_folder", "photos", "--num_threads=2")]
    done = subprocess.run(torchrun, text=True, capture_output=True)
    assert done.returncode == 1   # the text
    assert done.stdout.count("3 of 4 photos prepared") == 1, done.stderr
    assert len(masks_listed(root)) == 3
    shared = {path: content for path, (_, content) in written(root).items()}
    for name in ("landmarks/searched.txt", "landmarks/astronaut.txt", "skipped.txt"):
        (two_photos / name).unlink()
    for name in ("dense", "mask", "vis"):
        shutil.rmtree(two_photos / name)
    shutil.rmtree(root / "datalist")
    assert prepare("--img_folder", "photos") == 1
    assert {path: content for path, (_, content) in written(root).items()} == shared
