"""Writes the training set of EG3D and of 3D-aware GANs built on it: a picture of each face, and its camera.

Chan et al., Efficient Geometry-aware 3D Generative Adversarial Networks (CVPR 2022). README.md in this folder says how
well its constants, which belong to the Basel Face Model, suit the open face models.
"""
import json
from pathlib import Path

import numpy as np
from PIL import Image

from models.cropping import crop_face
from models.outputs.details import FaceDetails
from util.files import atomic_write
from util.pictures import write_png

FOLDER = "eg3d"   # in the folder of results: EG3D wants a folder that has these pictures only
# The names of the files of labels: of the camera's place on a sphere about the origin, and of that about a point that
# EG3D calls the centre of rotation ("cor")
DATASETS = {"dataset.json": (0, 0, 0), "dataset_cor.json": (0, 0, 0.175)}
MIRRORED = "_mirrored"

CROP, ENLARGEMENT = 1024, 300 / 102   # px, and how many times larger than in the 224 x 224 crop the face is shown
MIDDLE, SIZE = 700, 512               # px: of that crop, the square in the middle becomes the picture
RADIUS = 2.7                          # of the sphere on which all cameras lie
UNIT = 0.27                           # of EG3D, for one decimetre
ORIGIN = (0, 0.006, 0.161)            # of the face model, in EG3D's unit
FOCAL = 4.2647                        # of the published camera, as a share of the picture's width
PUBLISHED_FOCAL = 1015                # the same, px of the 224 x 224 crop


def write_training_picture(stem: Path, details: FaceDetails):
    """Write <stem>.png, the face's picture, and with settings.mirror <stem>_mirrored.png.

    Each PNG file has the labels of its camera as texts, from which `write_datasets` takes them.
    """
    picture = training_picture(details.photo, details.face.trans_params, details.face.turns)
    model = details.settings.face_model
    poses = camera_poses(details.rotation, details.result.coefficients["trans"], model.camera_d)
    write_png(Path(f"{stem}.png"), picture, as_texts(poses, model.focal))
    mirrored = Path(f"{stem}{MIRRORED}.png")
    if details.settings.mirror:
        mirrored_poses = {name: mirror(pose) for name, pose in poses.items()}
        write_png(mirrored, picture[:, ::-1], as_texts(mirrored_poses, model.focal))
    else:
        mirrored.unlink(missing_ok=True)   # of an earlier run: it would have an old label


def write_datasets(results_folder: Path):
    """Write the files of DATASETS, {"labels": [[<path of a picture>, <25 numbers>], ...]}, into FOLDER of a folder of
    results. They list all pictures in that folder, also those of earlier runs."""
    folder = results_folder / FOLDER
    folder.mkdir(exist_ok=True)   # it does not exist if all photos were left out
    labels = {name: [] for name in DATASETS}
    for path in sorted(folder.rglob("*.png")):
        with Image.open(path) as picture:
            for name in labels.keys() & picture.info.keys():
                labels[name].append([path.relative_to(folder).as_posix(), json.loads(picture.info[name])])
    for name, of_pictures in labels.items():
        with atomic_write(folder / name) as temporary:
            temporary.write_text(json.dumps({"labels": of_pictures}))


def training_picture(photo: np.ndarray, trans_params: np.ndarray, turns: int) -> np.ndarray:
    """The picture (512, 512, 3) uint8 RGB of a face, black outside the photo.

    photo: (H, W, 3) uint8 RGB. trans_params, turns: of the face, see `models.cropping.crop_face`.
    """
    crop = crop_face(photo, trans_params, turns, CROP, ENLARGEMENT)
    middle = slice((CROP - MIDDLE) // 2, (CROP + MIDDLE) // 2)
    picture = Image.fromarray(np.ascontiguousarray(crop[middle, middle]))
    return np.asarray(picture.resize((SIZE, SIZE), Image.Resampling.LANCZOS))


def camera_poses(rotation: np.ndarray, trans: np.ndarray, camera_d: float = 10) -> dict[str, np.ndarray]:
    """The pose (4, 4) of the camera for each of DATASETS: a matrix from camera to world coordinates. The camera's x
    points to the right, y down, and z to the face; the world has the axes of the face model.

    rotation: (3, 3), for row vectors, as `models.face_model.rotation` returns it. trans: (3,), decimetres.
    camera_d: distance of the camera from the origin in front of it, decimetres.
    """
    place = camera_place(rotation, trans, camera_d)
    poses = {}
    for name, center in DATASETS.items():
        pose = np.eye(4)
        pose[:3, :3] = rotation * (1, -1, -1)
        direction = place - center
        pose[:3, 3] = RADIUS * direction / np.linalg.norm(direction) + center
        poses[name] = pose
    return poses


def camera_place(rotation: np.ndarray, trans: np.ndarray, camera_d: float = 10) -> np.ndarray:
    """The place (3,) of the camera in EG3D's world, before it is moved to the sphere. Arguments: see `camera_poses`."""
    return UNIT * -(rotation @ (trans - (0, 0, camera_d))) + ORIGIN


def mirror(pose: np.ndarray) -> np.ndarray:
    """The pose (4, 4) of the camera that takes the mirrored picture."""
    flips = np.ones((4, 4))
    flips[0, 1:] = flips[1:3, 0] = -1
    return flips * pose


def label(pose: np.ndarray, focal: float = PUBLISHED_FOCAL) -> list[float]:
    """The 25 numbers of a camera: the rows of its pose (4, 4), and those of its intrinsic matrix, in units of the
    picture's width. focal: px of the 224 x 224 crop."""
    focal = FOCAL * (focal / PUBLISHED_FOCAL)
    return [*pose.ravel().tolist(), focal, 0, 0.5, 0, focal, 0.5, 0, 0, 1]


def as_texts(poses: dict[str, np.ndarray], focal: float) -> dict[str, str]:
    """The labels of poses as texts for a PNG file. focal: see `label`."""
    return {name: json.dumps(label(pose, focal)) for name, pose in poses.items()}
