"""Landmark errors on made-up folders in the style of 300-W."""
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from datasets.face_finder import FaceFinder
from datasets.photos import read_photo
from models.reconstruction import Reconstructor
from tests.benchmarks import ibug
from tests.benchmarks.reconstructing import landmarks_in_photo
from tests.benchmarks.scores import outer_eye_distance
from tests.helpers import EXAMPLES
from util.files import InputError


def write_pts(path, points: np.ndarray):
    """Writes points (N, 2), px from 0, as iBUG does."""
    lines = [f"{x:.3f} {y:.3f}" for x, y in points + 1]
    path.write_text(f"version: 1\nn_points:  {len(points)}\n{{\n" + "\n".join(lines) + "\n}\n")


def test_known_distances_are_measured(tmp_path, monkeypatch, capsys):
    """The annotation is what is reconstructed, moved by a known part of the distance of the eyes. A third photo shows
    no face."""
    reconstructor = Reconstructor.load("photo_face", 20, "cpu", FaceFinder())
    folder = tmp_path / "testset"
    folder.mkdir()
    for name, share in (("astronaut.png", 0.05), ("grace_hopper.jpg", 0.09)):
        result, = reconstructor.reconstruct([read_photo(EXAMPLES / name)])
        points = landmarks_in_photo(result)
        shutil.copy(EXAMPLES / name, folder)
        write_pts((folder / name).with_suffix(".pts"), points + [share * outer_eye_distance(points), 0])
    Image.new("RGB", (100, 100), "white").save(folder / "empty.png")
    write_pts(folder / "empty.pts", np.random.default_rng(0).uniform(20, 80, (68, 2)))
    shutil.copy(EXAMPLES / "astronaut.png", folder / "without_points.png")
    monkeypatch.setattr(ibug, "load_reconstructor", lambda options: reconstructor)
    monkeypatch.setattr("sys.argv", ["ibug.py", str(folder), "--json", str(tmp_path / "results.json"), "--plot",
                                     str(tmp_path / "curves.png")])
    assert ibug.main() == 0
    numbers = json.loads((tmp_path / "results.json").read_text())[str(folder)]
    assert numbers["eyes"] == pytest.approx({
        "NME": 7, "failures at 8 %": 200 / 3, "failures at 10 %": 100 / 3, "area to 8 %": 100 * (3 / 8) / 3,
        "area to 10 %": 100 * (5 / 10 + 1 / 10) / 3}, abs=0.05)
    assert numbers["pupils"]["NME"] > numbers["eyes"]["NME"] > numbers["box"]["NME"]
    assert f"| {folder} | 3 | 1 | eyes | 7.00 | 66.67 | 33.33 |" in capsys.readouterr().out
    assert (tmp_path / "curves.png").stat().st_size > 1000


def test_other_folders_are_refused(tmp_path):
    shutil.copy(EXAMPLES / "astronaut.png", tmp_path)
    with pytest.raises(InputError, match="has no photo with a file <photo>.pts beside it"):
        ibug.read_annotations(tmp_path)
    write_pts(tmp_path / "astronaut.pts", np.zeros((5, 2)))
    with pytest.raises(InputError, match="astronaut.pts must hold 68 points, not 5"):
        ibug.read_annotations(tmp_path)
