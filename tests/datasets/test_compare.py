"""python -m datasets.compare, on files of results that are made here."""
import json

import numpy as np
import pytest

from datasets.compare import main
from models.coefficients import SIZE, SLICES
from models.metrics import METRICS

ORIGIN = {"face_model": "photo_face_model.npz", "checkpoint_sha256": "ab12", "focal": 1015.0, "camera_d": 10.0}


def clip_file(path, coefficients, found=None, size=(640, 480), rate=25.0, shift=0.0, **origin):
    """Write the file of a video whose landmarks are shifted to the right by that many px."""
    count = len(coefficients)
    found = np.ones(count, bool) if found is None else found
    raw = np.where(found[:, None], coefficients, np.nan).astype(np.float32)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, coeff=0 * coefficients, coeff_raw=raw, transform_params=np.tile([*size, 0.5, 9, 9], (count, 1)),
             landmarks=np.full((count, 68, 2), 100.0) + (shift, 0), rotation=np.tile(np.eye(3), (count, 1, 1)),
             found=found, time=np.arange(count) / rate, video="gone.mp4", **ORIGIN | origin)


def photo_file(path, coefficients):
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **{name: coefficients[part] for name, part in SLICES.items()}, landmarks=np.zeros((68, 2)),
             trans_params=np.array([64.0, 64, 1, 0, 0]), turns=0, photo="a.png", **ORIGIN)


def compared(tmp_path, *arguments) -> tuple[int, dict]:
    """The exit status, and the content of the JSON file."""
    file = tmp_path / "out.json"
    status = main([*map(str, arguments), "--identity=none", f"--json={file}"])
    return status, json.loads(file.read_text())


def test_two_videos_by_their_raw_numbers(tmp_path, capsys):
    """B has one frame more, two frames of A and one of B lack the face, and one of these is the same."""
    coefficients = np.zeros((6, SIZE))
    coefficients[:, 0] = 1
    others = np.vstack([coefficients, coefficients[:1]])
    others[:, SLICES["exp"]] = np.arange(7)[:, None]
    clip_file(tmp_path / "a.npz", coefficients, np.array([1, 1, 0, 0, 1, 1], bool))
    clip_file(tmp_path / "b.npz", others, np.array([1, 1, 1, 0, 1, 1, 1], bool), shift=3, rate=30)
    status, result = compared(tmp_path, tmp_path / "a.npz", tmp_path / "b.npz")
    assert status == 0 and result["frames_compared"] == 4
    assert (result["A"]["frames"], result["A"]["frames_without_face"]) == (6, 2)
    assert (result["B"]["frames"], result["B"]["frames_without_face"]) == (7, 1)
    assert result["metrics"]["AED_mean64"] == pytest.approx((0 + 1 + 4 + 5) / 4)
    assert result["metrics"]["LMD_68_px"] == pytest.approx(3) and result["metrics"]["LMD_68_centred_px"] == 0
    assert result["metrics"]["identity_cosine_id80"] == pytest.approx(1)
    of_b = np.array([0, 1, 2, 4, 5, 6])
    assert result["metrics"]["E-FID_exp64"] == pytest.approx(64 * (of_b.mean() ** 2 + of_b.var(ddof=1)), rel=1e-6)
    assert len(result["remarks"]) == 3
    assert all(word in " ".join(result["remarks"]) for word in ("the first 6", "B has 30.00", "65 frames"))
    shown = capsys.readouterr().out
    assert all(name in shown for name in METRICS) and "7 frames in 1 file, 1 without a face" in shown


def test_folders_are_compared_by_names_and_weighted_by_frames(tmp_path, capsys):
    for side, value in (("a", 0.0), ("b", 1.0)):
        clip_file(tmp_path / side / "one.npz", np.full((3, SIZE), 5 + value))
        clip_file(tmp_path / side / "in" / "two.npz", np.full((1, SIZE), 5 + 5 * value))
        photo_file(tmp_path / side / "photo.npz", np.full(SIZE, 5 - 2 * value))
        photo_file(tmp_path / side / f"only_{side}.npz", np.full(SIZE, value))
    (tmp_path / "b" / "broken.npz").write_text("no numbers")
    status, result = compared(tmp_path, tmp_path / "a", tmp_path / "b")
    assert status == 1 and result["pairs"].keys() == {"one", "in/two", "photo"}
    assert result["metrics"]["AED_mean64"] == pytest.approx((3 * 1 + 5 + 2) / 5)
    assert result["pairs"]["in/two"]["AED_sum64"] == pytest.approx(64 * 5)
    assert result["A"]["without_counterpart"] == ["only_a"] and result["B"]["without_counterpart"] == ["only_b"]
    assert "broken.npz" in result["left_out"][0] and "broken.npz" in capsys.readouterr().out


def test_results_of_different_models_are_refused_unless_forced(tmp_path, capsys):
    numbers = np.ones((2, SIZE))
    clip_file(tmp_path / "a.npz", numbers)
    for name, value in (("face_model", "open_face_model.npz"), ("checkpoint_sha256", "cd34"), ("focal", 900.0)):
        clip_file(tmp_path / "b.npz", numbers, size=(320, 240), **{name: value})
        assert main([str(tmp_path / "a.npz"), str(tmp_path / "b.npz")]) == 2
        error = capsys.readouterr().err
        assert name in error and str(value) in error and "--force" in error
    status, result = compared(tmp_path, tmp_path / "a.npz", tmp_path / "b.npz", "--force")
    assert status == 0 and result["metrics"]["AED_sum64"] == 0 and result["metrics"]["LMD_68_px"] is None
    assert any("320 x 240" in remark for remark in result["remarks"])


def test_what_cannot_be_compared(tmp_path, capsys):
    clip_file(tmp_path / "a.npz", np.ones((2, SIZE)), np.zeros(2, bool))
    (tmp_path / "broken.npz").write_text("no numbers")
    for arguments, message in ((["a.npz", "gone.mp4"], "does not exist"), (["a.npz", "broken.npz"], "is no .npz file"),
                               (["a.npz", "a.npz", "--epoch=20"], "--epoch=20")):
        assert main([*(str(tmp_path / name) for name in arguments[:2]), *arguments[2:]]) == 2
        assert message in capsys.readouterr().err
    status, result = compared(tmp_path, tmp_path / "a.npz", tmp_path / "a.npz")   # no frame shows a face
    assert status == 0 and result["frames_compared"] == 0 and set(result["metrics"].values()) == {None}
