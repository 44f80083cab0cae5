"""Finding and reading photos."""

import struct
from pathlib import Path

import numpy as np
from PIL import Image

from util.files import InputError

SUFFIXES = {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".ppm",
            ".pgm", ".jp2", ".avif"}
HEIC = {".heic", ".heif"}   # PIL can't read it: listed all the same, so that who has such photos is told
MAX_PIXELS = 500_000_000

# PIL warns from 90 megapixels on, less than some cameras deliver; `read_photo` checks our own limit.
Image.MAX_IMAGE_PIXELS = None

# EXIF orientation -> the operation that turns the stored pixels upright.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_EXIF_ORIENTATION = 0x0112

# PIL reports broken data by any of these.
BROKEN = (OSError, ValueError, SyntaxError, EOFError, IndexError, TypeError, KeyError, struct.error)


def list_photos(folder):
    """The photos of a folder, sorted by name: every common image type, in upper or lower case, and HEIC.

    Subfolders and hidden files are left out.
    Raises InputError when the folder is missing, is not a folder, or holds no photo.
    """
    folder = Path(folder)
    if not folder.exists():
        raise InputError(f"the photo folder {folder} does not exist (looked in {Path.cwd()})")
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder: give the folder that holds the photos")
    try:
        photos = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES | HEIC
                        and not path.name.startswith(".") and path.is_file())
    except OSError as error:
        raise InputError(f"cannot read the photo folder {folder}: {error.strerror}") from error
    if not photos:
        raise InputError(f"no photos in {folder}: looked for {' '.join(sorted(SUFFIXES))}, not in subfolders")
    return photos


def read_photo(path, reduce=1):
    """Read a photo as (H, W, 3) uint8 RGB, upright by its EXIF orientation, transparency over white.

    reduce: 1, 2, 4 or 8, by which the photo is made smaller, sizes rounded up. JPEG is decoded the faster for it.
    Raises InputError when the file is missing, is no photo, is broken, or has over 500 megapixels.
    """
    path = Path(path)
    try:
        with Image.open(path) as image:
            if image.width * image.height > MAX_PIXELS:
                raise InputError(f"{path} has {image.width} x {image.height} pixels: "
                                 f"at most {MAX_PIXELS // 10**6} megapixels can be read, make it smaller")
            drafted = image.draft(None, (max(image.width // reduce, 1), max(image.height // reduce, 1)))
            image.load()
            orientation = _orientation(image)
            image = _to_rgb(image)
            if drafted is None and reduce > 1:
                image = image.reduce(reduce)
    except FileNotFoundError as error:
        raise InputError(f"the photo {path} does not exist") from error
    except Image.UnidentifiedImageError as error:
        raise InputError(f"{path} is not a photo that can be read (HEIC cannot): "
                         "convert it to JPEG or PNG first") from error
    except MemoryError as error:
        raise InputError(f"{path} does not fit into memory: make it smaller") from error
    except BROKEN as error:
        raise InputError(f"cannot read the photo {path}: {error}; save it anew or leave it out") from error
    if orientation in _UPRIGHT:
        image = image.transpose(_UPRIGHT[orientation])
    return np.array(image)


def _orientation(image):
    try:
        return image.getexif().get(_EXIF_ORIENTATION)
    except BROKEN:  # no reason to refuse good pixels
        return None


def _to_rgb(image):
    """Any mode of PIL's as RGB, alpha over white, deep grey values scaled to 8 bit."""
    if image.mode.startswith("I") or image.mode == "F":
        image = _to_8_bit(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image.convert("RGB")


def _to_8_bit(image):
    """Deep grey, integer or float, as 8 bit; if the mode leaves the range open, the smallest common one."""
    grey = np.nan_to_num(np.asarray(image, dtype=np.float64), posinf=0, neginf=0).clip(0)
    whites = {"F": (1, 255, 65535), "I": (255, 65535)}.get(image.mode, (65535,))
    white = next((white for white in whites if grey.max() <= white), grey.max())
    return Image.fromarray(np.rint(grey * (255 / white)).astype(np.uint8))
