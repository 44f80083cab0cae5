"""The 68 landmarks of a face: their order, their groups, the mirror table, and the five points that align a photo.

The order is that of the Multi-PIE annotation, which iBUG 300-W and dlib use too. Indices count from 0. "Left" and
"right" are as seen in the picture. (imutils.face_utils has the same groups, but its names are the person's left and
right.) This module needs numpy only, because the builder of the open face model imports it too.
"""
import math

import numpy as np

COUNT = 68

# Groups of neighbouring landmarks
JAW = slice(0, 17)               # outline from the left ear over the chin to the right ear
LEFT_BROW = slice(17, 22)
RIGHT_BROW = slice(22, 27)
BROWS = slice(17, 27)
NOSE = slice(27, 36)
LOWER_NOSE_BRIDGE = slice(28, 31)   # from below the root down to the tip
EYES = slice(36, 48)
LEFT_EYE = slice(36, 42)         # outer corner, upper lid, inner corner, lower lid
RIGHT_EYE = slice(42, 48)        # inner corner, upper lid, outer corner, lower lid
OUTER_LIPS = slice(48, 60)       # left corner, upper lip, right corner, lower lip
INNER_LIPS = slice(60, 68)
OUTER_UPPER_LIP = slice(48, 55)  # from corner to corner
INNER_UPPER_LIP = slice(60, 65)
WITHOUT_JAW = slice(17, 68)      # the "inner 51" of the landmark benchmarks

# Single landmarks; pairs are left and right, or above and below
JAW_ENDS = (0, 16)
CHIN = 8
NOSE_ROOT = 27
NOSE_TIP = 30
NOSE_FOOT = 33                   # where the nose meets the upper lip
LEFT_EYE_CORNERS = (36, 39)
RIGHT_EYE_CORNERS = (42, 45)
OUTER_EYE_CORNERS = (36, 45)     # their distance is the unit of landmark errors
UPPER_LIDS = (37, 38, 43, 44)
LOWER_LIDS = (41, 40, 47, 46)    # each lies below the point of UPPER_LIDS at the same place of the list
MOUTH_CORNERS = (48, 54)
INNER_MOUTH_CORNERS = (60, 64)
OUTER_LIP_MIDDLES = (51, 57)
INNER_LIP_MIDDLES = (62, 66)
UPPER_LIPS = (61, 62, 63)        # of the inner edges, without the corners
LOWER_LIPS = (67, 66, 65)        # each lies below the point of UPPER_LIPS at the same place of the list

# Which landmark each one becomes in a mirrored picture. First turn the x axis round, then
# `mirrored = landmarks[MIRRORED_LANDMARKS]`.
MIRRORED_LANDMARKS = np.array([
    16, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0,  # jaw
    26, 25, 24, 23, 22, 21, 20, 19, 18, 17,  # brows
    27, 28, 29, 30, 35, 34, 33, 32, 31,  # nose
    45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40,  # eyes
    54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55,  # outer lips
    64, 63, 62, 61, 60, 67, 66, 65,  # inner lips
])

# The five alignment points of the mean face (5, 3): left eye centre, right eye centre, nose tip, left and right mouth
# corner. x to the image's right, y up, z towards the camera, decimetres.
STANDARD_POINTS = np.array(
    [[-0.31148657, 0.29036078, 0.13377953],
     [0.30979887, 0.28972036, 0.13179526],
     [0.0032534988, -0.046179324, 0.55244243],
     [-0.25216928, -0.38133916, 0.22405732],
     [0.2484662, -0.38128236, 0.22235769]], dtype=np.float32)

# The 68 landmarks of the mean face (68, 3), axes and unit as above, to the nearest millimetre. They are the keypoints
# of the mean shape of the open face model (BFM/open_face_model.npz, CC0), in the coordinates of that model.
STANDARD_LANDMARKS = np.array([
    [-0.74, 0.25, -0.53], [-0.73, 0.07, -0.51], [-0.70, -0.13, -0.47], [-0.66, -0.32, -0.43],
    [-0.60, -0.50, -0.33], [-0.49, -0.63, -0.18], [-0.35, -0.72, -0.01], [-0.20, -0.79, 0.12],
    [0.00, -0.85, 0.01], [0.20, -0.79, 0.12], [0.35, -0.72, -0.01], [0.50, -0.63, -0.18],
    [0.60, -0.50, -0.33], [0.66, -0.32, -0.43], [0.70, -0.13, -0.47], [0.73, 0.07, -0.51],
    [0.74, 0.25, -0.53], [-0.58, 0.42, 0.03], [-0.50, 0.49, 0.16], [-0.37, 0.50, 0.25],
    [-0.26, 0.49, 0.29], [-0.16, 0.47, 0.29], [0.16, 0.47, 0.29], [0.26, 0.49, 0.29],
    [0.37, 0.50, 0.25], [0.50, 0.49, 0.16], [0.58, 0.42, 0.03], [0.00, 0.32, 0.28],
    [0.00, 0.20, 0.33], [0.00, 0.07, 0.42], [0.00, -0.07, 0.50], [-0.13, -0.14, 0.31],
    [-0.07, -0.16, 0.36], [0.00, -0.18, 0.37], [0.07, -0.16, 0.36], [0.13, -0.14, 0.31],
    [-0.45, 0.31, 0.12], [-0.36, 0.36, 0.20], [-0.28, 0.36, 0.20], [-0.20, 0.30, 0.15],
    [-0.29, 0.26, 0.19], [-0.36, 0.26, 0.18], [0.20, 0.30, 0.15], [0.28, 0.36, 0.20],
    [0.36, 0.36, 0.20], [0.45, 0.31, 0.12], [0.36, 0.26, 0.18], [0.29, 0.26, 0.19],
    [-0.23, -0.39, 0.24], [-0.14, -0.30, 0.36], [-0.05, -0.29, 0.39], [0.00, -0.29, 0.40],
    [0.05, -0.29, 0.39], [0.14, -0.30, 0.36], [0.23, -0.39, 0.24], [0.14, -0.48, 0.31],
    [0.07, -0.49, 0.34], [0.00, -0.50, 0.34], [-0.07, -0.49, 0.34], [-0.14, -0.48, 0.31],
    [-0.21, -0.39, 0.26], [-0.08, -0.38, 0.32], [0.00, -0.38, 0.32], [0.08, -0.38, 0.32],
    [0.21, -0.39, 0.26], [0.07, -0.38, 0.32], [0.00, -0.38, 0.34], [-0.07, -0.38, 0.32],
], dtype=np.float32)


def five_points(landmarks):
    """Reduce 68 landmarks to the five alignment points. Five points are returned as they are.

    landmarks: (..., 68, D) or (..., 5, D), numpy array or torch tensor, any axes and unit. Returns (..., 5, D): left
    and right eye centre (each the middle of the eye's two corners), nose tip, left and right mouth corner.
    """
    if landmarks.shape[-2] == 5:
        return landmarks
    left_mouth, right_mouth = MOUTH_CORNERS
    first = landmarks[..., [LEFT_EYE_CORNERS[0], RIGHT_EYE_CORNERS[0], NOSE_TIP, left_mouth, right_mouth], :]
    second = landmarks[..., [LEFT_EYE_CORNERS[1], RIGHT_EYE_CORNERS[1], NOSE_TIP, left_mouth, right_mouth], :]
    return (first + second) / 2


def roll(points):
    """The angle by which a face is turned in the picture, radian, anticlockwise. 0 is upright.

    points: (5, 2) or (68, 2) px, y up.
    """
    left_eye, right_eye = five_points(points)[:2]
    x, y = right_eye - left_eye
    return math.atan2(y, x)


def turns_to_upright(points):
    """How many quarter turns anticlockwise (0 to 3) bring a picture's face upright, within 45 degrees. points: as in
    `roll`."""
    return round(-2 / math.pi * roll(points)) % 4


def similarity(source, target):
    """The similarity transform that brings the points `source` nearest to `target`: a rotation, a scale that is the
    same for both axes, and a shift, with the least sum of squared distances (Umeyama 1991).

    source, target: (..., N, 2), both numpy arrays or both torch tensors, in any axes and unit.
    Returns a matrix (..., 2, 3) of the same kind: `points @ matrix[..., :2].T + matrix[..., 2]` maps points (N, 2). It
    is nan where all points of `source` are equal.
    """
    if isinstance(source, np.ndarray):
        stack = np.stack
    else:
        from torch import stack  # imported late: who passes numpy arrays needs no PyTorch
    source_mean, target_mean = source.mean(-2), target.mean(-2)
    a, b = source - source_mean[..., None, :], target - target_mean[..., None, :]
    size = (a * a).sum((-2, -1))
    cos = (a * b).sum((-2, -1)) / size   # of the angle, times the scale
    sin = (a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]).sum(-1) / size
    x, y = source_mean[..., 0], source_mean[..., 1]
    return stack([stack([cos, -sin, target_mean[..., 0] - cos * x + sin * y], -1),
                  stack([sin, cos, target_mean[..., 1] - sin * x - cos * y], -1)], -2)
