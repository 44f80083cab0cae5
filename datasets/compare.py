"""Compares the faces of two videos, two folders or two photos by the metrics of talking heads.

    python -m datasets.compare A B [--json=FILE] [--force]
    python -m datasets.compare real.mp4 generated.mp4 --name=photo_face --epoch=20

A and B: files .npz that test.py wrote for videos, or for photos with --save=coeffs, or folders of such files, whose
files are compared by their names. Other files and folders are videos and photos: they are reconstructed first, by
test.py with all further options.

Prints a table; models/metrics.py describes the numbers. Numbers compare only between results of the same face model and
the same checkpoint, so others are refused without --force.
Exit status: 0 if everything was compared, 1 if files were left out, 2 after an error.
"""
import argparse
import json
import math
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from datasets.face_embeddings import embed_faces, pictures_of
from models.metrics import (
    EFID,
    METRICS,
    coefficient_distances,
    expression_frechet_distance,
    landmark_distances,
)
from models.outputs.clip_numbers import read_clip_numbers
from models.outputs.numbers import read_numbers
from models.recognition import load_recognition
from util.assets import RECOGNITION
from util.command import safe_output
from util.files import InputError, atomic_write

ROOT = Path(__file__).parents[1]
SUFFIX = ".npz"
IDENTITY_NETWORKS = ("dlib", "r50", "none")
FEW_FRAMES = 65   # with fewer, the covariance of 64 coefficients is not determined


@dataclass(frozen=True, eq=False)
class Faces:
    """The numbers of a face in the N frames of a video; a photo is a video of one frame."""
    path: Path                 # of the file that has them
    coefficients: np.ndarray   # (N, 257), as computed for each frame alone
    landmarks: np.ndarray      # (N, 68, 2) px in the frame, y down
    trans_params: np.ndarray   # (N, 5) W, H, s, tx, ty, see models/coordinates.py
    found: np.ndarray          # (N,) bool: whether the frame shows the face
    rate: float                # frames per second; nan for a photo
    origin: dict[str, object]  # what has to be the same on both sides
    source: Path               # the video or the photo
    is_video: bool

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the frames, px."""
        return tuple(self.trans_params[0, :2].astype(int).tolist())


def read_faces(path: Path) -> Faces:
    """Returns the content of a file of a video or of a photo. Raises InputError."""
    try:
        with np.load(path) as file:
            is_clip = "coeff" in file.files
    except Exception:   # `read_numbers` says what is wrong with a broken file
        is_clip = False
    numbers = read_clip_numbers(path) if is_clip else read_numbers(path)
    origin = {name: getattr(numbers, name) for name in ("face_model", "checkpoint_sha256", "focal", "camera_d")}
    if not is_clip:
        return Faces(path, numbers.coefficients[None], numbers.landmarks[None], numbers.trans_params[None],
                     np.array([True]), math.nan, origin, numbers.photo, is_clip)
    duration = numbers.time[-1] - numbers.time[0]
    rate = (len(numbers.time) - 1) / duration if duration > 0 else math.nan
    return Faces(path, numbers.coeff_raw, numbers.landmarks, numbers.transform_params, numbers.found, rate, origin,
                 numbers.video, is_clip)


def stored_files(place: Path) -> list[Path]:
    """Returns the files .npz that a path names: the file itself, or those in the folder and in folders inside it,
    but no hidden ones. If there are none, the path names videos or photos. Raises InputError if it does not exist."""
    if not place.exists():
        raise InputError(f"{place} does not exist: give a video, a folder, or a file {SUFFIX} that test.py has written")
    if place.is_dir():
        files = sorted(place.rglob(f"*{SUFFIX}"))
        return [file for file in files if not any(part.startswith(".") for part in file.relative_to(place).parts)]
    return [place] if place.suffix == SUFFIX else []


def reconstruct(place: Path, options_of_test: list[str]) -> tuple[dict[str, Faces], list[str]]:
    """Returns the faces of videos or photos, by name, and what was left out.

    place: of the videos or photos. options_of_test: further options of test.py. Raises InputError.
    """
    with tempfile.TemporaryDirectory() as folder:
        program = [sys.executable, str(ROOT / "test.py"), f"--img_folder={place}", "--save=coeffs",
                   f"--results_dir={folder}"]
        status = subprocess.run([*program, *options_of_test], stdout=sys.stderr).returncode
        faces, left_out = read_files(Path(folder), stored_files(Path(folder)))
    if status not in (0, 1) or not faces:
        raise InputError(f"{place} has no files {SUFFIX} of test.py, and could not be reconstructed by it")
    return faces, left_out + [f"{place}: test.py has left out a part, see above"] * status


def read_files(folder: Path, files: list[Path]) -> tuple[dict[str, Faces], list[str]]:
    """Returns the faces of files in a folder by their names there, and the errors of those that cannot be read."""
    faces, left_out = {}, []
    for file in files:
        try:
            faces[file.relative_to(folder).with_suffix("").as_posix()] = read_faces(file)
        except InputError as error:
            left_out.append(str(error))
    return faces, left_out


def check_origins(faces: list[Faces]):
    """Raises InputError if faces come from different face models, checkpoints or cameras."""
    first = faces[0]
    for other in faces[1:]:
        for name, value in first.origin.items():
            if other.origin[name] != value:
                raise InputError(f"{first.path} has {name} {value or 'none'}, and {other.path} has "
                                 f"{other.origin[name] or 'none'}: their numbers mean different things. Reconstruct "
                                 "both in the same way, or compare them all the same with --force")


def pair_faces(first: dict[str, Faces], second: dict[str, Faces]) -> dict[str, tuple[Faces, Faces]]:
    """Returns the faces of both sides that are compared with each other, by name: those of the same name, or the only
    one of each side."""
    if len(first) == len(second) == 1:
        return {next(iter(first)): (*first.values(), *second.values())}
    return {name: (faces, second[name]) for name, faces in first.items() if name in second}


def compare(pairs: dict[str, tuple[Faces, Faces]], identity: str) -> tuple[dict[str, dict[str, float]], list[str]]:
    """Returns the means of all metrics but E-FID over the frames of each pair, with `frames`, the number of frames that
    show both faces; and remarks on what could not be compared.

    identity: the recognition network that compares the persons, of IDENTITY_NETWORKS.
    Raises InputError if it is missing.
    """
    weights = ROOT / "checkpoints" / RECOGNITION.name
    if identity == "r50" and not weights.is_file():
        raise InputError(f"--identity=r50: {RECOGNITION.missing(weights)}")
    recognition = load_recognition(identity, weights) if identity != "none" else None
    results, remarks = {}, []
    for name, (first, second) in pairs.items():
        counts = len(first.found), len(second.found)
        count = min(counts)
        if counts[0] != counts[1]:
            remarks.append(f"{name}: A has {counts[0]} frames, and B has {counts[1]}: the first {count} are compared")
        if not math.isclose(first.rate, second.rate, rel_tol=0.01) and math.isfinite(first.rate + second.rate):
            remarks.append(f"{name}: A has {first.rate:.2f} frames a second, and B has {second.rate:.2f}: frames are "
                           "compared by their number, so they show different times")
        both = first.found[:count] & second.found[:count]
        one, other = (faces.coefficients[:count][both] for faces in (first, second))
        distances = coefficient_distances(one, other)
        if first.size == second.size:
            distances |= landmark_distances(*(faces.landmarks[:count][both] for faces in (first, second)))
        else:
            remarks.append(f"{name}: A has frames of {first.size[0]} x {first.size[1]} px, and B of {second.size[0]} x "
                           f"{second.size[1]} px: no landmark distances")
        if recognition:
            try:
                one, other = (embed_faces(pictures_of(faces.source, faces.is_video), faces.trans_params,
                                          faces.landmarks, faces.found, recognition)[:count][both]
                              for faces in (first, second))
                distances[f"identity_cosine_{identity}"] = (one * other).sum(1)
            except InputError as error:
                remarks.append(f"{name}: no cosine of recognised identities: {error}")
        results[name] = {"frames": int(both.sum())}
        results[name] |= {metric: float(values.mean()) for metric, values in distances.items() if len(values)}
    return results, remarks


def mean_over_frames(results: dict[str, dict[str, float]]) -> dict[str, float]:
    """Returns the means of metrics over the frames of all pairs. A metric that a pair lacks is nan."""
    frames = np.array([result["frames"] for result in results.values()])
    shown = [result for result in results.values() if result["frames"]]
    return {metric: float(np.average([result.get(metric, math.nan) for result in shown], weights=frames[frames > 0]))
            if shown else math.nan for metric in METRICS if metric != EFID}


def about_side(name: str, faces: dict[str, Faces], paired: list[Faces]) -> dict:
    """Returns what the comparison says about one side. name: its path. paired: those faces that have a counterpart."""
    found = np.concatenate([face.found for face in faces.values()])
    origins = {tuple(face.origin.items()) for face in faces.values()}
    return {"path": name, "files": len(faces), "frames": len(found), "frames_without_face": int((~found).sum()),
            "without_counterpart": [key for key, face in faces.items() if face not in paired],
            "origins": [dict(origin) for origin in sorted(origins)]}


def report(first: dict[str, Faces], second: dict[str, Faces], names: tuple[str, str], identity: str) -> dict:
    """Returns the whole comparison as it is written to the JSON file. names: of both sides. identity: see `compare`."""
    pairs = pair_faces(first, second)
    of_pairs, remarks = compare(pairs, identity)
    sides = [about_side(name, faces, [pair[side] for pair in pairs.values()])
             for side, (name, faces) in enumerate(zip(names, (first, second), strict=True))]
    all_found = [np.concatenate([face.coefficients[face.found] for face in faces.values()])
                 for faces in (first, second)]
    few = min(map(len, all_found))
    if few < FEW_FRAMES:
        remarks.append(f"E-FID needs at least {FEW_FRAMES} frames on each side, and there are {few}: it says little")
    means = mean_over_frames(of_pairs) | {EFID: expression_frechet_distance(*all_found)}
    metrics = {metric: means[metric] if math.isfinite(means[metric]) else None for metric in METRICS}
    return {"A": sides[0], "B": sides[1], "frames_compared": sum(result["frames"] for result in of_pairs.values()),
            "metrics": metrics, "pairs": of_pairs, "remarks": remarks}


def compare_places(places: tuple[Path, Path], options_of_test: list[str], force: bool, identity: str) -> dict:
    """Returns the comparison of two paths, see `report`. It also has `left_out`, the reasons why files were left out.

    options_of_test: see `reconstruct`. force: compare results of different face models, too. identity: see `compare`.
    Raises InputError.
    """
    files = [stored_files(place) for place in places]
    if options_of_test and all(files):
        raise InputError(f"{' '.join(options_of_test)}: unknown, or an option for the reconstruction of videos and "
                         f"photos, but A and B are files {SUFFIX}")
    sides, left_out = [], []
    for place, stored in zip(places, files, strict=True):
        folder = place if place.is_dir() else place.parent
        faces, reasons = read_files(folder, stored) if stored else reconstruct(place, options_of_test)
        if not faces:
            raise InputError("\n".join(reasons))
        sides.append(faces)
        left_out += reasons
    if not force:
        check_origins([faces for side in sides for faces in side.values()])
    return report(*sides, tuple(map(str, places)), identity) | {"left_out": left_out}


def table(comparison: dict) -> str:
    """Returns the comparison as text."""
    lines = []
    for side in "AB":
        about = comparison[side]
        frames, files = (f"{about[name]} {name.removesuffix('s') if about[name] == 1 else name}"
                         for name in ("frames", "files"))
        lines.append(f"{side}: {about['path']}: {frames} in {files}, {about['frames_without_face']} without a face")
        for origin in about["origins"]:
            lines.append(f"   face model {origin['face_model']}, SHA-256 of the checkpoint "
                         f"{origin['checkpoint_sha256'] or 'none'}")
        if missing := about["without_counterpart"]:
            lines.append(f"   {len(missing)} without a counterpart: {', '.join(missing[:5])}"
                         + ", ..." * (len(missing) > 5))
    lines += [f"frames in which both show a face: {comparison['frames_compared']}", ""]
    width = max(map(len, METRICS))
    for metric, value in comparison["metrics"].items():
        lines.append(f"{metric:{width}}  {'-' if value is None else f'{value:.5g}':>10}  {METRICS[metric]}")
    notes = comparison["remarks"] + [f"left out: {reason}" for reason in comparison["left_out"]]
    return "\n".join([*lines, *[""] * bool(notes), *notes])


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m datasets.compare", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
    parser.add_argument("a", type=Path, metavar="A", help="the real videos, for instance")
    parser.add_argument("b", type=Path, metavar="B", help="the generated ones")
    parser.add_argument("--json", type=Path, metavar="FILE",
                        help="writes all numbers, also those of each pair of files, to this file")
    parser.add_argument("--force", action="store_true",
                        help="compares results of different face models, checkpoints or cameras")
    parser.add_argument("--identity", choices=IDENTITY_NETWORKS, default="dlib",
                        help="compares the persons in the photos and videos by dlib's recognition network, by "
                             "ArcFace's r50, which you have to get, or not at all")
    options, options_of_test = parser.parse_known_args(arguments)
    try:
        comparison = compare_places((options.a, options.b), options_of_test, options.force, options.identity)
        print(table(comparison))
        if options.json:
            with atomic_write(options.json) as temporary:
                temporary.write_text(json.dumps(comparison, indent=1) + "\n", encoding="utf-8")
    except InputError as error:
        print(f"datasets.compare: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"datasets.compare: cannot write {options.json}: {error.strerror}", file=sys.stderr)
        return 2
    incomplete = comparison["left_out"] or any(comparison[side]["without_counterpart"] for side in "AB")
    return 1 if incomplete else 0


if __name__ == "__main__":
    with safe_output():
        sys.exit(main())
