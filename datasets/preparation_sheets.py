"""Contact sheets of a folder of training photos: pictures that show at a glance what train.py will see."""
import textwrap
from itertools import count, islice, takewhile
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw

from datasets.photos import BROKEN
from datasets.preparation_plan import LANDMARKS, MASKS, SHEETS, TrainingFolder
from datasets.training_photos import SamplePaths, read_sample
from models.coordinates import CROP_SIZE, flip_y
from util.files import InputError, atomic_write

EVERY = 100            # one of so many photos is shown
COLUMNS, ROWS = 8, 5   # of crops on a sheet
LABEL = 16             # px, the height of the line with the photo's name below each crop
BLUE, YELLOW = np.array([0, 160, 255]), (255, 255, 0)


def write_contact_sheets(folder: TrainingFolder):
    """Write vis/sheet_001.jpg, ... with the crops of every hundredth photo, its landmarks and its mask.

    A sheet is kept if it shows the same photos as before and no landmarks or masks were written since. Sheets with
    higher numbers, from a time when the folder held more photos, are deleted. Raises OSError.
    """
    # The time of a subfolder is that of the last file that was written into it.
    last_written = max((folder.path / name).stat().st_mtime_ns for name in (LANDMARKS, MASKS))
    shown = list(islice(folder.samples(), 0, None, EVERY))
    paths = (folder.path / SHEETS / f"sheet_{number:03}.jpg" for number in count(1))
    for start in range(0, len(shown), COLUMNS * ROWS):
        samples, path = shown[start:start + COLUMNS * ROWS], next(paths)
        names = "\n".join(sample.photo.name for sample in samples).encode()
        if read_comment(path) == names and path.stat().st_mtime_ns >= last_written:
            continue
        with atomic_write(path) as temporary:
            draw_sheet(samples).save(temporary, quality=85, comment=names)
    for path in takewhile(Path.is_file, paths):
        path.unlink()


def read_comment(sheet: Path) -> bytes | None:
    """Read the names of the photos that an existing sheet shows: they are the comment in its JPEG file."""
    try:
        with Image.open(sheet) as image:
            return image.info.get("comment")
    except BROKEN:
        return None


def draw_sheet(samples: list[SamplePaths]) -> Image.Image:
    """Draw the tiles of up to `COLUMNS * ROWS` samples, row by row."""
    width, height = CROP_SIZE, CROP_SIZE + LABEL
    sheet = Image.new("RGB", (min(len(samples), COLUMNS) * width, -(-len(samples) // COLUMNS) * height))
    for i, sample in enumerate(samples):
        sheet.paste(draw_tile(sample), (i % COLUMNS * width, i // COLUMNS * height))
    return sheet


def draw_tile(sample: SamplePaths) -> Image.Image:
    """Draw a sample, 224 x 240 px: the crop with its landmarks, the name of the photo below.

    Pixels that are not skin according to the mask are tinted blue. If the sample cannot be read, the tile shows why.
    """
    tile = Image.new("RGB", (CROP_SIZE, CROP_SIZE + LABEL))
    draw = ImageDraw.Draw(tile)
    try:
        crop, mask, landmarks, _ = read_sample(sample)
    except InputError as error:
        draw.text((4, 4), textwrap.fill(str(error), 34), "red")
        return tile
    tint = (1 - mask[..., None] / 255) / 2
    tinted = np.rint(crop * (1 - tint) + BLUE * tint).astype(np.uint8)
    for x, y in flip_y(landmarks, CROP_SIZE):
        cv2.circle(tinted, (round(float(x)), round(float(y))), 1, YELLOW, -1, cv2.LINE_AA)
    tile.paste(Image.fromarray(tinted))
    draw.text((4, CROP_SIZE + 2), sample.photo.name, "white")
    return tile
