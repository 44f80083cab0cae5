"""Measures how long data_preparation.py takes: for each step in one process, for a photo in several, for a skin mask.

    python tests/benchmarks/preparation.py DIR [--num_threads 2]

DIR: a folder of photos. They are copied to a temporary folder and prepared there from the beginning, so that the time
includes the search for faces.
"""
import argparse
import contextlib
import functools
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from data_preparation import prepare_folders  # noqa: E402
from datasets import preparation, preparation_masks  # noqa: E402
from datasets.photos import list_photos  # noqa: E402
from datasets.skin_mask import skin_mask  # noqa: E402
from options.preparation import parse  # noqa: E402
from tests.datasets import reference_skin_mask  # noqa: E402

SIDE = 1024   # px, of the picture for the skin mask. The slow reference mask is computed for a part of it only


def prepare(photos: list[Path], num_threads: int) -> float:
    """Prepare copies of the photos. Returns seconds per photo."""
    with tempfile.TemporaryDirectory() as root, contextlib.chdir(root):
        Path("photos").mkdir()
        for photo in photos:
            shutil.copy(photo, "photos")
        start = time.perf_counter()
        prepare_folders(parse(["--data_root=.", "--img_folder=photos", f"--num_threads={num_threads}"]))
        return (time.perf_counter() - start) / len(photos)


def timed(seconds: Counter, part: str, function):
    """The same function, which adds the time of each call to seconds[part]."""
    @functools.wraps(function)
    def run(*arguments):
        start = time.perf_counter()
        try:
            return function(*arguments)
        finally:
            seconds[part] += time.perf_counter() - start
    return run


def parts(photos: list[Path]) -> Counter:
    """Measure one process. Returns seconds per photo of each step."""
    seconds: Counter = Counter()
    with contextlib.ExitStack() as stack:
        for part, owner, name in (("reading", preparation, "read_photo"), ("detection", preparation, "find_faces"),
                                  ("landmarks", preparation, "find_landmarks"),
                                  ("mask", preparation_masks, "skin_mask")):
            function = getattr(owner, name)
            stack.callback(setattr, owner, name, function)
            setattr(owner, name, timed(seconds, part, function))
        total = prepare(photos, 0)
    seconds = Counter({part: time / len(photos) for part, time in seconds.items()})
    seconds["writing and the rest"] = total - seconds.total()
    return seconds


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--num_threads", type=int, default=os.cpu_count())
    options = parser.parse_args()
    photos = [photo.resolve() for photo in list_photos(options.folder)]
    together = prepare(photos, options.num_threads)   # first, since a process that has searched faces cannot be forked
    alone = parts(photos)
    picture = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    start = time.perf_counter()
    skin_mask(picture)
    fast = time.perf_counter() - start
    start = time.perf_counter()
    reference_skin_mask.skin_posterior(picture[:64, :64])
    slow = (time.perf_counter() - start) * (SIDE / 64) ** 2
    print("ms per photo in one process: " + ", ".join(f"{part} {1e3 * time:.0f}" for part, time in alone.items())
          + f"; together {1e3 * alone.total():.0f}")
    print(f"photos per second in {options.num_threads} processes: {1 / together:.1f}")
    print(f"skin mask of {SIDE} x {SIDE}: {fast:.3f} s, pixel by pixel {slow:.1f} s, {slow / fast:.0f} times as long")


if __name__ == "__main__":
    main()
