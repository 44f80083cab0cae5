"""Where test.py finds photos and writes results. Its functions are called in this process, which is quick."""
import shutil
import time
from pathlib import Path

import pytest

from options.testing import parse
from test import reconstruct_folder
from tests.helpers import EXAMPLES, ROOT
from util.files import InputError
from util.locks import lock_folder


@pytest.fixture
def photos(tmp_path) -> Path:
    """Photos in folders, two of which have one name."""
    for folder in ("photos/clipA/frames", "photos/clipB/frames"):
        (tmp_path / folder / "detections").mkdir(parents=True)
        shutil.copy(EXAMPLES / "grace_hopper.jpg", tmp_path / folder / "1.jpg")
        shutil.copy(EXAMPLES / "detections" / "grace_hopper.txt", tmp_path / folder / "detections" / "1.txt")
    return tmp_path / "photos"


def run(place: Path, *more: str) -> int:
    """The exit status of test.py with the network of this repository, as far as the network's checkpoint goes."""
    checkpoints = place.parent / "checkpoints" if place.name == "photos" else place.parents[2] / "checkpoints"
    if not checkpoints.exists():
        (checkpoints / "open_face").mkdir(parents=True)
        shutil.copy(ROOT / "checkpoints" / "open_face" / "epoch_20.pth", checkpoints / "open_face")
    return reconstruct_folder(parse(["--name=open_face", "--epoch=20", "--gpu_ids=-1", "--num_threads=0",
                                     f"--img_folder={place}", f"--checkpoints_dir={checkpoints}", *more]))


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_two_folders_of_one_name(photos, tmp_path, capsys):
    assert run(photos / "clipA" / "frames") == run(photos / "clipB" / "frames") == 0
    results = tmp_path / "checkpoints" / "open_face" / "results"
    three = {"1.png", "1.obj", "1.mat"}
    for name in ("frames", "clipB_frames"):
        assert files(results / name) == {f"epoch_20_000000/{file}" for file in three} | {".photos"}
    printed = capsys.readouterr()
    assert "frames holds the results of" in printed.err and "clipB_frames" in printed.out


def test_a_tree_keeps_its_paths_and_old_results_of_a_photo_that_fails_are_named(photos, tmp_path, capsys):
    results = tmp_path / "out"
    assert run(photos, "--recursive", f"--results_dir={results}") == 0
    assert files(results) == {f"{clip}/frames/1.{kind}" for clip in ("clipA", "clipB") for kind in ("png", "obj", "mat")
                              } | {".photos"}
    time.sleep(0.01)   # the times of files are not exact
    (photos / "clipB" / "frames" / "1.jpg").write_text("not a photo")
    with lock_folder(results):   # as another test.py does
        assert run(photos, "--recursive", f"--results_dir={results}") == 1
    assert f"another test.py writes to {results} at the same time" in capsys.readouterr().err
    line, = (results / "skipped.txt").read_text().splitlines()
    assert line.startswith("clipB/frames/1.jpg: ")
    assert line.endswith("; results of an earlier run are still there: clipB/frames/1.mat, clipB/frames/1.obj, "
                         "clipB/frames/1.png")


def test_results_beside_photos_are_refused_before_anything_is_written(photos):
    before = files(photos)
    with pytest.raises(InputError, match="could overwrite photos"):
        run(photos / "clipA" / "frames", f"--results_dir={photos / 'clipA' / 'frames'}")
    assert files(photos) == before
