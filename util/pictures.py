"""Writes picture files."""
import io
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from util.files import atomic_write


def write_png(path: Path, pixels: np.ndarray, texts: dict[str, str] | None = None):
    """Write pixels (H, W, 3) RGB uint8, or (H, W) grey, uint8 or uint16, as a PNG file, whole or not at all.

    texts: are stored in the file too; PIL has them in `Image.open(path).info`. Raises OSError.
    """
    info = PngInfo()
    for name, text in (texts or {}).items():
        info.add_text(name, text)
    with atomic_write(path) as temporary:
        Image.fromarray(pixels).save(temporary, compress_level=1, pnginfo=info)


def png_bytes(pixels: np.ndarray) -> bytes:
    """The bytes of a PNG file with pixels as in `write_png`."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=1)
    return file.getvalue()
