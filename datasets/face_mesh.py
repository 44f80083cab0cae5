"""The 468 points of MediaPipe's face mesh: which point each one becomes in a mirrored picture, and the map to the 68
landmarks.

Indices count from 0. "Left" and "right" are as seen in the picture. checkpoints/face_networks/README.md says how the
map was made and how well it agrees with annotated photos.
"""
import numpy as np

from models.landmarks import COUNT, MIRRORED_LANDMARKS

MESH_COUNT = 468

# The contour of the eye on the left: outer corner, lower lid, inner corner, upper lid from the outer to the inner end.
LEFT_EYE_CONTOUR = np.array([33, 7, 163, 144, 145, 153, 154, 155, 133, 246, 161, 160, 159, 158, 157, 173])
# The points of the mesh that lie nearest to the five alignment points: both corners of each eye, the nose tip and the
# corners of the mouth.
LEFT_EYE_CORNERS, RIGHT_EYE_CORNERS = (33, 133), (362, 263)
OUTER_EYE_CORNERS = (33, 263)

# Which point each one becomes in a mirrored picture. First turn the x axis round, then `mirrored = points[MIRRORED]`.
MIRRORED = np.array([
    0, 1, 2, 248, 4, 5, 6, 249, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 250, 251, 252, 253, 254, 255, 256,
    257, 258, 259, 260, 261, 262, 263, 264, 265, 266, 267, 268, 269, 270, 271, 272, 273, 274, 275, 276, 277, 278,
    279, 280, 281, 282, 283, 284, 285, 286, 287, 288, 289, 290, 291, 292, 293, 294, 295, 296, 297, 298, 299, 300,
    301, 302, 303, 304, 305, 306, 307, 308, 309, 310, 311, 312, 313, 314, 315, 316, 317, 318, 319, 320, 321, 322,
    323, 94, 324, 325, 326, 327, 328, 329, 330, 331, 332, 333, 334, 335, 336, 337, 338, 339, 340, 341, 342, 343,
    344, 345, 346, 347, 348, 349, 350, 351, 352, 353, 354, 355, 356, 357, 358, 359, 360, 361, 362, 363, 364, 365,
    366, 367, 368, 369, 370, 371, 372, 373, 374, 375, 376, 377, 378, 379, 151, 152, 380, 381, 382, 383, 384, 385,
    386, 387, 388, 389, 390, 164, 391, 392, 393, 168, 394, 395, 396, 397, 398, 399, 175, 400, 401, 402, 403, 404,
    405, 406, 407, 408, 409, 410, 411, 412, 413, 414, 415, 416, 417, 418, 195, 419, 197, 420, 199, 200, 421, 422,
    423, 424, 425, 426, 427, 428, 429, 430, 431, 432, 433, 434, 435, 436, 437, 438, 439, 440, 441, 442, 443, 444,
    445, 446, 447, 448, 449, 450, 451, 452, 453, 454, 455, 456, 457, 458, 459, 460, 461, 462, 463, 464, 465, 466,
    467, 3, 7, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44,
    45, 46, 47, 48, 49, 50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 60, 61, 62, 63, 64, 65, 66, 67, 68, 69, 70, 71, 72,
    73, 74, 75, 76, 77, 78, 79, 80, 81, 82, 83, 84, 85, 86, 87, 88, 89, 90, 91, 92, 93, 95, 96, 97, 98, 99, 100,
    101, 102, 103, 104, 105, 106, 107, 108, 109, 110, 111, 112, 113, 114, 115, 116, 117, 118, 119, 120, 121, 122,
    123, 124, 125, 126, 127, 128, 129, 130, 131, 132, 133, 134, 135, 136, 137, 138, 139, 140, 141, 142, 143, 144,
    145, 146, 147, 148, 149, 150, 153, 154, 155, 156, 157, 158, 159, 160, 161, 162, 163, 165, 166, 167, 169, 170,
    171, 172, 173, 174, 176, 177, 178, 179, 180, 181, 182, 183, 184, 185, 186, 187, 188, 189, 190, 191, 192, 193,
    194, 196, 198, 201, 202, 203, 204, 205, 206, 207, 208, 209, 210, 211, 212, 213, 214, 215, 216, 217, 218, 219,
    220, 221, 222, 223, 224, 225, 226, 227, 228, 229, 230, 231, 232, 233, 234, 235, 236, 237, 238, 239, 240, 241,
    242, 243, 244, 245, 246, 247,
])
RIGHT_EYE_CONTOUR = MIRRORED[LEFT_EYE_CONTOUR]

# Where the landmarks in the middle and on the left lie: on one point of the mesh, or on the way from one point to
# another, at so many quarters. The others are their mirror images.
_PLACES = {
    # The outline from the ear to the chin, at equal distances.
    0: (127,), 1: (234, 93, 1), 2: (132, 93, 1), 3: (58, 132, 1), 4: (172,), 5: (136, 150, 1), 6: (149, 150, 1),
    7: (176, 148, 2), 8: (152,),
    # The upper half of the brow, at equal distances. Its inner end lies halfway between the upper and lower edge.
    17: (70, 46, 1), 18: (63, 53, 1), 19: (105, 65, 1), 20: (66, 55, 1), 21: (107, 55, 2),
    # The bridge of the nose at equal distances, the tip, and the base from the wing to the middle.
    27: (168, 6, 1), 28: (6, 197, 3), 29: (195, 5, 2), 30: (4,), 31: (75,), 32: (97,), 33: (2, 164, 1),
    # The corners of the eye, and the lids at one third and two thirds of their length.
    36: (33,), 37: (160, 159, 1), 38: (158, 157, 1), 39: (133,), 40: (153, 145, 1), 41: (144, 163, 1),
    # The corner of the mouth, and the outer and inner edges of the lips.
    48: (61,), 49: (39,), 50: (37, 0, 1), 51: (0,), 57: (17,), 58: (84,), 59: (181, 91, 1),
    60: (78,), 61: (82, 81, 1), 62: (13,), 66: (14,), 67: (87, 178, 1),
}


def mesh_landmarks(points: np.ndarray) -> np.ndarray:
    """The 68 landmarks (68, D) of mesh points (468, D), in the same axes and unit."""
    return (1 - _SHARES) * points[_FIRST] + _SHARES * points[_SECOND]


def _landmark_places() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two mesh points (68,) of each landmark, and how far it lies on the way from the first to the second (68, 1)."""
    first, second, shares = np.zeros(COUNT, int), np.zeros(COUNT, int), np.zeros((COUNT, 1))
    for landmark, place in _PLACES.items():
        start, end, quarters = place if len(place) == 3 else (*place, *place, 0)
        mirrored = MIRRORED_LANDMARKS[landmark]
        first[[mirrored, landmark]] = MIRRORED[start], start
        second[[mirrored, landmark]] = MIRRORED[end], end
        shares[[mirrored, landmark]] = quarters / 4
    return first, second, shares


_FIRST, _SECOND, _SHARES = _landmark_places()
