"""Contact sheets of a folder of training photos: what the trainer will see of them, to be checked at a glance."""
import textwrap
from collections.abc import Iterable
from itertools import count, islice, takewhile
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw

from datasets.photos import BROKEN
from datasets.training_photos import SamplePaths, read_sample
from models.coordinates import CROP_SIZE, flip_y
from util.files import InputError, atomic_write

EVERY = 100   # photos, one of which is shown
COLUMNS, ROWS = 8, 5
LABEL = 16    # px, height of the photo's name below it
BLUE, YELLOW = np.array([0, 160, 255]), (255, 255, 0)


def write_contact_sheets(folder: Path, samples: Iterable[SamplePaths], since: int):
    """Write sheet_001.jpg, ... of one in `EVERY` samples to the folder, except those that show the same photos and were
    written after the time `since`, ns. Delete the sheets that follow, of a time with more photos."""
    shown = list(islice(samples, 0, None, EVERY))
    paths = (folder / f"sheet_{number:03}.jpg" for number in count(1))
    for start in range(0, len(shown), COLUMNS * ROWS):
        part, path = shown[start:start + COLUMNS * ROWS], next(paths)
        names = "\n".join(sample.photo.name for sample in part).encode()
        if read_comment(path) == names and path.stat().st_mtime_ns >= since:
            continue
        width, height = CROP_SIZE, CROP_SIZE + LABEL
        sheet = Image.new("RGB", (min(len(part), COLUMNS) * width, -(-len(part) // COLUMNS) * height))
        for i, sample in enumerate(part):
            sheet.paste(draw_tile(sample), (i % COLUMNS * width, i // COLUMNS * height))
        with atomic_write(path) as temporary:
            sheet.save(temporary, quality=85, comment=names)
    for path in takewhile(Path.is_file, paths):
        path.unlink()


def read_comment(sheet: Path) -> bytes | None:
    """The names of the photos that a sheet of ours shows."""
    try:
        with Image.open(sheet) as image:
            return image.info.get("comment")
    except BROKEN:
        return None


def draw_tile(sample: SamplePaths) -> Image.Image:
    """224 x 240: the crop with its landmarks, tinted blue where the mask says that it is not skin, and the photo's name
    below; for a sample that can't be read the reason."""
    tile = Image.new("RGB", (CROP_SIZE, CROP_SIZE + LABEL))
    draw = ImageDraw.Draw(tile)
    try:
        crop, mask, landmarks = read_sample(sample)
    except InputError as error:
        draw.text((4, 4), textwrap.fill(str(error), 34), "red")
        return tile
    off_skin = (1 - mask[..., None] / 255) / 2
    tinted = np.rint(crop * (1 - off_skin) + BLUE * off_skin).astype(np.uint8)
    for x, y in flip_y(landmarks, CROP_SIZE):
        cv2.circle(tinted, (round(float(x)), round(float(y))), 1, YELLOW, -1, cv2.LINE_AA)
    tile.paste(Image.fromarray(tinted))
    draw.text((4, CROP_SIZE + 2), sample.photo.name, "white")
    return tile
