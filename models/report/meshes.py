"""Packs meshes for the report page, whose script models/report/mesh_view.js unpacks them."""
import base64
import zlib

import numpy as np


def pack_triangles(triangles: np.ndarray) -> str:
    """Returns triangles (F, 3), indices of fewer than 65,536 vertices, as base64 text of compressed uint16."""
    return pack(np.asarray(triangles, "<u2").tobytes())


def pack_mesh(vertices: np.ndarray, colors: np.ndarray) -> dict:
    """Returns a mesh as values for JSON: `scale`, `center` (3,) and `data`.

    vertices: (N, 3). colors: (N, 3) RGB 0..1. `data` is base64 text of compressed bytes: the vertices as int16
    multiples of `scale` from `center`, then the colours as uint8.
    """
    low, high = vertices.min(0), vertices.max(0)
    center = (low + high) / 2
    scale = float((high - low).max()) / 2 / 32767
    steps = np.rint((vertices - center) / scale).astype("<i2")
    shades = np.rint(255 * colors.clip(0, 1)).astype(np.uint8)
    return {"scale": scale, "center": center.tolist(), "data": pack(steps.tobytes() + shades.tobytes())}


def pack(content: bytes) -> str:
    """Returns bytes as base64 text of their compression."""
    return base64.b64encode(zlib.compress(content)).decode("ascii")
