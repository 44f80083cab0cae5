"""What several test modules share: places, quick trainings, processes, pictures of results, meshes to rasterise."""
import math
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

import nvdiffrast.torch as dr
from models.coordinates import CROP_SIZE
from util.distributed import Processes

ROOT = Path(__file__).parent.parent
GOLDEN = ROOT / "tests" / "golden"
EXAMPLES = ROOT / "datasets" / "examples"
CPU = Processes(torch.device("cpu"))

# For tests of what a system lacks
not_on_windows = pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals and limits of processes")
linux_only = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks processes up in /proc")


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


def arguments(photos: Path, folder: Path, *more: str) -> list[str]:
    """Of train.py, for a quick training on the photos in that folder of experiments."""
    return ["--gpu_ids=-1", "--net_recon=mobilenet_v3_large", "--image_size=64", "--batch_size=4",
            "--batch_size_val=4", "--num_threads=0", "--w_feat=0", f"--bfm_folder={ROOT / 'BFM'}",
            f"--data_root={photos}", f"--flist={photos / 'train.txt'}", f"--flist_val={photos / 'val.txt'}",
            f"--checkpoints_dir={folder}", *more]


def start_python(*command, **options) -> subprocess.Popen:
    """Start python with a command line in the repository's folder, errors written to its output."""
    return subprocess.Popen([sys.executable, *map(str, command)], cwd=ROOT, text=True, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, env=os.environ | {"OMP_NUM_THREADS": "1"}, **options)


def read_losses(log: Path, dataset: str) -> list[dict[str, float]]:
    """The losses in each line of a loss_log.txt that is about the dataset, train or val."""
    lines = [line for line in log.read_text().splitlines() if f"dataset: {dataset}," in line]
    return [dict(zip(words[0::2], map(float, words[1::2]), strict=True))
            for words in (line.split(") ")[1].replace(":", "").split() for line in lines)]


def network_weights(checkpoint: Path) -> dict[str, torch.Tensor]:
    return torch.load(checkpoint, weights_only=True)["net_recon"]


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


def crop_and_overlay(panel: Path) -> tuple[np.ndarray, np.ndarray]:
    """Two of (224, 224, 3) uint8 RGB."""
    pixels = np.asarray(Image.open(panel))
    return pixels[:, :CROP_SIZE], pixels[:, CROP_SIZE:2 * CROP_SIZE]


def color_error(panel: Path) -> float:
    """Mean over the face of the distance of render and photo, RGB 0..1."""
    crop, overlay = crop_and_overlay(panel)
    return np.linalg.norm(crop / 255 - overlay / 255, axis=2)[(crop != overlay).any(2)].mean()


# Meshes for the rasteriser

CUDA = pytest.param(
    "cuda",
    marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")],
)
devices = pytest.mark.parametrize("device", ["cpu", CUDA])


def context():
    return dr.RasterizeCudaContext()


def soup(kind, seed, batch=2, faces=60):
    """Unconnected random triangles: pos (batch, 3 faces, 4) and tri (faces, 3)."""
    g = torch.Generator().manual_seed(seed)
    centre = torch.rand(batch, faces, 1, 3, generator=g) * 2 - 1
    size = {"large": 1.5, "tiny": 0.05, "border": 0.5}.get(kind, 0.6)
    xyz = centre + size * (torch.rand(batch, faces, 3, 3, generator=g) * 2 - 1)
    if kind == "border":
        xyz[..., :2] *= 1.5
    xyz[..., 2] *= 0.35
    w = torch.rand(batch, faces, 3, 1, generator=g) * 2 + 0.5
    pos = torch.cat([xyz * w, w], -1)
    if kind == "near_far":
        pos[..., 2] *= 4
    if kind == "behind":
        pos[..., 3] -= 1.2
    if kind == "far_out":
        pos[..., :2] *= 20
    if kind == "degenerate":
        pos[:, ::3, 2] = pos[:, ::3, 1]
        pos[:, 1::3, 2] = (pos[:, 1::3, 0] + pos[:, 1::3, 1]) / 2
    tri = torch.arange(3 * faces, dtype=torch.int32).view(faces, 3)
    return pos.flatten(1, 2).contiguous(), tri


def sphere(n=24):
    """A closed mesh of about 2 n^2 triangles: vertices (V, 3), tri (F, 3)."""
    theta = torch.linspace(0, math.pi, n + 1)[1:-1, None]
    phi = torch.arange(n) * (2 * math.pi / n)
    ring = torch.stack([theta.sin() * phi.cos(), theta.sin() * phi.sin(), theta.cos().expand(-1, n)], -1)
    vertices = torch.cat([ring.flatten(0, 1), torch.tensor([[0.0, 0, 1], [0, 0, -1]])])
    i = torch.arange((n - 1) * n).view(n - 1, n)
    a, b, c, d = i[:-1], i[:-1].roll(-1, 1), i[1:], i[1:].roll(-1, 1)
    top, bottom = torch.tensor((n - 1) * n).expand(n), torch.tensor((n - 1) * n + 1).expand(n)
    tri = [
        torch.stack([a, c, b], -1).flatten(0, 1),
        torch.stack([b, c, d], -1).flatten(0, 1),
        torch.stack([top, i[0], i[0].roll(-1)], -1),
        torch.stack([bottom, i[-1].roll(-1), i[-1]], -1),
    ]
    return vertices, torch.cat(tri).int().contiguous()


def perspective(xyz, near=0.5, far=20.0):
    """Clip positions of points seen from the origin along +z with a field of view of 90 degrees."""
    x, y, z = xyz.unbind(-1)
    return torch.stack([x, y, (z * (far + near) - 2 * far * near) / (far - near), z], -1).contiguous()


def draw(pos, tri, resolution, device="cpu", **options):
    return dr.rasterize(context(), pos.to(device), tri.to(device), resolution, **options)


# A stand-in for NVIDIA's package

NVIDIA_INIT = "import sys\n__version__ = 'theirs'\n"
NVIDIA_TORCH = """
import nvdiffrast
from . import ops
from .ops import rasterize, RasterizeCudaContext
version = nvdiffrast.__version__
"""

NVIDIA_OPS = """
def rasterize():
    return "theirs"

def RasterizeCudaContext(device):
    return "their context", device
"""


def install_nvidia_stub(folder, init=NVIDIA_INIT):
    """Write a package into the folder that looks like NVIDIA's nvdiffrast to those that import it."""
    package = folder / "nvdiffrast"
    (package / "torch").mkdir(parents=True)
    (package / "__init__.py").write_text(init)
    (package / "torch" / "__init__.py").write_text(NVIDIA_TORCH)
    (package / "torch" / "ops.py").write_text(NVIDIA_OPS)
