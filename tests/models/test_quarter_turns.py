"""Photos, crops and coefficients that are turned by quarters."""
import numpy as np
import pytest
import torch

from models.coefficients import SIZE, SLICES, turn_coefficients
from models.coordinates import crop_to_photo, flip_y, photo_to_crop, turn_points, turn_trans_params
from models.landmarks import STANDARD_POINTS, roll
from models.renderer import MeshRenderer

TURNS = [-1, 0, 1, 2, 3, 4]
TRANS_PARAMS = np.array([301, 222, 0.731, 140.3, 95.7])


@pytest.fixture
def coeffs(generator):
    coeffs = torch.randn(2, SIZE, generator=generator) * 0.3
    coeffs[:, SLICES["trans"]] *= 0.3
    return coeffs


@pytest.mark.parametrize("turns", TURNS)
def test_points_turn_with_the_picture(turns):
    picture = np.zeros((4, 7))
    picture[1, 5] = 1
    point = flip_y(np.array([5.0, 1.0]), 4)
    turned = np.rot90(picture, turns)
    x, y = flip_y(turn_points(point, (7, 4), turns), turned.shape[0])
    assert turned[int(y), int(x)] == 1
    assert turn_points(torch.from_numpy(point), (7, 4), turns).tolist() == turn_points(point, (7, 4), turns).tolist()


@pytest.mark.parametrize("turns", TURNS)
def test_trans_params_of_a_turned_photo_lead_to_the_turned_crop(turns):
    points = np.random.default_rng(0).uniform(0, 200, (10, 2))
    turned_params = turn_trans_params(TRANS_PARAMS, turns)
    in_crop = photo_to_crop(turn_points(points, (301, 222), turns), turned_params)
    np.testing.assert_allclose(in_crop, turn_points(photo_to_crop(points, TRANS_PARAMS), (224, 224), turns), atol=1e-9)
    np.testing.assert_allclose(crop_to_photo(in_crop, turned_params), turn_points(points, (301, 222), turns), atol=1e-9)
    np.testing.assert_allclose(turn_trans_params(turned_params, -turns), TRANS_PARAMS, atol=1e-9)


@pytest.mark.parametrize("turns", range(4))
def test_roll_follows_the_turn(turns):
    points = turn_points(STANDARD_POINTS[:, :2], (1, 1), turns)
    assert np.exp(1j * roll(points)) == pytest.approx(1j ** turns, abs=0.01)


@pytest.mark.parametrize("turns", TURNS)
def test_turned_coefficients_describe_the_turned_picture(face_model, coeffs, turns):
    renderer = MeshRenderer()
    turned = turn_coefficients(coeffs, torch.tensor([turns, 0]))
    assert torch.equal(turned[1], coeffs[1])
    for part in ("id", "exp", "tex"):
        assert torch.equal(turned[:, SLICES[part]], coeffs[:, SLICES[part]])
    with torch.no_grad():
        face, turned_face = face_model(coeffs), face_model(turned)
    torch.testing.assert_close(turned_face.color, face.color, atol=1e-5, rtol=0)   # the light has turned with the face
    middle = 112   # px, where the axis of the camera meets the picture
    expected = turn_points(face.landmarks[0] - middle, (1, 1), turns) + middle
    torch.testing.assert_close(turned_face.landmarks[0], expected, atol=1e-3, rtol=0)
    image = renderer(face.vertices, face_model.tri, face.color)[2][0]
    turned_image = renderer(turned_face.vertices, face_model.tri, turned_face.color)[2][0]
    difference = (turned_image - image.rot90(turns, (1, 2))).abs()
    assert difference.mean() < 1e-4 and (difference > 0.01).float().mean() < 2e-3   # rounding at edges of the mesh


def test_turning_back_restores_the_coefficients(coeffs):
    turns = torch.tensor([3, 2])
    torch.testing.assert_close(turn_coefficients(turn_coefficients(coeffs, turns), -turns), coeffs)
