"""Builds the surface of the model from the MakeHuman head: its frame, vertices, triangles and keypoints."""
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from scipy.sparse.csgraph import connected_components

from models.landmarks import STANDARD_POINTS, five_points

from . import makehuman
from .landmarks import inner_landmarks, outer_landmarks
from .mesh import adjacency, edges_of, front_view, rotation, split_quads, subdivide, triangulate

# The part of the head that the model keeps, decimetres in the model frame.
HAIRLINE, TEMPLE_DROP = .78, .32            # largest y in the middle, and how much lower it is at |x| = 0.7
BACK = -.55                                 # smallest z: without ears and back of the head
CHIN_FLOOR = -.93                           # smallest y: without the neck

# A vertex is kept if it is visible in at least one of these views (pitch and yaw, radian) and expressions.
VIEWS = ((0, 0), (0, .6), (0, -.6), (.45, 0), (-.45, 0), (0, 1.1), (0, -1.1))
MOTIONS = ({}, {'jawOpen': .3}, {'mouthFunnel': .7}, {'eyeWideLeft': 1, 'eyeWideRight': 1},
           {'eyeBlinkLeft': 1, 'eyeBlinkRight': 1}, {'mouthSmileLeft': 1, 'mouthSmileRight': 1})


@dataclass
class Similarity:
    """The map x -> scale * matrix (x - origin) + shift.

    The matrix rotates about the x axis only, so that left and right stay mirror images.
    """
    scale: float
    matrix: np.ndarray                      # (3, 3)
    origin: np.ndarray                      # (3,)
    shift: np.ndarray                       # (3,)

    def points(self, x):
        """Maps points (..., 3)."""
        return self.scale * (x - self.origin) @ self.matrix.T + self.shift

    def offsets(self, x):
        """Maps differences of points (..., 3)."""
        return self.scale * x @ self.matrix.T


def align(points):
    """Returns the Similarity that brings five points (5, 3) closest to the standard ones, to which photos are aligned.

    It rotates about the x axis only and does not shift along it.
    """
    # The shipped file was built with these numbers in decimals, of which 8 are kept.
    goal = STANDARD_POINTS.astype(str).astype(float).round(8)
    goal[:, 0] -= goal[:, 0].mean()
    centre, goal_centre = points.mean(0), goal.mean(0)
    a, b = points - centre, goal - goal_centre
    pitch = np.arctan2((a[:, 1] * b[:, 2] - a[:, 2] * b[:, 1]).sum(),
                       (a[:, 1] * b[:, 1] + a[:, 2] * b[:, 2]).sum())
    matrix = rotation(pitch, 0)
    scale = (a @ matrix.T * b).sum() / (a ** 2).sum()
    origin, shift = centre.copy(), goal_centre.copy()
    origin[0] = shift[0] = 0
    return Similarity(scale, matrix, origin, shift)


@dataclass
class Surface:
    """The vertices of the model as linear combinations of MakeHuman's control vertices, and their properties."""
    operator: sp.csr_matrix                 # (N, C), from control vertices to model vertices
    control: np.ndarray                     # (C,) MakeHuman vertex numbers
    frame: Similarity                       # from MakeHuman's axes to the model frame, both in decimetres
    triangles: np.ndarray                   # (F, 3); cross(v1 - v2, v2 - v3) points outward
    keypoints: np.ndarray                   # (68,) vertex numbers
    is_eye: np.ndarray                      # (N,) bool: vertices of the eyeballs
    masks: dict                             # 'lips', 'eyelids', 'inside-mouth', 'ears' -> (N,) 0..1
    upper_lid: np.ndarray                   # vertices along the margin of the upper lid of the image's left eye
    lower_lid: np.ndarray                   # the same of its lower lid


def eyeball_operator(operator, quads, eye_controls, shape):
    """Returns the subdivision operator of the eyeballs, corrected so that they keep their radius.

    Catmull-Clark subdivision shrinks a coarse ball. Each subdivided ball is scaled about its centre.

    operator: (n, c) from control vertices to vertices. quads: (f, 4) of both balls.
    eye_controls: (sign of x, control vertices (72,)) of each ball. shape: (c, 3) control vertices.
    """
    points = operator @ shape
    rows = np.unique(quads)
    factor = np.ones(operator.shape[0])
    centre = sp.lil_matrix(operator.shape)
    for sign, columns in eye_controls:
        of_this_ball = rows[np.sign(points[rows, 0]) == sign]
        middle = shape[columns].mean(0)
        factor[of_this_ball] = (np.median(np.linalg.norm(shape[columns] - middle, axis=1))
                                / np.median(np.linalg.norm(points[of_this_ball] - middle, axis=1)))
        centre[np.ix_(of_this_ball, columns)] = 1 / len(columns)
    return (sp.diags(factor) @ operator + sp.diags(1 - factor) @ centre.tocsr()).tocsr()


def fine_head(source):
    """Subdivides the skin of the head twice and the eyeballs three times.

    Returns operator (n, c), MakeHuman numbers of the control vertices (c,), quads (f, 4), is_eye (n,),
    masks {name: (n,)} and control points (c, 3), decimetres in MakeHuman's axes.
    """
    shape = source.average_head()
    eyes = np.r_[makehuman.LEFT_EYE, makehuman.RIGHT_EYE]
    quads, uv = source.faces['body'], source.uv['body']
    head = ((shape[quads][:, :, 1].min(1) > shape[eyes, 1].mean() - 1.75)
            & (np.abs(shape[quads][:, :, 0]).max(1) < 1.3))
    quads, uv = quads[head], uv[head]
    control = np.r_[np.unique(quads), eyes]
    lookup = np.full(len(source.vertices), -1)
    lookup[control] = np.arange(len(control))
    skin_operator, skin_quads, skin_uv = subdivide(lookup[quads], len(control), 2, uv)
    ball = np.concatenate([source.faces['helper-l-eye'], source.faces['helper-r-eye']])
    eye_operator, eye_quads, _ = subdivide(lookup[ball], len(control), 3)
    points = shape[control]
    eye_operator = eyeball_operator(eye_operator, eye_quads, [(1, lookup[makehuman.LEFT_EYE]),
                                                              (-1, lookup[makehuman.RIGHT_EYE])], points)
    count, total = skin_operator.shape[0], skin_operator.shape[0] + eye_operator.shape[0]
    corners = np.maximum(np.bincount(skin_quads.ravel(), minlength=count), 1)
    masks = {}
    for name in ('lips', 'eyelids', 'inside-mouth', 'ears'):
        sums = np.bincount(skin_quads.ravel(), source.mask(name, skin_uv).ravel(), count)
        masks[name] = np.r_[sums / corners, np.zeros(total - count)]
    operator = sp.vstack([skin_operator, eye_operator]).tocsr()
    quads, is_eye = np.concatenate([skin_quads, eye_quads + count]), np.arange(total) >= count
    return operator, control, quads, is_eye, masks, points


def grow(flags, quads, rings=1):
    """Returns the flags (n,) with every vertex flagged that lies within `rings` quads of a flagged one."""
    flags = flags.copy()
    for _ in range(rings):
        flags[np.unique(quads[flags[quads].any(1)])] = True
    return flags


def outside_crop(points, masks):
    """Marks what the model leaves out: hair, ears, neck, back of the head, and the throat. Returns (n,) bool."""
    x, y, z = points.T
    lip_side = np.where(np.abs(x) > .10, .08, .26)
    return ((y > HAIRLINE - TEMPLE_DROP * np.abs(x / .7) ** 3.5) | (z < BACK)
            | (y < np.where(z > 0, CHIN_FLOOR, CHIN_FLOOR - .75 * z)) | (masks['ears'] > .25)
            | ((masks['inside-mouth'] > .98) & (z < lip_side)))


def ever_visible(points, quads, moves):
    """Marks vertices that are visible in one of VIEWS under one of the displacements. Returns (n,) bool.

    moves: list of (n, 3) displacements, one per expression.
    """
    seen = np.zeros(len(points), bool)
    triangles = split_quads(quads)
    for move in moves:
        for pitch, yaw in VIEWS:
            image = front_view((points + move) @ rotation(pitch, yaw).T, triangles, 1000)[0]
            seen[triangles[np.unique(image[image >= 0])]] = True
    return seen


def kept_quads(points, quads, is_eye, masks, moves):
    """Returns the quads without those that are never visible.

    Dropped are what lies outside the crop, the backs of the eye sockets, the insides of the nostrils, and the mouth
    except a few rings of quads behind the lips. moves: see `ever_visible`.
    """
    quads = quads[~outside_crop(points, masks)[quads].any(1)]
    seen = ever_visible(points, quads, moves)
    inside = masks['inside-mouth'] > .5
    lips = np.zeros(len(points), bool)
    lips[quads[(masks['lips'][quads] > .5).any(1)]] = True
    ring = grow(lips, quads, 6)
    # More rings behind the corners of the mouth, so that the background does not show between the lips.
    ring |= grow(ring, quads, 8) & inside & (np.abs(points[:, 0]) > .13)
    seen = (seen & ~inside) | (inside & ring)
    seen = grow(seen, quads, 2) & ~(inside & ~ring)
    # Other identities show more of the sockets' rims and of the eyeballs than the average head does.
    centres = [points[is_eye & (np.sign(points[:, 0]) == s)].mean(0) for s in (1, -1)]
    near_eye = np.min([np.linalg.norm(points - c, axis=1) for c in centres], axis=0) < .26
    for _ in range(5):
        seen |= grow(seen, quads) & near_eye & ~is_eye & ~inside
    seen |= grow(seen & is_eye, quads, 4) & is_eye
    quads = quads[seen[quads].all(1)]
    links = sp.csr_matrix((np.ones(quads.size), (quads.ravel(), np.roll(quads, 1, 1).ravel())),
                          shape=(len(points), len(points)))
    label = connected_components(links, directed=False)[1][quads[:, 0]]
    return quads[np.isin(label, np.argsort(-np.bincount(label))[:3])]      # the skin and two eyes


def border_corners(quads, count):
    """Makes the stepped border of the mesh smoother.

    Quads with three border edges are dropped, and a corner quad that sticks out becomes a triangle.
    Returns the remaining quads (f, 4) and the extra triangles (e, 3).
    """
    def border_edges(quads):
        """Marks the edges (f, 4) that only one quad uses; edge k runs from corner k to corner k + 1."""
        edge = np.sort(np.stack([quads, np.roll(quads, -1, 1)], 2), 2)
        key = edge[..., 0].astype(np.int64) * count + edge[..., 1]
        _, inverse, uses = np.unique(key, return_inverse=True, return_counts=True)
        return uses[inverse.reshape(key.shape)] == 1

    for _ in range(3):
        quads = quads[border_edges(quads).sum(1) < 3]
    border = border_edges(quads)
    corner = border & np.roll(border, 1, 1)
    protrudes = (border.sum(1) == 2) & (corner.sum(1) == 1)
    row, k = np.nonzero(protrudes)[0], corner[protrudes].argmax(1)
    extra = np.stack([quads[row, (k + s) % 4] for s in (1, 2, 3)], 1)
    return quads[~protrudes], extra


def smooth_border(operator, triangles, fixed):
    """Returns the operator with its rows averaged along the outer border, which then is smooth for every identity.

    fixed: (N,) bool, vertices that stay as they are.
    """
    edges, uses = edges_of(triangles)
    border = edges[(uses == 1) & ~fixed[edges].any(1)]
    count = operator.shape[0]
    ends = (border.ravel(), border[:, ::-1].ravel())
    links = sp.csr_matrix((np.ones(2 * len(border)), ends), (count, count))
    between = np.asarray(links.sum(1)).ravel() == 2
    step = sp.diags(np.where(between, .5, 1.)) + sp.diags(np.where(between, .25, 0.)) @ links
    for _ in range(8):
        operator = step @ operator
    return operator.tocsr()


def build_surface(source):
    """Returns the Surface of the model.

    source: MakeHuman. Raises ValueError if the crop removes a keypoint.
    """
    operator, control, quads, is_eye, masks, shape = fine_head(source)
    used = np.unique(quads)
    raw = operator @ shape
    rough = raw - [0, raw[is_eye, 1].mean() - .29, raw[is_eye, 2].mean() - .17]
    triangles = split_quads(quads)
    keypoints, upper, lower, view = inner_landmarks(rough, triangles, is_eye, masks, used)
    filled = np.where(keypoints >= 0, keypoints, 0)
    frame = align(five_points(raw[filled]))
    points = frame.points(raw)
    outer_landmarks(points, triangles, is_eye, masks, used, view, keypoints)

    lookup = np.full(len(source.vertices), -1)
    lookup[control] = np.arange(len(control))
    moves = [sum((w * source.targets[f'unit/{name}'].dense(lookup, len(control)) for name, w in m.items()),
                 np.zeros((len(control), 3))) for m in MOTIONS]
    quads = kept_quads(points, quads, is_eye, masks, [frame.offsets(operator @ m) for m in moves])
    quads, extra = border_corners(quads, len(points))
    kept = np.unique(np.r_[quads.ravel(), extra.ravel()])
    new = np.full(len(points), -1)
    new[kept] = np.arange(len(kept))
    if (new[keypoints] < 0).any():
        raise ValueError(f'the crop removed the keypoints {np.nonzero(new[keypoints] < 0)[0]}')
    masks = {name: mask[kept] for name, mask in masks.items()}
    triangles = np.concatenate([triangulate(new[quads], points[kept]), new[extra]])
    operator = smooth_border(operator[kept], triangles, is_eye[kept] | (masks['inside-mouth'] > .3))
    columns = np.unique(operator.indices)
    return Surface(operator[:, columns].tocsr(), control[columns], frame, triangles, new[keypoints],
                   is_eye[kept], masks, new[upper], new[lower])


def smooth_mask(mask, triangles, rounds):
    """Returns the mask (N,) blurred over the mesh; each round mixes a vertex half and half with its neighbours."""
    links = adjacency(triangles, len(mask))
    degree = np.maximum(np.asarray(links.sum(1)).ravel(), 1)
    for _ in range(rounds):
        mask = .5 * mask + .5 * (links @ mask) / degree
    return mask
