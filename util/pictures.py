"""Writes picture files."""
from pathlib import Path

import numpy as np
from PIL import Image

from util.files import atomic_write


def write_png(path: Path, pixels: np.ndarray):
    """Write pixels (H, W, 3) RGB or (H, W) grey, uint8, as a PNG file, whole or not at all. Raises OSError."""
    with atomic_write(path) as temporary:
        Image.fromarray(pixels).save(temporary, compress_level=1)
