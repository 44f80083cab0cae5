import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from models.face_model import FaceModel
from models.files import load_face_model_data

ROOT = Path(__file__).parent.parent
GOLDEN = ROOT / "tests" / "golden"
EXAMPLES = ROOT / "datasets" / "examples"


@pytest.fixture(scope="session")
def face_model() -> FaceModel:
    return FaceModel(load_face_model_data(ROOT / "BFM", "open_face_model.npz"))


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
