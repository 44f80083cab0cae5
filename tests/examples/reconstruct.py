"""Reconstructs the faces in two photos. Run it in the repository's folder: python -m tests.examples.reconstruct"""
import numpy as np

from datasets.face_finder import FaceFinder
from datasets.photos import read_photo
from models.reconstruction import REPOSITORY, Reconstructor

reconstructor = Reconstructor.load("photo_face", epoch=20, device="cpu", find_face=FaceFinder())
folder = REPOSITORY / "datasets" / "examples"
photos = [read_photo(folder / name) for name in ("astronaut.png", "grace_hopper.jpg")]   # (H, W, 3) uint8 RGB each

results = reconstructor.reconstruct(photos)   # of the largest face in each photo; None for a photo without a face
coefficients = np.stack([result.coefficients["exp"] for result in results])   # (2, 64)
meshes = np.stack([result.vertices for result in results])                    # (2, N, 3) decimetres

points = np.loadtxt(folder / "detections" / "astronaut.txt")                  # (5, 2) px in the photo, y down
results_at_points = reconstructor.reconstruct(photos, points=[points, None])  # None: the largest face again
