"""Files with the points of a face, in the many forms in which people bring them."""
import json

import numpy as np
import pytest

from datasets.face_mesh import mesh_landmarks
from datasets.face_points import points_file, read_points, remark_on_unused_files
from models.landmarks import STANDARD_LANDMARKS, STANDARD_POINTS
from util.files import InputError

SIZE = 320, 240   # of the photo, px
FACE = np.round(STANDARD_POINTS[:, :2] * (100, -100) + (160, 120), 2).astype(float)
LANDMARKS = np.round(STANDARD_LANDMARKS[:, :2] * (100, -100) + (160, 120), 2).astype(float)
NAMES = ["left_eye", "right_eye", "nose", "mouth_left", "mouth_right"]


def lines(points, separator=" "):
    return [separator.join(f"{value:.2f}" for value in point) for point in points]


def table(points, separator=" "):
    return "\n".join(lines(points, separator))


def read(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_points(path, lambda: SIZE)


@pytest.mark.parametrize("points", [FACE, LANDMARKS], ids=["5", "68"])
@pytest.mark.parametrize("write", [
    table,
    lambda points: table(points).replace("\n", "\r\n") + "\r\n\r\n",
    lambda points: table(points).encode("utf-8-sig"),
    lambda points: table(points).encode("utf-16"),
    lambda points: table(points, ","),
    lambda points: table(points, ", "),
    lambda points: table(points, ";"),
    lambda points: table(points, "\t"),
    lambda points: table(points).replace(".", ","),
    lambda points: table(points, ";").replace(".", ","),
    lambda points: "# a face\n\n" + table(points).replace("\n", "   # x y\n"),
    lambda points: "x,y\n" + table(points, ","),
    lambda points: table([(*point, 0.998) for point in points]),
    lambda points: table([(i, *point) for i, point in enumerate(points)]),
    lambda points: table([(i, *point) for i, point in enumerate(points, 1)], ","),
    lambda points: " ".join(lines(points)),
    lambda points: "photo.jpg " + " ".join(lines(points)),
    lambda points: " ".join(lines([(*point, 0.998) for point in points])),
    lambda points: "\n".join(f"{value:.18e}" for value in points.ravel()),
    lambda points: "\n".join(f"{value:.2f}" for value in points.T.ravel()),
    lambda points: table(points.T),
    lambda points: str(points.tolist()),
    lambda points: str(points),
    lambda points: json.dumps({"kps": points.tolist(), "box": [1, 2, 30, 40], "score": 0.9}),
    lambda points: json.dumps([{"x": x, "y": y, "z": 0.1} for x, y in points]),
    lambda points: json.dumps({"landmarks": points.ravel().tolist()}),
    lambda points: f"version: 1\nn_points:  {len(points)}\n{{\n{table(points + 1)}\n}}\n",
], ids=[str(number) for number in range(27)])
def test_forms_of_the_same_points(tmp_path, points, write):
    found, remark = read(tmp_path / "a.txt", write(points))
    np.testing.assert_allclose(found, points, atol=1e-9)
    assert found.dtype == np.float64 and remark == ""


MTCNN = [{"box": [100, 80, 120, 160], "confidence": 0.999,
          "keypoints": {name: [round(x), round(y)] for name, (x, y) in zip(NAMES, FACE, strict=True)}}]
RETINAFACE = {"face_1": {"score": 0.9993, "facial_area": [100, 80, 220, 240],   # its sides are those of the person
                         "landmarks": dict(zip(["right_eye", "left_eye", "nose", "mouth_right", "mouth_left"],
                                               FACE.round().tolist(), strict=True))}}


@pytest.mark.parametrize("content", [
    json.dumps(MTCNN), str(MTCNN), json.dumps(MTCNN[0]["keypoints"]), json.dumps(RETINAFACE), str(RETINAFACE),
    "\n".join(f"{name} {line}" for name, line in zip(NAMES, lines(FACE.round()), strict=True)),
    "\n".join(f"{name}: {line}" for name, line in reversed(list(zip(NAMES, lines(FACE.round()), strict=True)))),
    "\n".join(f"{name}, {line}" for name, line in zip(["leftEye", "rightEye", "noseTip", "mouthLeft", "mouthRight"],
                                                      lines(FACE.round(), ", "), strict=True)),
])
def test_named_points(tmp_path, content):
    assert read(tmp_path / "a.json", content)[0].tolist() == FACE.round().tolist()


def test_the_largest_of_several_faces(tmp_path):
    faces = [MTCNN[0], {"keypoints": {name: (point * 2).tolist() for name, point in zip(NAMES, FACE, strict=True)}}]
    points, remark = read(tmp_path / "a.json", json.dumps(faces))
    assert np.array_equal(points, FACE * 2) and remark.endswith("a.json: the largest of 2 faces")


@pytest.mark.parametrize("count", [468, 478])
@pytest.mark.parametrize("are_fractions", [False, True])
def test_points_of_a_face_mesh(tmp_path, count, are_fractions):
    mesh = np.random.default_rng(0).uniform(50, 200, (count, 3))
    mesh[:, :2] += np.linalg.pinv(mesh_landmarks(np.eye(count))) @ (LANDMARKS - mesh_landmarks(mesh[:, :2]))
    if are_fractions:
        mesh = (mesh + 0.5) / (*SIZE, SIZE[0])
    np.savetxt(tmp_path / "a.txt", mesh)
    found, _ = read_points(tmp_path / "a.txt", lambda: SIZE)
    np.testing.assert_allclose(found, LANDMARKS, atol=1e-9)
    found, _ = read(tmp_path / "a.json", json.dumps([dict(zip("xyz", point, strict=True)) for point in mesh.tolist()]))
    np.testing.assert_allclose(found, LANDMARKS, atol=1e-9)


def test_numbers_that_are_not_finite_are_read(tmp_path):
    found, _ = read(tmp_path / "a.txt", table([*FACE[:4], (np.nan, np.inf)]))
    assert np.isnan(found[4, 0]) and np.isinf(found[4, 1])


@pytest.mark.parametrize("content, message", [
    ("", "has 0 points, expected 5"),
    ("# nothing but a comment", "has 0 points"),
    (table(FACE[:4]), "has 4 points, expected 5: left eye, right eye, .*; or the 68 landmarks; or the 468 or 478"),
    (table([FACE[0], *FACE]), "has 6 points"),
    (table(LANDMARKS[:67]), "has 67 points"),
    ("100 120 300 400\n" + table(FACE), "two numbers in each line"),
    (table(FACE) + "\n7", "two numbers in each line"),
    ("left eye, right eye", "two numbers in each line"),
    ("<html>", "two numbers in each line"),
    (b"\x89PNG\r\n\x1a\n\x00\x00\x00", "two numbers in each line"),
    (b"\xff\xfe\x00\x9c", "two numbers in each line"),
    (json.dumps({"left_eye": [1, 2], "right_eye": [3, 4]}), "lacks a point of the face: nose, left mouth, right mouth"),
    (json.dumps({"box": [1, 2, 3, 4]}), "has no points of a face, expected 5"),
    ("[" * 100_000, "has 0 points"),
])
def test_other_contents_are_refused_by_file(tmp_path, content, message):
    with pytest.raises(InputError, match=f"a.txt .*{message}"):
        read(tmp_path / "a.txt", content)


def test_files_that_cannot_be_opened_are_refused(tmp_path):
    with pytest.raises(InputError, match="cannot read .*gone.txt: No such file"):
        read_points(tmp_path / "gone.txt", lambda: SIZE)
    (tmp_path / "link.txt").symlink_to(tmp_path / "gone.txt")
    with pytest.raises(InputError, match="cannot read .*link.txt: it is a link to a file that does not exist"):
        read_points(tmp_path / "link.txt", lambda: SIZE)
    with pytest.raises(InputError, match="cannot read"):
        read_points(tmp_path, lambda: SIZE)


def test_the_file_of_a_photo(tmp_path):
    assert points_file(tmp_path / "no folder", "a.b") is None
    for suffix in (".json", ".pts", ".txt"):   # each is taken before those that are there already
        path = tmp_path / f"a.b{suffix}"
        path.symlink_to(tmp_path / "gone")
        assert points_file(tmp_path, "a.b") == path
    assert points_file(tmp_path, "a") is None


def test_files_that_belong_to_no_photo_are_counted_and_the_expected_name_is_given(tmp_path):
    photos = [tmp_path / name for name in ("a.jpg", "b.jpg", "c.d.jpg")]
    assert remark_on_unused_files(tmp_path, photos) == ""
    (tmp_path / "detections").mkdir()
    for name in ("a.txt", "b.json", "c.d.pts"):
        (tmp_path / "detections" / name).write_text(table(FACE))
    (tmp_path / "detections" / ".DS_Store").touch()
    for name in ("README.txt", "b.txt"):   # the second may be a caption
        (tmp_path / name).write_text("a photo of a face")
    assert remark_on_unused_files(tmp_path, photos) == ""
    for name in ("a.jpg.txt", "b.TXT", "d.txt"):
        (tmp_path / "detections" / name).write_text(table(FACE))
    (tmp_path / "c.d.txt").write_text(table(FACE))
    assert remark_on_unused_files(tmp_path, photos) == (
        f"{tmp_path}: files of points that belong to no photo: 4, for example c.d.txt. "
        "The points of a.jpg are expected in detections/a.txt (or .pts or .json)")
