"""Points that people bring: the right ones pass, the wrong ones are refused with the true cause."""
import functools
import math
from contextlib import nullcontext

import numpy as np
import pytest

from datasets.face_detection import landmarks_found
from datasets.face_pose import fit_pose
from datasets.photos import read_photo
from datasets.point_checks import check_points, check_points_inside
from models.landmarks import MIRRORED_LANDMARKS, STANDARD_LANDMARKS, five_points
from tests.helpers import EXAMPLES, ROOT
from util.files import InputError

SIZE = 400, 500   # of the photo, px
EXCHANGED = [1, 0, 2, 4, 3]


def head(yaw=0.0, pitch=0.0, roll=0.0, center=(170, 210), zoom=90.0, shape=STANDARD_LANDMARKS, distance=math.inf):
    """The 68 landmarks (68, 2) px, y down, of a turned head, seen from a distance in decimetres.

    yaw, pitch, roll: degrees to the right, upwards, clockwise. zoom: px a decimetre. shape: (68, 3) decimetres.
    """
    a, b, c = np.radians([yaw, pitch, roll])
    about_y = np.array([[math.cos(a), 0, math.sin(a)], [0, 1, 0], [-math.sin(a), 0, math.cos(a)]])
    about_x = np.array([[1, 0, 0], [0, math.cos(b), math.sin(b)], [0, -math.sin(b), math.cos(b)]])
    about_z = np.array([[math.cos(c), math.sin(c), 0], [-math.sin(c), math.cos(c), 0], [0, 0, 1]])
    x, y, z = (shape.astype(float) @ (about_z @ about_x @ about_y).T).T
    return np.column_stack([x, -y]) * zoom / (1 - z / distance)[:, None] + center


@functools.cache
def random_shapes():
    """The landmarks (100, 68, 3) of random people and expressions of the open face model."""
    from models.face_model_files import load_face_model_data

    data = load_face_model_data(ROOT / "BFM", "open_face_model.npz")
    rows = data["keypoints"].ravel() - 1
    generator = np.random.default_rng(0)
    bases = [data[name].reshape(-1, 3, data[name].shape[1])[rows] for name in ("idBase", "exBase")]
    return data["meanshape"].reshape(-1, 3)[rows] + sum(
        np.einsum("vdk,nk->nvd", base, generator.normal(size=(100, base.shape[2]))) for base in bases)


def test_the_standard_landmarks_are_those_of_the_open_face_model():
    from models.face_model_files import load_face_model_data

    data = load_face_model_data(ROOT / "BFM", "open_face_model.npz")
    mean = data["meanshape"].reshape(-1, 3)[data["keypoints"].ravel() - 1]
    np.testing.assert_allclose(STANDARD_LANDMARKS, mean, atol=0.006)


@pytest.mark.parametrize("yaw, pitch, roll", [(0, 0, 0), (40, 10, 20), (-70, -20, 90), (90, 0, 180), (-100, 0, -90)])
@pytest.mark.parametrize("reduce", [lambda points: points, five_points], ids=["68", "5"])
def test_the_pose_of_a_turned_head(yaw, pitch, roll, reduce):
    points = reduce(head(yaw, pitch, roll))
    pose = fit_pose(points, reduce(STANDARD_LANDMARKS), steps=20)
    assert pose.misfit.max() < 1e-3
    assert pose.yaw == pytest.approx(abs(yaw), abs=0.5) and math.cos(math.radians(pose.roll - roll)) > 0.999
    mirrored = fit_pose(points * (-1, 1), reduce(STANDARD_LANDMARKS), steps=20)
    assert mirrored.yaw == pytest.approx(180 - abs(yaw), abs=0.5)


@pytest.mark.parametrize("reduce", [lambda points: points, five_points], ids=["68", "5"])
def test_faces_of_all_people_expressions_and_angles_pass(reduce):
    generator = np.random.default_rng(1)
    for shape in random_shapes():
        roll, pitch = generator.uniform(-180, 180), generator.uniform(-30, 30)
        points = head(generator.uniform(-90, 90), pitch, roll, shape=shape, distance=generator.uniform(4, 15))
        points = reduce(points + generator.normal(0, 2, (68, 2)))
        checked, remark = check_points(points, "a.txt", SIZE)
        assert checked is points and remark == ""


def points_of(count, **pose):
    return head(**pose) if count == 68 else five_points(head(**pose))


WITHOUT_POINT_9 = np.arange(68)[:, None] == 8


@pytest.mark.parametrize("count, change, cause", [
    (5, lambda p: np.where(np.arange(5)[:, None] == 4, np.nan, p), "point 5 is not a number"),
    (5, lambda p: np.vstack([p[:3], [[-1, -1]] * 2]), "points 4, 5 are -1 -1, which marks a hidden point, but all 5"),
    (5, lambda p: np.vstack([[[0, 0]], p[1:]]), "point 1 is 0 0, which marks a hidden point"),
    (5, lambda p: p * 0 + 7, "all points are the same"),
    (5, lambda p: p / SIZE, "the coordinates are fractions"),
    (5, lambda p: p[:, ::-1], "x and y are exchanged"),
    (5, lambda p: p * (1, -1) + (0, SIZE[1] - 1), "y counts up from the lower edge"),
    (5, lambda p: p[[2, 0, 1, 3, 4]], "in the order nose tip, left eye, right eye, left mouth corner"),
    (5, lambda p: p[[2, 1, 0, 4, 3]], "in the order nose tip, right eye, left eye, right mouth corner"),
    (5, lambda p: p[[0, 1, 3, 4, 2]], "in the order left eye, right eye, left mouth corner, right mouth corner"),
    (5, lambda p: p[[1, 0, 2, 3, 4]], "in the order right eye, left eye, nose tip, left mouth corner"),
    (5, lambda p: p[[0, 1, 2, 4, 3]], "in the order left eye, right eye, nose tip, right mouth corner"),
    (5, lambda p: np.array([[9, 9], [110, 9], [300, 300], [9, 110], [111, 111]]), "do not have the shape of a face"),
    (5, lambda p: p * 4, "lie outside the photo of 400 x 500"),
    (68, lambda p: p / SIZE, "the coordinates are fractions"),
    (68, lambda p: np.where(WITHOUT_POINT_9, np.inf, p), "point 9 is not a number"),
    (68, lambda p: np.where(WITHOUT_POINT_9, 5e4, p), "point 9 is far away"),
    (68, lambda p: np.vstack([p[:3] + 200, p[3:]]), "points 1 to 3 are far away"),
    (68, lambda p: np.where(np.arange(68)[:, None] < 8, -1, p), "points 1 to 8 are -1 -1, which marks a hidden point"),
    (68, lambda p: p * (-1, 1) + (SIZE[0] - 1, 0), "left and right are exchanged, or x counts from the right edge"),
    (68, lambda p: p[MIRRORED_LANDMARKS], "left and right are exchanged, or x counts from the right edge"),
    (68, lambda p: p * (1, -1) + (0, SIZE[1] - 1), "y counts up from the lower edge"),
    (68, lambda p: p[:, ::-1], "x and y are exchanged"),
    (68, lambda p: np.random.default_rng(0).permutation(p), "shape of a face; 68 points must stand in the order of"),
    (68, lambda p: p + SIZE, "lie outside the photo of 400 x 500"),
])
@pytest.mark.parametrize("pose", [{}, {"yaw": 35, "pitch": -10, "roll": 20}], ids=["front", "turned"])
def test_what_cannot_be_a_face_is_refused_by_cause(count, change, cause, pose):
    with pytest.raises(InputError, match=f"^a.txt: .*{cause}"):
        check_points(change(points_of(count, **pose)), "a.txt", SIZE)


def test_corners_of_the_eyes_are_named():
    with pytest.raises(InputError, match="^a.txt: the points are the corners of the eyes and the foot of the nose"):
        check_points(head(yaw=20)[[45, 42, 36, 39, 33]], "a.txt", SIZE)


def test_exchanged_sides_of_five_points_are_put_right():
    points = five_points(head(yaw=30, roll=-20))
    checked, remark = check_points(points[EXCHANGED], "a.txt", SIZE)
    assert np.array_equal(checked, points) and remark == "a.txt: left and right are exchanged, which is put right"


def in_photo(*faces):
    """The faces that a detector finds: a little beside those of the file."""
    return lambda: [face + np.random.default_rng(0).normal(0, 1.5, (68, 2)) for face in faces]


@pytest.mark.parametrize("count", [5, 68])
def test_points_on_a_face_of_the_photo_pass(count):
    small = head(center=(60, 60), zoom=30)
    points = points_of(count, yaw=80, roll=180)
    for find_faces in (in_photo(head(yaw=80, roll=180)), in_photo(small, head(yaw=80, roll=180)), in_photo()):
        checked, remark = check_points(points, "a.txt", SIZE, find_faces)
        assert checked is points and remark == ""


def test_a_face_that_the_detector_misses_passes():
    found = in_photo(head(center=(60, 60), zoom=30), head(center=(330, 80), zoom=40, yaw=40))
    assert check_points(head(), "a.txt", SIZE, found)[1] == ""


@pytest.mark.parametrize("count, change, cause", [
    (5, lambda p: p * 2, "fit the face in the photo only when they are multiplied by about 0.5: "),
    (5, lambda p: p / 2, "fit the face in the photo only when they are multiplied by about 2: "),
    (5, lambda p: (p - p.mean(0)) / 2 + 112, "multiplied by about .* and moved by .* of this photo, 400 x 500"),
    (5, lambda p: p[:, ::-1], "x and y are exchanged, x must come first$"),
    (5, lambda p: p * (1, -1) + (0, SIZE[1] - 1), "must count down from the upper edge$"),
    (5, lambda p: p * (-1, 1) + (SIZE[0] - 1, 0), "x counts from the right edge"),
    (5, lambda p: p[[3, 4, 2, 0, 1]], "in the order left mouth corner, right mouth corner, nose tip"),
    (68, lambda p: p / 2, "fit the face in the photo only when they are multiplied by about 2"),
    (68, lambda p: p * (-1, 1) + (SIZE[0] - 1, 0), "x counts from the right edge of the photo, but"),
    (68, lambda p: p[MIRRORED_LANDMARKS], "left and right are exchanged$"),
])
def test_a_face_of_the_photo_shows_the_cause(count, change, cause):
    face = {"yaw": 15, "roll": 5}
    with pytest.raises(InputError, match=f"^a.txt: .*{cause}"):
        check_points(change(points_of(count, **face)), "a.txt", SIZE, in_photo(head(**face)))


def test_the_photo_tells_an_upside_down_face_with_exchanged_sides_from_y_up():
    upside_down = head(roll=180)
    points = five_points(upside_down)
    checked, remark = check_points(points[EXCHANGED], "a.txt", SIZE, in_photo(upside_down))
    assert np.array_equal(checked, points) and "put right" in remark
    with pytest.raises(InputError, match="y counts up .*or the face is upside down, and left and right are exchanged"):
        check_points(points[EXCHANGED], "a.txt", SIZE)


@pytest.mark.parametrize("change, cause", [
    (lambda p, size: p, ""),
    (lambda p, size: p / 2, "multiplied by about 2: give them in pixels of this photo"),
    (lambda p, size: p * (1, -1) + (0, size[1] - 1), "y counts up from the lower edge"),
    (lambda p, size: p[[2, 0, 1, 3, 4]], "in the order nose tip, left eye, right eye"),
])
@pytest.mark.parametrize("turns", [0, 2], ids=["upright", "upside down"])
def test_points_of_an_example_photo(change, cause, turns):
    photo = np.ascontiguousarray(np.rot90(read_photo(EXAMPLES / "astronaut.png"), turns))
    size = photo.shape[1::-1]
    points = np.loadtxt(EXAMPLES / "detections" / "astronaut.txt")
    points = np.subtract(size, 1) - points if turns else points
    with pytest.raises(InputError, match=cause) if cause else nullcontext():
        checked, remark = check_points(change(points, size), "a.txt", size, lambda: landmarks_found(photo))
        assert np.array_equal(checked, points) and remark == ""


def test_points_outside_the_photo_are_refused():
    points = np.array([[100, 100], [160, 101], [130, 135], [105, 165], [155, 166]], dtype=float)
    check_points_inside(points, 200, 200, "a.txt")
    check_points_inside(points - (110, 0), 200, 200, "a.txt")  # half of the face is cut off
    for wrong in (points * 4, points - 300, points + (90, 0)):
        with pytest.raises(InputError, match="a.txt: .*200 x 200"):
            check_points_inside(wrong, 200, 200, "a.txt")
