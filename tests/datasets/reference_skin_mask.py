"""The skin posterior pixel by pixel, as the formula is written: what the fast one is tested against."""
import math

import numpy as np

from datasets.skin_mask import NONSKIN, PRIOR_SKIN, SKIN, YCBCR, YCBCR_OFFSET


def density(color: np.ndarray, mixture) -> float:
    """Of a mixture of Gaussians, each weight, mean, inverse covariance, determinant; up to the factor (2 pi)^-3/2."""
    total = 0.0
    for weight, mean, inverse, determinant in mixture:
        offset = color - mean
        total += weight / math.sqrt(determinant) * math.exp(-offset @ np.array(inverse) @ offset / 2)
    return total


def skin_posterior(rgb: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 RGB -> (H, W) float64 in 0..1"""
    posterior = np.empty(rgb.shape[:2])
    for row, column in np.ndindex(*posterior.shape):
        color = YCBCR @ rgb[row, column] + YCBCR_OFFSET
        skin = PRIOR_SKIN * density(color, SKIN)
        posterior[row, column] = skin / (skin + (1 - PRIOR_SKIN) * density(color, NONSKIN))
    return posterior
