"""Measures a training step and its parts, and compares it with the forward and backward passes of its networks alone.

    python tests/benchmarks/training_step.py [--net_recon resnet50] [--batch_size 32] [--amp bf16] [--threads 1]

Trains on rendered faces, with dlib's recognition network, on the first GPU, or on the CPU if there is none. Prints the
medians of the seconds.
"""
import argparse
import dataclasses
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")   # as train.py does
import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from datasets.synthetic.faces import SyntheticFaces  # noqa: E402
from options.training import parse  # noqa: E402
from train import build_trainer  # noqa: E402
from util.devices import choose_device  # noqa: E402
from util.distributed import Processes  # noqa: E402


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--net_recon", default="resnet50")
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--image_size", type=int, default=224)
    parser.add_argument("--amp", default="off", choices=["off", "bf16"])
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        arguments = [f"--net_recon={options.net_recon}", f"--batch_size={options.batch_size}",
                     f"--bfm_folder={ROOT / 'BFM'}", f"--checkpoints_dir={folder}", "--net_recog=dlib",
                     "--dataset_mode=synthetic", "--flist_val=none", f"--image_size={options.image_size}",
                     f"--amp={options.amp}", "--init_path="]
        step = build_trainer(parse(arguments), Processes(choose_device(None))).train_step
    objective, regressor = step.objective, step.state.network
    faces = SyntheticFaces(objective.face_model, objective.renderer, seed=0, size=options.image_size)
    batch = faces.batch(0, options.batch_size)
    coeffs = batch.ground_truth.clone().requires_grad_()
    batch = dataclasses.replace(batch, ground_truth=batch.ground_truth[:0])   # as a batch of photos
    photos, model = batch.photo.contiguous(memory_format=torch.channels_last), objective.face_model
    with torch.no_grad():
        face = model(coeffs)
    vertices, color = (x.clone().requires_grad_() for x in (face.vertices, face.color))
    image = photos.clone().requires_grad_()

    def mixed_precision():
        return torch.autocast(photos.device.type, torch.bfloat16, enabled=options.amp == "bf16")

    def network():
        regressor.train()
        with mixed_precision():
            coefficients = regressor(photos)
        coefficients.sum().backward()

    def recognition():
        with mixed_precision():
            with torch.no_grad():
                objective.recognition(photos, batch.landmarks)
            embedding = objective.recognition(image, batch.landmarks)
        embedding.sum().backward()

    def face_model():
        found = model(coeffs)
        (found.color.sum() + found.vertices.sum()).backward()

    def rendering():
        objective.renderer(vertices, model.tri, color)[2].sum().backward()
        objective.inner_mask(vertices.detach(), photos.shape[-1])

    def synchronise():
        if photos.is_cuda:
            torch.cuda.synchronize()

    def seconds(work: Callable) -> float:
        work()
        times = []
        for _ in range(options.repeat):
            synchronise()
            start = time.perf_counter()
            work()
            synchronise()
            times.append(time.perf_counter() - start)
        return statistics.median(times)

    parts = {work.__name__: seconds(work) for work in (network, recognition, face_model, rendering)}
    whole = seconds(lambda: step(batch))
    networks = parts["network"] + parts["recognition"]
    for name, value in parts.items():
        print(f"{name:12} {value:8.3f} s  {100 * value / whole:5.1f} %")
    print(f"{'the rest':12} {whole - sum(parts.values()):8.3f} s  (losses, optimiser)")
    print(f"{'step':12} {whole:8.3f} s  {whole / networks:.2f} x the networks' own forward and backward")


if __name__ == "__main__":
    main()
