"""The files of skin masks: writing them with a note of their origin, and checking masks that the user provided.

data_preparation.py may replace masks and landmarks that it wrote itself, but never those that the user provided. To
tell them apart, each mask that it writes carries texts in its PNG file: the CRC-32 checksum of the photo and, if it
wrote the landmarks and the mesh too, the checksums of their files. It follows that

- a mask without these texts was provided by the user,
- landmarks or a mesh with another checksum were provided by the user,
- a photo with another checksum has changed since the mask was written.
"""
import zlib
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from PIL.PngImagePlugin import putchunk

from datasets.photos import BROKEN, open_image, read_photo
from datasets.skin_mask import skin_mask
from datasets.training_photos import has_colours
from util.files import InputError, atomic_write

PHOTO_CHECKSUM, LANDMARKS_CHECKSUM, MESH_CHECKSUM = "photo crc32", "landmarks crc32", "mesh crc32"   # keys of the texts
LEAST_WHITE = 32        # a mask with smaller values only has another range than 0..255: 0 and 1, or numbers of labels


class MaskOrigin(NamedTuple):
    """What a mask that data_preparation.py wrote says about its origin."""
    photo_checksum: str
    landmarks_checksum: str   # "": the landmarks were provided by the user
    mesh_checksum: str        # "": there is no mesh, or it was provided by the user


def read_origin(mask: Path) -> MaskOrigin | None:
    """Read the origin of a mask. Returns None if the user provided it, if it is damaged, or if there is none."""
    try:
        with open_image(mask) as image:
            texts = image.info
    except BROKEN:
        return None
    if PHOTO_CHECKSUM not in texts:
        return None
    return MaskOrigin(texts[PHOTO_CHECKSUM], texts.get(LANDMARKS_CHECKSUM, ""), texts.get(MESH_CHECKSUM, ""))


def write_mask(mask: Path, photo_path: Path, photo: np.ndarray, landmarks_checksum: str = "",
               mesh_checksum: str = ""):
    """Compute and write the skin mask of a photo (H, W, 3) uint8 RGB, with a note of its origin.

    landmarks_checksum, mesh_checksum: of the photo's landmarks and mesh if data_preparation.py writes them, else "".
    Raises OSError.
    """
    texts = {PHOTO_CHECKSUM: checksum(photo_path), LANDMARKS_CHECKSUM: landmarks_checksum,
             MESH_CHECKSUM: mesh_checksum}
    texts = {key: text for key, text in texts.items() if text}
    with atomic_write(mask) as temporary:
        write_grey_png(temporary, skin_mask(photo), texts)


def write_grey_png(path: Path, pixels: np.ndarray, texts: dict[str, str]):
    """Write grey pixels (H, W) uint8 as a PNG file of three equal channels, with texts by their keys.

    OpenCV takes half as long for this as Pillow, but writes no texts: they follow the header, the first 33 bytes.
    """
    settings = [cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP]
    _, encoded = cv2.imencode(".png", cv2.cvtColor(pixels, cv2.COLOR_GRAY2BGR), settings)
    with path.open("wb") as file:
        file.write(encoded[:33])
        for key, text in texts.items():
            putchunk(file, b"tEXt", f"{key}\0{text}".encode("latin-1"))
        file.write(encoded[33:])


def photo_has_changed(photo: Path, origin: MaskOrigin) -> bool:
    """Whether a photo is another one than the mask of this origin was made from."""
    try:
        return origin.photo_checksum != checksum(photo)
    except OSError:   # it must have been readable then
        return True


def checksum(path: Path) -> str:
    """The CRC-32 of a file. Raises OSError."""
    return str(zlib.crc32(path.read_bytes()))


def check_provided_mask(mask: Path, photo: np.ndarray):
    """Raise InputError unless a file can be the skin mask of a photo (H, W, 3) uint8 RGB.

    A skin mask is grey, has the size of the upright photo, and is 255 where a pixel is certainly skin.
    """
    advice = "Provide another mask, or delete this one: then data_preparation.py computes one"
    try:
        pixels = read_photo(mask)
    except InputError as error:
        raise InputError(f"the mask {mask} cannot be read. {advice}") from error
    if pixels.shape != photo.shape:
        (height, width), (photo_height, photo_width) = pixels.shape[:2], photo.shape[:2]
        raise InputError(f"the mask {mask} has {width} x {height} pixels, but the upright photo has {photo_width} x "
                         f"{photo_height}. {advice}")
    if has_colours(pixels):
        raise InputError(f"the mask {mask} has colours. A skin mask is grey: white where a pixel is certainly skin. "
                         f"{advice}")
    if not pixels.any():
        raise InputError(f"the mask {mask} is black, which means that no pixel is skin. {advice}")
    if pixels.max() < LEAST_WHITE:
        raise InputError(f"the largest value in the mask {mask} is {pixels.max()}. A skin mask has values up to 255, "
                         f"which stands for certainly skin. {advice}")
