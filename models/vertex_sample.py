"""Some of a face model's vertices, for computations that need only a few of them."""
import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import nn

from models.face_model import FaceModel, coordinates_of
from models.simplification import choose_vertices, keep_vertices
from models.vertex_normals import vertex_normals


class ChosenVertices(nn.Module):
    """Some of a face model's vertices (V,), and their positions, normals and albedo for coefficients."""

    def __init__(self, face_model: FaceModel, vertices: torch.Tensor):
        super().__init__()
        around, tri, point_buf = triangles_around(face_model, vertices)
        albedo_base = coordinates_of(face_model.tex_base, vertices)
        buffers = {
            "tri": tri, "point_buf": point_buf, "places": torch.searchsorted(around, vertices),
            "mean_around": coordinates_of(face_model.mean_shape, around),
            "base_around": coordinates_of(face_model.shape_base, around),
            "mean_albedo": coordinates_of(face_model.mean_tex, vertices).view(-1, 3) / 255,
            "albedo_base": albedo_base.view(80, -1, 3).permute(1, 2, 0).contiguous() / 255,   # (V, 3, 80)
        }
        for name, values in buffers.items():
            self.register_buffer(name, values, persistent=False)

    def shape_and_normals(self, shape_coeffs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Unposed positions (B, V, 3) and unit normals (B, V, 3) for identity and expression (B, 144)."""
        around = (self.mean_around + shape_coeffs @ self.base_around).view(len(shape_coeffs), -1, 3)
        return around[:, self.places], vertex_normals(around, self.tri, self.point_buf)

    def albedo(self, tex: torch.Tensor) -> torch.Tensor:
        """RGB about 0..1 (B, V, 3) for coefficients (B, 80)."""
        return self.mean_albedo + torch.einsum("vck,bk->bvc", self.albedo_base, tex)


class VertexSample(ChosenVertices):
    """Some of a face model's vertices, spread over the surface, and how coefficients change them.

    triangles: of the simplified mesh whose vertices are chosen; there are half as many vertices V.
    """

    def __init__(self, face_model: FaceModel, triangles: int):
        choice = choose_vertices(face_model, triangles)
        chosen = torch.from_numpy(choice[0]).to(face_model.mean_shape.device)
        super().__init__(face_model, chosen)
        self.drawn = keep_vertices(face_model, *choice)   # draws what hides what
        moves = coordinates_of(face_model.shape_base, chosen).view(144, -1, 3)
        # The change of the normals by each coefficient from -1/2 to 1/2. A few at a time take little memory.
        halves = torch.eye(144, device=chosen.device) / 2
        turns = torch.cat([self.shape_and_normals(some)[1] - self.shape_and_normals(-some)[1]
                           for some in halves.split(16)])
        # (V, 6, 144): change of the unit normal, at the mean face, and of the position
        self.register_buffer("changes", torch.cat([turns, moves], 2).permute(1, 2, 0).contiguous(), persistent=False)
        self.register_buffer("area", _areas(face_model, chosen), persistent=False)


def triangles_around(face_model: FaceModel, chosen: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The triangles around the chosen vertices (V,).

    Returns their vertices (U,); the triangles (F, 3) int32, as places in that list; and those around each chosen vertex
    (V, K) int32, padded with F, see `vertex_normals`.
    """
    around = face_model.point_buf[chosen]
    exists = around < len(face_model.tri)
    triangles, places = around[exists].unique(return_inverse=True)
    point_buf = torch.full_like(around, len(triangles))
    point_buf[exists] = places.int()
    vertices, tri = face_model.tri[triangles.long()].unique(return_inverse=True)
    return vertices.long(), tri.int(), point_buf


def _areas(face_model: FaceModel, chosen: torch.Tensor) -> torch.Tensor:
    """The area of the mean face (V,), square decimetres, that lies nearest to each chosen vertex."""
    points, tri = face_model.mean_shape.view(-1, 3).cpu().numpy(), face_model.tri.cpu().numpy()
    corners = points[tri]
    areas = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1) / 2
    nearest = cKDTree(points[chosen.cpu().numpy()]).query(corners.mean(1))[1]
    return torch.from_numpy(np.bincount(nearest, areas, len(chosen)).astype(np.float32)).to(chosen.device)
