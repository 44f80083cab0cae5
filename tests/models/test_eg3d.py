"""The training set of EG3D: labels by numbers that are worked out here, pictures by the published steps."""
import json
import math

import numpy as np
import pytest
import torch
from PIL import Image

from models.coordinates import CROP_SIZE
from models.face_model import rotation
from models.outputs.eg3d import camera_poses, label, mirror, training_picture, write_datasets
from util.pictures import write_png

INTRINSICS = [4.2647, 0, 0.5, 0, 4.2647, 0.5, 0, 0, 1]


def poses_of(angle, trans):
    """The poses (4, 4) with the camera on the sphere about the origin, and about the centre of rotation."""
    matrix = rotation(torch.tensor([angle], dtype=torch.float64))[0].numpy()
    return list(camera_poses(matrix, np.array(trans, np.float32)).values())


def test_the_camera_in_front_of_a_face():
    """It is 10 dm away: at z = 2.7 + 0.161 and y = 0.006 before it is moved to the sphere."""
    default, cor = poses_of((0, 0, 0), (0, 0, 0))
    assert label(default) == pytest.approx(
        [1, 0, 0, 0, 0, -1, 0, 2.7 * 0.006 / 2.8610063, 0, 0, -1, 2.7 * 2.861 / 2.8610063, 0, 0, 0, 1, *INTRINSICS],
        abs=1e-6)
    assert label(cor)[3:12:4] == pytest.approx([0, 2.7 * 0.006 / 2.6860067, 2.7 * 2.686 / 2.6860067 + 0.175], abs=1e-6)


def test_the_camera_of_a_face_that_is_turned_to_the_right():
    """By 30 degrees. The face sees the camera 10 - 0.6 dm away, in the direction (-sin 30, 0, cos 30)."""
    default, cor = poses_of((0, math.pi / 6, 0), (0, 0, 0.6))
    half, cos = 0.5, 0.8660254
    assert default[:3, :3] == pytest.approx(np.array([[cos, 0, half], [0, -1, 0], [half, 0, -cos]]), abs=1e-6)
    x, y, z = -0.27 * 9.4 * half, 0.006, 0.27 * 9.4 * cos + 0.161
    length = math.sqrt(x * x + y * y + z * z)
    assert default[:3, 3] == pytest.approx(np.array([x, y, z]) * 2.7 / length, abs=1e-6)
    length = math.sqrt(x * x + y * y + (z - 0.175) ** 2)
    assert cor[:3, 3] == pytest.approx(
        [x * 2.7 / length, y * 2.7 / length, (z - 0.175) * 2.7 / length + 0.175], abs=1e-6)


def test_labels_by_the_published_steps():
    """With matrices for column vectors, written out."""
    (a, b, c), trans = (0.31, -0.52, 0.17), (0.04, -0.03, 0.55)
    about_x = np.array([[1, 0, 0], [0, math.cos(a), -math.sin(a)], [0, math.sin(a), math.cos(a)]])
    about_y = np.array([[math.cos(b), 0, math.sin(b)], [0, 1, 0], [-math.sin(b), 0, math.cos(b)]])
    about_z = np.array([[math.cos(c), -math.sin(c), 0], [math.sin(c), math.cos(c), 0], [0, 0, 1]])
    turn = (about_z @ about_y @ about_x).T
    place = -turn @ [trans[0], trans[1], trans[2] - 10] * 0.27
    place[1] += 0.006
    place[2] += 0.161
    for pose, center in zip(poses_of((a, b, c), trans), ([0, 0, 0], [0, 0, 0.175]), strict=True):
        expected = np.eye(4)
        expected[:3, :3] = turn @ np.diag([1, -1, -1])
        expected[:3, 3] = (place - center) / np.linalg.norm(place - center) * 2.7 + center
        assert label(pose) == pytest.approx([*expected.ravel(), *INTRINSICS], abs=1e-6)
        expected[[0, 0, 1, 2, 0], [1, 2, 0, 0, 3]] *= -1
        assert mirror(pose) == pytest.approx(expected, abs=1e-6)
    assert label(pose, focal=2030)[16] == pytest.approx(2 * 4.2647)


def test_a_mirrored_camera_sees_mirrored_points_on_the_other_side():
    pose = poses_of((0.2, 0.4, -0.1), (0.1, 0.05, 0.3))[0]
    points = np.random.default_rng(0).normal(0, 0.1, (5, 3))

    def project(pose, points):
        x, y, z = ((points - pose[:3, 3]) @ pose[:3, :3]).T
        return np.stack([x / z, y / z], 1)

    assert project(mirror(pose), points * (-1, 1, 1)) == pytest.approx(project(pose, points) * (-1, 1))


def test_pictures_by_the_published_steps():
    """The whole photo is resized, the face being 300 instead of 102 units wide, and cropped twice. Its left and its
    upper part lie outside the photo."""
    width, height, scale, x, y = 300, 260, 0.7, 90.3, 170.8
    photo = np.random.default_rng(1).integers(0, 255, (height // 4, width // 4, 3), np.uint8).repeat(4, 0).repeat(4, 1)
    factor = scale * 300 / 102
    w, h = int(width * factor), int(height * factor)
    left = int(w / 2 - 512 + (x - width / 2) * factor)
    up = int(h / 2 - 512 + (height / 2 - y) * factor)
    crop = Image.fromarray(photo).resize((w, h), Image.Resampling.BICUBIC).crop((left, up, left + 1024, up + 1024))
    expected = np.asarray(crop.crop((162, 162, 862, 862)).resize((512, 512), Image.Resampling.LANCZOS))
    params = np.array([width, height, scale, x, y])
    picture = training_picture(photo, params, 0)
    assert (picture[:, 0] == 0).all() and (picture[0] == 0).all() and picture[300, 300].any()
    assert np.abs(picture.astype(int) - expected).max() <= 1
    assert factor * 512 / 700 == pytest.approx(4.2647 * 512 * scale / 1015, rel=1e-4)   # the focal length of the label
    assert CROP_SIZE == 224


def test_data_sets_list_the_pictures_that_are_there(tmp_path):
    write_datasets(tmp_path)
    assert json.loads((tmp_path / "eg3d" / "dataset.json").read_text()) == {"labels": []}
    (tmp_path / "eg3d" / "in").mkdir()
    for number, name in enumerate(("b.png", "in/a.png")):
        labels = {"dataset.json": json.dumps([number]), "dataset_cor.json": json.dumps([10 + number])}
        write_png(tmp_path / "eg3d" / name, np.zeros((4, 4, 3), np.uint8), labels)
    write_datasets(tmp_path)
    for name, first in (("dataset.json", 0), ("dataset_cor.json", 10)):
        written = json.loads((tmp_path / "eg3d" / name).read_text())
        assert written == {"labels": [["b.png", [first]], ["in/a.png", [first + 1]]]}
