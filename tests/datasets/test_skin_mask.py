"""The skin attention mask against golden numbers."""


import numpy as np

from datasets.skin_mask import skin_mask, skin_posterior
from tests.datasets import reference_skin_mask
from tests.helpers import GOLDEN

SKIN = np.load(GOLDEN / "skinmask.npz")


def test_golden_colour_cube():
    steps = np.arange(0, 256, 8, dtype=np.uint8)
    bgr = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(32, 1024, 3)
    assert (skin_mask(bgr[..., ::-1]) == SKIN["cube_bgr_step8_mask"]).all()


def test_golden_extreme_colours():
    rgb = SKIN["extreme_bgr"][..., ::-1].astype(np.uint8)
    assert (skin_mask(rgb) == SKIN["extreme_mask"]).all()


def test_as_pixel_by_pixel():
    rgb = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    assert np.abs(skin_posterior(rgb) - reference_skin_mask.skin_posterior(rgb)).max() < 1e-9


def test_every_shape_and_range():
    for shape in [(3,), (0, 5, 3), (2, 7, 3), (2, 3, 4, 3)]:
        posterior = skin_posterior(np.full(shape, 90, np.uint8))
        assert posterior.shape == shape[:-1] and skin_mask(np.zeros(shape, np.uint8)).shape == shape[:-1]
    posterior = skin_posterior(np.random.default_rng(0).integers(0, 256, (300, 300, 3), dtype=np.uint8))
    assert np.isfinite(posterior).all() and posterior.min() >= 0 and posterior.max() <= 1


def test_skin_stands_out():
    skin, sky = (205, 150, 125), (90, 140, 220)
    photo = np.full((1000, 1000, 3), sky, np.uint8)
    photo[:500] = skin
    posterior = skin_posterior(photo)
    assert posterior[:500].min() > 0.8 and posterior[500:].max() < 0.1
