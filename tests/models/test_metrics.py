"""Metrics of talking heads, by numbers that are worked out here."""
import numpy as np
import pytest
import scipy.linalg

from models.coefficients import SIZE, SLICES
from models.metrics import METRICS, coefficient_distances, expression_frechet_distance, landmark_distances


def test_distances_of_two_frames():
    first, second = np.zeros((2, 2, SIZE), np.float32)
    second[0, SLICES["exp"]] = -0.5                          # of 64 coefficients
    second[1, SLICES["exp"].start] = 6.4                     # of one
    second[0, SLICES["angle"]] = 0.1, -0.2, 0.3
    second[0, SLICES["trans"]] = 0.6, 0, -0.6
    first[:, SLICES["id"].start] = 2
    second[0, SLICES["id"].start] = 3                        # the same direction
    second[1, SLICES["id"].start + 1] = 1                    # another one
    expected = {"AED_mean64": (0.5, 0.1), "AED_sum64": (32, 6.4), "APD_mean3": (0.2, 0), "APD_sum3": (0.6, 0),
                "APD_mean6": (0.3, 0), "APD_sum6": (1.8, 0), "identity_cosine_id80": (1, 0)}
    distances = coefficient_distances(first, second)
    assert distances.keys() == expected.keys()
    for name, values in expected.items():
        assert distances[name] == pytest.approx(values, abs=1e-6), name


def test_distances_of_landmarks():
    first = np.random.default_rng(0).normal(0, 50, (1, 68, 2))
    second = first + (3, 4)                                  # 5 px away
    second[:, 48:] += (0, 8)                                 # the mouth: by 3 and 12
    distances = landmark_distances(first, second)
    assert distances["LMD_68_px"] == pytest.approx((48 * 5 + 20 * np.hypot(3, 12)) / 68)
    assert distances["LMD_mouth20_px"] == pytest.approx(np.hypot(3, 12))
    mean = 8 * 20 / 68
    assert distances["LMD_68_centred_px"] == pytest.approx((48 * mean + 20 * (8 - mean)) / 68)
    assert distances["LMD_mouth20_centred_px"] == pytest.approx(0, abs=1e-9)
    assert METRICS.keys() - distances.keys() - coefficient_distances(*np.zeros((2, 1, SIZE))).keys() == {
        "E-FID_exp64", "identity_cosine_dlib", "identity_cosine_r50"}


def test_frechet_distance_of_expressions():
    """Of expressions along one axis, by hand: (difference of means)^2 + (difference of standard deviations)^2. Of many
    axes, by the general formula."""
    first, second = np.zeros((2, 3, SIZE), np.float32)
    first[:, SLICES["exp"].start + 5] = -1, 0, 1
    second[:, SLICES["exp"].start + 5] = 0, 3, 6
    assert expression_frechet_distance(first, second) == pytest.approx(3 ** 2 + (3 - 1) ** 2)
    random = np.random.default_rng(1)
    first, second = random.normal(0, 1, (100, SIZE)), random.normal(0.2, 1.5, (90, SIZE))
    one, other = (values[:, SLICES["exp"]] for values in (first, second))
    covariances = np.cov(one, rowvar=False), np.cov(other, rowvar=False)
    root = scipy.linalg.sqrtm(covariances[0] @ covariances[1]).real
    expected = np.sum((one.mean(0) - other.mean(0)) ** 2) + np.trace(sum(covariances) - 2 * root)
    assert expression_frechet_distance(first, second) == pytest.approx(expected, rel=1e-6)
    assert expression_frechet_distance(first, first) == pytest.approx(0, abs=1e-6)
    assert np.isnan(expression_frechet_distance(first[:1], second))
