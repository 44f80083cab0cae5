import numpy as np
import pytest
import torch

from models import losses
from models.coefficients import SIZE, SLICES, split
from models.landmarks import JAW
from tests.helpers import GOLDEN


@pytest.fixture(scope="module")
def golden():
    return np.load(GOLDEN / "losses.npz")


def tensor(golden, name):
    return torch.from_numpy(golden[name]).requires_grad_(golden[name].dtype == np.float32)


def check(loss, expected, *gradients):
    assert loss.item() == pytest.approx(float(expected), rel=1e-6)
    loss.backward()
    for value, gradient in gradients:
        assert torch.allclose(value.grad, torch.from_numpy(gradient), rtol=1e-4, atol=1e-9)


def test_color(golden):
    render, photo = tensor(golden, "photo_A"), tensor(golden, "photo_B")
    mask = torch.from_numpy(golden["photo_mask"])
    check(losses.color_loss(render, photo, mask), golden["photo_loss"], (render, golden["photo_gradA"]))


def test_color_of_an_empty_mask_is_zero(golden):
    photo = torch.from_numpy(golden["photo_A"])
    assert losses.color_loss(photo, photo + 1, torch.zeros(2, 1, 48, 40)) == golden["photo_loss_zero_mask"]


def test_perceptual(golden):
    render, photo = tensor(golden, "perc_A"), torch.from_numpy(golden["perc_B"])
    check(losses.perceptual_loss(render, photo), golden["perc_loss"], (render, golden["perc_gradA"]))


def test_landmarks(golden):
    predicted, given = tensor(golden, "lm_pred"), torch.from_numpy(golden["lm_gt"])
    check(losses.landmark_loss(predicted, given), golden["lm_loss"], (predicted, golden["lm_grad"]))


def test_closing_compares_openings_wherever_they_are(generator):
    face = 50 * torch.randn(2, 68, 2, generator=generator)
    moved = face.clone()
    for lids_or_lips in ([37, 41], [38, 40], [43, 47], [44, 46], [61, 67], [62, 66], [63, 65]):
        moved[:, lids_or_lips] += torch.randn(2, 1, 2, generator=generator)
    assert losses.closing_loss(moved, face) == pytest.approx(0, abs=1e-6)
    moved[:, 37, 1] += 3
    moved[1, 66, 1] -= 4
    assert losses.closing_loss(moved, face) == pytest.approx((9 + 9 + 16) / 14, rel=1e-4)


@pytest.mark.parametrize("side", [1, -1])
def test_the_jaw_is_hidden_on_the_far_side_of_a_turned_head(face_model, side):
    coeffs = torch.zeros(3, SIZE)
    coeffs[:, SLICES["angle"].start + 1] = side * torch.tensor([0, 0.35, 1.1])   # radian about the y axis
    frontal, turned, far = losses.visible_landmarks(face_model, coeffs)
    assert (frontal > 0.9).all()
    for seen in (frontal, turned, far):
        assert (seen[JAW.stop:] == 1).all()
    left, right = slice(0, 7), slice(10, 17)
    near, hidden = (left, right) if side > 0 else (right, left)
    assert (turned[near] == 1).all() and (far[near] == 1).all()
    assert turned[hidden].mean() < 0.7 and (far[hidden] == 0).all()
    assert (turned >= far).all()


def test_coefficients(golden):
    coeffs = tensor(golden, "reg_coeffs")
    check(losses.coefficient_loss(split(coeffs), *golden["reg_w"]), golden["reg_loss"], (coeffs, golden["reg_grad"]))


def test_gamma(golden):
    coeffs = tensor(golden, "reg_coeffs")
    check(losses.gamma_loss(split(coeffs)["gamma"]), golden["gamma_loss"], (coeffs, golden["gamma_grad"]))


def test_reflectance(golden):
    albedo, skin = tensor(golden, "refl_tex"), torch.from_numpy(golden["refl_mask"])
    check(losses.reflectance_loss(albedo, skin), golden["refl_loss"], (albedo, golden["refl_grad"]))
