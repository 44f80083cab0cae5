"""Reads the shipped open face model into the layout of BFM_model_front.mat."""
import numpy as np
import scipy.sparse as sp


def point_buffer(triangles, count):
    """(count, most faces round a vertex) int32 numbers of the faces round each vertex, padded with F.

    triangles: (F, 3), over `count` vertices.
    """
    corner = triangles.ravel()
    order = np.argsort(corner, kind='stable')
    vertex = corner[order]
    faces = np.bincount(vertex, minlength=count)
    place = np.arange(len(vertex)) - np.repeat(np.cumsum(faces) - faces, faces)
    buffer = np.full((count, faces.max()), len(triangles), np.int32)
    buffer[vertex, place] = order // 3
    return buffer


def load_open_face_model(path):
    """The open face model with N vertices and F triangles, as a dict of arrays:

    meanshape (1, 3N), idBase (3N, 80), exBase (3N, 64) float32 decimetres, x right, y up, z to the viewer;
    meantex (1, 3N), texBase (3N, 80) float32 RGB, 0..255; coefficients of all three bases are about N(0, 1).
    tri (F, 3), point_buf (N, 8) padded with F + 1, keypoints (1, 68), frontmask2_idx (n, 1): 1-based int32.
    tri_mask2 (m, 3): the inner face's triangles as 1-based places in frontmask2_idx, so that their
    vertices are frontmask2_idx[tri_mask2 - 1]. skinmask (1, N) uint8, 1 on bare skin.
    """
    with np.load(path, allow_pickle=False) as packed:
        f = {name: packed[name] for name in packed.files}
    count, controls = len(f['meanshape']), len(f['id_basis'])
    operator = sp.csr_matrix((f['operator_data'], f['operator_indices'], f['operator_indptr']),
                             shape=(count, controls))

    def expand(basis):                                            # (C, 3, k) float16 -> (3N, k) float32
        return (operator @ basis.reshape(controls, -1).astype(np.float32)).reshape(3 * count, -1)

    # bytes -> int16 differences -> running sums along the stored vertex order -> grey levels
    low, high = f['albedo_low'], f['albedo_high']
    change = low.astype(np.uint16) | (high.astype(np.uint16) << 8)
    steps = np.cumsum(change.view(np.int16), axis=1, dtype=np.int16)     # (3 * 80, N)
    albedo = np.empty((count, len(steps)), np.float32)
    albedo[f['albedo_order']] = steps.T
    albedo *= f['albedo_step']

    triangles = f['triangles']
    place = np.zeros(count, np.int32)                             # 1-based place in `front`, 0: not there
    place[f['front']] = np.arange(1, len(f['front']) + 1)
    inner = place[triangles]
    return {
        'meanshape': f['meanshape'].reshape(1, -1),
        'meantex': (f['meantex'].astype(np.float32) / 64).reshape(1, -1),
        'idBase': expand(f['id_basis']),
        'exBase': expand(f['exp_basis']),
        'texBase': albedo.reshape(3 * count, -1),
        'tri': triangles + np.int32(1),
        'point_buf': point_buffer(triangles, count) + np.int32(1),
        'tri_mask2': inner[(inner > 0).all(1)],
        'keypoints': f['keypoints'][None] + np.int32(1),
        'frontmask2_idx': f['front'][:, None] + np.int32(1),
        'skinmask': f['skin'][None].astype(np.uint8),
    }
