"""Writes picture files."""
import io
from pathlib import Path

import numpy as np
from PIL import Image

from util.files import atomic_write


def write_png(path: Path, pixels: np.ndarray):
    """Write pixels (H, W, 3) RGB uint8, or (H, W) grey, uint8 or uint16, as a PNG file, whole or not at all. Raises
    OSError."""
    with atomic_write(path) as temporary:
        Image.fromarray(pixels).save(temporary, compress_level=1)


def png_bytes(pixels: np.ndarray) -> bytes:
    """The bytes of a PNG file with pixels as in `write_png`."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=1)
    return file.getvalue()
