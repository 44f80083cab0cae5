import os
import signal
import subprocess
import sys
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from datasets.synthetic_faces import SyntheticFaces
from models.face_model import FaceModel
from models.files import load_face_model_data
from util.coordinates import CROP_SIZE, flip_y
from util.distributed import Processes
from util.renderer import MeshRenderer

ROOT = Path(__file__).parent.parent
GOLDEN = ROOT / "tests" / "golden"
EXAMPLES = ROOT / "datasets" / "examples"
CPU = Processes(torch.device("cpu"))


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


@pytest.fixture(scope="session")
def photos(face_model, tmp_path_factory) -> Path:
    """A folder of 12 photos with landmarks and masks, and datalists of all of them and of 5 for validation."""
    folder = tmp_path_factory.mktemp("photos")
    batch = SyntheticFaces(face_model, MeshRenderer(), seed=1, size=CROP_SIZE).batch(0, 12)
    for name in ("landmarks", "mask"):
        (folder / name).mkdir()
    for i in range(12):
        pixels = (255 * batch["photo"][i]).byte().permute(1, 2, 0).numpy()
        Image.fromarray(pixels).save(folder / f"{i:02d}.png")
        Image.fromarray((255 * batch["mask"][i, 0]).byte().numpy()).save(folder / "mask" / f"{i:02d}.png")
        np.savetxt(folder / "landmarks" / f"{i:02d}.txt", flip_y(batch["landmarks"][i].numpy(), CROP_SIZE))
    lines = [f"mask/{i:02d}.png\n" for i in range(12)]
    (folder / "train.txt").write_text("".join(lines))
    (folder / "val.txt").write_text("".join(lines[:5]))
    return folder


def arguments(photos: Path, folder: Path, *more: str) -> list[str]:
    """Of train.py, for a quick training on the photos in that folder of experiments."""
    return ["--gpu_ids=-1", "--net_recon=mobilenet_v3_large", "--image_size=64", "--batch_size=4",
            "--batch_size_val=4", "--num_threads=0", "--w_feat=0", f"--bfm_folder={ROOT / 'BFM'}",
            f"--data_root={photos}", f"--flist={photos / 'train.txt'}", f"--flist_val={photos / 'val.txt'}",
            f"--checkpoints_dir={folder}", *more]


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


def wait_for(path: Path, process: subprocess.Popen):
    """Until the process has written the file."""
    while not path.exists():
        assert process.poll() is None
        time.sleep(0.01)


def press_ctrl_c(process: subprocess.Popen) -> str:
    """As in a terminal, to a process with a session of its own. Returns what it says then."""
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate()
    assert process.returncode == 130
    assert "Traceback" not in errors
    return errors.splitlines()[-1]


def kill_readers(process: subprocess.Popen):
    """The processes that read photos for it."""
    for child in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
        os.kill(int(child), signal.SIGKILL)
