"""Small checkpoints to give away."""
import subprocess
import sys

import pytest
import torch

from models.checkpoints import load_checkpoint, load_regressor, trained_with
from models.face_model_files import choose_face_model
from models.regressor import Regressor
from tests.helpers import ROOT


@pytest.fixture
def checkpoint(tmp_path):
    """A checkpoint of a training, which has the state of Adam."""
    network = Regressor("mobilenet_v3_large")
    for head in network.heads:
        torch.nn.init.normal_(head.weight, std=0.01)
    optimiser = torch.optim.Adam(network.parameters())
    network(torch.rand(2, 3, 64, 64)).sum().backward()
    optimiser.step()
    path = tmp_path / "epoch_2.pth"
    torch.save({"net_recon": network.state_dict(), "opt_00": optimiser.state_dict(), "sched_00": {}, "epoch": 3,
                "options": {"bfm_model": "open_face_model.npz", "focal": 800.0, "data_root": "/home/me"}}, path)
    return path


def shrink(*paths) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", "models.shrink", *paths], cwd=ROOT, capture_output=True, text=True)


def test_a_shrunk_checkpoint_is_small_and_predicts_the_same(checkpoint, tmp_path):
    small = tmp_path / "small.pth"
    run = shrink(checkpoint, small)
    assert run.returncode == 0, run.stderr
    assert small.stat().st_size < checkpoint.stat().st_size / 5
    crops = torch.rand(2, 3, 224, 224)
    expected, found = (load_regressor(path).eval()(crops) for path in (checkpoint, small))
    assert found.dtype == torch.float32
    assert (found - expected).abs().max() < 1e-2 * expected.abs().max()


def test_it_stores_face_model_and_camera_and_nothing_about_who_trained_it(checkpoint, tmp_path):
    shrink(checkpoint, tmp_path / "small.pth")
    small = load_checkpoint(tmp_path / "small.pth")
    assert small["options"] == {"bfm_model": "open_face_model.npz", "focal": 800.0}
    (tmp_path / "BFM_model_front.mat").touch()
    assert choose_face_model(tmp_path, None, trained_with(small)) == "open_face_model.npz"
    assert choose_face_model(tmp_path, "mine.npz", trained_with(small)) == "mine.npz"
    assert choose_face_model(tmp_path, None, trained_with({"net_recon": {}})) == "BFM_model_front.mat"


def test_a_missing_folder_is_named(checkpoint, tmp_path):
    run = shrink(checkpoint, tmp_path / "missing" / "small.pth")
    assert run.returncode == 2
    assert f"{tmp_path / 'missing'} does not exist" in run.stderr
    assert "disk" not in run.stderr and "before" not in run.stderr


def test_nothing_is_overwritten(checkpoint):
    before = checkpoint.read_bytes()
    run = shrink(checkpoint, checkpoint)
    assert run.returncode == 2
    assert "is there already" in run.stderr
    assert checkpoint.read_bytes() == before
