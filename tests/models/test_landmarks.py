"""The scheme of the 68 landmarks, and the transform between sets of points."""
import subprocess
import sys

import numpy as np
import pytest
import torch
from imutils.face_utils import FACIAL_LANDMARKS_68_IDXS

from models import landmarks as scheme
from models.landmarks import MIRRORED_LANDMARKS, STANDARD_POINTS, five_points, similarity
from tests.helpers import GOLDEN, ROOT


def test_standard_points():
    assert (np.load(GOLDEN / "lm3d.npz")["lm3d"] == STANDARD_POINTS).all()


def test_the_groups_are_those_of_imutils():
    """imutils names the person's left and right, this scheme those of the picture."""
    groups = {"jaw": scheme.JAW, "right_eyebrow": scheme.LEFT_BROW, "left_eyebrow": scheme.RIGHT_BROW,
              "nose": scheme.NOSE, "right_eye": scheme.LEFT_EYE, "left_eye": scheme.RIGHT_EYE,
              "mouth": slice(scheme.OUTER_LIPS.start, scheme.INNER_LIPS.stop), "inner_mouth": scheme.INNER_LIPS}
    assert groups == {name: slice(*ends) for name, ends in FACIAL_LANDMARKS_68_IDXS.items()}


def test_pairs_mirror_each_other():
    for left, right in (scheme.JAW_ENDS, scheme.OUTER_EYE_CORNERS, scheme.MOUTH_CORNERS, scheme.INNER_MOUTH_CORNERS):
        assert MIRRORED_LANDMARKS[left] == right
    for lids in (scheme.UPPER_LIDS, scheme.LOWER_LIDS):
        assert MIRRORED_LANDMARKS[[*lids]].tolist() == [lids[3], lids[2], lids[1], lids[0]]


def test_mirrored_landmarks_pair_up():
    assert (MIRRORED_LANDMARKS[MIRRORED_LANDMARKS] == np.arange(68)).all()
    on_the_middle = [8, 27, 28, 29, 30, 33, 51, 57, 62, 66]
    assert np.flatnonzero(MIRRORED_LANDMARKS == np.arange(68)).tolist() == on_the_middle
    swapped = five_points(np.arange(136.0).reshape(68, 2)[MIRRORED_LANDMARKS])
    np.testing.assert_allclose(swapped, five_points(np.arange(136.0).reshape(68, 2))[[1, 0, 2, 4, 3]])


def test_five_points_of_batches_and_tensors():
    landmarks = np.random.default_rng(0).random((3, 68, 2))
    points = five_points(landmarks)
    assert points.shape == (3, 5, 2)
    np.testing.assert_allclose(points[1], five_points(landmarks[1]))
    np.testing.assert_allclose(five_points(torch.tensor(landmarks)).numpy(), points)


@pytest.mark.parametrize("kind", [np.asarray, torch.as_tensor])
def test_a_similarity_is_found_again(kind):
    rng = np.random.default_rng(0)
    turn, scale = rng.uniform(-np.pi, np.pi, 3), rng.uniform(0.1, 10, 3)
    linear = np.moveaxis(scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]), -1, 0)
    shift, points = rng.normal(0, 100, (3, 2)), rng.normal(0, 50, (3, 5, 2))
    moved = points @ linear.swapaxes(1, 2) + shift[:, None]
    matrix = similarity(kind(points), kind(moved))
    assert type(matrix) is type(kind(points)) and matrix.shape == (3, 2, 3)
    np.testing.assert_allclose(matrix, np.dstack([linear, shift]), atol=1e-9)
    np.testing.assert_allclose(similarity(kind(points[1]), kind(moved[1])), matrix[1])


def test_no_other_similarity_brings_points_nearer():
    source, target = np.random.default_rng(1).normal(0, 50, (2, 5, 2))

    def distance(matrix):
        return np.square(source @ matrix[:, :2].T + matrix[:, 2] - target).sum()

    best = similarity(source, target)
    for change in ([[1, 0, 0], [0, 1, 0]], [[0, -1, 0], [1, 0, 0]], [[0, 0, 1], [0, 0, 0]], [[0, 0, 0], [0, 0, 1]]):
        for step in (1e-3, -1e-3):
            assert distance(best + step * np.array(change)) > distance(best)


def test_the_scheme_needs_numpy_only():
    code = "import sys, models.landmarks; sys.exit(bool({'torch', 'cv2', 'scipy', 'PIL'} & {*sys.modules}))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_the_builder_of_the_open_model_runs_as_a_script_from_anywhere(tmp_path):
    script = ROOT / "BFM" / "build_open_face_model.py"
    done = subprocess.run([sys.executable, script, "--help"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0 and "--reference" in done.stdout, done.stderr
