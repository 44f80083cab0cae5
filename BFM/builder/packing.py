"""Writes the open face model into one file that is small enough for the repository.

The file holds all that BFM_model_front.mat holds. models/open_face_model.py reads it.
"""
import numpy as np
import scipy.sparse as sp
from scipy.sparse.csgraph import dijkstra

from .mesh import edges_of

ALBEDO_STEP = .08                           # grey levels between two stored values of the albedo basis
PHOTO_ALBEDO_STEP = .25                     # the same of an albedo that is learned from photos, which has more detail


def inner_face(points, surface):
    """Marks the inner face, on which colours are compared. Returns (N,) bool.

    It reaches from the brows to the chin and covers the cheeks. It leaves out the forehead, the sides of the head,
    the underside of the chin and the inside of the mouth.

    points: (N, 3) decimetres, model frame.
    """
    triangles, key = surface.triangles, points[surface.keypoints]
    edges, uses = edges_of(triangles)
    border = np.unique(edges[uses == 1])
    outer = border[~surface.is_eye[border] & (surface.masks['inside-mouth'][border] < .3)
                   & (np.abs(points[border] - [0, 0, 0]) > [.45, .6, 9]).any(1)]
    length = np.linalg.norm(points[edges[:, 0]] - points[edges[:, 1]], axis=1)
    graph = sp.csr_matrix((length, edges.T), shape=(len(points), len(points)))
    distance = dijkstra(graph, directed=False, indices=outer, min_only=True)
    brow_top = key[17:27, 1].max()
    return (((distance > .13) | surface.is_eye) & (surface.masks['inside-mouth'] < .5)
            & (points[:, 1] > key[8, 1] + .01) & (points[:, 1] < brow_top + .075)
            & (np.abs(points[:, 0]) < .66))


def plain_skin(surface, face):
    """Marks skin that is bare and evenly coloured on nearly everyone. Returns (N,) bool.

    Eyes, brows, lips, nostrils, deep folds and the places of beards and hair are left out. On what remains, an
    uneven albedo means that the light was estimated wrongly.

    face: the FaceMap of the mean face.
    """
    brow = (np.abs(face.y - face.brow_line(face.ax)) < .06) & (face.ax > .08) & (face.ax < .68)
    return (~surface.is_eye & (face.lips < .15) & (surface.masks['inside-mouth'] < .1)
            & (face.upper_lid > .035) & (face.lower_lid > .03) & (face.occlusion > .45) & ~brow
            & (np.maximum(face.moustache, face.goatee) < .3) & (face.jaw_beard < .3) & (face.socket < .4)
            & (face.ax < .58) & (face.y < .60) & (face.y > face.key[8, 1] + .05))


def morton_order(points):
    """Returns an order (N,) of the vertices that keeps most neighbours in space together.

    Sorted by a Morton code. Values in this order compress better.
    """
    grid = ((points - points.min(0)) / np.ptp(points, axis=0).max() * 1023).astype(np.int64)
    code = np.zeros(len(points), np.int64)
    for bit in range(10):
        for axis in range(3):
            code |= ((grid[:, axis] >> bit) & 1) << (3 * bit + axis)
    return np.argsort(code, kind='stable')


def pack(path, surface, identity, expression, albedo):
    """Writes the model to `path`.

    Arrays of the file, for N vertices, F triangles and C control vertices; indices count from 0:

    operator_data, operator_indices, operator_indptr: csr matrix (N, C) from control vertices to vertices.
    id_basis (C, 3, 80), exp_basis (C, 3, 64): float16, decimetres, at the control vertices.
    meanshape: (N, 3) float32, decimetres.
    meantex: (N, 3) uint16, in 1/64 of a grey level.
    albedo_low, albedo_high: (3 * 80, N) uint8. The albedo basis is rounded to steps of albedo_step grey levels. Along
        albedo_order, each vertex stores its difference from the vertex before as int16, in a low and a high byte.
    triangles: (F, 3).
    keypoints: (68,).
    front: vertices of the inner face.
    skin: (N,) bool, see `plain_skin`.

    Raises ValueError if the albedo basis does not fit into 16 bits.
    """
    operator = surface.operator
    np.savez_compressed(
        path, operator_data=operator.data.astype(np.float32),
        operator_indices=operator.indices.astype(np.int16), operator_indptr=operator.indptr.astype(np.int32),
        id_basis=identity.basis.astype(np.float16), exp_basis=expression.basis.astype(np.float16),
        meanshape=identity.mean.astype(np.float32),
        **albedo_arrays(albedo.mean, albedo.basis.reshape(len(albedo.basis), -1), ALBEDO_STEP, identity.mean),
        triangles=surface.triangles.astype(np.int32),
        keypoints=surface.keypoints.astype(np.int32),
        front=np.nonzero(inner_face(identity.mean, surface))[0].astype(np.int32),
        skin=plain_skin(surface, albedo.face))


def albedo_arrays(mean, basis, step, points):
    """The arrays of the file that hold the albedo, see `pack`.

    mean: (N, 3) grey levels 0..255. basis: (N, 3 * 80) or (3N, 80) grey levels. step: grey levels between two stored
    values of the basis. points: (N, 3) the mean face.
    Raises ValueError if the basis does not fit into 16 bits.
    """
    steps = np.round(basis.reshape(len(mean), -1) / step)
    if np.abs(steps).max() > 16000:
        raise ValueError('the albedo basis does not fit in 16 bits: raise the step')
    order = morton_order(points)
    change = np.diff(steps[order].astype(np.int16), axis=0, prepend=np.int16(0))
    # the values of one component lie together, since they are alike
    raw = np.ascontiguousarray(change.T).view(np.uint8).reshape(change.shape[1], -1, 2)
    return dict(meantex=np.round(mean * 64).clip(0).astype(np.uint16), albedo_low=raw[..., 0].copy(),
                albedo_high=raw[..., 1].copy(), albedo_order=order.astype(np.int32), albedo_step=np.float32(step))


def pack_albedo(source, file, mean, basis, keypoints, annotated_keypoints=None):
    """Writes the model in the file `source` to the open file or path `file`, with another albedo and other landmarks.

    mean: (N, 3) grey levels 0..255. basis: (3N, 80) grey levels. keypoints: (68,) vertices of the landmarks.
    annotated_keypoints: the same where people annotate them; None: the file does not tell them.
    """
    with np.load(source) as packed:
        arrays = {name: packed[name] for name in packed.files}
    arrays |= albedo_arrays(mean, basis, PHOTO_ALBEDO_STEP, arrays['meanshape'])
    arrays['keypoints'] = keypoints.astype(np.int32)
    if annotated_keypoints is not None:
        arrays['annotated_keypoints'] = annotated_keypoints.astype(np.int32)
    np.savez_compressed(file, **arrays)


def reference_sample(path, surface, identity, expression, albedo, rng, vertices=40):
    """Writes the mean and the bases in full precision at random vertices, for the test of the packed file."""
    pick = np.sort(rng.choice(len(identity.mean), vertices, replace=False))
    rows = surface.operator[pick]

    def fine(basis):
        return (rows @ basis.reshape(len(basis), -1)).reshape(vertices, 3, -1)

    values = dict(meanshape=identity.mean[pick], meantex=albedo.mean[pick], idBase=fine(identity.basis),
                  exBase=fine(expression.basis), texBase=albedo.basis[pick])
    np.savez_compressed(path, vertices=pick, **{name: v.astype(np.float32) for name, v in values.items()})
