"""Makes a face model with fewer vertices, which small pictures of it are rendered from quickly."""
import copy

import numpy as np
import torch

from models.face_model import FaceModel, coordinates_of
from models.open_face_model import point_buffer


def simplify(face_model: FaceModel, triangles: int) -> FaceModel:
    """A copy of the face model with some of its vertices and about that many triangles.

    Returns the face model itself if it has no more triangles than that. Keypoints are replaced by the vertices that
    stand for them, see `choose_vertices`.
    """
    if len(face_model.tri) <= triangles:
        return face_model
    return keep_vertices(face_model, *choose_vertices(face_model, triangles))


def keep_vertices(face_model: FaceModel, chosen: np.ndarray, faces: np.ndarray, stands_for: np.ndarray) -> FaceModel:
    """A copy of the face model with the chosen vertices, see `choose_vertices`."""
    device = face_model.mean_shape.device
    vertices = torch.from_numpy(chosen).to(device)
    small = copy.deepcopy(face_model)
    for name in ("mean_shape", "mean_tex", "shape_base", "tex_base"):
        setattr(small, name, coordinates_of(getattr(face_model, name), vertices))
    small.tri = torch.from_numpy(faces.astype(np.int32)).to(device)
    small.point_buf = torch.from_numpy(point_buffer(faces, len(chosen))).to(device)
    places = torch.from_numpy(stands_for.astype(np.int64)).to(device)
    small.keypoints, small.annotated_keypoints = places[face_model.keypoints], places[face_model.annotated_keypoints]
    inner = stands_for[face_model.inner_tri.cpu().numpy()].astype(np.int32)
    small.inner_tri = torch.from_numpy(inner[[len(set(corners)) == 3 for corners in inner.tolist()]]).to(device)
    small.skin_mask = face_model.skin_mask[vertices]
    return small


def choose_vertices(face_model: FaceModel, triangles: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Chooses vertices of the face model that make a mesh of about that many triangles.

    The mean face is simplified by quadric edge collapse, which merges groups of neighbouring vertices. Each group is
    replaced by its vertex that lies nearest to the merged position, so all coefficients keep their meaning.

    Returns the chosen vertices (V,), the triangles (F, 3) between them, as places 0..V-1 in that list, and for each
    vertex of the face model the place (N,) of the one that replaces it. All vertices are chosen if the face model has
    no more triangles than that.
    """
    import fast_simplification
    points, tri = face_model.mean_shape.view(-1, 3).cpu().numpy(), face_model.tri.cpu().numpy()
    if len(tri) <= triangles:
        return np.arange(len(points)), tri.astype(np.int64), np.arange(len(points))
    *_, collapses = fast_simplification.simplify(points, tri, target_count=triangles, return_collapses=True)
    merged, faces, stands_for = fast_simplification.replay_simplification(points, tri, collapses)
    by_distance = np.argsort(-np.linalg.norm(points - merged[stands_for], axis=1), kind="stable")
    chosen = np.zeros(len(merged), np.int64)
    chosen[stands_for[by_distance]] = by_distance            # of several values the last one stays: the nearest
    return chosen, faces, stands_for
