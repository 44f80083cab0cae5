"""Prepares meshes and keypoints for the evaluation of the benchmark REALY.

    python tests/benchmarks/realy.py keypoints --realy DIR --out OUT [--bfm_model photo_face_model.npz]
    python tests/benchmarks/realy.py reconstruct --photos PHOTOS --out OUT [--name photo_face --epoch 20]

DIR: the folder `data` of the code of REALY. REALY aligns regions of the face by 85 points of each mesh: the 68
landmarks, and 17 points on the cheeks. Its code has them for its own meshes only.

keypoints     writes OUT/<face model>.obj, the mean face, and OUT/<face model>.txt with the 85 points of its mesh, each
              [triangle, first weight, second weight] as REALY reads them. Copy both into DIR. How: the mean face is
              bent onto Deep3D.obj of DIR, the mesh of the Basel Face Model with 35,709 vertices, by the points 18 to 68
              (brows, nose, eyes and mouth). Then the place nearest to each of the 85 points of Deep3D.txt is taken. The
              distances that are printed show whether this went well; --picture shows the points on the mean face.
reconstruct   writes OUT/<photo>.obj for each photo, with the expression that the photo shows, in mm.
"""
import argparse
import json
import sys
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from datasets.photo_folder import PhotoFolder  # noqa: E402
from datasets.photos import list_photos  # noqa: E402
from models.coordinates import camera_to_world, crop_camera_matrix, project  # noqa: E402
from models.face_model import FaceModel  # noqa: E402
from models.face_model_files import choose_face_model, load_face_model_data  # noqa: E402
from models.landmarks import WITHOUT_JAW  # noqa: E402
from models.renderer import MeshRenderer  # noqa: E402
from tests.benchmarks.meshes import read_obj  # noqa: E402
from tests.benchmarks.reconstructing import add_options, load_reconstructor, reconstruct  # noqa: E402
from tests.benchmarks.registration import bend_onto, corresponding_places, points_at  # noqa: E402
from tests.benchmarks.scores import Surface, align_points  # noqa: E402
from util.command import run_command  # noqa: E402
from util.files import InputError, atomic_write  # noqa: E402
from util.obj_files import write_obj  # noqa: E402

TEMPLATE = "Deep3D"
KEYPOINTS = 85
MILLIMETRES = 100   # in a decimetre


def read_template(data: Path, name: str = TEMPLATE) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Returns a mesh of REALY and its keypoints: vertices (N, 3), triangles (F, 3), the numbers of the triangles (85,)
    with the keypoints, and the weights of their corners (85, 3). Raises InputError."""
    vertices, triangles = read_obj(data / f"{name}.obj")
    path = data / f"{name}.txt"
    try:
        rows = np.array(json.loads(path.read_text()), float)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({error}): --realy must be the folder data of REALY's code") from error
    if rows.shape != (KEYPOINTS, 3):
        raise InputError(f"{path} must hold {KEYPOINTS} points, each [triangle, weight, weight], not {rows.shape}")
    numbers = rows[:, 0].astype(int)
    if numbers.min() < 0 or numbers.max() >= len(triangles):
        raise InputError(f"{path} names triangles that {name}.obj does not have: they belong to different meshes")
    return vertices, triangles, numbers, np.column_stack([rows[:, 1:], 1 - rows[:, 1:].sum(1)])


def transfer_keypoints(face_model: FaceModel, template: tuple) -> tuple[np.ndarray, np.ndarray]:
    """Returns the 85 keypoints on the mesh of a face model: the numbers of the triangles (85,), and the weights of
    their corners (85, 3). template: see `read_template`. If it has the same triangles, its keypoints are returned."""
    vertices, triangles, numbers, weights = template
    own = face_model.tri.cpu().numpy()
    if np.array_equal(own, triangles):
        return numbers, weights
    keypoints = points_at(vertices, triangles, numbers, weights)
    mean = face_model.mean_shape.view(-1, 3).cpu().numpy().astype(float)
    landmarks = mean[face_model.keypoints.cpu().numpy()]
    bent = bend_onto(mean, own, landmarks[WITHOUT_JAW], Surface(vertices, triangles), keypoints[WITHOUT_JAW])
    return corresponding_places(keypoints, bent, own)


def write_keypoints(options: argparse.Namespace) -> int:
    name = choose_face_model(options.bfm_folder, options.bfm_model)
    face_model = FaceModel(load_face_model_data(options.bfm_folder, name))
    template = read_template(options.realy)
    numbers, weights = transfer_keypoints(face_model, template)
    mean, tri = face_model.mean_shape.view(-1, 3).numpy(), face_model.tri.numpy()
    options.out.mkdir(parents=True, exist_ok=True)
    place = options.out / Path(name).stem
    write_obj(place.with_suffix(".obj"), MILLIMETRES * mean, None, tri)
    with atomic_write(place.with_suffix(".txt")) as temporary:
        temporary.write_text(json.dumps([[int(number), *map(float, pair[:2])]
                                         for number, pair in zip(numbers, weights, strict=True)]))
    points = points_at(mean, tri, numbers, weights)
    own = MILLIMETRES * np.linalg.norm(points[WITHOUT_JAW] - mean[face_model.keypoints.numpy()[WITHOUT_JAW]], axis=1)
    theirs = points_at(*template)
    fitted = MILLIMETRES * np.linalg.norm(align_points(theirs, points)(theirs) - points, axis=1)
    print(f"{place}.txt: distance from the face model's own landmarks without the jaw: mean {own.mean():.1f} mm, "
          f"largest {own.max():.1f} mm; from the points of {TEMPLATE} after a similarity: mean {fitted.mean():.1f} mm")
    if options.picture:
        draw_points(options.picture, face_model, points)
    return 0


def draw_points(path: Path, face_model: FaceModel, points: np.ndarray, size: int = 896):
    """Writes a picture of the mean face from the front, with points (P, 3), decimetres, and their numbers."""
    mean = face_model.mean_shape.view(1, -1, 3)
    shading = face_model.normals(mean)[..., 2:].clamp(0, 1).expand(-1, -1, 3)
    camera = camera_to_world(mean, face_model.camera_d)
    mask, _, image = MeshRenderer(face_model.focal)(camera, face_model.tri, shading, size)
    picture = (255 * (image + 0.9 * (1 - mask)))[0].permute(1, 2, 0).byte().numpy().copy()
    scale = size / 224
    for number, (x, y) in enumerate(project(points, crop_camera_matrix(face_model.focal, face_model.camera_d))):
        place = round((x + 0.5) * scale), round((y + 0.5) * scale)
        cv2.circle(picture, place, 3, (255, 0, 0), -1)
        cv2.putText(picture, str(number + 1), place, cv2.FONT_HERSHEY_SIMPLEX, 0.35, (0, 0, 255))
    with atomic_write(path) as temporary:
        Image.fromarray(picture).save(temporary)


def write_meshes(options: argparse.Namespace) -> int:
    """Writes the mesh of each photo. Returns the exit status: 1 if photos were left out."""
    photos = list_photos(options.photos)
    reconstructor = load_reconstructor(options)
    model = reconstructor.face_model
    options.out.mkdir(parents=True, exist_ok=True)
    left_out = 0
    files = PhotoFolder(photos, for_fit=reconstructor.fitter is not None)
    for photo, result in reconstruct(files, reconstructor, options.batch_size, parts=()):
        if result is None:
            print(photo.problem, file=sys.stderr)
            left_out += 1
            continue
        parts = (torch.from_numpy(result.coefficients[name])[None].to(reconstructor.device) for name in ("id", "exp"))
        vertices = MILLIMETRES * model.shape(*parts)[0].cpu().numpy()
        write_obj(options.out / f"{photo.path.stem}.obj", vertices, None, model.tri.cpu().numpy())
    print(f"{len(photos) - left_out} of {len(photos)} photos: {options.out}")
    return 1 if left_out else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, metavar="command")
    keypoints = commands.add_parser("keypoints")
    keypoints.set_defaults(function=write_keypoints)
    keypoints.add_argument("--realy", type=Path, required=True, metavar="DIR", help="the folder data of REALY's code")
    keypoints.add_argument("--bfm_model", help="file name of the face model")
    keypoints.add_argument("--bfm_folder", type=Path, default=ROOT / "BFM", help="folder of the face models")
    keypoints.add_argument("--picture", type=Path, help="picture to write that shows the points")
    meshes = commands.add_parser("reconstruct")
    meshes.set_defaults(function=write_meshes)
    meshes.add_argument("--photos", type=Path, required=True, help="the folder of REALY's photos")
    add_options(meshes)
    for command in (keypoints, meshes):
        command.add_argument("--out", type=Path, required=True, help="the folder of the results")
    options = parser.parse_args()
    return options.function(options)


if __name__ == "__main__":
    sys.exit(run_command(main, verbose=False))
