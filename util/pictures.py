"""Writes picture files."""
from pathlib import Path

import numpy as np
from PIL import Image

from util.files import atomic_write


def write_png(path: Path, pixels: np.ndarray):
    """Write (H, W, 3) or (H, W) uint8 pixels, RGB or grey, as a PNG file, whole or not at all. Raises OSError."""
    with atomic_write(path) as temporary:
        Image.fromarray(pixels).save(temporary, compress_level=1)
