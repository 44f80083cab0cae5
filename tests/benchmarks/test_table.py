"""The table of all numbers, for one photo, and the parts that it is made of."""
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from datasets.face_detection import landmarks_found
from datasets.photos import read_photo
from options.testing import parse
from test import reconstruct_folder
from tests.benchmarks import quality, robustness, table
from tests.benchmarks.scores import confidence_interval
from tests.helpers import EXAMPLES, ROOT


def test_the_interval_of_a_mean_is_about_four_standard_errors_wide():
    values = np.random.default_rng(1).normal(5, 2, 400)
    low, high = confidence_interval(values)
    error = values.std() / 20
    assert (low, high) == pytest.approx((values.mean() - 1.96 * error, values.mean() + 1.96 * error), abs=0.1 * error)
    assert confidence_interval(np.full(3, 7.0)) == (7, 7)


def test_two_checkpoints_stand_side_by_side():
    columns = table.methods([("a", "20"), ("b", "5"), ("b", "6")], 8, 12)
    assert list(columns) == [f"`{network}`{fit}" for network in ("a", "b, epoch 5", "b, epoch 6")
                             for fit in ("", " with `--fit_color`", " with `--fit_iters=8`")] + [
                                 "fit alone", "fit alone, open face model"]
    row = table.Row("error", "%", "3 photos", {"`a`": table.cell(np.array([1.0, 1, 1])), "fit alone": {"mean": 2.0}})
    other = row._replace(cells={"`b, epoch 5`": {"mean": 3.0}})
    lines = table.markdown([row, other]).splitlines()
    assert lines == ["| | `a` | fit alone | `b, epoch 5` |", "| --- | --- | --- | --- |",
                     "| error; 3 photos | 1.00 (1.00 to 1.00) % | 2.00 % |  |", "| error; 3 photos |  |  | 3.00 % |"]


def test_a_grey_photo_is_in_none_of_the_thirds_by_skin_tone(tmp_path):
    colors = np.random.default_rng(0).integers(0, 255, (224, 672, 3), np.uint8)
    for name, brightness in (("grey", 0), ("dark", -2), ("medium", 0), ("light", 2)):
        panel = colors if name != "grey" else np.repeat(colors[:, :, :1], 3, 2)
        Image.fromarray(panel).save(tmp_path / f"{name}.png")
        tex = np.zeros((1, 80), np.float32)
        tex[0, 0] = brightness   # the first component makes the skin lighter
        savemat(tmp_path / f"{name}.mat", {"tex": tex})
    photos = [Path(f"{name}.jpg") for name in ("light", "grey", "medium", "dark")]
    assert quality.tones(tmp_path, photos) == {Path(f"{name}.jpg"): name for name in ("light", "medium", "dark")}


def reconstruct_here(photos, results, options):
    """In place of a process of test.py, which takes seconds to start."""
    assert reconstruct_folder(parse([*options, f"--img_folder={photos}", f"--results_dir={results}", "--gpu_ids=-1",
                                     "--num_threads=0"])) == 0
    return results


def test_the_table_of_a_photo(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(quality, "reconstruct", reconstruct_here)
    monkeypatch.setattr(robustness, "CHANGES", [robustness.CHANGES[1]._replace(strengths=(1.5, 300))])   # darker
    folder = tmp_path / "photos"
    (folder / "landmarks").mkdir(parents=True)
    pixels = np.asarray(Image.fromarray(read_photo(EXAMPLES / "astronaut.png")).resize((256, 256)))
    Image.fromarray(pixels).save(folder / "a.png")
    np.savetxt(folder / "landmarks" / "a.txt", landmarks_found(pixels)[0])
    command = [str(folder), f"--out={tmp_path / 'out'}", "--faces=1", "--fit_iters", "1", "1", "--networks",
               "photo_face:20"]
    assert table.main(command) == 0
    text, content = (tmp_path / "out.md").read_text(), json.loads((tmp_path / "out.json").read_text())
    assert text in capsys.readouterr().out
    checksum = hashlib.sha256((ROOT / "checkpoints" / "photo_face" / "epoch_20.pth").read_bytes()).hexdigest()
    assert content["checkpoints_sha256"] == {"photo_face:20": checksum} and checksum in text
    rows = {row["measure"].split(":")[0]: row["cells"] for row in reversed(content["rows"])}
    columns = list(table.methods([("photo_face", "20")], 1, 1))
    for name in ("landmark error", "photos with a landmark error above 8%", "colour error", "seconds per photo, all "
                 "files written, start included"):
        assert list(rows[name]) == columns
        assert f"| {name}" in text
    assert 0 < rows["landmark error"]["`photo_face`"]["mean"] < 8
    assert rows["photos in which a face is found"] == {"mediapipe": {"mean": 100}, "dlib": {"mean": 100}}
    assert rows["error of all 68 landmarks"]["mediapipe"]["mean"] == pytest.approx(0, abs=1e-6)
    assert 0 < rows["NME, divided by eyes"]["`photo_face`"]["mean"] < 8
    assert rows["failures at 8 %, divided by eyes"] == {"`photo_face`": {"mean": 0}}
    assert list(rows["vertex distance, all faces"]) == ["mean face", "fit, landmarks found by the detector",
                                                        "fit, true landmarks"]
    tones = [row["photos"] for row in content["rows"] if "by skin tone" in row["photos"]]
    assert len(tones) == 4 and len(set(tones)) == 1 and tones[0].startswith("the 1 photos of the ")
    unchanged, darker, darkest = content["made_worse"]["darker"]
    assert unchanged["failures"] == darker["failures"] == 0 and darkest == {"nme": None, "failures": 1, "id": None}
    assert "Weakest spots, with failures of more than 10%: darker from 300 (times)." in text

    assert table.main([*command, "--networks", "nowhere:3"]) == 2
    assert "no checkpoint" in capsys.readouterr().err
