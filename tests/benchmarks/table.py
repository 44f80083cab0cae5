"""Measures every number that the documents give for quality, and writes them as one page.

    python tests/benchmarks/table.py DIR [DIR ...] --out table [--ict ICT-FaceKit] [--networks photo_face:20 M:latest]

DIR: a folder of photos. If it has landmarks/<photo>.txt with the 68 annotated landmarks of each photo, one `x y` per
line, px, y down, the landmark errors are measured too, also in the way of 300-W, and the numbers for the thirds of the
photos by skin tone. Some photos of the first such folder are made worse in steps. Times are those of the first folder.
ICT-FaceKit: a face model made of scans, see ict.py. With it, the errors of shapes are measured on its heads too.

Writes table.md, whose first table is the one of the README, and table.json with all numbers, the versions, the machine
and the SHA-256 of the checkpoints. Each network is measured alone, with --fit_color and with --fit_iters. The last two
columns are the fit without a network, the last one with the open face model, which is free for any use. The photos made
worse and the heads of ICT-FaceKit are those of the first network. The range after a mean is its 95 % confidence
interval (bootstrap over the photos): two columns whose ranges overlap widely may differ by chance. 100 photos with
landmarks and 25 others take about 20 minutes on two idle CPU cores.
"""
import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from datasets.face_detection import DETECTORS  # noqa: E402
from datasets.photos import list_photos  # noqa: E402
from models.landmarks import WITHOUT_JAW  # noqa: E402
from models.reconstruction import Reconstructor  # noqa: E402
from models.records import Origin  # noqa: E402
from tests.benchmarks import ibug, ict, robustness  # noqa: E402
from tests.benchmarks.detection import landmark_errors  # noqa: E402
from tests.benchmarks.ict_model import IctModel  # noqa: E402
from tests.benchmarks.quality import TONES, Embedder, Quality, aligned_photos, measure, tones  # noqa: E402
from tests.benchmarks.reconstructing import add_options, annotated_landmarks, load_reconstructor  # noqa: E402
from tests.benchmarks.scores import confidence_interval  # noqa: E402
from tests.benchmarks.synthetic import shape_errors  # noqa: E402
from util.command import run_command  # noqa: E402
from util.files import InputError, atomic_write  # noqa: E402

PACKAGES = ("torch", "numpy", "opencv-python-headless", "warp-lang", "dlib-bin")
FAILURE = 0.08   # a larger landmark error, relative to the distance of the outer eye corners, is a failure
FIT, FREE_FIT = "fit alone", "fit alone, open face model"
# For each measure its name in `Quality.scores`, what it is, its unit, and how they are shown
MEASURES = (
    ("nme", "landmark error: mean distance of all 68, relative to the distance of the outer eye corners", "%",
     lambda errors: 100 * errors),
    ("nme", f"photos with a landmark error above {FAILURE:.0%}", "%", lambda errors: 100.0 * (errors > FAILURE)),
    ("color", "colour error: mean distance between render and photo over the face, RGB 0-1", "", lambda errors: errors),
    ("id", "distance of dlib's face embeddings of photo and render (the fit uses these embeddings)", "",
     lambda distances: distances))


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
            "std": float(values.std()), "p90": float(np.quantile(values, 0.9)), "max": float(values.max()),
            "count": len(values)}


def methods(networks: list[tuple[str, str]], after_network: int, alone: int) -> dict[str, list[str]]:
    """Returns the options of test.py for each method, by its name.

    networks: name and epoch of each checkpoint. after_network, alone: steps of the fits.
    """
    found = {}
    for name, epoch in networks:
        title = name if [name for name, _ in networks].count(name) == 1 else f"{name}, epoch {epoch}"
        found[f"`{title}`"] = network = [f"--name={name}", f"--epoch={epoch}"]
        for fit in ("--fit_color", f"--fit_iters={after_network}"):
            found[f"`{title}` with `{fit}`"] = [*network, fit]
    fit = ["--epoch=0", f"--fit_iters={alone}"]
    return found | {FIT: fit, FREE_FIT: [*fit, "--bfm_model=open_face_model.npz"]}


def load(options: list[str]) -> Reconstructor:
    """Returns what reconstructs faces with options of test.py."""
    parser = argparse.ArgumentParser()
    add_options(parser)
    return load_reconstructor(parser.parse_args(options))


def rows_of_folder(folder: Path, chosen: dict[str, list[str]], more: list[str], with_time: bool) -> Iterator[Row]:
    """Yields the measures of the photos of a folder.

    chosen: the options of test.py for each method. more: options for all of them.
    """
    photos, annotated = list_photos(folder), (folder / "landmarks").is_dir()
    found: dict[str, Quality] = {}
    embedder = Embedder()   # The crops of the photos are the same for all methods.
    with tempfile.TemporaryDirectory() as temporary:
        source = aligned_photos(folder, photos, Path(temporary) / "photos")
        results = {name: Path(temporary) / str(number) for number, name in enumerate(chosen)}
        for name, options in chosen.items():
            tell(f"{folder.name}: {name}")
            found[name] = measure(source, photos, results[name], [*options, *more], embedder)
        tone_of = tones(results[FREE_FIT], found[FREE_FIT].photos) if annotated else {}
    what = f"{len(photos)} photos, {folder.name}"
    yield from score_rows(found, photos, what)
    left_out = {name: {"mean": 100 * (1 - len(quality.photos) / len(photos))} for name, quality in found.items()}
    if any(each["mean"] for each in left_out.values()):
        yield Row("photos left out", "%", what, left_out)
    if with_time:
        yield Row("seconds per photo, all files written, start included", "s", what,
                  {name: {"mean": quality.seconds} for name, quality in found.items()})
    for tone in TONES if annotated else ():
        of_tone = [photo for photo in photos if tone_of.get(photo) == tone]
        yield from score_rows(found, of_tone, f"the {len(of_tone)} photos of the {tone} third by skin tone")


def score_rows(found: dict[str, Quality], photos: Collection[Path], what: str) -> Iterator[Row]:
    """Yields the means of some photos for all methods. what: which photos they are."""
    for key, measured, unit, shown_as in MEASURES:
        values = {name: quality.scores[key][[photo in photos for photo in quality.photos]]
                  for name, quality in found.items() if key in quality.scores}
        cells = {name: cell(shown_as(each)) for name, each in values.items() if len(each)}
        if cells:
            yield Row(measured, unit, what, cells)


def rows_of_detectors(folder: Path) -> Iterator[Row]:
    """Yields the errors of the landmarks that the detectors find in photos with annotated landmarks."""
    photos = list_photos(folder)
    tell(f"{folder.name}: landmarks of the detectors")
    errors = {detector: landmark_errors(photos, detector) for detector in DETECTORS}
    found = {detector: each[np.isfinite(each).all(1)] for detector, each in errors.items()}
    for what, values in (
            ("photos in which a face is found",
             {name: {"mean": 100 * len(each) / len(photos)} for name, each in found.items()}),
            ("error of all 68 landmarks", {name: cell(each.mean(1)) for name, each in found.items() if len(each)}),
            ("error without the jaw",
             {name: cell(each[:, WITHOUT_JAW].mean(1)) for name, each in found.items() if len(each)}),
            ("error of all 68 landmarks, worst photo",
             {name: {"mean": float(each.mean(1).max())} for name, each in found.items() if len(each)})):
        yield Row(what, "%", f"{len(photos)} photos, {folder.name}", values)


def rows_of_300w(folder: Path, chosen: dict[str, Reconstructor]) -> Iterator[Row]:
    """Yields the measures of 300-W for the reconstructed faces of photos with annotated landmarks."""
    annotations = {photo: annotated_landmarks(photo) for photo in list_photos(folder)}
    summaries = {}
    for name, reconstructor in chosen.items():
        tell(f"{folder.name}, in the way of 300-W: {name}")
        summaries[name] = {size: ibug.summary(errors)
                           for size, errors in ibug.landmark_errors(annotations, reconstructor).items()}
    for size, numbers in next(iter(summaries.values())).items():
        for key in numbers:
            yield Row(f"{key}, divided by {size}", "%", f"{len(annotations)} photos, {folder.name}",
                      {name: {"mean": each[size][key]} for name, each in summaries.items()})


def rows_of_ict(model: IctModel, count: int, chosen: dict[str, list[str]]) -> Iterator[Row]:
    """Yields the errors of shapes on random heads of ICT-FaceKit. chosen: the options of test.py for each method."""
    tell("heads of ICT-FaceKit")
    heads, pictures = ict.random_heads(model, count, seed=0)
    errors = {}
    for name, options in chosen.items():
        tell(f"heads of ICT-FaceKit: {name}")
        errors[name] = ict.shape_errors(model, heads, pictures, load(options))
    for kind in ict.KINDS:
        for what in next(iter(errors.values())):
            yield Row(f"distance by {kind}: {what}", "mm", f"{count} heads",
                      {name: cell(each[what][kind]) for name, each in errors.items()})


def rows_of_shapes(faces: int, fit_iters: int) -> Iterator[Row]:
    """Yields the errors of shapes that are fitted to rendered faces."""
    tell("shapes of rendered faces")
    errors, possible = shape_errors(faces, fit_iters)
    for what, counted in (("all faces", np.ones_like(possible)),
                          ("faces whose lips do not pass through each other", possible)):
        if counted.any():
            yield Row(f"vertex distance, {what}", "mm", f"{counted.sum()} faces",
                      {name: cell(values[counted]) for name, values in errors.items()})


def tell(line: str):
    print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)


def markdown(rows: list[Row]) -> str:
    """Returns a table of the rows, with a mean and its confidence interval in each cell."""
    columns = list(dict.fromkeys(name for row in rows for name in row.cells))
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


def page(sections: list[tuple[str, str]], chosen: dict[str, list[str]], origin: dict) -> str:
    """Returns the whole text of table.md. sections: titles and tables."""
    fits = " ".join(f'"{name.capitalize()}" is `test.py {" ".join(chosen[name])}`.' for name in (FIT, FREE_FIT))
    checkpoints = "".join(f"- SHA-256 of `{name}`: `{checksum}`\n"
                          for name, checksum in origin["checkpoints_sha256"].items())
    versions = ", ".join(f"{name} {number}" for name, number in origin["versions"].items())
    return ("".join(f"## {title}\n\n{text.rstrip()}\n\n" for title, text in sections)
            + f"Measured on {origin['date']}, {origin['machine']}. Ranges are 95 % confidence intervals of the mean. "
              f"{fits}\n\n{checkpoints}- {versions}\n")


def make_table(options: argparse.Namespace) -> int:
    """Measures and writes everything. Returns the exit status."""
    networks = [(name, epoch or "latest") for name, _, epoch in (each.partition(":") for each in options.networks)]
    origin = about(networks, options.checkpoints_dir)
    chosen = methods(networks, *options.fit_iters)
    more = [f"--checkpoints_dir={options.checkpoints_dir.resolve()}"]
    alone = {name: load([*each, *more]) for name, each in chosen.items()
             if not any(option.startswith("--fit") for option in each)}
    first = next(iter(alone))
    ict_model = IctModel(options.ict) if options.ict else None
    folders = [folder.resolve() for folder in options.folders]
    annotated = [folder for folder in folders if (folder / "landmarks").is_dir()]

    sections, worse = [], {}
    for number, folder in enumerate(folders):
        sections.append((f"Photos of {folder.name}", list(rows_of_folder(folder, chosen, more, with_time=number == 0))))
    for folder in annotated:
        sections.append((f"{folder.name} in the way of 300-W", list(rows_of_300w(folder, alone))))
        sections.append((f"Landmarks that the detectors find in {folder.name}", list(rows_of_detectors(folder))))
    sections.append(("Shapes of rendered faces", list(rows_of_shapes(options.faces, options.fit_iters[1]))))
    if ict_model:
        shapes = {name: [*each, *more] for name, each in chosen.items() if name.startswith(first)}
        sections.append(("Shapes of heads of ICT-FaceKit", list(rows_of_ict(ict_model, options.heads, shapes))))
    texts = [(title, markdown(rows)) for title, rows in sections]
    if annotated:
        worse = robustness.change_scores(robustness.read_faces(annotated[0], options.worse), alone[first])
        texts.append((f"{options.worse} photos of {annotated[0].name} made worse, {first}", robustness.markdown(worse)))
    text = page(texts, chosen, origin)
    content = origin | {
        "methods": chosen,
        "rows": [{"section": title, **row._asdict()} for title, rows in sections for row in rows],
        "made_worse": {name: [{key: value if np.isfinite(value) else None for key, value in score._asdict().items()}
                              for score in scores] for name, scores in worse.items()}}
    for suffix, written in ((".md", text), (".json", json.dumps(content, indent=1) + "\n")):
        with atomic_write(Path(f"{options.out}{suffix}")) as temporary:
            temporary.write_text(written, encoding="utf-8")
    print(text)
    return 0


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+", metavar="DIR", help="folder of photos")
    parser.add_argument("--out", type=Path, required=True, help="the files are written as OUT.md and OUT.json")
    parser.add_argument("--networks", nargs="+", default=["photo_face:20", "open_face:20"], metavar="NAME:EPOCH",
                        help="checkpoints <checkpoints_dir>/<name>/epoch_<epoch>.pth, side by side")
    parser.add_argument("--checkpoints_dir", type=Path, default=ROOT / "checkpoints", help="folder of checkpoints")
    parser.add_argument("--fit_iters", type=int, nargs=2, default=(8, 12), metavar=("AFTER_NETWORK", "ALONE"),
                        help="steps of the fits after a network, and without one")
    parser.add_argument("--ict", type=Path, metavar="DIR", help="the folder of ICT-FaceKit, see ict.py")
    parser.add_argument("--heads", type=int, default=40, help="number of random heads of ICT-FaceKit")
    parser.add_argument("--worse", type=int, default=20, help="number of photos that are made worse")
    parser.add_argument("--faces", type=int, default=16, help="number of rendered faces whose shape is fitted")
    options = parser.parse_args(arguments)
    return run_command(lambda: make_table(options), verbose=False)


if __name__ == "__main__":
    sys.exit(main())
