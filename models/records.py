"""The records that travel between the parts of the program, with the shapes, ranges and axes of what they hold.

A record is made once and not changed afterwards. Points are px; "y up" means `height - 1 - y_down`, see
models/coordinates.py.
"""
import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch


@dataclass(frozen=True)
class FoundFace:
    """A face that a detector found in a photo. All coordinates are px in the photo, y down."""
    box: tuple[float, float, float, float]   # left, top, right, bottom
    landmarks: np.ndarray                    # (68, 2)
    score: float                             # how sure it is; scores of different detectors cannot be compared
    mesh: np.ndarray | None = None           # (468, 3) x, y and the depth, which grows away from the camera, is about 0
    # in the middle of the head, and has the unit of x and y; see datasets/face_mesh.py. None: the detector gives none


@dataclass(frozen=True)
class AlignedFace:
    """A face of a photo, cropped and aligned for the network."""
    photo: Path                           # the photo that shows the face
    photo_name: str                       # of the result files of the whole photo, without suffix
    name: str                             # of the face's result files, without suffix
    crop: np.ndarray                      # (224, 224, 3) uint8 RGB
    trans_params: np.ndarray              # (5,) float64 W, H, s, tx, ty: the way back to the photo, see coordinates.py
    landmarks: np.ndarray                 # (5, 2) or (68, 2) px in the crop, y up; 68 for a fit, or if they were given
    attention: np.ndarray | None = None   # (224, 224) uint8: how much a pixel counts in a fit, 255 fully; None: no fit
    turns: int = 0                        # quarter turns anticlockwise that bring the face in the crop upright


@dataclass(frozen=True)
class Origin:
    """Which files a face was reconstructed with."""
    face_model: str = ""            # file name of the face model
    checkpoint: Path | None = None  # the network's checkpoint; None: no network

    @cached_property
    def checkpoint_sha256(self) -> str:
        """The SHA-256 of the checkpoint in hexadecimal digits; "" without a network."""
        if not self.checkpoint:
            return ""
        with self.checkpoint.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True)
class FaceResult:
    """A reconstructed face, from which the result files are written.

    What `models.reconstruction.Reconstructor` was not asked to compute is None.
    """
    face: AlignedFace                     # the face in the photo
    coefficients: dict[str, np.ndarray]   # by name, see models/coefficients.py: id (80,), exp (64,), ..., trans (3,)
    landmarks: np.ndarray                 # (68, 2) px in the crop, y up: of the face, where people would annotate them
    vertices: np.ndarray | None = None    # (N, 3) world coordinates: decimetres, x right, y up, z towards the viewer
    colors: np.ndarray | None = None      # (N, 3) RGB 0..1: albedo under the photo's light
    overlay: np.ndarray | None = None     # (224, 224, 3) uint8 RGB: the render over the crop
    detectable_landmarks: np.ndarray | None = None   # the same, where a detector would find them


@dataclass(frozen=True)
class Clip:
    """One person in all N frames of a video, from which the result files of the clip are written."""
    video: Path                     # the file, or the folder of frames
    name: str                       # of the result files, without suffix
    rate: float                     # frames a second, on average
    sound: Path | None              # the file that has the sound of the video; None: it has none
    time: np.ndarray                # (N,) float64 seconds from the start of the video
    found: np.ndarray               # (N,) bool: whether the person's face was found in the frame
    coefficients: np.ndarray        # (N, 257) float32: one identity and albedo, the rest smoothed. A frame without the
    # face has values between those of the frames around it
    raw_coefficients: np.ndarray    # (N, 257) float32 as computed for each frame alone; nan where the face is not found
    trans_params: np.ndarray        # (N, 5) float64 W, H, s, tx, ty, which belong to `coefficients`, see coordinates.py
    turns: np.ndarray               # (N,) int: quarter turns anticlockwise that bring the face upright


class Teachers(NamedTuple):
    """The known faces of B photos, from which a network learns."""
    coefficients: torch.Tensor   # (B, 257) of the face in an upright crop of the photo
    to_crop: torch.Tensor        # (B, 3, 3): pixels of that crop -> those of the batch's crop, (x, y, 1), y down. Its
    # determinant is negative where the batch's crop is mirrored. All 0: the photo has no teacher


@dataclass(frozen=True)
class Batch:
    """B samples on the computing device: photos or rendered faces, or photos first and then rendered faces."""
    photo: torch.Tensor          # (B, 3, S, S) float32 RGB 0..1
    seen: torch.Tensor           # (B, 3, S, S) float32 RGB 0..1: the photo as the network sees it
    mask: torch.Tensor           # (B, 1, S, S) float32 0..1: how much a pixel counts
    landmarks: torch.Tensor      # (B, 68, 2) float32 px in the 224 x 224 crop, y up
    ground_truth: torch.Tensor   # (T, 257) float32: the coefficients of the T rendered faces; they are known exactly
    paths: list[str]             # B names, for messages: of the photos, or "rendered face <number>"
    problems: list[str] = field(default_factory=list)   # why photos could not be read, which others have replaced
    teachers: Teachers | None = None   # of the photos, which are the first samples

    def __len__(self) -> int:
        return len(self.paths)
