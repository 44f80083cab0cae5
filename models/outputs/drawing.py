"""Draws a face over its photo at any resolution, on the CPU."""
from dataclasses import dataclass

import numpy as np
import torch

import nvdiffrast.torch as dr
from models.face_rendering import is_grey


@dataclass(frozen=True)
class Window:
    """A part of a photo, perhaps at another resolution."""
    left: int             # of the part, px in the photo
    top: int
    width: int            # of the part, px in the photo
    height: int
    scale: float = 1.0    # px of the window for one px of the photo

    @property
    def size(self) -> tuple[int, int]:
        """Width and height, px of the window."""
        return max(round(self.width * self.scale), 1), max(round(self.height * self.scale), 1)

    @property
    def slices(self) -> tuple[slice, slice]:
        """Rows and columns of the photo."""
        return slice(self.top, self.top + self.height), slice(self.left, self.left + self.width)

    def from_photo(self) -> np.ndarray:
        """The matrix (3, 3) that takes homogeneous px of the photo to px of the window, both y down."""
        x, y = np.array(self.size) / (self.width, self.height)
        # The edges of the pixels, half a pixel outside their centres, stay in place.
        return np.array([[x, 0, (0.5 - self.left) * x - 0.5], [0, y, (0.5 - self.top) * y - 0.5], [0, 0, 1]])


def window_around(points: np.ndarray, size: tuple[int, int], margin: float = 2) -> Window | None:
    """The smallest window of a photo of a size (width, height) that shows points (N, 2) px, y down, and a margin around
    them, px. None if no point lies in the photo."""
    low = np.clip(np.floor(points.min(0) - margin), 0, size).astype(int)
    high = np.clip(np.ceil(points.max(0) + margin) + 1, 0, size).astype(int)
    if (high <= low).any():
        return None
    return Window(*low.tolist(), *(high - low).tolist())


class Drawing:
    """A mesh drawn over a picture.

    vertices: (N, 3), of any coordinates. triangles: (F, 3) int32. matrix: (3, 4) from them to homogeneous px of the
    picture, y down; the last coordinate is the distance from the camera. size: width and height of the picture, px.
    """

    def __init__(self, vertices: np.ndarray, triangles: torch.Tensor, matrix: np.ndarray, size: tuple[int, int]):
        self.triangles = triangles
        x, y, self.distance = (vertices @ matrix[:, :3].T + matrix[:, 3]).T
        near, far = 0.9 * self.distance.min(), 1.1 * self.distance.max()
        width, height = size
        clip = np.stack([(2 * x + self.distance) / width - self.distance,
                         (2 * y + self.distance) / height - self.distance,
                         ((far + near) * self.distance - 2 * far * near) / (far - near), self.distance], 1)
        clip = torch.from_numpy(clip.astype(np.float32))[None]
        context = dr.RasterizeGLContext(output_db=False, device=torch.device("cpu"))
        self.rast = dr.rasterize(context, clip, triangles, (height, width), grad_db=False)[0]

    @property
    def mask(self) -> np.ndarray:
        """Where the mesh covers the centre of a pixel: (height, width) bool."""
        return (self.rast[0, ..., 3] > 0).numpy()

    def interpolate(self, values: np.ndarray) -> np.ndarray:
        """Values (N, C) of the vertices at the pixels: (height, width, C) float32; 0 off the mesh."""
        values = torch.from_numpy(np.ascontiguousarray(values, np.float32))[None]
        return dr.interpolate(values, self.rast, self.triangles)[0][0].numpy()


def colors_over(picture: np.ndarray, colors: np.ndarray) -> np.ndarray:
    """The colours (N, 3) RGB 0..1 of a face that is drawn over a picture (H, W, 3) uint8 RGB: if that is a grey photo,
    which does not tell the colours of the skin, they are grey."""
    photo = torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1)[None].float() / 255
    return colors.mean(1, keepdims=True).repeat(3, 1) if is_grey(photo) else colors
