"""The augmentation is the published one, and photo, mask and landmarks stay together."""
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.augmentation import STEPS, AffineMap, Augmentation
from models.coordinates import flip_y
from models.landmarks import MIRRORED_LANDMARKS
from tests.helpers import GOLDEN, ROOT
from util.files import InputError

SHARED = ROOT.parent / "shared" / "golden" / "augment.npz"   # photos, which are not ours to give away
MAPS = st.builds(AffineMap, st.tuples(st.integers(-10, 10), st.integers(-10, 10)), st.floats(0.9, 1.1),
                 st.floats(-10, 10), st.booleans())


def golden_map(case):
    shift_x, shift_y, scale, rot, flip = np.load(GOLDEN / "augment.npz")["parameters"][case]
    return AffineMap((int(shift_x), int(shift_y)), scale, rot, bool(flip))


def landmarks_and_colours():
    """68 points on a grid, (68, 2) px, y up, between pixels, and a colour for each by which to tell it."""
    number = np.arange(68)
    points = np.column_stack([48.3 + 16 * (number % 9), 52.6 + 16 * (number // 9)])
    return points, 100 + 50 * np.column_stack([number % 4, number // 4 % 4, number // 16 % 4])


def picture_of_dots(points, colours):
    """(224, 224, 3) uint8 with a smooth dot of each colour at each point, px, y up."""
    y, x = np.mgrid[:224, :224]
    dots = np.exp(-((x - points[:, :1, None]) ** 2 + (y - (223 - points[:, 1:, None])) ** 2) / 8)   # (68, 224, 224)
    return np.einsum("nyx,nc->yxc", dots, colours).round().clip(0, 255).astype(np.uint8)


def dot_near(picture, point):
    """The middle of the dot that is near the point, (2,) px, y up, and its colour (3,)."""
    column, row = flip_y(point, 224).round().astype(int)
    window = picture[row - 5:row + 6, column - 5:column + 6].astype(float)
    weight, offsets = window.sum(axis=-1), np.arange(-5, 6)
    middle = np.array([column + (weight.sum(axis=0) * offsets).sum() / weight.sum(),
                       row + (weight.sum(axis=1) * offsets).sum() / weight.sum()])
    return flip_y(middle, 224), window.max(axis=(0, 1))


@pytest.mark.parametrize("case", range(5))
def test_golden_matrices(case):
    golden = np.load(GOLDEN / "augment.npz")
    np.testing.assert_allclose(golden_map(case).matrix, golden["affine"][case], atol=1e-12)
    np.testing.assert_allclose(np.linalg.inv(golden_map(case).matrix), golden["affine_inv"][case], atol=1e-12)


@pytest.mark.parametrize("case", range(5))
def test_golden_landmarks(case):
    golden = np.load(GOLDEN / "augment.npz")
    expected = golden["lm_out"][case]
    change = golden_map(case)
    if change.flip:
        # The original mirrored points to 224 - x, one pixel to the right of their pixels at 223 - x, before it turned
        # and scaled them: that step back.
        step = change.scale * np.array([np.cos(np.radians(change.rot)), -np.sin(np.radians(change.rot))])
        expected = expected - step
    np.testing.assert_allclose(change.apply_to_landmarks(golden["lm_in"]), expected, atol=1e-9)


@pytest.mark.skipif(not SHARED.exists(), reason="the original's pictures are not there")
@pytest.mark.parametrize("case", range(5))
def test_golden_pictures(case):
    golden = np.load(SHARED)
    assert (golden_map(case).apply_to_picture(golden["img_in"]) == golden["img_out"][case]).all()
    assert (golden_map(case).apply_to_picture(golden["mask_in"]) == golden["mask_out"][case]).all()


@settings(max_examples=40, deadline=None)
@given(MAPS)
def test_landmarks_stay_on_their_pixels(change):
    points, colours = landmarks_and_colours()
    picture = change.apply_to_picture(picture_of_dots(points, colours))
    # What was landmark 0, at the end of the jaw, is landmark 16 in a mirrored face.
    expected_colours = colours[MIRRORED_LANDMARKS] if change.flip else colours
    for point, colour in zip(change.apply_to_landmarks(points), expected_colours, strict=True):
        dot, dot_colour = dot_near(picture, point)
        np.testing.assert_allclose(dot, point, atol=0.2)
        np.testing.assert_allclose(dot_colour, colour, atol=24)   # other colours are 50 away


@settings(max_examples=10, deadline=None)
@given(MAPS)
def test_the_mask_follows_the_photo(change):
    photo = np.random.default_rng(0).integers(0, 256, (224, 224, 3), dtype=np.uint8)
    assert (change.apply_to_picture(photo[..., 1].copy()) == change.apply_to_picture(photo)[..., 1]).all()


def test_mirroring_alone_turns_the_picture_round_exactly():
    photo = np.random.default_rng(0).integers(0, 256, (224, 224, 3), dtype=np.uint8)
    assert (AffineMap(flip=True).apply_to_picture(photo) == photo[:, ::-1]).all()
    points = np.random.default_rng(1).random((68, 2)) * 224
    twice = AffineMap(flip=True).apply_to_landmarks(AffineMap(flip=True).apply_to_landmarks(points))
    np.testing.assert_allclose(twice, points, atol=1e-9)


def test_what_is_drawn_fills_its_range():
    rng = np.random.default_rng(0)
    drawn = [Augmentation(shift_pixs=4, scale_delta=0.2, rot_angle=30).draw(rng) for _ in range(2000)]
    for axis in range(2):
        assert {change.shift[axis] for change in drawn} == set(range(-4, 5))
    for values, low, high in (([change.scale for change in drawn], 0.8, 1.2),
                              ([change.rot for change in drawn], -30, 30)):
        assert low <= min(values) < low + 0.01 * (high - low) and high - 0.01 * (high - low) < max(values) <= high
        assert abs(np.mean(values) - (low + high) / 2) < 0.03 * (high - low)
    assert 0.45 < np.mean([change.flip for change in drawn]) < 0.55


@pytest.mark.parametrize("preprocess", ["none", "shift", "scale", "rot", "flip", "rot_shift", "shift_scale_rot_flip"])
def test_only_the_named_steps_are_drawn(preprocess):
    everything = [Augmentation().draw(np.random.default_rng(seed)) for seed in range(8)]
    some = [Augmentation(preprocess).draw(np.random.default_rng(seed)) for seed in range(8)]
    for step in STEPS:
        if step in preprocess:
            assert [getattr(change, step) for change in some] == [getattr(change, step) for change in everything]
        else:
            assert {getattr(change, step) for change in some} == {getattr(AffineMap(), step)}


@pytest.mark.parametrize("preprocess", ["", "resize_and_crop", "shift-scale", "none_shift"])
def test_other_steps_are_refused(preprocess):
    with pytest.raises(InputError, match="give shift, scale, rot, flip or some of them joined by _, or none"):
        Augmentation(preprocess)
