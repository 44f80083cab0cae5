"""Clips: motion smoothed without lag, one identity, values between frames."""
from pathlib import Path

import numpy as np
import pytest

from models.clips import Track, make_clip, smooth
from models.coefficients import IDENTITY, SLICES
from models.coordinates import camera_matrix, photo_place, place_trans, project

FOCAL, CAMERA_D = 1015, 10
TIME = np.arange(100) / 25


def smoothed(values: np.ndarray, strength: float = 1) -> np.ndarray:
    starts = np.zeros(len(values), bool)
    return smooth(values[:, None], TIME[:len(values)], starts, np.ones(len(values)), strength)[:, 0]


def test_noise_of_a_still_face_goes_and_a_blink_stays():
    noise = np.random.default_rng(0).normal(0, 1, 100)
    assert smoothed(noise).std() < 0.45
    assert smoothed(noise, 3).std() < smoothed(noise).std()
    blink = 30 * np.exp(-((np.arange(100) - 50) / 2) ** 2)
    found = smoothed(noise + blink)
    assert found[50] > 25
    assert found.argmax() == 50   # no lag


def test_steady_motion_and_its_ends_stay_as_they_are():
    ramp = np.linspace(-3, 8, 100)
    np.testing.assert_allclose(smoothed(ramp), ramp, atol=1e-6)
    short = np.array([1.0, 2.0])
    np.testing.assert_allclose(smoothed(short), short, atol=1e-3)
    assert smoothed(np.array([4.0])) == pytest.approx(4)


def test_nothing_is_smoothed_across_a_cut():
    values = np.r_[np.zeros(50), 10 * np.ones(50)][:, None]
    starts = np.arange(100) == 50
    np.testing.assert_allclose(smooth(values, TIME, starts, np.ones(100), 1), values, atol=1e-6)


def test_the_place_in_the_photo_leads_back_to_the_place_in_any_crop():
    numbers = np.random.default_rng(1)
    for turns in range(4):
        trans = 0.3 * numbers.standard_normal(3)
        crop, other = np.array([640, 480, 0.8, 300, 250]), np.array([640, 480, 0.73, 290.4, 261.7])
        place = photo_place(trans, crop, turns, FOCAL, CAMERA_D)
        np.testing.assert_allclose(place_trans(place, crop, turns, FOCAL, CAMERA_D), trans, atol=1e-9)
        moved = place_trans(place, other, turns, FOCAL, CAMERA_D)
        np.testing.assert_allclose(project(moved, camera_matrix(FOCAL, CAMERA_D, other, turns)), place[:2], atol=1e-6)


@pytest.fixture
def track() -> Track:
    """A still face in 12 of 20 frames, whose crop trembles by a px, with an identity of each frame."""
    numbers = np.random.default_rng(2)
    frames = np.r_[2:8, 12:18]
    crops = np.array([640, 480, 0.8, 300, 250]) + np.outer(np.ones(12), [0, 0, 1, 1, 1]) * numbers.normal(
        0, 1, (12, 5)) * (0, 0, 0.01, 1, 1)
    place = photo_place(np.array([0.1, 0, 0.2]), crops[0], 0, FOCAL, CAMERA_D)
    coefficients = 0.1 * numbers.standard_normal((12, 257)).astype(np.float32)
    coefficients[:, SLICES["trans"]] = [place_trans(place, crop, 0, FOCAL, CAMERA_D) for crop in crops]
    return Track(frames, np.isin(frames, [2, 12]), np.ones(12), crops, np.zeros(12, int), coefficients, coefficients)


def test_a_clip_has_all_frames_and_one_identity(track):
    time = np.arange(20) / 25
    clip = make_clip(Path("clip.mp4"), "clip", 25, None, time, track, FOCAL, CAMERA_D, 1)
    assert clip.found.tolist() == np.isin(np.arange(20), track.frames).tolist()
    np.testing.assert_array_equal(clip.raw_coefficients[clip.found], track.coefficients)
    assert np.isnan(clip.raw_coefficients[~clip.found]).all()
    assert np.isfinite(clip.coefficients).all() and np.ptp(clip.coefficients[:, IDENTITY], axis=0).max() == 0
    expected = np.average(track.coefficients[:, IDENTITY], axis=0, weights=track.confidence)
    np.testing.assert_allclose(clip.coefficients[0, IDENTITY], expected, atol=1e-5)
    np.testing.assert_array_equal(clip.coefficients[0], clip.coefficients[2])   # before the face appears
    between = (clip.coefficients[7, SLICES["exp"]] + clip.coefficients[12, SLICES["exp"]]) / 2
    middle = (clip.coefficients[9, SLICES["exp"]] + clip.coefficients[10, SLICES["exp"]]) / 2
    np.testing.assert_allclose(middle, between, atol=1e-5)


@pytest.mark.parametrize("strength", [0, 1])
def test_a_face_is_still_although_its_crop_trembles(track, strength):
    time = np.arange(20) / 25
    clip = make_clip(Path("clip.mp4"), "clip", 25, None, time, track, FOCAL, CAMERA_D, strength)
    places = [photo_place(*row, FOCAL, CAMERA_D) for row in
              zip(clip.coefficients[:, SLICES["trans"]], clip.trans_params, clip.turns, strict=True)]
    assert np.ptp(places, axis=0).max() < 1e-3
    if not strength:
        moving = np.r_[SLICES["exp"], SLICES["angle"], SLICES["gamma"]]
        np.testing.assert_allclose(clip.coefficients[np.ix_(track.frames, moving)], track.coefficients[:, moving],
                                   atol=1e-5)


def test_sure_faces_count_most_for_the_identity(track):
    track.confidence[3:] = 1e-6
    clip = make_clip(Path("clip.mp4"), "clip", 25, None, np.arange(20) / 25, track, FOCAL, CAMERA_D, 1)
    weights = track.confidence[:3]
    expected = np.average(track.coefficients[:3, IDENTITY], axis=0, weights=weights)
    np.testing.assert_allclose(clip.coefficients[0, IDENTITY], expected, atol=1e-4)
