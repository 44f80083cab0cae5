"""Augmentation: one random affine map about the centre of the crop per sample, for photo, mask and landmarks."""
from argparse import Namespace
from dataclasses import dataclass

import numpy as np
from PIL import Image

from models.coordinates import CROP_SIZE, flip_y
from models.landmarks import MIRRORED_LANDMARKS
from util.files import InputError

STEPS = ("shift", "scale", "rot", "flip")


@dataclass(frozen=True)
class AffineMap:
    """Mirror, shift, rotate, scale, in this order, all about the centre of the crop."""
    shift: tuple[int, int] = (0, 0)   # px to the image's right and down
    scale: float = 1.0
    rot: float = 0.0                  # degrees clockwise
    flip: bool = False                # left and right exchanged

    @property
    def matrix(self) -> np.ndarray:
        """(3, 3) on points (x, y, 1) in px, y down, where the first pixel covers 0 to 1."""
        cos, sin = np.cos(np.radians(self.rot)), np.sin(np.radians(self.rot))
        turn = self.scale * np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1 / self.scale]])
        mirror = np.diag([-1.0 if self.flip else 1.0, 1, 1])
        center = CROP_SIZE / 2
        return _shift(center, center) @ turn @ _shift(*self.shift) @ mirror @ _shift(-center, -center)

    def apply_to_picture(self, picture: np.ndarray) -> np.ndarray:
        """(224, 224) or (224, 224, 3) uint8 -> the same, resampled (bicubic), black where nothing was."""
        backwards = np.linalg.inv(self.matrix)[:2].ravel()
        image = Image.fromarray(picture).transform((CROP_SIZE, CROP_SIZE), Image.Transform.AFFINE, backwards,
                                                   resample=Image.Resampling.BICUBIC)
        return np.array(image)

    def apply_to_landmarks(self, landmarks: np.ndarray) -> np.ndarray:
        """(68, 2) px in the crop, y up -> the same in the changed picture."""
        # Points count from the middle of the first pixel, so a mirrored x is 223 - x where the matrix has 224 - x.
        # Scale and rotation act on points as they are, as the published method has it: at most 0.14 px off.
        points = flip_y(landmarks, CROP_SIZE) + (self.flip, 0)
        points = flip_y(points @ self.matrix[:2, :2].T + self.matrix[:2, 2], CROP_SIZE)
        return points[MIRRORED_LANDMARKS] if self.flip else points


@dataclass(frozen=True)
class Augmentation:
    """What is drawn at random for each sample.

    preprocess: which of shift, scale, rot and flip, joined by _; or none. Raises InputError for anything else.
    """
    preprocess: str = "shift_scale_rot_flip"
    shift_pixs: int = 10       # at most, whole px, along each axis
    scale_delta: float = 0.1   # scale 1 - delta to 1 + delta
    rot_angle: float = 10.0    # at most, degrees, either way

    def __post_init__(self):
        unknown = set(self.preprocess.split("_")) - set(STEPS)
        if unknown and self.preprocess != "none":
            raise InputError(f"preprocess is '{self.preprocess}': give {', '.join(STEPS)} or some of them joined by _, "
                             "or none")

    @classmethod
    def from_options(cls, options: Namespace) -> "Augmentation":
        return cls(options.preprocess, options.shift_pixs, options.scale_delta, options.rot_angle)

    def draw(self, rng: np.random.Generator) -> AffineMap:
        shift = rng.integers(-self.shift_pixs, self.shift_pixs, size=2, endpoint=True)
        scale = rng.uniform(1 - self.scale_delta, 1 + self.scale_delta)
        drawn = {"shift": tuple(shift.tolist()), "scale": scale, "rot": rng.uniform(-self.rot_angle, self.rot_angle),
                 "flip": rng.random() < 0.5}
        return AffineMap(**{step: drawn[step] for step in STEPS if step in self.preprocess.split("_")})


def _shift(x: float, y: float) -> np.ndarray:
    return np.array([[1, 0, x], [0, 1, y], [0, 0, 1.0]])
