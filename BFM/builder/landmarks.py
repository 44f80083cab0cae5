"""Finds the 68 keypoints of the model by geometry, on the left half of the image, and mirrors them.

The model frame is used throughout: decimetres, x to the image's right, y up, z towards the viewer.
"""
import cv2
import numpy as np
from scipy.spatial import cKDTree

from models.landmarks import MIRRORED_LANDMARKS

from .mesh import front_view, vertex_normals

# Where people annotate the outline of an average face (points 1 to 8, x y z) and its left brow (18 to 22, x y).
JAW_PLACES = np.array([[-.715, .25, -.52], [-.70, .07, -.50], [-.67, -.11, -.46], [-.635, -.28, -.42],
                       [-.575, -.46, -.33], [-.48, -.61, -.17], [-.36, -.72, -.01], [-.205, -.80, .12]])
CHIN_NORMAL_Z = .12                         # z of the unit normal at the chin point: it faces almost down
BROW_PLACES = np.array([[-.58, .42], [-.49, .49], [-.37, .51], [-.26, .50], [-.16, .475]])


class FrontView:
    """An orthographic view from the front, in which visible skin vertices are picked by their pixel.

    points: (N, 3). triangles: (F, 3). skin: (N,) bool. size: px of the square view.
    """

    def __init__(self, points, triangles, skin, size=1600):
        self.size = size
        self.seen, self.xy, self.scale = front_view(points, triangles, size)
        visible = np.unique(triangles[self.seen[self.seen >= 0]])
        self.vertices = visible[skin[visible]]
        self.tree = cKDTree(self.xy[self.vertices])

    def pick(self, x, y):
        """Returns the visible skin vertex nearest to the place (x, y), px, y down."""
        return int(self.vertices[self.tree.query((x, y))[1]])

    def pixels(self, flags, triangles):
        """Returns (size, size) bool: pixels whose triangle has a mean flag above one half.

        flags: (N,) 0..1, at the vertices.
        """
        marked = flags[triangles].mean(1) > .5
        return (self.seen >= 0) & marked[np.maximum(self.seen, 0)]


def eye_points(view, eye_pixels, keypoints):
    """Fills keypoints 36 to 41, the eye on the image's left.

    eye_pixels: (size, size) bool, pixels of the view that see an eyeball.
    Returns the vertices (41,) along the margins of its upper and of its lower lid, from left to right.
    """
    count, labels, stats, centres = cv2.connectedComponentsWithStats(eye_pixels.astype(np.uint8))
    eyes = [i for i in range(1, count) if stats[i, cv2.CC_STAT_AREA] > 500]
    left = min(eyes, key=lambda i: centres[i][0])
    rows, columns = np.nonzero(labels == left)
    start, end = columns.min(), columns.max()
    width, margin = end - start, .006 * view.scale

    def lid(fraction, edge):
        x = start + fraction * width
        return x, edge(rows[np.abs(columns - x) < 2])

    keypoints[36] = view.pick(start - margin, rows[columns <= start + 1].mean())
    keypoints[39] = view.pick(end + margin, rows[columns >= end - 1].mean())
    for point, fraction, edge, shift in ((37, .34, np.min, -margin), (38, .67, np.min, -margin),
                                         (41, .34, np.max, margin), (40, .67, np.max, margin)):
        x, y = lid(fraction, edge)
        keypoints[point] = view.pick(x, y + shift)
    upper, lower = [], []
    for fraction in np.linspace(0, 1, 41):
        x, y = lid(fraction, np.min)
        upper.append(view.pick(x, y - 1))
        x, y = lid(fraction, np.max)
        lower.append(view.pick(x, y + 1))
    return np.array(upper), np.array(lower)


def mouth_points(view, lip_pixels, slit_pixels, keypoints):
    """Fills the left half and the middle of keypoints 48 to 67, from the mean of both halves of the view.

    lip_pixels, slit_pixels: (size, size) bool, pixels of the view that see a lip or the inside of the mouth.
    """
    lip_y, lip_x = np.nonzero(lip_pixels | slit_pixels)
    slit_y, slit_x = np.nonzero(slit_pixels)
    middle, half_lips = view.size / 2, (lip_x.max() - lip_x.min()) / 2
    half_slit = (slit_x.max() - slit_x.min()) / 2

    def edge(xs, ys, half, fraction, pick):
        return np.mean([pick(ys[np.abs(xs - (middle + s * fraction * half)) < 2]) for s in (-1, 1)])

    corner = slit_y[np.abs(slit_x - middle) > half_slit - 3].mean()
    keypoints[48] = view.pick(middle - half_lips + .012 * view.scale, corner)
    for point, fraction, pick in ((49, .57, np.min), (50, .21, np.min), (51, 0, np.min),
                                  (57, 0, np.max), (58, .27, np.max), (59, .6, np.max)):
        y = edge(lip_x, lip_y, half_lips, fraction, pick)
        keypoints[point] = view.pick(middle - fraction * half_lips, y)
    keypoints[60] = view.pick(middle - .92 * half_slit, edge(slit_x, slit_y, half_slit, .92, np.mean))
    for point, fraction, pick, shift in ((61, .33, np.min, -2), (62, 0, np.min, -2),
                                         (66, 0, np.max, 2), (67, .33, np.max, 2)):
        y = edge(slit_x, slit_y, half_slit, fraction, pick) + shift
        keypoints[point] = view.pick(middle - fraction * half_slit, y)


def nose_bridge(points, skin, keypoints):
    """Fills keypoints 27 to 30 and 33 from the profile of the nose. skin: the visible skin vertices."""
    middle = skin[np.abs(points[skin, 0]) < .0015]
    y, z = points[middle, 1], points[middle, 2]
    eye_level = points[keypoints[36:42], 1].mean()
    between = (y < eye_level - .03) & (y > points[keypoints[51], 1] + .05)
    tip = middle[np.argmax(np.where(between, z, -9))]
    keypoints[30] = tip
    keypoints[27] = middle[np.argmin(np.abs(y - eye_level - .01))]
    top = points[keypoints[27], 1]
    for point, fraction in ((28, 1 / 3), (29, 2 / 3)):
        keypoints[point] = middle[np.argmin(np.abs(y - (top + fraction * (points[tip, 1] - top))))]
    # The point below the nose (33) is where the profile is deepest behind the line from the tip to the upper lip.
    below = middle[(y < points[tip, 1] - .05) & (y > points[keypoints[51], 1] + .02)]
    line = points[keypoints[51]] - points[tip]
    inward = np.array([0, -line[2], line[1]]) / np.hypot(line[1], line[2])
    keypoints[33] = below[np.argmax(np.abs((points[below] - points[tip]) @ inward))]


def inner_landmarks(points, triangles, is_eye, masks, used):
    """Finds the keypoints of eyes, mouth and nose.

    points: (N, 3), placed roughly in the model frame. is_eye: (N,) bool. masks: name -> (N,) 0..1.
    used: vertices that belong to a triangle.
    Returns keypoints (68,), -1 for the ones that are not found here; the vertices along the upper and the lower lid
    of the image's left eye; and the FrontView.
    """
    skin = ~is_eye & (masks['inside-mouth'] < .5)
    view = FrontView(points, triangles, skin)
    keypoints = np.full(68, -1)
    upper, lower = eye_points(view, view.pixels(is_eye.astype(float), triangles), keypoints)
    mouth_points(view, view.pixels(masks['lips'], triangles), view.pixels(masks['inside-mouth'], triangles),
                 keypoints)
    nose_bridge(points, view.vertices, keypoints)
    mirror(points, keypoints, used)
    return keypoints, upper, lower, view


def mirror(points, keypoints, used):
    """Fills every missing keypoint whose mirror image is known, with the vertex nearest to its mirrored place."""
    tree = cKDTree(points[used])
    for point in np.nonzero(keypoints < 0)[0]:
        other = keypoints[MIRRORED_LANDMARKS[point]]
        if other >= 0:
            keypoints[point] = used[tree.query(points[other] * [-1, 1, 1])[1]]


def outer_landmarks(points, triangles, is_eye, masks, used, view, keypoints):
    """Fills the keypoints of outline, brows and nostrils. points: (N, 3), exactly in the model frame."""
    front = cKDTree(points[view.vertices][:, :2])

    def on_front(x, y):
        return view.vertices[front.query((x, y))[1]]

    outer = used[~is_eye[used] & (masks['inside-mouth'][used] < .3) & (masks['ears'][used] < .02)
                 & (points[used, 2] > -.53)]
    surface = cKDTree(points[outer])
    keypoints[:8] = outer[surface.query(JAW_PLACES)[1]]
    normal = vertex_normals(points, triangles)
    chin = view.vertices[np.abs(points[view.vertices, 0]) < .006]
    chin = chin[(points[chin, 2] > 0) & (points[chin, 1] < -.6)]
    keypoints[8] = chin[np.argmin(np.abs(normal[chin, 2] - CHIN_NORMAL_Z))]
    keypoints[17:22] = [on_front(x, y) for x, y in BROW_PLACES]
    base = points[keypoints[33], 1]
    keypoints[31] = on_front(-.125, base + .036)
    keypoints[32] = on_front(-.065, base + .022)
    mirror(points, keypoints, used)
