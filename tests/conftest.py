import importlib
import os
import subprocess
import sys
from pathlib import Path

if "PYTEST_XDIST_WORKER" in os.environ:   # several processes share the cores: one thread each. PyTorch reads it once.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
import torch
from PIL import Image

from datasets.synthetic.faces import SyntheticFaces
from models.coordinates import CROP_SIZE, flip_y
from models.face_model import FaceModel
from models.face_model_files import load_face_model_data
from models.renderer import MeshRenderer
from tests.helpers import ROOT


@pytest.fixture(scope="session")
def face_model() -> FaceModel:
    return FaceModel(load_face_model_data(ROOT / "BFM", "open_face_model.npz"))


@pytest.fixture(scope="session")
def photos(face_model, tmp_path_factory) -> Path:
    """A folder of 12 photos with landmarks and masks, and datalists of all of them and of 5 for validation."""
    folder = tmp_path_factory.mktemp("photos")
    batch = SyntheticFaces(face_model, MeshRenderer(), seed=1, size=CROP_SIZE).batch(0, 12)
    for name in ("landmarks", "mask"):
        (folder / name).mkdir()
    for i in range(12):
        pixels = (255 * batch.photo[i]).byte().permute(1, 2, 0).numpy()
        Image.fromarray(pixels).save(folder / f"{i:02d}.png")
        Image.fromarray((255 * batch.mask[i, 0]).byte().numpy()).save(folder / "mask" / f"{i:02d}.png")
        np.savetxt(folder / "landmarks" / f"{i:02d}.txt", flip_y(batch.landmarks[i].numpy(), CROP_SIZE))
    lines = [f"mask/{i:02d}.png\n" for i in range(12)]
    (folder / "train.txt").write_text("".join(lines))
    (folder / "val.txt").write_text("".join(lines[:5]))
    return folder


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.fixture
def run_script():
    """Runs a script of the repository as a user would: run_script("test.py", "--name=x") -> CompletedProcess."""
    def run(script: str, *arguments) -> subprocess.CompletedProcess:
        command = [sys.executable, str(ROOT / script), *map(str, arguments)]
        return subprocess.run(command, cwd=ROOT, env=os.environ | {"PYTHONWARNINGS": "default"}, text=True,
                              capture_output=True)
    return run


@pytest.fixture
def run_here(monkeypatch, capsys):
    """Runs a script as `run_script` does, but in this process and without readers, which saves seconds."""
    def run(script: str, *arguments) -> subprocess.CompletedProcess:
        monkeypatch.chdir(ROOT)
        monkeypatch.setattr(sys, "argv", [str(ROOT / script), "--num_threads=0", *map(str, arguments)])
        capsys.readouterr()
        try:
            status = importlib.import_module(Path(script).stem).main()
        except SystemExit as end:   # of wrong options
            status = end.code
        return subprocess.CompletedProcess(sys.argv, status, *capsys.readouterr())
    return run


