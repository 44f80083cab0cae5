"""Augmentation: one random affine map about the centre of the crop per sample, for photo, mask and landmarks."""
from dataclasses import dataclass

import numpy as np
from PIL import Image

from models.coordinates import CROP_SIZE, flip_y
from models.landmarks import MIRRORED_LANDMARKS
from util.files import InputError

STEPS = ("shift", "scale", "rot", "flip")


@dataclass(frozen=True)
class AffineMap:
    """Mirrors, shifts, rotates and scales, in this order, all about the centre of the crop."""
    shift: tuple[int, int] = (0, 0)   # px to the image's right and down
    scale: float = 1.0
    rot: float = 0.0                  # degrees clockwise
    flip: bool = False                # whether left and right are exchanged

    @property
    def matrix(self) -> np.ndarray:
        """Matrix (3, 3) for points (x, y, 1) in px, y down, where (0, 0) is the upper left corner of the crop."""
        cos, sin = np.cos(np.radians(self.rot)), np.sin(np.radians(self.rot))
        turn = self.scale * np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1 / self.scale]])
        mirror = np.diag([-1.0 if self.flip else 1.0, 1, 1])
        center = CROP_SIZE / 2
        return _shift(center, center) @ turn @ _shift(*self.shift) @ mirror @ _shift(-center, -center)

    @property
    def pixel_matrix(self) -> np.ndarray:
        """The matrix of pixels (x, y, 1) px, y down, where (0, 0) is the centre of the upper left one."""
        return _shift(-0.5, -0.5) @ self.matrix @ _shift(0.5, 0.5)

    def apply_to_picture(self, picture: np.ndarray) -> np.ndarray:
        """The changed picture, black where the original has no pixels.

        picture: (224, 224) or (224, 224, 3) uint8. The result has the same shape and type.

        Pillow resamples it, as in the published method. kornia's bicubic kernel is another one (a = -0.75, not -0.5):
        its pictures differ from the published ones by 0.7 grey levels on average and by up to 107.
        """
        backwards = np.linalg.inv(self.matrix)[:2].ravel()
        image = Image.fromarray(picture).transform((CROP_SIZE, CROP_SIZE), Image.Transform.AFFINE, backwards,
                                                   resample=Image.Resampling.BICUBIC)
        return np.array(image)

    def apply_to_landmarks(self, landmarks: np.ndarray) -> np.ndarray:
        """The landmarks (68, 2) px in the crop, y up, in the changed picture, for landmarks (68, 2) in the original.

        If the picture is mirrored, they are renumbered too: landmark 0 is always at the left in the picture.
        """
        # A mirrored landmark is at 223 - x, since landmarks count from the centre of the first pixel; the matrix, which
        # counts from its corner, gives 224 - x. Rotation and scale ignore this half pixel, as in the published method,
        # which makes at most 0.14 px.
        points = flip_y(landmarks, CROP_SIZE) + (self.flip, 0)
        points = flip_y(points @ self.matrix[:2, :2].T + self.matrix[:2, 2], CROP_SIZE)
        return points[MIRRORED_LANDMARKS] if self.flip else points


@dataclass(frozen=True)
class Augmentation:
    """Draws random affine maps.

    preprocess: names of the steps that are used, some of `STEPS` joined by "_", or "none".
    Raises InputError for another text.
    """
    preprocess: str = "shift_scale_rot_flip"
    shift_pixs: int = 10       # largest shift along each axis, whole px
    scale_delta: float = 0.1   # scales are from 1 - delta to 1 + delta
    rot_angle: float = 10.0    # largest rotation to either side, degrees

    def __post_init__(self):
        unknown = set(self.preprocess.split("_")) - set(STEPS)
        if unknown and self.preprocess != "none":
            raise InputError(f"--preprocess={self.preprocess}: give {', '.join(STEPS)} or some of them joined by _, "
                             "or none")

    def draw(self, rng: np.random.Generator) -> AffineMap:
        """A random map. It uses the same numbers of `rng` whichever steps are used."""
        shift = rng.integers(-self.shift_pixs, self.shift_pixs, size=2, endpoint=True)
        scale = rng.uniform(1 - self.scale_delta, 1 + self.scale_delta)
        drawn = {"shift": tuple(shift.tolist()), "scale": scale, "rot": rng.uniform(-self.rot_angle, self.rot_angle),
                 "flip": rng.random() < 0.5}
        return AffineMap(**{step: drawn[step] for step in STEPS if step in self.preprocess.split("_")})


def _shift(x: float, y: float) -> np.ndarray:
    """Matrix (3, 3) that moves points by x and y."""
    return np.array([[1, 0, x], [0, 1, y], [0, 0, 1.0]])
