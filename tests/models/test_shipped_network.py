"""The network in the repository, as the README's first command uses it."""
import shutil

import numpy as np
import pytest
from scipy.io import loadmat

from datasets.photo_folder import PhotoFolder
from datasets.photos import list_photos
from models.coordinates import CROP_SIZE, flip_y
from tests.helpers import ROOT, color_error

NETWORKS = {"open_face": "open_face_model.npz", "photo_face": "photo_face_model.npz"}


@pytest.fixture
def checkpoints(tmp_path):
    """A folder of checkpoints with the shipped ones, so that results do not go into the repository."""
    for name in NETWORKS:
        shutil.copytree(ROOT / "checkpoints" / name, tmp_path / name, ignore=shutil.ignore_patterns("results"))
    return tmp_path


@pytest.fixture
def reconstruct(run_here, checkpoints):
    """Returns the folder of the results of the example photos."""
    def reconstruct(name: str, *options: str):
        run = run_here("test.py", f"--name={name}", "--epoch=20", f"--checkpoints_dir={checkpoints}", *options)
        assert run.returncode == 0, run.stderr
        return checkpoints / name / "results" / "examples" / "epoch_20_000000"
    return reconstruct


@pytest.mark.parametrize("name", NETWORKS)
def test_it_reconstructs_the_examples_with_its_own_face_model(reconstruct, checkpoints, name):
    bfm_folder = checkpoints / "BFM"
    bfm_folder.mkdir()
    shutil.copy(ROOT / "BFM" / NETWORKS[name], bfm_folder)
    (bfm_folder / "BFM_model_front.mat").write_text("of a user of the Basel Face Model")
    results = reconstruct(name, f"--bfm_folder={bfm_folder}")
    examples = PhotoFolder(list_photos(ROOT / "datasets" / "examples"), for_fit=True)
    for face in (examples[i].faces[0] for i in range(len(examples))):
        assert (results / f"{face.name}.obj").exists()
        found = flip_y(loadmat(results / f"{face.name}.mat")["lm68"][0], CROP_SIZE)
        eyes = np.linalg.norm(face.landmarks[36] - face.landmarks[45])
        assert np.linalg.norm(found - face.landmarks, axis=1).mean() < 0.07 * eyes
        assert color_error(results / f"{face.name}.png") < 0.22   # wrinkles and glasses


def test_the_short_fit_and_the_whole_fit_bring_faces_nearer_to_their_photos(reconstruct):
    errors = []
    for options in ([], ["--fit_color"], ["--fit_iters=8"]):
        results = reconstruct("photo_face", *options)
        errors.append(np.mean([color_error(results / f"{name}.png") for name in ("astronaut", "grace_hopper")]))
    assert max(errors[1:]) < 0.95 * errors[0]
