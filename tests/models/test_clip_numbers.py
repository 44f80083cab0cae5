"""The numbers of a clip, of a head with known coefficients."""
import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import loadmat

from models.coordinates import project
from models.face_model import rotation
from models.outputs.clip_numbers import (
    ClipDetails,
    read_clip_numbers,
    write_clip_coefficients,
    write_clip_landmarks,
    write_clip_numbers,
)
from models.outputs.details import FaceDetails, OutputSettings
from models.records import AlignedFace, Clip, FaceResult, Origin
from util.files import InputError

FRAMES, MISSING = 5, 2   # the number of frames, and the one that does not show the face


@pytest.fixture(scope="module")
def details(face_model, tmp_path_factory) -> ClipDetails:
    numbers = np.random.default_rng(4)
    coefficients = 0.1 * numbers.standard_normal((FRAMES, 257)).astype(np.float32)
    raw = coefficients.copy()
    raw[MISSING] = np.nan
    trans_params = np.array([640, 480, 0.8, 300, 250]) + np.outer(np.arange(FRAMES), [0, 0, 0.01, 7, -3])
    found = np.arange(FRAMES) != MISSING
    checkpoint = tmp_path_factory.mktemp("checkpoint") / "epoch_20.pth"
    checkpoint.write_bytes(b"weights")
    clip = Clip(Path("clip.mp4"), "clip", 25, None, np.arange(FRAMES) / 25, found, coefficients, raw, trans_params,
                np.array([0, 0, 0, 0, 1]))
    model = copy.deepcopy(face_model)
    model.annotated_keypoints = model.keypoints.roll(1)
    return ClipDetails(clip, OutputSettings(model, Origin("open_face_model.npz", checkpoint), None))


@pytest.fixture(scope="module")
def written(details, tmp_path_factory) -> Path:
    stem = tmp_path_factory.mktemp("clip") / "clip"
    for write in (write_clip_numbers, write_clip_coefficients, write_clip_landmarks):
        write(stem, details)
    return stem


def test_landmarks_of_a_clip_are_those_of_each_frame_as_a_photo(details, written):
    clip = details.clip
    stored = np.load(f"{written}.npz")
    parts = {"id": 80, "exp": 144, "tex": 224, "angle": 227, "gamma": 254}
    for frame in range(FRAMES):
        if frame == MISSING:
            assert (stored["landmarks"][frame] == -1).all() and np.isnan(stored["coeff_raw"][frame]).all()
            continue
        face = AlignedFace(clip.video, "", "", np.zeros((0, 0, 3)), clip.trans_params[frame], np.zeros((5, 2)),
                           turns=int(clip.turns[frame]))
        coefficients = dict(zip((*parts, "trans"), np.split(clip.coefficients[frame], [*parts.values()]), strict=True))
        expected = FaceDetails(FaceResult(face, coefficients, np.zeros((68, 2))), details.settings)
        np.testing.assert_allclose(stored["landmarks"][frame], expected.landmarks_in_photo, atol=1e-3)
        keypoints = details.settings.face_model.annotated_keypoints
        unposed = expected.shape[keypoints] @ stored["rotation"][frame] + coefficients["trans"]
        np.testing.assert_allclose(project(unposed.astype(float), stored["camera"][frame]),
                                   stored["landmarks"][frame], atol=1e-2)


def test_the_numbers_that_talking_heads_take(details, written):
    clip, stored, mat = details.clip, np.load(f"{written}.npz"), loadmat(f"{written}.mat")
    assert stored["coeff"].shape == (FRAMES, 257) and stored["coeff"].dtype == np.float32
    expected = [*(clip.coefficients[:, part] for part in (slice(80, 144), slice(224, 227), slice(254, 257))),
                clip.trans_params[:, 2:]]
    np.testing.assert_array_equal(stored["coeff_73"], np.concatenate(expected, 1).astype(np.float32))
    np.testing.assert_allclose(stored["transform_params"], clip.trans_params)
    np.testing.assert_array_equal(stored["rotation"], rotation(torch.from_numpy(clip.coefficients[:, 224:227])))
    for name in ("coeff", "transform_params", "coeff_73", "landmarks", "camera"):
        np.testing.assert_array_equal(mat[name], stored[name])
    assert mat["face_model"].item() == "open_face_model.npz"


def test_the_text_file_has_a_line_for_each_frame(written):
    lines = [[float(number) for number in line.split()]
             for line in Path(f"{written}_landmarks.txt").read_text().splitlines()]
    np.testing.assert_allclose(np.reshape(lines, (FRAMES, 68, 2)), np.load(f"{written}.npz")["landmarks"], atol=0.006)


def test_what_is_written_is_read(details, written, tmp_path):
    numbers = read_clip_numbers(Path(f"{written}.npz"))
    np.testing.assert_array_equal(numbers.coeff, details.clip.coefficients)
    assert numbers.found.tolist() == details.clip.found.tolist()
    assert numbers.face_model == "open_face_model.npz" and len(numbers.checkpoint_sha256) == 64

    stored = dict(np.load(f"{written}.npz"))
    for change, message in (({"coeff": np.full((FRAMES, 257), np.nan)}, "coeff must be finite"),
                            ({"coeff_raw": np.full((FRAMES, 257), np.nan)}, "coeff_raw must be finite"),
                            ({"found": np.ones(FRAMES - 1, bool)}, "found must be")):
        np.savez(tmp_path / "wrong.npz", **stored | change)
        with pytest.raises(InputError, match=message):
            read_clip_numbers(tmp_path / "wrong.npz")
    (tmp_path / "text.npz").write_text("no numbers")
    with pytest.raises(InputError, match="no complete file"):
        read_clip_numbers(tmp_path / "text.npz")
    with pytest.raises(InputError, match="does not exist"):
        read_clip_numbers(tmp_path / "missing.npz")


def test_a_clip_without_a_network_names_no_checkpoint(details, tmp_path):
    settings = replace(details.settings, origin=Origin("open_face_model.npz"))
    write_clip_numbers(tmp_path / "clip", ClipDetails(details.clip, settings))
    assert read_clip_numbers(tmp_path / "clip.npz").checkpoint_sha256 == ""
