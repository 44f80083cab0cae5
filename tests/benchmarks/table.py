"""Measures every number that the documents give for quality, and writes them as one table.

    python tests/benchmarks/table.py DIR [DIR ...] --out table [--networks photo_face:20 M:latest]

DIR: a folder of photos. If it has landmarks/<photo>.txt with the 68 annotated landmarks of each photo, one `x y` per
line, px, y down, the landmark errors are measured too. Times are those of the first folder.

Writes table.md, whose first table is the one of the README, and table.json with all numbers, the versions, the machine
and the SHA-256 of the checkpoints. Each network is measured alone, with --fit_color and with --fit_iters. The last
column is the fit without a network. The range after a mean is its 95 % confidence interval (bootstrap over the photos):
two columns whose ranges overlap widely may differ by chance. 100 photos with landmarks and 25 others take 14
minutes of processor time, shared by the cores.
"""
import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from datasets.photos import list_photos  # noqa: E402
from models.landmarks import WITHOUT_JAW  # noqa: E402
from models.records import Origin  # noqa: E402
from tests.benchmarks.detection import landmark_errors  # noqa: E402
from tests.benchmarks.quality import Embedder, Quality, aligned_photos, measure  # noqa: E402
from tests.benchmarks.scores import confidence_interval  # noqa: E402
from tests.benchmarks.synthetic import shape_errors  # noqa: E402
from util.command import run_command  # noqa: E402
from util.files import InputError, atomic_write  # noqa: E402

PACKAGES = ("torch", "numpy", "opencv-python-headless", "warp-lang", "dlib-bin")
FAILURE = 0.08   # a larger landmark error, relative to the distance of the outer eye corners, is a failure
FIT = "fit alone"


class Row(NamedTuple):
    """A measure, with one cell for each method that it was computed for."""
    measure: str
    unit: str      # "%", "mm", "s" or ""
    photos: str    # what was measured
    cells: dict[str, dict[str, float]]   # by the name of the method: mean and others, see `cell`


def cell(values: np.ndarray) -> dict[str, float]:
    """Returns what a table tells about values (P,), one for each photo."""
    low, high = confidence_interval(values)
    return {"mean": float(values.mean()), "low": low, "high": high, "median": float(np.median(values)),
            "p90": float(np.quantile(values, 0.9)), "max": float(values.max()), "count": len(values)}


def methods(networks: list[tuple[str, str]], fit_iters: int) -> dict[str, list[str]]:
    """Returns the options of test.py for each method, by its name. networks: name and epoch of each checkpoint."""
    found = {}
    for name, epoch in networks:
        title = name if [name for name, _ in networks].count(name) == 1 else f"{name}, epoch {epoch}"
        found[f"`{title}`"] = network = [f"--name={name}", f"--epoch={epoch}"]
        for fit in ("--fit_color", f"--fit_iters={fit_iters}"):
            found[f"`{title}` with `{fit}`"] = [*network, fit]
    return found | {FIT: ["--epoch=0", f"--fit_iters={fit_iters}"]}


def rows_of_folder(folder: Path, chosen: dict[str, list[str]], more: list[str], with_time: bool) -> Iterator[Row]:
    """Yields the measures of the photos of a folder.

    chosen: the options of test.py for each method. more: options for all of them.
    """
    photos = list_photos(folder)
    found: dict[str, Quality] = {}
    embedder = Embedder()   # The crops of the photos are the same for all methods.
    with tempfile.TemporaryDirectory() as temporary:
        source = aligned_photos(folder, photos, Path(temporary) / "photos")
        for number, (name, options) in enumerate(chosen.items()):
            tell(f"{folder.name}: {name}")
            found[name] = measure(source, photos, Path(temporary) / str(number), [*options, *more], embedder)
    scores = {name: dict(quality.scores) for name, quality in found.items()}
    for each in scores.values():
        if "nme" in each:
            each["failures"] = (each["nme"] > FAILURE).astype(float)
    for key, measured, unit, factor in (
            ("nme", "landmark error: mean distance of all 68, relative to the distance of the outer eye corners", "%",
             100),
            ("failures", f"photos with a landmark error above {FAILURE:.0%}", "%", 100),
            ("color", "colour error: mean distance between render and photo over the face, RGB 0-1", "", 1),
            ("id", "distance of dlib's face embeddings of photo and render (the fit uses these embeddings)", "", 1)):
        cells = {name: cell(factor * each[key]) for name, each in scores.items() if key in each}
        if cells:
            yield Row(measured, unit, f"{len(photos)} photos, {folder.name}", cells)
    left_out = {name: {"mean": 100 * (1 - len(quality.photos) / len(photos))} for name, quality in found.items()}
    if any(each["mean"] for each in left_out.values()):
        yield Row("photos left out", "%", f"{len(photos)} photos, {folder.name}", left_out)
    if with_time:
        yield Row("seconds per photo, all files written, start included", "s", f"{len(photos)} photos, {folder.name}",
                  {name: {"mean": quality.seconds} for name, quality in found.items()})


def rows_of_detector(folder: Path) -> Iterator[Row]:
    """Yields the errors of the landmarks that the detector finds in photos with annotated landmarks."""
    photos = list_photos(folder)
    tell(f"{folder.name}: landmarks of the detector")
    errors = landmark_errors(photos, "mediapipe")
    found = errors[np.isfinite(errors).all(1)]
    for what, values in (("all 68", found.mean(1)), ("without the jaw", found[:, WITHOUT_JAW].mean(1))):
        yield Row(f"error of the detector's landmarks, {what}", "%", f"{len(found)} of {len(photos)} photos, "
                  f"{folder.name}", {"value": cell(values)})


def rows_of_shapes(faces: int, fit_iters: int) -> Iterator[Row]:
    """Yields the errors of shapes that are fitted to rendered faces."""
    tell("shapes of rendered faces")
    errors, possible = shape_errors(faces, fit_iters)
    for name, values in errors.items():
        yield Row(f"vertex distance, rendered faces: {name}", "mm", f"{faces} faces", {"value": cell(values)})
        if possible.any():
            yield Row(f"vertex distance, rendered faces whose lips do not pass through each other: {name}", "mm",
                      f"{possible.sum()} faces", {"value": cell(values[possible])})


def tell(line: str):
    print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)


def markdown(rows: list[Row], columns: list[str]) -> str:
    """Returns a table of the rows, with a mean and its confidence interval in each cell."""
    lines = ["| | " + " | ".join(columns) + " |", "| --- |" + " --- |" * len(columns)]
    for row in rows:
        lines.append(f"| {row.measure}; {row.photos} | "
                     + " | ".join(shown(row.cells.get(name), row.unit) for name in columns) + " |")
    return "\n".join(lines)


def shown(values: dict[str, float] | None, unit: str) -> str:
    """Returns the text of a cell; empty without values."""
    if values is None:
        return ""
    digits = 3 if unit == "" else 2
    text = f"{values['mean']:.{digits}f}"
    if "low" in values:
        text += f" ({values['low']:.{digits}f} to {values['high']:.{digits}f})"
    return f"{text} {unit}".strip()


def about(networks: list[tuple[str, str]], checkpoints_dir: Path) -> dict:
    """Returns what was measured and where: versions, machine, checkpoints. Raises InputError if one is missing."""
    checkpoints = {}
    for name, epoch in networks:
        path = checkpoints_dir / name / f"epoch_{epoch}.pth"
        if not path.is_file():
            raise InputError(f"no checkpoint {path}: --networks takes <name>:<epoch> of checkpoints in "
                             "--checkpoints_dir")
        checkpoints[f"{name}:{epoch}"] = Origin(checkpoint=path).checkpoint_sha256
    commit = subprocess.run(["git", "-C", ROOT, "rev-parse", "HEAD"], capture_output=True, text=True)
    return {"date": time.strftime("%Y-%m-%d"), "commit": commit.stdout.strip(),
            "machine": f"{platform.platform()}, {platform.processor() or platform.machine()}, {os.cpu_count()} cores",
            "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
            "checkpoints_sha256": checkpoints}


def make_table(options: argparse.Namespace) -> int:
    """Measures and writes everything. Returns the exit status."""
    networks = [(name, epoch or "latest") for name, _, epoch in (each.partition(":") for each in options.networks)]
    origin = about(networks, options.checkpoints_dir)
    folders = [folder.resolve() for folder in options.folders]
    chosen = methods(networks, options.fit_iters)
    more = [f"--checkpoints_dir={options.checkpoints_dir.resolve()}"]
    rows, other = [], []
    for folder in folders:
        rows += rows_of_folder(folder, chosen, more, with_time=folder == folders[0])
        if (folder / "landmarks").is_dir():
            other += rows_of_detector(folder)
    other += rows_of_shapes(options.faces, options.fit_iters)
    lines = [markdown(rows, list(chosen)), markdown(other, ["value"]),
             f"Measured on {origin['date']}, {origin['machine']}. Ranges are 95 % confidence intervals of the mean. "
             f"\"{FIT.capitalize()}\" is `test.py {' '.join(chosen[FIT])}`.",
             "\n".join(f"- SHA-256 of `{name}`: `{checksum}`" for name, checksum in
                       origin["checkpoints_sha256"].items()),
             "- " + ", ".join(f"{name} {number}" for name, number in origin["versions"].items())]
    text = "\n\n".join(lines[:4]) + "\n" + lines[4] + "\n"
    content = origin | {"methods": chosen, "rows": [row._asdict() for row in [*rows, *other]]}
    for suffix, written in ((".md", text), (".json", json.dumps(content, indent=1) + "\n")):
        with atomic_write(Path(f"{options.out}{suffix}")) as temporary:
            temporary.write_text(written, encoding="utf-8")
    print(text)
    return 0


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+", metavar="DIR", help="folder of photos")
    parser.add_argument("--out", type=Path, required=True, help="the files are written as OUT.md and OUT.json")
    parser.add_argument("--networks", nargs="+", default=["photo_face:20"], metavar="NAME:EPOCH",
                        help="checkpoints <checkpoints_dir>/<name>/epoch_<epoch>.pth, side by side")
    parser.add_argument("--checkpoints_dir", type=Path, default=ROOT / "checkpoints", help="folder of checkpoints")
    parser.add_argument("--fit_iters", type=int, default=12, help="steps of the fit without a network")
    parser.add_argument("--faces", type=int, default=16, help="number of rendered faces whose shape is fitted")
    options = parser.parse_args(arguments)
    return run_command(lambda: make_table(options), verbose=False)


if __name__ == "__main__":
    sys.exit(main())
