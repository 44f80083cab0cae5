import os
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

from models.face_model import FaceModel
from models.files import load_face_model_data

ROOT = Path(__file__).parent.parent
GOLDEN = ROOT / "tests" / "golden"
EXAMPLES = ROOT / "datasets" / "examples"


def filled(network: torch.nn.Module) -> torch.nn.Module:
    """Weights from the names of the parameters: the same everywhere, without a file."""
    def values(key, shape):
        u = np.random.default_rng(zlib.crc32(key.encode())).random(shape)
        if key.endswith("num_batches_tracked"):
            return 0 * u
        if key.endswith("running_var"):
            return 0.75 + 0.5 * u
        if key.endswith("prelu.weight"):
            return 0.1 + 0.25 * u
        if key.endswith(("running_mean", "bias")):
            return 0.2 * (u - 0.5)
        return 0.5 + 0.5 * u if len(shape) == 1 else (2 * u - 1) * np.sqrt(3 / np.prod(shape[1:]))

    state = network.state_dict()
    network.load_state_dict({key: torch.from_numpy(np.asarray(values(key, tuple(old.shape)))).to(old.dtype)
                             for key, old in state.items()})
    return network.eval()


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
