"""The network in the repository, as the README's first command uses it."""
import shutil

import numpy as np
import pytest
from scipy.io import loadmat

from datasets.photo_folder import PhotoFolder
from datasets.photos import list_photos
from models.coordinates import CROP_SIZE, flip_y
from tests.helpers import ROOT, color_error

SHIPPED = ROOT / "checkpoints" / "open_face"


@pytest.fixture
def checkpoints(tmp_path):
    """A folder of checkpoints with the shipped one, so that results do not go into the repository."""
    shutil.copytree(SHIPPED, tmp_path / "open_face", ignore=shutil.ignore_patterns("results"))
    return tmp_path


def test_it_reconstructs_the_examples_with_its_own_face_model(run_script, checkpoints):
    bfm_folder = checkpoints / "BFM"
    bfm_folder.mkdir()
    shutil.copy(ROOT / "BFM" / "open_face_model.npz", bfm_folder)
    (bfm_folder / "BFM_model_front.mat").write_text("of a user of the Basel Face Model")
    run = run_script("test.py", "--name=open_face", "--epoch=20", f"--checkpoints_dir={checkpoints}",
                     f"--bfm_folder={bfm_folder}")
    assert run.returncode == 0, run.stderr
    results = checkpoints / "open_face" / "results" / "examples" / "epoch_20_000000"
    examples = PhotoFolder(list_photos(ROOT / "datasets" / "examples"), for_fit=True)
    for face in (examples[i].faces[0] for i in range(len(examples))):
        assert (results / f"{face.name}.obj").exists()
        found = flip_y(loadmat(results / f"{face.name}.mat")["lm68"][0], CROP_SIZE)
        eyes = np.linalg.norm(face.landmarks[36] - face.landmarks[45])
        assert np.linalg.norm(found - face.landmarks, axis=1).mean() < 0.07 * eyes
        assert color_error(results / f"{face.name}.png") < 0.22   # wrinkles and glasses


def test_a_short_fit_from_it_makes_colours_better(run_script, checkpoints):
    errors = []
    for options in ([], ["--fit_iters=8"]):
        run = run_script("test.py", "--name=open_face", "--epoch=20", f"--checkpoints_dir={checkpoints}", *options)
        assert run.returncode == 0, run.stderr
        results = checkpoints / "open_face" / "results" / "examples" / "epoch_20_000000"
        errors.append([color_error(results / f"{name}.png") for name in ("astronaut", "grace_hopper")])
    assert (np.array(errors[1]) < 0.85 * np.array(errors[0])).all()
