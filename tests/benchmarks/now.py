"""Reconstructs the photos of the benchmark NoW, checks the folder that is uploaded, and measures it against scans.

    python tests/benchmarks/now.py reconstruct --now DIR --out OUT [--image_set test] [--name photo_face --epoch 20]
    python tests/benchmarks/now.py check --now DIR --out OUT [--image_set test]
    python tests/benchmarks/now.py evaluate --now DIR --out OUT [--plot now.png]

DIR: NoW_Dataset with imagepathsvalidation.txt or imagepathstest.txt, and final_release_version/iphone_pictures. Only
`evaluate` reads scans/ and scans_lmks_onlypp/, which the validation set has: <subject>/*.obj and <subject>/*.pp.

reconstruct   writes OUT/<subject>/<challenge>/<photo>.obj, the neutral face in mm, and .npy with seven points (7, 3).
              --full_mesh writes the whole head of the Basel Face Model 2009 (53,490 vertices) instead of its face.
check         lists what is missing or cannot be read in OUT. The exit status is 0 if OUT is complete.
evaluate      prints median, mean and standard deviation of the distances, in mm, for each challenge and for all. It
              works with any scans that are stored in the same way.
"""
import argparse
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from datasets.photo_folder import PhotoFolder  # noqa: E402
from models.basel import ID, MICRONS, VERTICES, read_expression_choice, read_front_choice  # noqa: E402
from models.reconstruction import Reconstructor  # noqa: E402
from models.records import FaceResult  # noqa: E402
from tests.benchmarks.meshes import read_obj  # noqa: E402
from tests.benchmarks.plots import draw_curves  # noqa: E402
from tests.benchmarks.reconstructing import add_options, load_reconstructor, neutral_shape, reconstruct  # noqa: E402
from tests.benchmarks.scores import SEVEN_POINTS, Surface, scan_to_mesh, summary  # noqa: E402
from util import assets  # noqa: E402
from util.command import run_command  # noqa: E402
from util.files import InputError, atomic_write  # noqa: E402
from util.mat_files import read_mat  # noqa: E402
from util.obj_files import write_obj  # noqa: E402

CHALLENGES = ("multiview_neutral", "multiview_expressions", "multiview_occlusions", "selfie")
LISTS = {"val": "imagepathsvalidation.txt", "test": "imagepathstest.txt"}
MILLIMETRES = 100        # in a decimetre
LARGEST_PLOTTED = 7.0    # mm
FARTHEST_POINT = 0.05    # largest distance of the seven points from the mesh, as a share of the mesh's width
_POINT = re.compile(r"<point\b[^>]*>")


class NowPhoto(NamedTuple):
    subject: str
    challenge: str
    file: str   # name of the photo

    def result(self, folder: Path, suffix: str) -> Path:
        return (folder / self.subject / self.challenge / self.file).with_suffix(suffix)


def read_list(now: Path, image_set: str) -> list[NowPhoto]:
    """Returns the photos of "val" or "test". Raises InputError if the list is missing or another one."""
    path = now / LISTS[image_set]
    try:
        lines = [line.strip() for line in path.read_text().splitlines()]
    except (OSError, UnicodeError) as error:
        raise InputError(f"{path} cannot be read ({error}): get this list from NoW's page") from error
    photos = []
    for line in filter(None, lines):
        parts = line.split("/")[-3:]
        if len(parts) < 3 or parts[1] not in CHALLENGES:
            raise InputError(f"{path} is no list of NoW: its lines must be <subject>/<challenge>/<photo>, where the "
                             f"challenge is one of {', '.join(CHALLENGES)}, not '{line}'")
        photos.append(NowPhoto(*parts))
    return photos


def photo_folder(now: Path) -> Path:
    """Returns the folder of the photos. Raises InputError if there is none."""
    for folder in (now / "final_release_version" / "iphone_pictures", now / "iphone_pictures"):
        if folder.is_dir():
            return folder
    raise InputError(f"{now / 'final_release_version' / 'iphone_pictures'} is missing: --now must be the folder "
                     "NoW_Dataset, with its photos")


def neutral_mesh(reconstructor: Reconstructor) -> tuple[Callable[[FaceResult], np.ndarray], np.ndarray, np.ndarray]:
    """Returns a function that gives the neutral vertices (N, 3), decimetres, of a result, the triangles (F, 3), and the
    vertices of the seven points."""
    model = reconstructor.face_model
    return (lambda result: neutral_shape(reconstructor, result), model.tri.cpu().numpy(),
            model.keypoints.cpu().numpy()[[*SEVEN_POINTS]])


def full_basel_mesh(reconstructor: Reconstructor, bfm_folder: Path):
    """Returns the same as `neutral_mesh` for the whole head of the Basel Face Model 2009, whose identity components are
    those of its face. Raises InputError if another face model is used, or if files are missing."""
    if reconstructor.origin.face_model != assets.BASEL_FRONT.name:
        raise InputError(f"--full_mesh needs coefficients of the Basel Face Model 2009, but the face model is "
                         f"{reconstructor.origin.face_model}; see BFM/README.md")
    head = read_mat(bfm_folder / assets.MORPHABLE_MODEL.name, {
        "shapeMU": (3 * VERTICES, 1), "shapePC": (3 * VERTICES, 199), "shapeEV": (199, 1), "tl": (None, 3)})
    base = head["shapePC"][:, :ID] * head["shapeEV"][:ID, 0] / MICRONS
    mean = head["shapeMU"][:, 0] / MICRONS
    front = read_front_choice(bfm_folder / assets.FRONT_CHOICE.name)
    of_head = read_expression_choice(bfm_folder / assets.EXPRESSION_CHOICE.name)[front]
    keypoints = reconstructor.face_model.keypoints.cpu().numpy()[[*SEVEN_POINTS]]
    return (lambda result: (mean + base @ result.coefficients["id"]).reshape(-1, 3), head["tl"].astype(int) - 1,
            of_head[keypoints])


def write_predictions(options: argparse.Namespace) -> int:
    """Writes the mesh and the points of each photo. Returns the exit status: 1 if photos were left out."""
    photos = read_list(options.now, options.image_set)
    folder = photo_folder(options.now)
    reconstructor = load_reconstructor(options)
    shape, triangles, seven = (full_basel_mesh(reconstructor, options.bfm_folder) if options.full_mesh
                               else neutral_mesh(reconstructor))
    by_path = {folder.joinpath(*photo): photo for photo in photos}
    left_out = 0
    for photo, result in reconstruct(PhotoFolder(list(by_path), for_fit=reconstructor.fitter is not None),
                                     reconstructor, options.batch_size, parts=()):
        if result is None:
            print(photo.problem, file=sys.stderr)
            left_out += 1
            continue
        vertices = MILLIMETRES * shape(result)
        mesh = by_path[photo.path].result(options.out, ".obj")
        mesh.parent.mkdir(parents=True, exist_ok=True)
        write_obj(mesh, vertices, None, triangles)
        with atomic_write(mesh.with_suffix(".npy")) as temporary:
            np.save(temporary, vertices[seven].astype(np.float32))
    print(f"{len(photos) - left_out} of {len(photos)} photos: {options.out}")
    return 1 if left_out else 0


def read_prediction(photo: NowPhoto, out: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns vertices (N, 3), triangles (F, 3) and the seven points (7, 3) of a photo. Raises InputError."""
    mesh = photo.result(out, ".obj")
    if not mesh.is_file():
        raise InputError(f"{mesh} is missing")
    with mesh.open("rb") as file:
        first = next((line for line in file if line.startswith(b"v ")), b"")
    if len(first.split()) > 4:
        raise InputError(f"{mesh} has colours, which NoW's reader does not accept: write lines of the form v x y z")
    vertices, triangles = read_obj(mesh)
    path = mesh.with_suffix(".npy")
    try:
        points = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is missing or no array of numbers ({error})") from error
    if points.shape != (7, 3) or not np.isfinite(points).all():
        raise InputError(f"{path} must hold seven points (7, 3), not {points.shape}")
    return vertices, triangles, points.astype(float)


def problems(photos: list[NowPhoto], out: Path) -> list[str]:
    """Returns what is wrong with the folder of predictions, one line for each photo that has a problem."""
    found = []
    for photo in photos:
        try:
            vertices, triangles, points = read_prediction(photo, out)
            if Surface(vertices, triangles).distances(points).max() > FARTHEST_POINT * np.ptp(vertices[:, 0]):
                found.append(f"{photo.result(out, '.npy')}: the seven points are not on the mesh")
        except InputError as error:
            found.append(str(error))
    return found


def read_picked_points(path: Path) -> np.ndarray:
    """Returns the seven points (7, 3) of a .pp file of MeshLab. Raises InputError."""
    try:
        tags = _POINT.findall(path.read_text())
        points = np.array([[float(re.search(rf'\b{axis}="([^"]*)"', tag)[1]) for axis in "xyz"] for tag in tags])
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{path} cannot be read as MeshLab's picked points ({error})") from error
    if points.shape != (7, 3):
        raise InputError(f"{path} has {len(points)} points, not seven")
    return points


def read_scan(now: Path, subject: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns the vertices (S, 3) of a subject's scan, mm, and its seven points (7, 3). Raises InputError."""
    files = [sorted((now / folder / subject).glob(pattern))
             for folder, pattern in (("scans", "*.obj"), ("scans_lmks_onlypp", "*.pp"))]
    if not all(files):
        raise InputError(f"{now / 'scans' / subject} has no scan, or {now / 'scans_lmks_onlypp' / subject} no points: "
                         "NoW gives them for the validation set only")
    return read_obj(files[0][0])[0], read_picked_points(files[1][0])


def evaluate(photos: list[NowPhoto], now: Path, out: Path) -> dict[str, np.ndarray]:
    """Returns the distances of the scans from the predictions, mm, by challenge. Raises InputError if one is
    missing."""
    scans = {subject: read_scan(now, subject) for subject in {photo.subject for photo in photos}}
    distances = {challenge: [] for challenge in CHALLENGES}
    for photo in photos:
        distances[photo.challenge].append(scan_to_mesh(*read_prediction(photo, out), *scans[photo.subject]))
    return {challenge: np.concatenate(values) for challenge, values in distances.items() if values}


def print_evaluation(options: argparse.Namespace) -> int:
    distances = evaluate(read_list(options.now, options.image_set), options.now, options.out)
    distances["all"] = np.concatenate(list(distances.values()))
    print("| mm | median | mean | std |\n| --- | --- | --- | --- |")
    for challenge, values in distances.items():
        print(f"| {challenge} | " + " | ".join(f"{value:.3f}" for value in summary(values).values()) + " |")
    if options.plot:
        steps = np.linspace(0, LARGEST_PLOTTED, 200)
        curves = {challenge: (steps, np.searchsorted(np.sort(values), steps, side="right") / len(values))
                  for challenge, values in distances.items()}
        draw_curves(options.plot, curves, "Distance of the scans", "mm", "share of the points", (0, 1))
    return 0


def print_problems(options: argparse.Namespace) -> int:
    photos = read_list(options.now, options.image_set)
    found = problems(photos, options.out)
    print("\n".join(found) or f"{options.out} is complete: {len(photos)} photos")
    return 1 if found else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, metavar="command")
    for name, function in (("reconstruct", write_predictions), ("check", print_problems),
                           ("evaluate", print_evaluation)):
        command = commands.add_parser(name)
        command.set_defaults(function=function)
        command.add_argument("--now", type=Path, required=True, metavar="DIR", help="the folder NoW_Dataset")
        command.add_argument("--out", type=Path, required=True, help="the folder of the meshes")
        command.add_argument("--image_set", choices=list(LISTS), default="val", help="validation or test photos")
        if name == "reconstruct":
            command.add_argument("--full_mesh", action="store_true", help="the whole head of the Basel Face Model")
            add_options(command)
        elif name == "evaluate":
            command.add_argument("--plot", type=Path, help="picture of the cumulative errors to write")
    options = parser.parse_args()
    return options.function(options)


if __name__ == "__main__":
    sys.exit(run_command(main, verbose=False))
