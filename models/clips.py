"""Turns what was found of a person in each frame of a video into a steady clip: one identity, and smooth motion."""
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from models.coefficients import IDENTITY, SLICES
from models.coordinates import photo_place, place_trans
from models.records import Clip

_EXPRESSION_AND_LIGHT = np.r_[SLICES["exp"], SLICES["gamma"]]   # are smoothed as they are
# Standard deviations of the two filters, seconds, with a strength of 1. At 25 frames a second, they are one frame and
# three frames.
FAST, SLOW = 0.04, 0.12
_CLEAR_MOTION = 3   # times the noise: a larger motion is followed, a smaller one is smoothed
_REACH = 3  # of a filter, standard deviations


@dataclass(frozen=True)
class Track:
    """What was found of one person in M of the frames of a video, in their order."""
    frames: np.ndarray         # (M,) int: the numbers of the frames
    starts: np.ndarray         # (M,) bool: whether the face does not continue that of the row before, as after a cut
    confidence: np.ndarray     # (M,) 0..1: how much each face tells about the person
    trans_params: np.ndarray   # (M, 5) float64, see coordinates.py
    turns: np.ndarray          # (M,) int: quarter turns anticlockwise that bring the face upright
    raw_coefficients: np.ndarray   # (M, 257) float32 as computed for each frame alone
    coefficients: np.ndarray   # (M, 257) float32 from which the clip is made: the same, or nearer to the landmarks


def confidence(coefficients: np.ndarray, trans_params: np.ndarray) -> np.ndarray:
    """Returns how much each of M faces tells about the person (M,), 0..1: more if it is seen from the front, and if it
    is not smaller in the photo than in the crop. coefficients: (M, 257). trans_params: (M, 5), see coordinates.py."""
    turned_x, turned_y = coefficients[:, SLICES["angle"]][:, :2].T
    facing = (np.cos(turned_x) * np.cos(turned_y)).clip(0.05, 1)
    return facing * np.minimum(1, 1 / trans_params[:, 2])


def mean_identity(coefficients: np.ndarray, confidence: np.ndarray) -> np.ndarray:
    """Returns the coefficients IDENTITY (160,) of a person: the mean over M faces with coefficients (M, 257), weighted
    by their confidence (M,)."""
    return np.average(coefficients[:, IDENTITY], axis=0, weights=confidence).astype(np.float32)


def make_clip(video: Path, name: str, rate: float, sound: Path | None, time: np.ndarray, track: Track, focal: float,
              camera_d: float, strength: float) -> Clip:
    """Returns the clip of a track in a video of N frames.

    name, rate, sound: see `Clip`. time: (N,) seconds. focal, camera_d: of the camera, see `FaceModel`. strength: of the
    smoothing, see `smooth`; 0 does not smooth. Place and size of the face are smoothed as seen in the frame, not in the
    crop, whose own jitter is opposite to that of the face in it.
    """
    values = track.coefficients
    places = np.stack([photo_place(*row, focal, camera_d) for row in
                       zip(values[:, SLICES["trans"]], track.trans_params, track.turns.tolist(), strict=True)])
    crops = np.column_stack([np.log(track.trans_params[:, 2]), track.trans_params[:, 3:]])
    angles = np.unwrap(values[:, SLICES["angle"]], axis=0)
    motion = np.column_stack([values[:, _EXPRESSION_AND_LIGHT], angles, places, crops])
    if strength:
        motion = smooth(motion, time[track.frames], track.starts, track.confidence, strength)
    motion = _interpolate(motion, track.frames, len(time))
    ends = np.cumsum([len(_EXPRESSION_AND_LIGHT), 3, 3])
    expression_and_light, angles, places, crops = np.split(motion, ends, axis=1)

    rows = _neighbours(track.frames, len(time))[:, 0]   # the one of each frame, or the one before
    turns = track.turns[rows]
    trans_params = np.column_stack([track.trans_params[rows, :2], np.exp(crops[:, 0]), crops[:, 1:]])
    coefficients = np.empty((len(time), values.shape[1]), np.float32)
    coefficients[:, IDENTITY] = mean_identity(values, track.confidence)
    coefficients[:, _EXPRESSION_AND_LIGHT] = expression_and_light
    coefficients[:, SLICES["angle"]] = (angles + np.pi) % (2 * np.pi) - np.pi
    coefficients[:, SLICES["trans"]] = [place_trans(*row, focal, camera_d) for row in
                                        zip(places, trans_params, turns.tolist(), strict=True)]
    every_raw = np.full_like(coefficients, np.nan)
    every_raw[track.frames] = track.raw_coefficients
    found = np.zeros(len(time), bool)
    found[track.frames] = True
    return Clip(video, name, rate, sound, time, found, coefficients, every_raw, trans_params, turns)


def smooth(values: np.ndarray, time: np.ndarray, starts: np.ndarray, weights: np.ndarray, strength: float
           ) -> np.ndarray:
    """Returns values (M, C) at times (M,), each column smoothed without lag. Rows that start something new, starts
    (M,), have nothing in common with those before.

    Two filters look equally far to the past and to the future. Each fits a polynomial to the values around a time,
    weighted by a Gaussian function of their distance and by weights (M,): a line with a standard deviation of
    SLOW * strength seconds, and a parabola with FAST * strength seconds. Where both differ by little more than the
    noise, the slow one holds, so that a still face does not tremble. Where they differ by far more, the fast one does,
    so that a blink stays a blink.
    """
    result = np.empty_like(values, dtype=float)
    for rows in np.split(np.arange(len(values)), np.flatnonzero(starts[1:]) + 1):
        part = values[rows].astype(float)
        slow = _local_polynomial(part, time[rows], weights[rows], SLOW * strength, 1)
        fast = _local_polynomial(part, time[rows], weights[rows], FAST * strength, 2)
        difference = (fast - slow) ** 2
        result[rows] = slow + (fast - slow) * difference / (difference + (_CLEAR_MOTION * _noise(part)) ** 2 + 1e-20)
    return result


def _noise(values: np.ndarray) -> np.ndarray:
    """The standard deviation (C,) of the noise in values (M, C), by the median of their fourth differences, in which
    motion hardly shows."""
    if len(values) < 5:
        return np.zeros(values.shape[1])
    return np.median(np.abs(np.diff(values, 4, axis=0)), axis=0) / (0.6745 * np.sqrt(70))


def _local_polynomial(values: np.ndarray, time: np.ndarray, weights: np.ndarray, width: float, degree: int
                      ) -> np.ndarray:
    """Returns at each of M times (M,) the value of the polynomial of that degree that fits the values (M, C) around it.

    weights: (M,) of the values. width: the standard deviation of the Gaussian weight, seconds.
    """
    count = len(values)
    step = np.median(np.diff(time)) if count > 1 else width
    reach = min(max(int(np.ceil(_REACH * width / step)), degree), count - 1)
    neighbours = np.arange(count)[:, None] + np.arange(-reach, reach + 1)                      # (M, K)
    inside = (neighbours >= 0) & (neighbours < count)
    neighbours = neighbours.clip(0, count - 1)
    distance = (time[neighbours] - time[:, None]) / width
    kernel = np.exp(-distance ** 2 / 2) * weights[neighbours] * inside
    kernel /= kernel.sum(1, keepdims=True)
    powers = distance[..., None] ** np.arange(degree + 1)                                      # (M, K, degree + 1)
    moments = np.einsum("mk,mki,mkj->mij", kernel, powers, powers)
    moments += 1e-9 * np.eye(degree + 1)   # where there are too few values for the degree
    at_zero = np.linalg.solve(moments, np.broadcast_to(np.eye(degree + 1)[:, :1], (count, degree + 1, 1)))[..., 0]
    kernel = kernel * np.einsum("mki,mi->mk", powers, at_zero)
    result = np.zeros_like(values)
    for k in range(kernel.shape[1]):   # one after the other, which takes little memory
        result += kernel[:, k, None] * values[neighbours[:, k]]
    return result


def _interpolate(values: np.ndarray, frames: np.ndarray, count: int) -> np.ndarray:
    """Returns values (count, C) for every frame: those (M, C) of the frames (M,), and values on the straight
    line between them for the others. Before the first of these frames and after the last one, they stay the same."""
    neighbours = _neighbours(frames, count)
    before, after = frames[neighbours].T
    share = (np.arange(count) - before).clip(0) / np.maximum(after - before, 1)
    return values[neighbours[:, 0]] * (1 - share[:, None]) + values[neighbours[:, 1]] * share[:, None]


def _neighbours(frames: np.ndarray, count: int) -> np.ndarray:
    """Returns for every frame (count, 2) the indices in frames (M,) of the last one up to it and of the next one."""
    after = np.searchsorted(frames, np.arange(count))
    before = np.searchsorted(frames, np.arange(count), "right") - 1
    return np.stack([before, after], 1).clip(0, len(frames) - 1)
