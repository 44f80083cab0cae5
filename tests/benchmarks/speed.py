"""Compares the time test.py takes for a photo with the forward time of its network alone, in one run.

    python tests/benchmarks/speed.py DIR [--net_recon resnet50] [--save png,obj,mat]

DIR: photos with detections/, because the search for faces is not measured. The network is untrained, which does not
change its speed.
"""
import argparse
import copy
import os
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")   # as test.py does
import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from datasets.photo_folder import PhotoFolder  # noqa: E402
from datasets.photos import list_photos, read_photo  # noqa: E402
from models.face_files import FaceWriter  # noqa: E402
from models.face_model import FaceModel  # noqa: E402
from models.face_model_files import load_face_model_data  # noqa: E402
from models.outputs.arkit import load_arkit_units  # noqa: E402
from models.outputs.details import OutputSettings  # noqa: E402
from models.outputs.table import choose_outputs  # noqa: E402
from models.reconstruction import Reconstructor  # noqa: E402
from models.regressor import Regressor  # noqa: E402
from models.renderer import MeshRenderer  # noqa: E402
from options.testing import output_names  # noqa: E402
from test import reconstruct_photos  # noqa: E402
from util.obj_files import write_obj  # noqa: E402


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--net_recon", default="resnet50")
    parser.add_argument("--batch_size", type=int, default=8)
    parser.add_argument("--num_threads", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=4)
    parser.add_argument("--save", type=output_names, default="png,obj,mat", help="the outputs, as in test.py")
    options = parser.parse_args()
    photos = list_photos(options.folder)
    network = Regressor(options.net_recon).eval()   # as PyTorch builds it
    model = FaceModel(load_face_model_data(ROOT / "BFM", "open_face_model.npz"))
    reconstructor = Reconstructor(model, MeshRenderer(), copy.deepcopy(network), None, 0, torch.device("cpu"))

    arkit = load_arkit_units(model, ROOT / "BFM")
    settings = OutputSettings(model, reconstructor.origin, read_photo, arkit=arkit)
    outputs = choose_outputs(options.save, arkit is not None)

    with tempfile.TemporaryDirectory() as temporary:
        results = Path(temporary)

        def whole(paths):
            writer = FaceWriter(results, outputs, settings, max(options.num_threads, 1))
            left_out = reconstruct_photos(PhotoFolder(paths), reconstructor, writer, options.batch_size,
                                          options.num_threads, verbose=False)
            assert not left_out.reasons, left_out.reasons

        whole(photos[:options.batch_size])   # warm
        forward, path = [], []
        batch = torch.rand(options.batch_size, 3, 224, 224)
        for _ in range(options.repeat):
            start = time.perf_counter()
            with torch.inference_mode():
                for _ in range(4):
                    network(batch)
            forward.append((time.perf_counter() - start) / (4 * options.batch_size))
            start = time.perf_counter()
            whole(photos)
            path.append((time.perf_counter() - start) / len(photos))
        colors = torch.rand(len(model.mean_shape) // 3, 3).numpy()
        vertices = model.mean_shape.view(-1, 3).numpy()
        start = time.perf_counter()
        for _ in range(20):
            write_obj(results / "mesh.obj", vertices, colors, model.tri.numpy())
        mesh = (time.perf_counter() - start) / 20
    print(f"network {1e3 * min(forward):.0f} ms a photo, whole way {1e3 * min(path):.0f} ms, "
          f"ratio {min(path) / min(forward):.2f}; one .obj {1e3 * mesh:.1f} ms")


if __name__ == "__main__":
    main()
