"""Measures landmarks on folders in the style of 300-W: photos with <photo>.pts beside each.

    python tests/benchmarks/ibug.py DIR [DIR ...] [--plot curves.png] [--json results.json]

Each .pts file holds 68 points, counted from 1 as iBUG does. The landmarks of the reconstructed faces are compared with
them. Prints for each folder, and for all of them, the normalised mean error (NME, in percent), the share of photos with
a larger error than 8 % and 10 % (failures; photos in which no face is found are failures), and the area under the curve
of cumulative errors up to 8 % and 10 %. The mean distance of the 68 points is divided by
    eyes     the distance of the outer corners of the eyes, which 300-W calls inter-ocular
    pupils   the distance of the centres of the eyes
    box      the square root of width times height of the box around the annotated points
"""
import argparse
import json
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from datasets.face_points import read_points  # noqa: E402
from datasets.photos import list_photos, read_photo  # noqa: E402
from models.landmarks import COUNT  # noqa: E402
from models.reconstruction import Reconstructor  # noqa: E402
from tests.benchmarks.plots import draw_curves  # noqa: E402
from tests.benchmarks.reconstructing import (  # noqa: E402
    AnnotatedFaces,
    add_options,
    box_center,
    landmarks_in_photo,
    load_reconstructor,
    reconstruct,
)
from tests.benchmarks.scores import (  # noqa: E402
    area_under_curve,
    box_size,
    failure_rate,
    normalised_error,
    outer_eye_distance,
    pupil_distance,
)
from util.command import run_command  # noqa: E402
from util.files import InputError, write_lines  # noqa: E402

SIZES = {"eyes": outer_eye_distance, "pupils": pupil_distance, "box": box_size}
LIMITS = (0.08, 0.1)


def read_annotations(folder: Path) -> dict[Path, np.ndarray]:
    """Returns the landmarks (68, 2), px from 0, y down, of the photos of a folder. Raises InputError."""
    annotations = {}
    for photo in list_photos(folder):
        path = photo.with_suffix(".pts")
        if path.exists():
            points, _ = read_points(path, lambda photo=photo: read_photo(photo).shape[1::-1])
            if len(points) != COUNT:
                raise InputError(f"{path} must hold {COUNT} points, not {len(points)}")
            annotations[photo] = points
    if not annotations:
        raise InputError(f"{folder} has no photo with a file <photo>.pts beside it, as 300-W has them")
    return annotations


def landmark_errors(annotations: dict[Path, np.ndarray], reconstructor: Reconstructor,
                    batch_size: int = 8) -> dict[str, np.ndarray]:
    """Returns the normalised errors (P,) of the photos, by the names of SIZES; nan where no face is found."""
    files = AnnotatedFaces(list(annotations), lambda path: box_center(annotations[path]), reconstructor)
    found = {photo.path: landmarks_in_photo(result) if result else np.full((COUNT, 2), np.nan)
             for photo, result in reconstruct(files, reconstructor, batch_size, parts=())}
    points, annotated = np.stack([found[path] for path in annotations]), np.stack(list(annotations.values()))
    return {name: normalised_error(points, annotated, size(annotated)) for name, size in SIZES.items()}


def summary(errors: np.ndarray) -> dict[str, float]:
    """Returns NME, failure rates and areas under the curve, in percent, of normalised errors (P,)."""
    found = errors[~np.isnan(errors)]
    values = {"NME": 100 * float(found.mean()) if len(found) else float("nan")}
    values |= {f"failures at {100 * limit:.0f} %": 100 * failure_rate(errors, limit) for limit in LIMITS}
    return values | {f"area to {100 * limit:.0f} %": 100 * area_under_curve(errors, limit) for limit in LIMITS}


def draw_errors(path: Path, errors: dict[str, np.ndarray]):
    """Writes a picture with the cumulative curves of errors (P,) by name."""
    steps = np.linspace(0, LIMITS[-1], 200)
    curves = {name: (100 * steps, [100 * (1 - failure_rate(values, step)) for step in steps])
              for name, values in errors.items()}
    draw_curves(path, curves, "Cumulative errors of 68 landmarks", "NME by the outer corners of the eyes, %",
                "photos, %", (0, 100))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+", metavar="DIR")
    parser.add_argument("--plot", type=Path, help="picture of the cumulative errors to write")
    parser.add_argument("--json", type=Path, help="file to write with all numbers")
    add_options(parser)
    options = parser.parse_args()
    annotations = {str(folder): read_annotations(folder) for folder in options.folders}
    reconstructor = load_reconstructor(options)
    errors = {name: landmark_errors(photos, reconstructor, options.batch_size) for name, photos in annotations.items()}
    if len(errors) > 1:
        errors["all"] = {size: np.concatenate([each[size] for each in errors.values()]) for size in SIZES}
    summaries = {name: {size: summary(values) for size, values in each.items()} for name, each in errors.items()}
    columns = list(next(iter(summaries.values()))["eyes"])
    print("| folder | photos | without face | divided by | " + " | ".join(columns) + " |")
    print("| --- " * (4 + len(columns)) + "|")
    for name, each in summaries.items():
        values = errors[name]["eyes"]
        for size, numbers in each.items():
            print(f"| {name} | {len(values)} | {np.isnan(values).sum()} | {size} | "
                  + " | ".join(f"{number:.2f}" for number in numbers.values()) + " |")
    if options.plot:
        draw_errors(options.plot, {name: each["eyes"] for name, each in errors.items()})
    if options.json:
        write_lines(options.json, [json.dumps(summaries)])
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main, verbose=False))
