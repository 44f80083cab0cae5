"""Skin attention mask: the probability that each pixel's colour is that of skin."""
import functools

import numpy as np

PRIOR_SKIN = 0.8
# Components of the two mixtures of Gaussians: weight, mean (Y, Cb, Cr), inverse and determinant of the covariance
SKIN = [
    (0.24063933, [113.71862, 103.39613, 164.08226],
     [[0.0019472069, 0.0020450759, -0.00060243998],
      [0.0020450759, 0.017700525, 0.0051420014],
      [-0.00060243998, 0.0051420014, 0.008130895]],
     5692842.5),
    (0.16365987, [150.19858, 105.18467, 155.51428],
     [[0.0027110141, 0.001103699, 0.0023122299],
      [0.001103699, 0.010707724, 0.010742856],
      [0.0023122299, 0.010742856, 0.017481629]],
     5851930.5),
    (0.26034665, [183.92976, 107.62468, 152.7182],
     [[0.0048026871, 0.00022935172, 0.0077668377],
      [0.00022935172, 0.011729696, 0.0081661865],
      [0.0077668377, 0.0081661865, 0.025374353]],
     2329131.0),
    (0.33535415, [114.90524, 113.59782, 151.38217],
     [[0.0011989699, 0.0022453172, -0.0010748957],
      [0.0022453172, 0.047758564, 0.020332102],
      [-0.0010748957, 0.020332102, 0.024502251]],
     1585971.0),
]
NONSKIN = [
    (0.1279107, [99.200851, 112.07533, 140.20602],
     [[0.00085371657, 0.00071197288, 0.00023958916],
      [0.00071197288, 0.002593562, 0.00076557708],
      [0.00023958916, 0.00076557708, 0.0015042332]],
     458703648.0),
    (0.31130761, [110.91392, 125.52969, 130.19237],
     [[0.0002465015, 0.00045542428, 0.00015019422],
      [0.00045542428, 0.026412144, 0.018419769],
      [0.00015019422, 0.018419769, 0.037497383]],
     6466488.0),
    (0.34245777, [129.75864, 129.96107, 126.96808],
     [[0.00037054974, 0.0003814676, 0.00040408765],
      [0.0003814676, 0.0085505722, 0.0079136286],
      [0.00040408765, 0.0079136286, 0.010982352]],
     90611376.0),
    (0.21832393, [112.29587, 128.85121, 129.05431],
     [[0.00013709733, 0.00051228428, 0.0001277743],
      [0.00051228428, 0.28237113, 0.1052837],
      [0.0001277743, 0.1052837, 0.23468947]],
     133097.63),
]
_UNKNOWN = 256   # in the table of known values, which are 0..255
_BLOCK = 1 << 11   # pixels that are computed at once, few enough for the processor's cache

# BT.601 studio range: (Y, Cb, Cr) = YCBCR @ (R, G, B) / 255 + (16, 128, 128).
YCBCR = np.array([[65.481, 128.553, 24.966], [-37.797, -74.203, 112.0], [112.0, -93.786, -18.214]]) / 255
YCBCR_OFFSET = np.array([16.0, 128.0, 128.0])


def _standardise() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of the eight components: the linear maps (24, 3) and shifts (24, 1) that turn RGB 0..255 into coordinates in
    which the Gaussian has mean 0 and covariance 1, and log(prior * weight / sqrt(determinant)) (8, 1)."""
    maps, shifts, logs = [], [], []
    for prior, mixture in ((PRIOR_SKIN, SKIN), (1 - PRIOR_SKIN, NONSKIN)):
        for weight, mean, inverse, determinant in mixture:
            root = np.linalg.cholesky(np.array(inverse)).T
            maps.append(root @ YCBCR)
            shifts.append(root @ (YCBCR_OFFSET - np.array(mean)))
            logs.append(np.log(prior * weight / np.sqrt(determinant)))
    return np.concatenate(maps), np.concatenate(shifts)[:, None], np.array(logs)[:, None]


_MAPS, _SHIFTS, _LOGS = _standardise()


def skin_posterior(rgb: np.ndarray) -> np.ndarray:
    """The probability (...) float64 0..1 that colours (..., 3) uint8 RGB are those of skin.

    It is the posterior of two mixtures of four Gaussians in YCbCr, one of skin colours and one of all others.
    """
    rgb = np.asarray(rgb)
    colours = rgb.reshape(-1, 3)
    probabilities = np.empty(len(colours))
    for start in range(0, len(colours), _BLOCK):
        block = slice(start, start + _BLOCK)
        probabilities[block] = _posterior(colours[block].astype(np.float64))
    return probabilities.reshape(rgb.shape[:-1])


def skin_mask(rgb: np.ndarray) -> np.ndarray:
    """The same probability as (...) uint8 0..255, as mask files hold it, of colours (..., 3) uint8 RGB.

    The value of each colour is computed once in a process, and then read from a table.
    """
    rgb = np.asarray(rgb)
    table = _known_values()
    numbers = _numbers(rgb.reshape(-1, 3))
    values = table[numbers]
    unknown = numbers[values == _UNKNOWN]
    if len(unknown):
        is_new = np.zeros(len(table), bool)   # np.unique would sort them, which takes longer
        is_new[unknown] = True
        new = np.flatnonzero(is_new)
        table[new] = np.rint(255 * skin_posterior(_colours(new)))
        values = table[numbers]
    return values.astype(np.uint8).reshape(rgb.shape[:-1])


@functools.cache
def _known_values() -> np.ndarray:
    """A table of the values of `skin_mask` for the numbers of all colours (16777216,) uint16, at first _UNKNOWN."""
    return np.full(1 << 24, _UNKNOWN, np.uint16)


def _numbers(colours: np.ndarray) -> np.ndarray:
    """A number (P,) uint32 of each colour (P, 3) uint8."""
    padded = np.zeros((len(colours), 4), np.uint8)
    padded[:, :3] = colours
    return padded.view("<u4").ravel()


def _colours(numbers: np.ndarray) -> np.ndarray:
    """The colours (P, 3) uint8 of these numbers (P,): the inverse of `_numbers`."""
    return numbers.astype("<u4").view(np.uint8).reshape(-1, 4)[:, :3]


def _posterior(colours: np.ndarray) -> np.ndarray:
    """Probabilities (P,) of colours (P, 3) float64 RGB 0..255."""
    distances = np.square(_MAPS @ colours.T + _SHIFTS).reshape(8, 3, -1).sum(axis=1)
    logs = _LOGS - distances / 2
    # Relative to the component that is most probable, so that no colour gives 0 / 0.
    densities = np.exp(logs - logs.max(axis=0))
    return densities[:4].sum(axis=0) / densities.sum(axis=0)
