"""Writes and reads the numbers of a clip: coefficients, camera and landmarks of one person in the frames of a video."""
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from models.coefficients import SIZE, SLICES, split
from models.coordinates import camera_matrix, camera_to_world, project
from models.face_model import rotation
from models.outputs.details import OutputSettings
from models.records import Clip
from util.files import InputError, atomic_write, write_lines
from util.mat_files import write_mat

LANDMARKS = 68
NOT_FOUND = -1        # landmarks of a frame in which the face was not found
_FRAMES_AT_ONCE = 512


class ClipDetails:
    """A clip of N frames, and what several of its result files need."""

    def __init__(self, clip: Clip, settings: OutputSettings):
        self.clip, self.settings = clip, settings

    @cached_property
    def rotation(self) -> np.ndarray:
        """The matrices (N, 3, 3) float32 for row vectors that turn each shape to its pose."""
        return rotation(torch.from_numpy(self.clip.coefficients[:, SLICES["angle"]])).numpy()

    @cached_property
    def camera(self) -> np.ndarray:
        """The matrices (N, 3, 4) from world coordinates to px of each frame, see `models.coordinates.camera_matrix`."""
        model, clip = self.settings.face_model, self.clip
        return np.stack([camera_matrix(model.focal, model.camera_d, trans_params, turns)
                         for trans_params, turns in zip(clip.trans_params, clip.turns.tolist(), strict=True)])

    @cached_property
    def landmarks(self) -> np.ndarray:
        """The landmarks (N, 68, 2) of the reconstructed face, px of the frame, y down; NOT_FOUND where it is not."""
        model, landmarks = self.settings.face_model, np.full((len(self.clip.time), LANDMARKS, 2), float(NOT_FOUND))
        for frames in np.array_split(np.flatnonzero(self.clip.found), len(self.clip.time) // _FRAMES_AT_ONCE + 1):
            coefficients = split(torch.from_numpy(self.clip.coefficients[frames]))
            shape = model.shape(coefficients["id"], coefficients["exp"], model.annotated_keypoints)
            points = model.to_camera(shape, coefficients["angle"], coefficients["trans"])
            for frame, placed in zip(frames, camera_to_world(points, model.camera_d).double().numpy(), strict=True):
                landmarks[frame] = project(placed, self.camera[frame])
        return landmarks

    @cached_property
    def arkit_weights(self) -> np.ndarray:
        """The weights (N, 52) 0..1 of ARKit's shapes; (N, 0) for a face model that has none."""
        units, expressions = self.settings.arkit, self.clip.coefficients[:, SLICES["exp"]]
        return units.weights_of_clip(expressions) if units else np.empty((len(expressions), 0))

    @cached_property
    def numbers(self) -> dict[str, np.ndarray]:
        """The arrays of the .npz and the .mat file by name, see `write_clip_numbers`."""
        clip = self.clip
        talking = [SLICES[name] for name in ("exp", "angle", "trans")]
        seventy = [*(clip.coefficients[:, part] for part in talking), clip.trans_params[:, 2:]]
        return {"coeff": clip.coefficients, "coeff_raw": clip.raw_coefficients,
                "transform_params": clip.trans_params.astype(np.float32),
                "coeff_73": np.concatenate(seventy, 1).astype(np.float32),
                "landmarks": self.landmarks.astype(np.float32), "rotation": self.rotation, "camera": self.camera,
                "found": clip.found, "time": clip.time, "turns": clip.turns}


def write_clip_numbers(stem: Path, details: ClipDetails):
    """Write <stem>.npz, which `np.load` opens. N is the number of frames of the video:

    - coeff (N, 257) float32: the coefficients in the order of models/coefficients.py. Identity and albedo are those of
      the clip, everything else is smoothed. Frames without the face have values between those of the frames around
      them;
    - coeff_raw (N, 257) float32: the same as computed for each frame alone; nan where the face was not found;
    - transform_params (N, 5) float32: W, H, s, tx, ty of the crop that `coeff` belongs to, see models/coordinates.py;
    - coeff_73 (N, 73) float32: exp (64), angle (3) and trans (3) of `coeff`, then s, tx, ty;
    - landmarks (N, 68, 2) float32: of the reconstructed face, px of the frame, y down; -1 where it was not found;
    - rotation (N, 3, 3) float32: of the angles in `coeff`, for row vectors: `points @ rotation`;
    - camera (N, 3, 4) float64: from a point of the posed mesh (x, y, z, 1), decimetres, to homogeneous px of the frame,
      y down;
    - found (N,) bool: whether the face was found in the frame; time (N,) float64: seconds from the start;
    - turns (N,) int: quarter turns anticlockwise that bring the face upright;
    - focal, camera_d: focal length of the camera, px of the crop, and its distance from the face, decimetres;
    - video, face_model, checkpoint, checkpoint_sha256: texts. The latter two are "" without a network.
    """
    with atomic_write(Path(f"{stem}.npz")) as temporary:
        np.savez(temporary, **details.numbers, **_origin(details))


def write_clip_coefficients(stem: Path, details: ClipDetails):
    """Write <stem>.mat: a MATLAB file with the contents of <stem>.npz, see `write_clip_numbers`."""
    write_mat(Path(f"{stem}.mat"), details.numbers | _origin(details))


def write_clip_landmarks(stem: Path, details: ClipDetails):
    """Write <stem>_landmarks.txt: one line of 136 numbers for each frame, x and y of the 68 landmarks, px, y down. They
    are all -1 where the face was not found."""
    write_lines(Path(f"{stem}_landmarks.txt"),
                (" ".join(f"{value:.2f}" if found else str(NOT_FOUND) for value in points.ravel())
                 for points, found in zip(details.landmarks, details.clip.found, strict=True)))


def _origin(details: ClipDetails) -> dict[str, object]:
    model, origin = details.settings.face_model, details.settings.origin
    return {"focal": model.focal, "camera_d": model.camera_d, "face_model": origin.face_model,
            "checkpoint": str(origin.checkpoint or ""), "checkpoint_sha256": origin.checkpoint_sha256,
            "video": str(details.clip.video)}


@dataclass(frozen=True)
class ClipNumbers:
    """What is read from a file that `write_clip_numbers` wrote, which describes the arrays."""
    path: Path                  # of the file
    coeff: np.ndarray           # (N, 257)
    coeff_raw: np.ndarray       # (N, 257); nan in frames where the face was not found
    transform_params: np.ndarray   # (N, 5)
    landmarks: np.ndarray       # (N, 68, 2) px of the frame, y down
    rotation: np.ndarray        # (N, 3, 3)
    found: np.ndarray           # (N,) bool
    time: np.ndarray            # (N,) seconds
    focal: float                # of the camera, px of the crop
    camera_d: float             # distance of the camera, decimetres
    video: Path                 # the video, or a folder of numbered frames
    face_model: str             # file name of the face model
    checkpoint_sha256: str      # "" without a network


def read_clip_numbers(path: Path) -> ClipNumbers:
    """Returns what `write_clip_numbers` wrote to a file.

    Raises InputError if the file cannot be read, or if numbers are missing, have another shape or are not finite.
    """
    shapes = {"coeff": (SIZE,), "transform_params": (5,), "landmarks": (LANDMARKS, 2), "rotation": (3, 3), "found": (),
              "time": (), "coeff_raw": (SIZE,)}
    try:
        with np.load(path) as file:
            arrays = {name: file[name] for name in shapes}
            others = {name: str(file[name]) for name in ("face_model", "checkpoint_sha256")}
            others |= {name: float(file[name]) for name in ("focal", "camera_d")} | {"video": Path(str(file["video"]))}
    except FileNotFoundError as error:
        raise InputError(f"the file of a clip {path} does not exist") from error
    except Exception as error:   # for a broken file, exceptions of many kinds
        raise InputError(f"{path} is no complete file of a clip, as test.py writes it for a video: {error}") from error
    count = len(arrays["time"]) if arrays["time"].ndim else 0
    for name, shape in shapes.items():
        values = arrays[name]
        wrong = not count or values.shape != (count, *shape) or values.dtype.kind not in "bfiu"
        if not wrong and name == "coeff_raw":   # it is nan in frames without the face
            values = values[arrays["found"].astype(bool)]
        if wrong or not np.isfinite(values).all():
            raise InputError(f"{path}: {name} must be finite numbers of the shape {(count, *shape)}, not "
                             f"{values.dtype} of the shape {values.shape}")
    return ClipNumbers(path, **arrays | {"found": arrays["found"].astype(bool)}, **others)
