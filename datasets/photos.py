"""Finds and reads photos."""
import io
import re
import struct
import threading
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

from util.files import InputError

SUFFIXES = {".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".bmp", ".dib", ".webp", ".tif", ".tiff", ".gif",
            ".ppm", ".pgm", ".pbm", ".pnm", ".pfm", ".jp2", ".jpx", ".jpf", ".j2k", ".avif", ".tga", ".psd", ".qoi",
            ".pcx", ".sgi", ".ras"}
HEIC = {".heic", ".heif"}   # Pillow can't read them; they are listed so that each gets a message that says so
# Photos that cannot be read: raw images of cameras, of which Pillow finds no more than a small preview, and others.
OTHER_SUFFIXES = {".dng", ".cr2", ".cr3", ".crw", ".nef", ".nrw", ".arw", ".srf", ".sr2", ".orf", ".rw2", ".raf",
                  ".pef", ".rwl", ".3fr", ".iiq", ".x3f", ".kdc", ".dcr", ".erf", ".mrw", ".mos", ".mef", ".srw",
                  ".raw", ".jxl", ".jxr", ".exr", ".hdr", ".xcf"}
# What --img_folder also takes, see datasets/video.py
VIDEO_SUFFIXES = {".mp4", ".m4v", ".mov", ".avi", ".webm", ".mkv", ".wmv", ".flv", ".mpg", ".mpeg", ".mts", ".m2ts",
                  ".3gp", ".ogv"}
NO_PHOTOS = {".txt", ".pts", ".json"}   # there may be one for each photo; they are not looked into, which takes time
BESIDE_PHOTOS = {"detections", "landmarks", "dense", "mask", "vis"}   # folders of files of the photos beside them
# How picture files begin: JPEG, PNG, GIF, TIFF, WebP, AVIF and HEIC, JPEG 2000, Photoshop
_BEGINNING = re.compile(rb"\xff\xd8\xff|\x89PNG\r\n|GIF8|II\*\0|MM\0\*|RIFF....WEBP|....ftyp(?:avif|heic|heix|mif1)|"
                        rb"\0\0\0\x0cjP  |8BPS", re.DOTALL)
MAX_PIXELS = 500_000_000
MOST_MISSING = 0.05   # share of the rows of pixels that may be missing at the end of an incomplete file
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
    """The photos in a folder, sorted by name: everything that `is_photo` takes for one. Subfolders are left out.

    Raises InputError if the folder is missing, is not a folder, cannot be read, or has no photo.
    """
    folder = Path(folder)
    if not folder.exists():
        advice = ". Patterns are not replaced here: give a folder" * any(sign in str(folder) for sign in "*?[")
        raise InputError(f"the photo folder {folder} does not exist (looked in {Path.cwd()}){advice}")
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder, nor a photo of a type that can be read: give the folder that "
                         "holds the photos, or convert the photo to JPEG or PNG")
    photos = photos_in(folder)
    if not photos:
        raise InputError(f"no photos in {folder}: looked for {' '.join(sorted(SUFFIXES))}, not in subfolders. "
                         f"{remark_on_unread_photos(folder)}".rstrip(". "))
    return photos


def photos_in(folder: Path) -> list[Path]:
    """Like `list_photos`, but the list may be empty. Raises InputError if the folder cannot be read."""
    try:
        return sorted(filter(is_photo, folder.iterdir()))
    except OSError as error:
        raise InputError(f"cannot read the photo folder {folder}: {error.strerror}") from error


def is_photo(path: Path) -> bool:
    """Whether a path is that of a photo to read, or of one that shall be reported as unreadable.

    The suffix decides, in upper or lower case. Links to files that do not exist count, hidden files do not. A file
    without a suffix is a photo if it begins like one.
    """
    if path.name.startswith("."):
        return False
    if path.suffix.lower() in SUFFIXES | HEIC:
        return path.is_file() or _is_broken_link(path)
    return not path.suffix and _begins_like_a_photo(path)


def remark_on_unread_photos(folder: Path, subfolders: bool = True) -> str:
    """One line about the photos in a folder that are not read, with their number, or "" if there are none.

    These are files that cannot be read, files with an unusual suffix that begin like a picture, and photos in
    subfolders (not looked for without `subfolders`). Raises OSError.
    """
    files, videos, inside = [], [], Counter()
    for path in folder.iterdir():
        if path.name.startswith(".") or is_photo(path):
            continue
        if path.is_dir():
            if subfolders and path.name not in BESIDE_PHOTOS:
                inside[f"in {path.name}"] = sum(Path(name).suffix.lower() in SUFFIXES | HEIC | OTHER_SUFFIXES
                                           for name in _names_in(path))
        elif path.suffix in NO_PHOTOS:
            continue
        elif path.suffix.lower() in VIDEO_SUFFIXES:
            videos.append(path)
        elif path.suffix.lower() in OTHER_SUFFIXES or _begins_like_a_photo(path):
            files.append(path)
    kinds, inside, remark = Counter(path.suffix.lower() for path in files), +inside, ""
    if files:
        remark = (f"{folder}: photos that cannot be read: {_counts(kinds)}, for example {min(files).name}. Convert "
                  "them to JPEG or PNG. ")
    if videos:
        remark += (f"{folder}: videos beside photos are not read: {len(videos)}, for example {min(videos).name}. Name "
                   "it, or a folder that has videos alone, with --img_folder. ")
    if inside:
        remark += (f"{folder}: photos in subfolders are not read: {_counts(inside)}. Name these folders with "
                   "--img_folder to read them.")
    return remark.strip()


def _counts(counter: Counter) -> str:
    """The three most common things and how often they occur, as "12 .cr2, 3 .jxl, 1 .svg and 5 others"."""
    first = counter.most_common(3)
    others = counter.total() - sum(count for _, count in first)
    return ", ".join(f"{count} {name}" for name, count in first) + f" and {others} others" * (others > 0)


def _names_in(folder: Path) -> list[str]:
    try:
        return [path.name for path in folder.iterdir()]
    except OSError:   # a folder that may not be opened
        return []


def _is_broken_link(path: Path) -> bool:
    return path.is_symlink() and not path.exists()


def _begins_like_a_photo(path: Path) -> bool:
    if not path.is_file():
        return False
    try:
        with path.open("rb") as file:
            return _BEGINNING.match(file.read(16)) is not None
    except OSError:
        return False


def open_image(file: Path | io.BytesIO) -> Image.Image:
    """Open an image file of any size, like `Image.open`: its pixels are not read yet.

    Pillow warns about images of 90 megapixels and refuses those of twice as many, but some cameras make larger ones.
    """
    with _PILLOW_LIMIT:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(file)
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def read_photo(path: Path, reduce: int = 1) -> np.ndarray:
    """Read a photo as (H, W, 3) uint8 RGB, upright by its EXIF orientation, transparent parts over white.

    reduce: 1, 2, 4 or 8; width and height are divided by it and rounded up. It makes reading JPEG files faster.
    Raises InputError if the file is missing, is not a photo, is broken, or has more than 500 megapixels.
    """
    return _read_photo(Path(path), Path(path), reduce)


def read_incomplete_photo(path: Path) -> tuple[np.ndarray, str]:
    """Read a photo as `read_photo` does, also a JPEG file without its last bytes, as most programs do.

    Returns the pixels, and a remark if the file is not complete, or "". At most MOST_MISSING of the rows of pixels may
    be missing, or 16 rows; they are grey. Raises InputError.
    """
    try:
        return read_photo(path), ""
    except InputError:
        try:
            content = path.read_bytes() + b"\xff\xd9"   # the mark of the end
            is_jpeg = content.startswith(b"\xff\xd8\xff")
        except OSError:
            is_jpeg = False
        if not is_jpeg or _missing_rows(content) > MOST_MISSING:
            raise
    return (_read_photo(path, io.BytesIO(content)),
            f"{path}: the end of the file is missing, which spoils the last rows of pixels or all fine details")


def _missing_rows(content: bytes) -> float:
    """The share of the rows of a JPEG picture whose data are missing at its end, less 16 rows. 1 if it is broken."""
    try:
        with open_image(io.BytesIO(content)) as image:
            grey = np.asarray(image.convert("L"))
    except BROKEN:
        return 1
    is_missing = (grey == 128).all(axis=1)   # the decoder fills these rows with grey
    missing = len(grey) if is_missing.all() else np.argmin(is_missing[::-1])
    return max(missing - 16, 0) / len(grey)


def _read_photo(path: Path, file: Path | io.BytesIO, reduce: int = 1) -> np.ndarray:
    """See `read_photo`. path: for messages. file: has the content."""
    try:
        with open_image(file) as image:
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
        kind = "is a link to a file that does not exist" if _is_broken_link(path) else "does not exist"
        raise InputError(f"the photo {path} {kind}") from error
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
