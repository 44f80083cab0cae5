"""From the MakeHuman head to the model's surface: frame, crop, vertices, triangles, keypoints."""
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from scipy.sparse.csgraph import connected_components

from . import makehuman
from .landmarks import inner_landmarks, outer_landmarks
from .mesh import adjacency, edges_of, front_view, rotation, split_quads, subdivide, triangulate

# Image-left eye, image-right eye, nose tip, mouth corners: the method's standard points, which
# photos are aligned to. They place the model in its frame.
STANDARD_POINTS = np.array([[-.31148657, .29036078, .13377953], [.30979887, .28972036, .13179526],
                            [.0032535, -.04617932, .55244243], [-.25216928, -.38133916, .22405732],
                            [.2484662, -.38128236, .22235769]])
HAIRLINE, TEMPLE_DROP = .78, .32            # top of the crop in the middle, and how far it falls at |x| = 0.7
BACK = -.55                                 # nothing behind this z: ears, back of the head
CHIN_FLOOR = -.93                           # nothing below: neck

# Poses (pitch, yaw in radians) and expressions in which a vertex must show up at least once to be kept.
VIEWS = ((0, 0), (0, .6), (0, -.6), (.45, 0), (-.45, 0), (0, 1.1), (0, -1.1))
MOTIONS = ({}, {'jawOpen': .3}, {'mouthFunnel': .7}, {'eyeWideLeft': 1, 'eyeWideRight': 1},
           {'eyeBlinkLeft': 1, 'eyeBlinkRight': 1}, {'mouthSmileLeft': 1, 'mouthSmileRight': 1})


@dataclass
class Similarity:
    """x -> scale * R (x - origin) + shift; R only pitches, so that left and right stay mirror images."""
    scale: float
    matrix: np.ndarray
    origin: np.ndarray
    shift: np.ndarray

    def points(self, x):
        return self.scale * (x - self.origin) @ self.matrix.T + self.shift

    def offsets(self, x):
        return self.scale * x @ self.matrix.T


def five_points(keypoints):
    """(..., 68, 3) -> (..., 5, 3): eye centres, nose tip, mouth corners, as photos are aligned."""
    k = keypoints
    return np.stack([k[..., [36, 39], :].mean(-2), k[..., [42, 45], :].mean(-2), k[..., 30, :],
                     k[..., 48, :], k[..., 54, :]], -2)


def align(points):
    """Least-squares similarity of five points to the standard ones (pitch only, centred in x)."""
    goal = STANDARD_POINTS.copy()
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
    """The model's vertices as linear combinations of MakeHuman's, and what is known of each."""
    operator: sp.csr_matrix                 # (N, C): control vertices -> model vertices
    control: np.ndarray                     # (C,) MakeHuman vertex numbers
    frame: Similarity                       # MakeHuman decimetres -> model frame
    triangles: np.ndarray                   # (F, 3) outward by cross(v1 - v2, v2 - v3)
    keypoints: np.ndarray                   # (68,)
    is_eye: np.ndarray                      # (N,) bool
    masks: dict                             # name -> (N,) 0..1
    upper_lid: np.ndarray                   # vertices along the lid margins of the image-left eye
    lower_lid: np.ndarray


def eyeball_operator(operator, quads, eye_controls, shape):
    """Catmull-Clark shrinks a coarse ball: scale each fine eyeball about its centre to keep its radius.

    eye_controls: for (right, left) in x, the columns of its 72 control vertices.
    """
    points = operator @ shape
    rows = np.unique(quads)
    factor = np.ones(operator.shape[0])
    centre = sp.lil_matrix(operator.shape)
    for sign, columns in eye_controls:
        mine = rows[np.sign(points[rows, 0]) == sign]
        middle = shape[columns].mean(0)
        factor[mine] = (np.median(np.linalg.norm(shape[columns] - middle, axis=1))
                        / np.median(np.linalg.norm(points[mine] - middle, axis=1)))
        centre[np.ix_(mine, columns)] = 1 / len(columns)
    return (sp.diags(factor) @ operator + sp.diags(1 - factor) @ centre.tocsr()).tocsr()


def fine_head(source):
    """Two subdivision levels of the face's skin, three of the eyeballs.

    Returns operator (n, c), control ids (c,), quads, is_eye (n,), masks, control points (c, 3).
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
    """Flags every vertex within `rings` quads of a flagged one."""
    flags = flags.copy()
    for _ in range(rings):
        flags[np.unique(quads[flags[quads].any(1)])] = True
    return flags


def outside_crop(points, masks):
    """(n,) bool: hair, ears, neck, back of the head, and the throat."""
    x, y, z = points.T
    lip_side = np.where(np.abs(x) > .10, .08, .26)
    return ((y > HAIRLINE - TEMPLE_DROP * np.abs(x / .7) ** 3.5) | (z < BACK)
            | (y < np.where(z > 0, CHIN_FLOOR, CHIN_FLOOR - .75 * z)) | (masks['ears'] > .25)
            | ((masks['inside-mouth'] > .98) & (z < lip_side)))


def ever_visible(points, quads, moves):
    """(n,) bool: seen in any of VIEWS under any of the displacements `moves`."""
    seen = np.zeros(len(points), bool)
    triangles = split_quads(quads)
    for move in moves:
        for pitch, yaw in VIEWS:
            image = front_view((points + move) @ rotation(pitch, yaw).T, triangles, 1000)[0]
            seen[triangles[np.unique(image[image >= 0])]] = True
    return seen


def kept_quads(points, quads, is_eye, masks, moves):
    """Drops what never shows: eye sockets, nostrils' insides, the mouth behind a few inner-lip rings."""
    quads = quads[~outside_crop(points, masks)[quads].any(1)]
    seen = ever_visible(points, quads, moves)
    inside = masks['inside-mouth'] > .5
    lips = np.zeros(len(points), bool)
    lips[quads[(masks['lips'][quads] > .5).any(1)]] = True
    ring = grow(lips, quads, 6)
    # a deeper pocket behind the corners of the mouth, so that nothing shows through between the lips
    ring |= grow(ring, quads, 8) & inside & (np.abs(points[:, 0]) > .13)
    seen = (seen & ~inside) | (inside & ring)
    seen = grow(seen, quads, 2) & ~(inside & ~ring)
    # other identities reveal more of the socket's rim and of the eyeballs
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
    """Cuts the staircase at the border: spikes go, a protruding corner quad becomes a triangle.

    Returns (quads, extra triangles).
    """
    def border_edges(quads):
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
    """Averages the operator's rows along the outer border, which removes the saw teeth for every identity."""
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
    """Diffuses a vertex mask over the mesh."""
    links = adjacency(triangles, len(mask))
    degree = np.maximum(np.asarray(links.sum(1)).ravel(), 1)
    for _ in range(rounds):
        mask = .5 * mask + .5 * (links @ mask) / degree
    return mask
