"""Reads meshes from OBJ files, fast and with all their vertices in their order."""
import re
from itertools import pairwise
from pathlib import Path

import numpy as np

from util.files import InputError

_VERTEX = re.compile(rb"^v[ \t]+([^\r\n]*)", re.MULTILINE)
_POLYGON = re.compile(rb"^f[ \t]+([^\r\n]*)", re.MULTILINE)


def read_obj(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Returns the vertices (N, 3) float64 and the triangles (F, 3) int32, indices from 0, of an OBJ file.

    Colours and textures are not read. A polygon with more corners becomes several triangles. Raises InputError.
    """
    text = _bytes_of(path)
    vertices = _vertices(path, text)
    try:
        polygons = [[int(corner.split(b"/", 1)[0]) for corner in line.split()] for line in _POLYGON.findall(text)]
        triangles = np.array([(corners[0], *pair) for corners in polygons for pair in pairwise(corners[1:])])
    except ValueError as error:
        raise InputError(f"{path}: a line that begins with f holds no numbers of vertices ({error})") from error
    if not len(triangles):
        raise InputError(f"{path} has no triangles: it is no mesh")
    triangles = np.where(triangles < 0, triangles + len(vertices), triangles - 1)   # -1 is the last vertex
    if triangles.min() < 0 or triangles.max() >= len(vertices):
        raise InputError(f"{path} is broken: its triangles name vertices that it does not have")
    return vertices, triangles.astype(np.int32)


def read_obj_vertices(path: Path) -> np.ndarray:
    """Returns the vertices (N, 3) float64 of an OBJ file. Raises InputError."""
    return _vertices(path, _bytes_of(path))


def _bytes_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error


def _vertices(path: Path, text: bytes) -> np.ndarray:
    lines = _VERTEX.findall(text)
    if not lines:
        raise InputError(f"{path} has no vertices: it is no OBJ file, or not all of it was copied")
    try:
        vertices = np.array(b" ".join(lines).split()).astype(float).reshape(len(lines), -1)[:, :3]
    except ValueError as error:
        raise InputError(f"{path} is broken: its vertices are not all three numbers ({error})") from error
    if vertices.shape[1] != 3 or not np.isfinite(vertices).all():
        raise InputError(f"{path} is broken: its vertices are not all three finite numbers")
    return vertices
