"""The morphable face model: coefficients -> shape, albedo, light, pose, projection.

Axes: a face looks along +z, x points to the image's right, y up. Units are decimetres. Camera coordinates
have the same x and y, and z = camera_d - z_world: the distance from the eye. Formulas: Deng et al., Accurate 3D
Face Reconstruction with Weakly-Supervised Learning (CVPRW 2019).
"""
import math
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from models.coefficients import split
from models.coordinates import CROP_SIZE, camera_to_world
from models.vertex_normals import vertex_normals

# Factors of the nine spherical-harmonics bands (Ramamoorthi and Hanrahan, 2001).
A0, A1, A2 = math.pi, 2 * math.pi / math.sqrt(3), 2 * math.pi / math.sqrt(8)
C0, C1, C2 = 1 / math.sqrt(4 * math.pi), math.sqrt(3 / (4 * math.pi)), 3 * math.sqrt(5 / (12 * math.pi))
AMBIENT = 0.8   # added to band 0 of each channel, so that zero coefficients are a plain white light


class PosedFaces(NamedTuple):
    """A batch of B faces as a camera sees them."""
    vertices: torch.Tensor    # (B, N, 3) camera coordinates, decimetres
    albedo: torch.Tensor      # (B, N, 3) RGB, about 0..1
    color: torch.Tensor       # (B, N, 3) RGB, albedo x light, about 0..1
    landmarks: torch.Tensor   # (B, 68, 2) px in the crop, y up, see models/coordinates.py: of the keypoints


class FaceModel(nn.Module):
    """A morphable model in the layout of BFM_model_front.mat (any number of vertices N and triangles F).

    data: dict of arrays: meanshape (1, 3N) decimetres; meantex (1, 3N) 0..255; idBase (3N, <=80), exBase (3N, <=64)
    and texBase (3N, <=80), whose coefficients have a standard deviation of 1; skinmask (1, N), 1 on skin; and indices
    that count from 1: tri (F, 3), point_buf (N, 8), keypoints (1, 68), frontmask2_idx (n, 1), and tri_mask2 (m, 3),
    which counts within frontmask2_idx. `load_face_model_data` returns and checks them.
    The keypoints are where a detector finds the landmarks. Losses and fits use them, since they compare with found
    landmarks. annotated_keypoints (1, 68) are where people annotate the landmarks, some of them a few millimetres
    beside those. Results for the user use them. data may lack them: then both are the same vertices.
    focal: focal length of the camera, whose image is the crop, px. camera_d: its distance from the origin, decimetres.
    """

    def __init__(self, data: dict[str, np.ndarray], focal: float = 1015, camera_d: float = 10):
        super().__init__()
        self.focal, self.camera_d = focal, camera_d
        mean = np.asarray(data["meanshape"], np.float32).reshape(-1, 3)
        front = _zero_based(data["frontmask2_idx"]).ravel()
        buffers = {
            "mean_shape": (mean - mean.mean(0)).ravel(),                                      # (3N,)
            "shape_base": np.concatenate([_basis(data["idBase"], 80), _basis(data["exBase"], 64)]),  # (144, 3N)
            "mean_tex": np.asarray(data["meantex"], np.float32).ravel(),                      # (3N,)
            "tex_base": _basis(data["texBase"], 80),                                          # (80, 3N)
            "tri": _zero_based(data["tri"]).astype(np.int32),                                 # (F, 3)
            "point_buf": _zero_based(data["point_buf"]).astype(np.int32),                     # (N, 8)
            "keypoints": _zero_based(data["keypoints"]).ravel(),                              # (68,)
            "annotated_keypoints": _zero_based(data.get("annotated_keypoints", data["keypoints"])).ravel(),   # (68,)
            # tri_mask2 counts within the front vertices, not within the whole model
            "inner_tri": front[_zero_based(data["tri_mask2"])].astype(np.int32),              # (f, 3)
            "skin_mask": np.asarray(data["skinmask"], np.float32).ravel(),                    # (N,)
        }
        for name, array in buffers.items():
            self.register_buffer(name, torch.from_numpy(np.ascontiguousarray(array)), persistent=False)

    def shape(self, identity: torch.Tensor, expression: torch.Tensor,
              vertices: torch.Tensor | None = None) -> torch.Tensor:
        """Unposed shape (B, N, 3) decimetres of identity (B, 80) and expression (B, 64).

        vertices: (V,) int64, the vertices to compute; the result is (B, V, 3) then. None: all.
        """
        mean, base = self.mean_shape, self.shape_base
        if vertices is not None:
            mean, base = coordinates_of(mean, vertices), coordinates_of(base, vertices)
        flat = torch.addmm(mean, torch.cat([identity, expression], 1), base)
        return flat.view(len(identity), -1, 3)

    def albedo(self, texture: torch.Tensor) -> torch.Tensor:
        """RGB albedo (B, N, 3), about 0..1, of texture coefficients (B, 80)."""
        return torch.addmm(self.mean_tex, texture, self.tex_base).view(len(texture), -1, 3) / 255

    def normals(self, shape: torch.Tensor) -> torch.Tensor:
        """Vertex normals (B, N, 3) of unit length of a shape (B, N, 3): the normalised sum of the unit normals of the
        triangles around each vertex."""
        return vertex_normals(shape, self.tri, self.point_buf)

    def color(self, albedo: torch.Tensor, normals: torch.Tensor, gamma: torch.Tensor) -> torch.Tensor:
        """Lit colour (B, N, 3) of an albedo (B, N, 3) with unit normals (B, N, 3) under light gamma (B, 27)."""
        return albedo * light(normals, gamma)

    def to_camera(self, shape: torch.Tensor, angle: torch.Tensor, trans: torch.Tensor) -> torch.Tensor:
        """Camera coordinates (B, V, 3) of a shape (B, V, 3) that is rotated by angle (B, 3), radian, and then moved by
        trans (B, 3), decimetres."""
        return camera_to_world(shape @ rotation(angle) + trans[:, None], self.camera_d)

    def project(self, vertices: torch.Tensor) -> torch.Tensor:
        """Camera coordinates (B, V, 3) -> (B, V, 2) px in the crop, y up.

        They are those of the published method: half a pixel right of and above the centres of the pixels where the
        renderer draws the same points, see models/coordinates.py.
        """
        return self.focal * vertices[..., :2] / vertices[..., 2:] + CROP_SIZE / 2

    def landmarks(self, coeffs: torch.Tensor, vertices: torch.Tensor | None = None) -> torch.Tensor:
        """The 68 projected landmarks (B, 68, 2) px, y up, of coeffs (B, 257). Computes 68 vertices only.

        vertices: (n,) int64, which are projected (B, n, 2) instead; None: the keypoints.
        """
        c = split(coeffs)
        shape = self.shape(c["id"], c["exp"], self.keypoints if vertices is None else vertices)
        return self.project(self.to_camera(shape, c["angle"], c["trans"]))

    def forward(self, coeffs: torch.Tensor) -> PosedFaces:
        """The posed and lit faces of coeffs (B, 257)."""
        c = split(coeffs)
        shape = self.shape(c["id"], c["exp"])
        vertices = self.to_camera(shape, c["angle"], c["trans"])
        albedo = self.albedo(c["tex"])
        color = self.color(albedo, self.normals(shape) @ rotation(c["angle"]), c["gamma"])
        return PosedFaces(vertices, albedo, color, self.project(vertices[:, self.keypoints]))


def coordinates_of(values: torch.Tensor, vertices: torch.Tensor) -> torch.Tensor:
    """The coordinates, or colours, (..., 3V) of some vertices (V,) int64 from those of all (..., 3N)."""
    return values[..., (3 * vertices[:, None] + torch.arange(3, device=vertices.device)).ravel()].contiguous()


def rotation(angle: torch.Tensor) -> torch.Tensor:
    """Matrices (B, 3, 3) that rotate by angle (B, 3), radian, about the x axis, then y, then z.

    They are for row vectors: `vertices @ matrices`. All rotations are right-handed: a positive angle about z, which
    points to the viewer, turns a face counterclockwise.
    """
    zero, one = torch.zeros_like(angle[:, 0]), torch.ones_like(angle[:, 0])
    (sx, sy, sz), (cx, cy, cz) = angle.sin().unbind(1), angle.cos().unbind(1)
    rx = torch.stack([one, zero, zero, zero, cx, -sx, zero, sx, cx], 1).view(-1, 3, 3)
    ry = torch.stack([cy, zero, sy, zero, one, zero, -sy, zero, cy], 1).view(-1, 3, 3)
    rz = torch.stack([cz, -sz, zero, sz, cz, zero, zero, zero, one], 1).view(-1, 3, 3)
    return (rz @ ry @ rx).transpose(1, 2)


def light_basis(normals: torch.Tensor) -> torch.Tensor:
    """The nine spherical-harmonics basis values (..., 9) of unit normals (..., 3)."""
    x, y, z = normals.unbind(-1)
    return torch.stack([
        torch.full_like(x, A0 * C0), -A1 * C1 * y, A1 * C1 * z, -A1 * C1 * x,
        A2 * C2 * x * y, -A2 * C2 * y * z, A2 * C2 / (2 * math.sqrt(3)) * (3 * z * z - 1),
        -A2 * C2 * x * z, A2 * C2 / 2 * (x * x - y * y)], -1)


def light_bands(gamma: torch.Tensor) -> torch.Tensor:
    """Light per colour channel and band (..., 3, 9): gamma (..., 27) plus the ambient light."""
    return gamma.unflatten(-1, (3, 9)) + AMBIENT * torch.eye(9, device=gamma.device, dtype=gamma.dtype)[0]


def light(normals: torch.Tensor, gamma: torch.Tensor) -> torch.Tensor:
    """Light per colour channel (B, N, 3) on surfaces with unit normals (B, N, 3) under gamma (B, 27)."""
    return light_basis(normals) @ light_bands(gamma).transpose(-1, -2)


def _zero_based(indices: np.ndarray) -> np.ndarray:
    return np.asarray(indices).astype(np.int64) - 1


def _basis(columns: np.ndarray, size: int) -> np.ndarray:
    """(3N, k) -> (size, 3N), so that each component is a contiguous row. Missing components are 0, surplus ones go."""
    rows = np.zeros((size, columns.shape[0]), np.float32)
    rows[:min(size, columns.shape[1])] = columns.T[:size]
    return rows
