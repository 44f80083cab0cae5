"""What the tests of data_preparation.py share: photos with landmarks, its command line, the files that it wrote."""
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from datasets.photos import read_photo
from datasets.skin_mask import skin_mask
from models.landmarks import five_points, similarity
from tests.helpers import EXAMPLES, GOLDEN, ROOT

FACE = np.load(GOLDEN / "augment.npz")["lm_in"] * [1, -1] + [0, 223]   # (68, 2) px, y down, 147 px wide
EXAMPLE = read_photo(EXAMPLES / "astronaut.png")   # (512, 512, 3)


def face_photo(landmarks=FACE, size: int = 224) -> np.ndarray:
    """A photo (size, size, 3) with a face at these landmarks, so that the detector finds it at once there."""
    points = np.loadtxt(EXAMPLES / "detections" / "astronaut.txt")
    return cv2.warpAffine(EXAMPLE, similarity(points, five_points(landmarks)), (size, size), flags=cv2.INTER_AREA)


def add_photo(folder: Path, name: str, landmarks=FACE, pixels: np.ndarray | None = None) -> Path:
    """Write a photo and its landmarks, unless these are None. pixels: of another photo than face_photo()."""
    (folder / "landmarks").mkdir(parents=True, exist_ok=True)
    Image.fromarray(face_photo() if pixels is None else pixels).save(folder / name)
    if landmarks is not None:
        np.savetxt((folder / "landmarks" / name).with_suffix(".txt"), landmarks)
    return folder / name


def add_photos(folder: Path, count: int):
    """Photos 000.png, 001.png, ... with landmarks, all with the same content."""
    add_photo(folder, "000.png")
    for number in range(1, count):
        for name in (f"{number:03}.png", f"landmarks/{number:03}.txt"):
            (folder / name).hardlink_to((folder / name).with_stem("000"))


def command(*arguments) -> list[str]:
    return [str(ROOT / "data_preparation.py"), "--data_root=.", "--num_threads=0", *map(str, arguments)]


def start(*arguments, **options) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, *command(*arguments)], text=True, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, **options)


def expected_mask(photo: Path) -> np.ndarray:
    return np.repeat(skin_mask(read_photo(photo))[..., None], 3, axis=2)


def written(folder: Path) -> dict[Path, tuple]:
    """The time and the content of each file in a folder."""
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in sorted(folder.rglob("*")) if path.is_file()}


def masks_listed(root: Path, mode: str = "train") -> list[str]:
    return (root / "datalist" / mode / "masks.txt").read_text().splitlines()
