"""Alignment and changes of coordinates: the golden numbers, and crops equal to those of the resized photo."""


import numpy as np
import pytest
import torch
from PIL import Image

from datasets.alignment import align
from models.coordinates import (
    camera_to_world,
    crop_to_photo,
    crop_to_projection,
    flip_y,
    photo_to_crop,
    projection_to_crop,
)
from models.landmarks import STANDARD_POINTS, five_points
from tests.helpers import GOLDEN
from util.files import InputError


def smooth_photo(width, height):
    y, x = np.mgrid[:height, :width]
    channels = [np.sin(x / 23 + 1) + np.cos(y / 31), np.sin((x + y) / 41), np.cos(x / 17) * np.sin(y / 19)]
    return np.stack([127 + 60 * channel for channel in channels], axis=-1).astype(np.uint8)


def face_points(x, y, size):
    """Five points of a face looking at the camera, y up; the eyes are 0.62 * size px apart."""
    return STANDARD_POINTS[:, :2] * size + np.array([x, y], dtype=np.float64)


@pytest.mark.parametrize("index", range(25))
def test_golden_five_points(index):
    golden = {key: value[index] for key, value in np.load(GOLDEN / "align5.npz").items()}
    width, height = golden["raw_size_wh"]
    points = flip_y(golden["lm5_raw"].astype(np.float64), height)
    _, trans_params = align(np.zeros((height, width, 3), np.uint8), points)
    np.testing.assert_allclose(trans_params, golden["trans_params"], rtol=1e-6)
    np.testing.assert_allclose(photo_to_crop(points, trans_params), golden["lm_new"], atol=1e-4)


@pytest.mark.parametrize("index", range(25))
def test_golden_68_points(index):
    golden = {key: value[index] for key, value in np.load(GOLDEN / "align68.npz").items()}
    width, height = golden["raw_size_wh"]
    landmarks = golden["lm68_raw_yup"]
    np.testing.assert_allclose(five_points(landmarks), golden["lm5"], atol=1e-4)
    _, trans_params = align(np.zeros((height, width, 3), np.uint8), five_points(landmarks))
    np.testing.assert_allclose(trans_params, golden["trans_params"], rtol=1e-6)
    np.testing.assert_allclose(photo_to_crop(landmarks, trans_params), golden["lm_new"], atol=1e-4)


@pytest.mark.parametrize("width, height, x, y, size", [
    (500, 400, 250, 200, 90),  # shrunk
    (300, 400, 150, 210, 40),  # enlarged
    (700, 300, 20, 290, 60),  # over the corner
    (150, 900, 75, 700, 300),  # photo narrower than the crop
    (400, 300, 200, 150, 102),  # about the same size
])
def test_crop_equals_that_of_the_whole_resized_photo(width, height, x, y, size):
    photo = smooth_photo(width, height)
    crop, trans_params = align(photo, face_points(x, y, size))
    scale, center_x, center_y = trans_params[2:]
    resized = int(width * scale), int(height * scale)
    left = int(resized[0] / 2 - 112 + (center_x - width / 2) * scale)
    up = int(resized[1] / 2 - 112 + (height / 2 - center_y) * scale)
    expected = Image.fromarray(photo).resize(resized, Image.Resampling.BICUBIC)
    expected = np.asarray(expected.crop((left, up, left + 224, up + 224)))
    assert crop.shape == (224, 224, 3) and crop.dtype == np.uint8
    difference = np.abs(crop.astype(int) - expected)  # PIL rounds after each axis, in an order of its choice
    assert difference.max() <= 2 and (difference > 1).mean() < 1e-4
    assert (crop[expected.sum(axis=-1) == 0] == 0).all()


def test_mask_is_cropped_like_the_photo():
    photo = smooth_photo(320, 240)
    crop, trans_params, mask_crop = align(photo, face_points(160, 100, 70), photo[..., 0])
    assert mask_crop.shape == (224, 224) and (mask_crop == crop[..., 0]).all()
    assert (trans_params == align(photo, face_points(160, 100, 70))[1]).all()


def test_the_face_lands_where_the_network_expects_it():
    photo = np.zeros((480, 640, 3), np.uint8)
    points = face_points(300, 200, 80)
    _, trans_params = align(photo, points)
    expected = STANDARD_POINTS[:, :2] * 102 + 112
    np.testing.assert_allclose(photo_to_crop(points, trans_params), expected, atol=1.5)


def test_a_tiny_face_in_a_huge_photo_needs_no_memory():
    photo = np.zeros((8000, 10_000, 3), np.uint8)   # resized whole it would be 25 GB
    photo[3900:4100, 4900:5100] = 200
    crop, _ = align(photo, face_points(5000, 4000, 10))
    assert (crop == 200).all()


def test_a_face_off_the_photo_gives_a_black_crop():
    crop, _ = align(smooth_photo(100, 100), face_points(5000, 50, 40))
    assert not crop.any()


@pytest.mark.parametrize("width, height, x, y, size", [
    (500, 400, 250.3, 200, 90), (300, 400, 150, 210.7, 60), (1001, 703, 333.3, 290.2, 200), (230, 210, 90, 110.4, 80)])
def test_projected_landmarks_lie_half_a_pixel_off_the_pixels_that_show_them(width, height, x, y, size):
    spot = np.array([x, y])   # px, y down, near the middle of the face
    rows, columns = np.mgrid[:height, :width]
    blob = np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * (size / 20) ** 2))
    photo = np.repeat((255 * blob).round().astype(np.uint8)[..., None], 3, axis=2)
    crop, trans_params = align(photo, face_points(x + 3, height - 1 - y - 4, size))
    weights = crop[..., 0].astype(float)
    row, column = (weights.sum(axis) @ np.arange(224) / weights.sum() for axis in (1, 0))
    landmark = photo_to_crop(flip_y(spot, height), trans_params)
    projected = crop_to_projection(landmark, trans_params)
    np.testing.assert_allclose(projected, [column + 0.5, 223 - row + 0.5], atol=0.05)
    np.testing.assert_allclose(projection_to_crop(projected, trans_params), landmark, atol=1e-9)


@pytest.mark.parametrize("points", [
    np.zeros((5, 2)),
    np.full((5, 2), 40.0),
    np.full((5, 2), np.nan),
    np.linspace([0, 0], [100, 50], 5),
    np.linspace([50, 0], [50, 0.1], 5),
    face_points(50, 50, 1),
    np.ones((4, 2)),
])
def test_points_that_are_no_face_are_refused(points):
    with pytest.raises(InputError, match="points"):
        align(np.zeros((100, 100, 3), np.uint8), points)


@pytest.mark.parametrize("kind", [np.asarray, torch.as_tensor])
def test_coordinates_there_and_back(kind):
    trans_params = np.array([423, 594, 0.7293, 196.6, 355.1])
    points = kind(np.random.default_rng(1).random((2, 68, 2)) * 400)
    for there_and_back in (crop_to_photo(photo_to_crop(points, trans_params), trans_params),
                           flip_y(flip_y(points, 594), 594)):
        assert type(there_and_back) is type(points) and there_and_back.dtype == points.dtype
        np.testing.assert_allclose(there_and_back, points, atol=1e-9)
    assert flip_y(kind([[3.0, 0.0]]), 224).tolist() == [[3.0, 223.0]]


@pytest.mark.parametrize("kind", [np.asarray, torch.as_tensor])
def test_camera_to_world_is_its_own_inverse_and_changes_nothing_in_place(kind):
    vertices = kind(np.array([[1, 2, 9.5], [-1, 0, 10]], dtype=np.float32))
    world = camera_to_world(vertices, 10.0)
    assert world.tolist() == [[1, 2, 0.5], [-1, 0, 0]] and world.dtype == vertices.dtype
    assert vertices[0, 2] == 9.5
    assert camera_to_world(world, 10.0).tolist() == vertices.tolist()
