"""Measures the error of reconstructed shapes on pictures of heads whose true shape is known.

    python tests/benchmarks/ict.py --ict DIR [--heads 40] [--name photo_face --epoch 20] [--sheet heads.jpg]

DIR: ICT-FaceKit (MIT licence), whose face model was made of scans in a light stage; its folder FaceXModel is enough.
Random heads with random expressions are drawn under random light, with a random pose and skin, and reconstructed. The
error is that of the neutral shape, in mm over the inner face, after the similarity that brings both shapes together:

surface          distance of each point of the true face from the reconstructed surface
correspondence   distance of each point of the true face from the reconstructed point that is the same place of a face

The same errors of the reconstruction of the next head, of the mean face, and of random faces of the face model tell
what these numbers mean. The mean over all points of a head is its error. The table has median, mean and standard
deviation over the heads.
"""
import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from models.face_model import FaceModel  # noqa: E402
from models.face_model_files import load_face_model_data  # noqa: E402
from models.reconstruction import Reconstructor  # noqa: E402
from tests.benchmarks.ict_model import LANDMARKS, IctModel, IctPainter, bend_face_model, inner_face  # noqa: E402
from tests.benchmarks.reconstructing import add_options, load_reconstructor, neutral_shape  # noqa: E402
from tests.benchmarks.registration import corresponding_places, points_at  # noqa: E402
from tests.benchmarks.scores import (  # noqa: E402
    SEVEN_POINTS,
    Surface,
    align_points,
    align_to_scan,
    scan_distances,
    summary,
)
from util.command import run_command  # noqa: E402
from util.files import atomic_write  # noqa: E402

POINTS = 5000        # of the inner face
MILLIMETRES = 100    # in a decimetre
KINDS = ("surface", "correspondence")


@dataclass(frozen=True)
class Comparison:
    """Compares shapes of a face model with heads of ICT-FaceKit."""
    ict: IctModel
    face_model: FaceModel
    places: tuple[np.ndarray, np.ndarray]          # of the points on the heads: triangles (P,), weights (P, 3)
    corresponding: tuple[np.ndarray, np.ndarray]   # the same of the face model

    @classmethod
    def build(cls, ict: IctModel, face_model: FaceModel) -> "Comparison":
        places = inner_face(ict, POINTS)
        points = points_at(ict.neutral, ict.triangles, *places)
        bent = bend_face_model(face_model, ict)
        return cls(ict, face_model, places, corresponding_places(points, bent, face_model.tri.cpu().numpy()))

    def errors(self, head: np.ndarray, shape: np.ndarray) -> dict[str, float]:
        """Returns the mean distances, mm, by KINDS.

        head: (V, 3) the true neutral head. shape: (N, 3) vertices of the face model. Both in decimetres.
        """
        tri = self.face_model.tri.cpu().numpy()
        points = points_at(head, self.ict.triangles, *self.places)
        found = points_at(shape, tri, *self.corresponding)
        by_correspondence = np.linalg.norm(align_points(found, points)(found) - points, axis=1)
        surface = Surface(shape.astype(float), tri)
        keypoints = self.face_model.keypoints.cpu().numpy()[[*SEVEN_POINTS]]
        start = align_points(shape[keypoints], head[LANDMARKS[[*SEVEN_POINTS]]])
        by_surface = scan_distances(surface, align_to_scan(surface, points, start), points)
        return {"surface": MILLIMETRES * by_surface.mean(), "correspondence": MILLIMETRES * by_correspondence.mean()}


def random_faces(face_model: FaceModel, rng: np.random.Generator, count: int) -> np.ndarray:
    """Returns the neutral shapes (B, N, 3) of random people of a face model."""
    identity = torch.from_numpy(np.float32(rng.normal(size=(count, 80)))).to(face_model.mean_shape.device)
    return face_model.shape(identity, identity.new_zeros(count, 64)).cpu().numpy()


def random_heads(ict: IctModel, count: int, seed: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Returns the vertices (V, 3) of random neutral heads, decimetres, and a picture of each with an expression."""
    painter = IctPainter(ict, FaceModel(load_face_model_data(ROOT / "BFM", "open_face_model.npz")))
    rng = np.random.default_rng(seed)
    heads, pictures = [], []
    for _ in range(count):
        heads.append(ict.random_neutral(rng))
        pictures.append(painter.picture(heads[-1] + ict.random_expression(rng), rng))
    return heads, pictures


def shape_errors(ict: IctModel, heads: list[np.ndarray], pictures: list[np.ndarray], reconstructor: Reconstructor,
                 batch_size: int = 8) -> dict[str, dict[str, np.ndarray]]:
    """Returns the errors (P,), mm, of the heads in whose pictures a face was found, by what is compared and by KINDS.

    heads, pictures: see `random_heads`.
    """
    results = reconstructor.reconstruct(pictures, batch_size=batch_size, parts=())
    found = [number for number, result in enumerate(results) if result]
    face_model = reconstructor.face_model
    reconstructions = [neutral_shape(reconstructor, results[number]) for number in found]
    shapes = {
        "reconstruction": reconstructions,
        "that of the next head": reconstructions[1:] + reconstructions[:1],
        "mean face": [face_model.mean_shape.view(-1, 3).cpu().numpy()] * len(found),
        "random face": random_faces(face_model, np.random.default_rng(1), len(found)),
    }
    comparison = Comparison.build(ict, face_model)
    errors = {}
    for name, faces in shapes.items():
        of_heads = [comparison.errors(heads[number], shape) for number, shape in zip(found, faces, strict=True)]
        errors[name] = {kind: np.array([each[kind] for each in of_heads]) for kind in KINDS}
    return errors


def write_sheet(path: Path, pictures: list[np.ndarray], columns: int = 8):
    """Writes the pictures, at half their size, into one."""
    small = [picture[::2, ::2] for picture in pictures[:len(pictures) // columns * columns or None]]
    rows = [np.hstack(small[start:start + columns]) for start in range(0, len(small), columns)]
    with atomic_write(path) as temporary:
        Image.fromarray(np.vstack(rows)).save(temporary)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ict", type=Path, required=True, metavar="DIR", help="the folder of ICT-FaceKit")
    parser.add_argument("--heads", type=int, default=40, help="number of random heads")
    parser.add_argument("--seed", type=int, default=0, help="another number gives other heads")
    parser.add_argument("--sheet", type=Path, help="picture to write that shows the heads")
    add_options(parser)
    options = parser.parse_args()
    ict, reconstructor = IctModel(options.ict), load_reconstructor(options)
    print(f"{len(ict.identities)} components of identity (ICT-FaceKit has 100), {len(ict.expressions)} expressions")
    heads, pictures = random_heads(ict, options.heads, options.seed)
    if options.sheet:
        write_sheet(options.sheet, pictures)
    errors = shape_errors(ict, heads, pictures, reconstructor, options.batch_size)
    without_face = len(heads) - len(errors["reconstruction"]["surface"])
    print(f"{len(heads)} heads; no face found in {without_face} pictures\n")
    print("| mm | " + " | ".join(f"{kind}: {name}" for kind in KINDS for name in ("median", "mean", "std")) + " |")
    print("| --- " * 7 + "|")
    for name, of_kinds in errors.items():
        numbers = [value for kind in KINDS for value in summary(of_kinds[kind]).values()]
        print(f"| {name} | " + " | ".join(f"{value:.2f}" for value in numbers) + " |")
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main, verbose=False))
