"""The picture of a result: crop, render over it, and landmarks, side by side."""
from pathlib import Path

import numpy as np
from PIL import Image

from util.coordinates import CROP_SIZE


def crop_and_overlay(panel: Path) -> tuple[np.ndarray, np.ndarray]:
    """Two of (224, 224, 3) uint8 RGB."""
    pixels = np.asarray(Image.open(panel))
    return pixels[:, :CROP_SIZE], pixels[:, CROP_SIZE:2 * CROP_SIZE]


def color_error(panel: Path) -> float:
    """Mean over the face of the distance of render and photo, RGB 0..1."""
    crop, overlay = crop_and_overlay(panel)
    return np.linalg.norm(crop / 255 - overlay / 255, axis=2)[(crop != overlay).any(2)].mean()
