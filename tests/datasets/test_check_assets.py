"""The table of assets, and that every script says the same when one is missing."""
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from datasets.check_assets import survey
from models import arcface
from models.checkpoints import new_regressor
from models.regressor import Regressor
from options.common import located
from options.training import parse
from tests.helpers import ROOT
from util import assets


@pytest.fixture
def checkpoints(tmp_path):
    folder = tmp_path / "checkpoints"
    for name in ("mine", "init_model", "recog_model/ms1mv3_arcface_r18_fp16", "lm_model"):
        (folder / name).mkdir(parents=True)
    torch.save({"net_recon": Regressor("resnet18").state_dict()}, folder / "mine" / "epoch_7.pth")
    (folder / "mine" / "epoch_8.pth").write_bytes(b"broken")
    torch.save(Regressor("resnet34").backbone.state_dict(), folder / "init_model" / "resnet34-b627a593.pth")
    torch.save(arcface.IResNet("r18").state_dict(), folder / "recog_model/ms1mv3_arcface_r18_fp16" / "backbone.pth")
    np.savetxt(folder / "lm_model" / "test_mean_face.txt", np.zeros(136))
    return folder


def test_what_is_found_unusable_and_missing(checkpoints):
    rows = {path.relative_to(checkpoints) if path.is_relative_to(checkpoints) else path.relative_to(ROOT):
            (state, contents) for state, path, _, contents in survey(ROOT / "BFM", checkpoints)}
    found = {str(path): contents for path, (state, contents) in rows.items() if state == "found"}
    assert found["mine/epoch_7.pth"] == "resnet18, seven heads"
    assert found["init_model/resnet34-b627a593.pth"] == "resnet34"
    assert found["recog_model/ms1mv3_arcface_r18_fp16/backbone.pth"] == "IResNet r18"
    assert found["lm_model/test_mean_face.txt"] == "68 points"
    assert "80 + 64 + 80 components" in found["BFM/open_face_model.npz"]
    unusable = {str(path): contents for path, (state, contents) in rows.items() if state == "unusable"}
    assert list(unusable) == ["mine/epoch_8.pth"] and "cannot be read" in unusable["mine/epoch_8.pth"]
    missing = {path.name for path, (state, _) in rows.items() if state == "missing"}
    assert {"68lm_detector.pb", "BBRegressorParam_r.mat"} <= missing
    assert len(missing | {path.name for path in rows}) >= 15   # a row for every asset


def test_the_table(tmp_path):
    command = [sys.executable, "-m", "datasets.check_assets",
               f"--bfm_folder={ROOT / 'BFM'}", f"--checkpoints_dir={tmp_path}"]
    done = subprocess.run(command, cwd=ROOT, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert f"missing  {tmp_path}/lm_model/68lm_detector.pb" in done.stdout
    assert f"found    {ROOT}/BFM/open_face_model.npz" in done.stdout
    words = " ".join(done.stdout.split())
    for asset in (*assets.BASEL, assets.IMAGENET, assets.RECOGNITION, assets.CHECKPOINT):
        assert asset.purpose in words and asset.source in words


def test_training_starts_from_the_weights_that_the_table_of_assets_reports(tmp_path):
    torch.manual_seed(1)
    weights = Regressor("resnet18").backbone.state_dict()
    (tmp_path / "init_model").mkdir()
    torch.save(weights, tmp_path / "init_model" / "resnet18-f37072fd.pth")
    rows = survey(ROOT / "BFM", tmp_path)
    assert {(state, contents) for state, _, asset, contents in rows if asset is assets.IMAGENET} == {
        ("found", "resnet18")}
    network = new_regressor("resnet18", False, None, tmp_path / "init_model", print)
    assert torch.equal(network.backbone.conv1.weight, weights["conv1.weight"])


def test_training_reads_the_recognition_network_that_the_table_of_assets_reports(checkpoints):
    path = parse([f"--checkpoints_dir={checkpoints}"]).net_recog_path
    assert path == checkpoints / assets.RECOGNITION.name
    assert parse([f"--checkpoints_dir={checkpoints}", "--net_recog_path=a.pth"]).net_recog_path == Path("a.pth")


def test_files_in_the_usual_folder_are_found_with_another_folder_of_experiments(tmp_path, monkeypatch):
    """As in Deep3DFaceRecon, where only experiments move with --checkpoints_dir."""
    monkeypatch.chdir(tmp_path)
    usual, other = Path("checkpoints", "init_model"), tmp_path / "other"
    assert located(other, "init_model") == other / "init_model"
    usual.mkdir(parents=True)
    assert located(other, "init_model") == usual
    (other / "init_model").mkdir(parents=True)
    assert located(other, "init_model") == other / "init_model"
