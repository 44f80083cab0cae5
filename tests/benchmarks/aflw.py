"""Measures head poses and landmarks on AFLW2000-3D, 300W-LP and BIWI.

    python tests/benchmarks/aflw.py DIR [--json results.json] [--name photo_face --epoch 20]

DIR is one of
    AFLW2000-3D or 300W-LP    photos <name>.jpg, with <name>.mat beside each, in any folders
    BIWI                      the folder hpdb: <number>/frame_<number>_rgb.png and frame_<number>_pose.txt
Prints the mean absolute error of yaw, pitch and roll, in degrees. Faces with an angle beyond 99 degrees are left out,
as in the papers. If there are 68 landmarks (x and y of pt3d_68; in 300W-LP pts_3d in landmarks/<set>/<name>_pts.mat),
it prints their normalised mean error (NME) too, in percent, for faces with a yaw of 0-30, 30-60 and 60-90 degrees, and
the mean of these three. It is the mean distance of the landmarks, divided by the square root of width times height of
the box around the annotated ones.
"""
import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from models.face_model import rotation  # noqa: E402
from models.reconstruction import Reconstructor  # noqa: E402
from models.records import FaceResult  # noqa: E402
from tests.benchmarks.reconstructing import (  # noqa: E402
    AnnotatedFaces,
    add_options,
    box_center,
    landmarks_in_photo,
    load_reconstructor,
    reconstruct,
)
from tests.benchmarks.scores import box_size, normalised_error  # noqa: E402
from util.command import run_command  # noqa: E402
from util.files import InputError, write_lines  # noqa: E402
from util.mat_files import read_mat  # noqa: E402

LARGEST_ANGLE = 99               # degrees
YAW_BINS = ((0, 30), (30, 60), (60, 90))
ANGLES = ("yaw", "pitch", "roll")
BIWI_CENTER = np.array([320, 240])   # of the photos, px. They show one person


class Annotation(NamedTuple):
    """A photo with the pose of a face, and its landmarks if they are known."""
    photo: Path
    angles: np.ndarray             # (3,) yaw, pitch and roll, degrees, see `head_angles`
    center: np.ndarray             # (2,) of the face, px, y down
    landmarks: np.ndarray | None   # (68, 2) px, y down


def head_angles(matrices: np.ndarray) -> np.ndarray:
    """Returns yaw, pitch and roll (..., 3), degrees, of the rotations (..., 3, 3) of heads.

    A rotation multiplies column vectors, x to the image's right, y up, z towards the viewer. It turns first about z by
    -roll, then about y by -yaw, then about x by -pitch, in the right-handed sense, as 300W-LP defines its angles. Yaw
    is positive if the head turns to the image's left, pitch if it looks up, roll if it tilts to the image's right.
    """
    m = np.asarray(matrices)
    yaw = np.arctan2(-m[..., 0, 2], np.hypot(m[..., 0, 0], m[..., 0, 1]))
    pitch = np.arctan2(m[..., 1, 2], m[..., 2, 2])
    roll = np.arctan2(m[..., 0, 1], m[..., 0, 0])
    return np.degrees(np.stack([yaw, pitch, roll], -1))


def angles_of(result: FaceResult) -> np.ndarray:
    """Returns yaw, pitch and roll (3,), degrees, of a reconstructed face, see `head_angles`."""
    return head_angles(rotation(torch.from_numpy(result.coefficients["angle"])[None])[0].numpy().T)


def read_annotations(folder: Path) -> list[Annotation]:
    """Returns the annotated photos of a folder, of any of the three layouts. Raises InputError."""
    poses = sorted(folder.rglob("frame_*_pose.txt"))
    found = [read_biwi(path) for path in poses] if poses else list(read_mats(folder))
    if not found:
        raise InputError(f"{folder} has neither photos <name>.jpg with <name>.mat, as AFLW2000-3D and 300W-LP have "
                         "them, nor frame_<number>_rgb.png with frame_<number>_pose.txt, as BIWI has them")
    return found


def read_mats(folder: Path) -> Iterator[Annotation]:
    """Yields the annotations in the form of AFLW2000-3D and 300W-LP. MATLAB counts pixels from 1."""
    for photo in sorted(folder.rglob("*.jpg")):
        path = photo.with_suffix(".mat")
        if not path.exists():
            continue
        data = read_mat(path, {"Pose_Para": (1, 7), "pt2d": (2, None)})
        pitch, yaw, roll = np.degrees(data["Pose_Para"][0, :3])
        landmarks = read_landmarks(path)
        points = data["pt2d"].T if landmarks is None else landmarks + 1
        known = points[(points >= 0).all(1)]   # those of AFLW2000-3D are -1 where they are hidden
        center = box_center(known if len(known) else points) - 1
        yield Annotation(photo, np.array([yaw, pitch, roll]), center, landmarks)


def read_landmarks(mat: Path) -> np.ndarray | None:
    """Returns the 68 landmarks (68, 2), px from 0, y down, that belong to a file with a pose. None if there are
    none."""
    separate = mat.parent.parent / "landmarks" / mat.parent.name / f"{mat.stem}_pts.mat"
    if separate.exists():
        return read_mat(separate, {"pts_3d": (68, 2)})["pts_3d"] - 1
    try:
        return read_mat(mat, {"pt3d_68": (3, 68)})["pt3d_68"][:2].T - 1
    except InputError:   # the files of 300W-LP do not have them
        return None


def read_biwi(path: Path) -> Annotation:
    """Returns the annotation of a file frame_<number>_pose.txt: three rows of a rotation in coordinates with y down and
    z away from the viewer, then the place of the head. Raises InputError."""
    photo = path.with_name(path.name.replace("_pose.txt", "_rgb.png"))
    if not photo.exists():
        raise InputError(f"{photo} is missing, which belongs to {path.name}")
    try:
        numbers = np.array(path.read_text().split(), float)
    except ValueError as error:
        raise InputError(f"{path} must hold numbers only ({error})") from error
    if len(numbers) != 12:
        raise InputError(f"{path} must hold a rotation of 3 x 3 numbers and a place of 3, not {len(numbers)} numbers")
    flip = np.diag([1, -1, -1])
    return Annotation(photo, head_angles(flip @ numbers[:9].reshape(3, 3) @ flip), BIWI_CENTER, None)


def angle_errors(found: np.ndarray, annotated: np.ndarray) -> np.ndarray:
    """Returns the absolute differences (..., 3) of angles, degrees; 179 and -179 differ by 2."""
    return np.abs((found - annotated + 180) % 360 - 180)


def binned_error(errors: np.ndarray, yaw: np.ndarray) -> dict[str, float]:
    """Returns the mean of errors (P,) for the faces of each of YAW_BINS, and the mean of these means. nan stands for a
    bin without faces. yaw: (P,) degrees. Faces that were not found have the error nan, and do not count."""
    bins = np.digitize(np.abs(yaw), [high for _, high in YAW_BINS], right=True)
    means = {}
    for number, (low, high) in enumerate(YAW_BINS):
        counted = errors[(bins == number) & ~np.isnan(errors)]
        means[f"{low}-{high}"] = float(counted.mean()) if len(counted) else float("nan")
    return means | {"mean": float(np.mean(list(means.values())))}


def measure(annotations: list[Annotation], reconstructor: Reconstructor, batch_size: int = 8) -> dict:
    """Returns the number of photos, that of the faces found, the mean absolute errors of the angles and their mean
    (`pose`, degrees), and, if there are landmarks, `nme` in percent by yaw."""
    by_path = {annotation.photo: annotation for annotation in annotations}
    files = AnnotatedFaces(list(by_path), lambda path: by_path[path].center, reconstructor)
    results = {photo.path: result for photo, result in reconstruct(files, reconstructor, batch_size, parts=())}
    pose_errors, landmark_errors, yaws = [], [], []
    for annotation in annotations:
        result = results[annotation.photo]
        if result and np.abs(annotation.angles).max() <= LARGEST_ANGLE:
            pose_errors.append(angle_errors(angles_of(result), annotation.angles))
        if annotation.landmarks is not None:
            yaws.append(annotation.angles[0])
            landmark_errors.append(100 * normalised_error(landmarks_in_photo(result), annotation.landmarks,
                                                          box_size(annotation.landmarks)) if result else np.nan)
    means = np.mean(pose_errors, axis=0) if pose_errors else np.full(3, np.nan)
    measured = {"photos": len(annotations), "found": sum(result is not None for result in results.values()),
                "pose": dict(zip(ANGLES, means.tolist(), strict=True)) | {"mean": float(means.mean())}}
    if landmark_errors:
        measured["nme"] = binned_error(np.array(landmark_errors), np.array(yaws))
    return measured


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("--json", type=Path, help="file to write with all numbers")
    add_options(parser)
    options = parser.parse_args()
    measured = measure(read_annotations(options.folder), load_reconstructor(options), options.batch_size)
    print(f"{measured['photos']} photos; a face found in {measured['found']}")
    for name, title in (("pose", "mean absolute error, degrees"), ("nme", "NME by yaw, %")):
        if name in measured:
            print(f"\n| {title} | " + " | ".join(measured[name]) + " |\n" + "| --- " * (1 + len(measured[name])) + "|")
            print("| | " + " | ".join(f"{value:.2f}" for value in measured[name].values()) + " |")
    if options.json:
        write_lines(options.json, [json.dumps(measured)])
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main, verbose=False))
