import numpy as np
import pytest
import torch

from models import losses
from models.coefficients import split
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


def test_coefficients(golden):
    coeffs = tensor(golden, "reg_coeffs")
    check(losses.coefficient_loss(split(coeffs), *golden["reg_w"]), golden["reg_loss"], (coeffs, golden["reg_grad"]))


def test_gamma(golden):
    coeffs = tensor(golden, "reg_coeffs")
    check(losses.gamma_loss(split(coeffs)["gamma"]), golden["gamma_loss"], (coeffs, golden["gamma_grad"]))


def test_reflectance(golden):
    albedo, skin = tensor(golden, "refl_tex"), torch.from_numpy(golden["refl_mask"])
    check(losses.reflectance_loss(albedo, skin), golden["refl_loss"], (albedo, golden["refl_grad"]))
