import shutil
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

import data_preparation
from models.regressor import Regressor
from tests.helpers import EXAMPLES, ROOT, arguments, start_python
from tests.programs.preparing import EXAMPLE, command


@pytest.fixture(scope="session")
def trained(photos, tmp_path_factory) -> Path:
    """The experiment's folder after an undisturbed training of two epochs of three steps. Do not change it."""
    folder = tmp_path_factory.mktemp("trained")
    run = start_python("train.py", *arguments(photos, folder, "--name=m", "--n_epochs=2", "--print_freq=1",
                                              "--display_freq=2", "--save_latest_freq=1"))
    output, _ = run.communicate()
    assert run.returncode == 0, output
    return folder / "m"


# data_preparation.py

@pytest.fixture
def root(tmp_path, monkeypatch) -> Path:
    """An empty data_root, from which data_preparation.py is run."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def two_photos(root) -> Path:
    """The folder `photos` in data_root, with a photo that has detections and one that has not."""
    folder = root / "photos"
    (folder / "detections").mkdir(parents=True)
    shutil.copy(EXAMPLES / "detections" / "astronaut.txt", folder / "detections")
    Image.fromarray(EXAMPLE).save(folder / "astronaut.png")
    Image.fromarray(EXAMPLE[:320, 80:400]).save(folder / "searched.jpg", quality=95)
    return folder


@pytest.fixture
def prepare(monkeypatch):
    """Runs data_preparation.py in this process, which is quick: prepare("--img_folder", "photos") -> exit status."""
    def run(*arguments) -> int:
        monkeypatch.setattr(sys, "argv", command(*arguments))
        try:
            return data_preparation.main()
        except SystemExit as end:   # of wrong options
            return end.code
    return run


# test.py

@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory) -> Path:
    """Two checkpoints of an untrained network, which predicts the mean face. M says that it was trained with the open
    face model; `published` does not say with which. And the network of this repository."""
    folder = tmp_path_factory.mktemp("checkpoints")
    network = {"net_recon": Regressor("resnet18").state_dict()}
    for name, more in (("M", {"options": {"bfm_model": "open_face_model.npz"}}), ("published", {})):
        (folder / name).mkdir()
        torch.save(network | more, folder / name / "epoch_20.pth")
    (folder / "open_face").mkdir()
    (folder / "open_face" / "epoch_20.pth").symlink_to(ROOT / "checkpoints" / "open_face" / "epoch_20.pth")
    return folder


@pytest.fixture
def astronaut(tmp_path) -> Path:
    """The folder `photos` with one photo and its detections."""
    folder = tmp_path / "photos"
    (folder / "detections").mkdir(parents=True)
    shutil.copy(EXAMPLES / "astronaut.png", folder)
    shutil.copy(EXAMPLES / "detections" / "astronaut.txt", folder / "detections")
    return folder


@pytest.fixture
def reconstruct(run_here, checkpoints):
    """Reconstructs a folder: reconstruct(folder, "--save=obj") -> CompletedProcess, folder of results."""
    def run(folder, *more, name="M", epoch=20):
        done = run_here("test.py", f"--name={name}", f"--epoch={epoch}", f"--img_folder={folder}",
                        f"--checkpoints_dir={checkpoints}", "--gpu_ids=-1", *more)
        return done, checkpoints / name / "results" / folder.name / f"epoch_{epoch}_000000"
    return run
