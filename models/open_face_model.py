"""Reads the open face model that ships with the repository into the layout of BFM_model_front.mat."""
from pathlib import Path

import numpy as np
import scipy.sparse as sp


def point_buffer(triangles: np.ndarray, count: int) -> np.ndarray:
    """The triangles around each vertex: (count, K) int32, where K is the largest number of triangles around one vertex.

    triangles: (F, 3) indices from 0 of `count` vertices. A row holds indices of triangles from 0 in rising order, then
    F as padding. (trimesh's vertex_faces has another order, and importing trimesh takes as long as reading the model.)
    """
    corner = triangles.ravel()
    order = np.argsort(corner, kind='stable')
    vertex = corner[order]
    faces = np.bincount(vertex, minlength=count)
    place = np.arange(len(vertex)) - np.repeat(np.cumsum(faces) - faces, faces)
    buffer = np.full((count, faces.max()), len(triangles), np.int32)
    buffer[vertex, place] = order // 3
    return buffer


def load_open_face_model(path: Path) -> dict[str, np.ndarray]:
    """The arrays of the open face model, which has N vertices and F triangles:

    - meanshape (1, 3N), idBase (3N, 80), exBase (3N, 64): float32 decimetres, x right, y up, z towards the viewer;
    - meantex (1, 3N), texBase (3N, 80): float32 RGB, 0..255;
    - tri (F, 3), point_buf (N, 8) padded with F + 1, keypoints (1, 68), frontmask2_idx (n, 1): int32 indices from 1;
    - tri_mask2 (m, 3): the triangles of the inner face as places in frontmask2_idx, from 1, so that their vertices are
      `frontmask2_idx[tri_mask2 - 1]`;
    - skinmask (1, N): uint8, 1 on bare skin;
    - annotated_keypoints (1, 68): int32 indices from 1, see `models.face_model.FaceModel`; the keypoints if the
      file has none.

    The coefficients of the three bases are about normally distributed with standard deviation 1. Raises exceptions of
    many kinds for a broken file; `models.face_model_files` turns them into an InputError.
    """
    with np.load(path, allow_pickle=False) as packed:
        f = {name: packed[name] for name in packed.files}
    count, controls = len(f['meanshape']), len(f['id_basis'])
    operator = sp.csr_matrix((f['operator_data'], f['operator_indices'], f['operator_indptr']),
                             shape=(count, controls))

    def expand(basis: np.ndarray) -> np.ndarray:
        """(C, 3, k) float16 of the control vertices -> (3N, k) float32 of all vertices"""
        return (operator @ basis.reshape(controls, -1).astype(np.float32)).reshape(3 * count, -1)

    # The albedo is stored as the differences, int16 in two bytes, between vertices in the stored order.
    low, high = f['albedo_low'], f['albedo_high']
    change = low.astype(np.uint16) | (high.astype(np.uint16) << 8)
    steps = np.cumsum(change.view(np.int16), axis=1, dtype=np.int16)     # (3 * 80, N)
    albedo = np.empty((count, len(steps)), np.float32)
    albedo[f['albedo_order']] = steps.T
    albedo *= f['albedo_step']

    triangles = f['triangles']
    place = np.zeros(count, np.int32)                             # in frontmask2_idx, from 1; 0: not there
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
        'annotated_keypoints': f.get('annotated_keypoints', f['keypoints'])[None] + np.int32(1),
    }
