"""Finds and reads photos."""
import struct
import threading
from pathlib import Path

import numpy as np
from PIL import Image

from util.files import InputError

SUFFIXES = {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".ppm",
            ".pgm", ".jp2", ".avif"}
HEIC = {".heic", ".heif"}   # Pillow can't read them; they are listed so that each gets a message that says so
MAX_PIXELS = 500_000_000
_PILLOW_LIMIT = threading.Lock()   # held while Pillow's own limit is changed

# The operations that turn the stored pixels upright, by the EXIF orientation
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

# Exceptions that Pillow raises for broken data
BROKEN = (OSError, ValueError, SyntaxError, EOFError, IndexError, TypeError, KeyError, struct.error)


def list_photos(folder: Path) -> list[Path]:
    """The photos in a folder, sorted by name: files of all common image types, and of HEIC.

    Suffixes may be in upper or lower case. Subfolders and hidden files are left out.
    Raises InputError if the folder is missing, is not a folder, cannot be read, or has no photo.
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


def open_image(path: Path) -> Image.Image:
    """Open an image file of any size, like `Image.open`: its pixels are not read yet.

    Pillow warns about images of 90 megapixels and refuses those of twice as many, but some cameras make larger ones.
    """
    with _PILLOW_LIMIT:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(path)
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def read_photo(path: Path, reduce: int = 1) -> np.ndarray:
    """Read a photo as (H, W, 3) uint8 RGB, upright by its EXIF orientation, transparent parts over white.

    reduce: 1, 2, 4 or 8; width and height are divided by it and rounded up. It makes reading JPEG files faster.
    Raises InputError if the file is missing, is not a photo, is broken, or has more than 500 megapixels.
    """
    path = Path(path)
    try:
        with open_image(path) as image:
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


def photo_size(path: Path) -> tuple[int, int]:
    """The width and height in px that `read_photo` gives a photo, from its header alone. Raises InputError."""
    try:
        with open_image(path) as image:
            width, height = image.size
            turned = _orientation(image) in (5, 6, 7, 8)   # by a quarter
    except BROKEN as error:
        raise InputError(f"cannot read the photo {path}: {error}") from error
    return (height, width) if turned else (width, height)


def _orientation(image: Image.Image) -> int | None:
    """The EXIF orientation; None if there is none, or if it is broken, which is no reason to refuse the pixels."""
    try:
        return image.getexif().get(_EXIF_ORIENTATION)
    except BROKEN:
        return None


def _to_rgb(image: Image.Image) -> Image.Image:
    """An image of any mode as RGB: transparent parts over white, grey values of more than 8 bit scaled to 8 bit."""
    if image.mode.startswith("I") or image.mode == "F":
        image = _to_8_bit(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image.convert("RGB")


def _to_8_bit(image: Image.Image) -> Image.Image:
    """Grey values of more than 8 bit, integer or float, scaled to 8 bit.

    White is the smallest usual value (1, 255 or 65535, as far as the mode allows) that no pixel exceeds.
    """
    grey = np.nan_to_num(np.asarray(image, dtype=np.float64), posinf=0, neginf=0).clip(0)
    whites = {"F": (1, 255, 65535), "I": (255, 65535)}.get(image.mode, (65535,))
    white = next((white for white in whites if grey.max() <= white), grey.max())
    return Image.fromarray(np.rint(grey * (255 / white)).astype(np.uint8))
