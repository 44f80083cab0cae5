"""Measures how long it takes to render a face for the training, and shows what such faces look like.

    python tests/benchmarks/synthetic_faces.py [--size 112] [--sheet sheet.png]

Prints the milliseconds of CPU time per face, on one core, for batches of 32.
"""
import argparse
import sys
import time
from pathlib import Path

import torch
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from datasets.synthetic.faces import SyntheticFaces  # noqa: E402
from models.face_model import FaceModel  # noqa: E402
from models.face_model_files import load_face_model_data  # noqa: E402
from models.renderer import MeshRenderer  # noqa: E402

COLUMNS = 8


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=224, help="side of the pictures, px")
    parser.add_argument("--batches", type=int, default=5, help="batches that are measured")
    parser.add_argument("--sheet", type=Path, help="file to write with a picture of one batch")
    options = parser.parse_args()
    torch.set_num_threads(1)
    model = FaceModel(load_face_model_data(ROOT / "BFM", "open_face_model.npz"))
    faces = SyntheticFaces(model, MeshRenderer(), seed=0, size=options.size)
    photo = faces.batch(0, 32).photo
    start = time.process_time()
    for step in range(options.batches):
        faces.batch(step + 1, 32)
    print(f"{(time.process_time() - start) / options.batches / 32 * 1000:.1f} ms a face at {options.size} px")
    if options.sheet:
        sheet = photo.unflatten(0, (-1, COLUMNS)).permute(0, 3, 1, 4, 2).flatten(0, 1).flatten(1, 2)
        Image.fromarray((sheet * 255).round().byte().numpy()).save(options.sheet)


if __name__ == "__main__":
    main()
