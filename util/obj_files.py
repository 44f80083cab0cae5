"""Writes coloured meshes as Wavefront OBJ."""
import functools
import os
from pathlib import Path

import numpy as np

from util.files import atomic_write


def write_obj(path: Path, vertices: np.ndarray, colors: np.ndarray | None, triangles: np.ndarray):
    """Write a mesh as lines `v x y z r g b` and `f a b c`, where a, b and c count from 1. The file is written whole or
    not at all.

    A mesh of 36,000 vertices takes 40 ms. trimesh takes about 25 times as long, and rounds the colours to 8 bits.

    vertices: (N, 3), absolute values below 1000, written with 5 decimals. colors: (N, 3) RGB, clipped to 0..1, written
    with 4 decimals; None: the lines are `v x y z`. triangles: (F, 3), indices of vertices from 0.
    Raises ValueError if the shapes, numbers or indices are not those of a mesh.
    """
    vertices = np.asarray(vertices, dtype=np.float64)
    colors = None if colors is None else np.asarray(colors, dtype=np.float64)
    triangles = np.ascontiguousarray(triangles, dtype=np.int32)
    if vertices.ndim != 2 or vertices.shape[1] != 3 or colors is not None and colors.shape != vertices.shape:
        raise ValueError(f"vertices and colors must both be (N, 3), not {vertices.shape} and {np.shape(colors)}")
    if triangles.ndim != 2 or triangles.shape[1] != 3:
        raise ValueError(f"triangles must be (F, 3), not {triangles.shape}")
    if colors is not None and not np.isfinite(colors).all() or not (np.abs(vertices) < 999.99999).all():
        raise ValueError("vertices and colors must be finite, vertices below 1000 in size")
    if triangles.size and (triangles.min() < 0 or triangles.max() >= len(vertices)):
        raise ValueError(f"triangles must index the {len(vertices)} vertices")
    text = _vertex_lines(vertices, colors) + _face_lines(triangles.tobytes())
    with atomic_write(path) as temporary:
        temporary.write_bytes(text)


def write_textured_obj(path: Path, vertices: np.ndarray, uv: np.ndarray, triangles: np.ndarray, library: str,
                       material: str):
    """Write a mesh as lines `v x y z`, `vt u v` and `f a/a b/b c/c`, whole or not at all.

    vertices, triangles: see `write_obj`. uv: (N, 2) places in the texture, 0..1, y up. library: file name of the
    materials, in the same folder. material: its name there.
    """
    lines = _vertex_lines(np.asarray(vertices, np.float64), None)
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        file.write(os.fsencode(f"mtllib {library}\n") + lines)
        file.write(_texture_lines(np.asarray(uv, np.float32).tobytes()) + f"usemtl {material}\n".encode())
        file.write(_textured_face_lines(np.asarray(triangles, np.int32).tobytes()))


def _vertex_lines(vertices: np.ndarray, colors: np.ndarray | None) -> bytes:
    """The lines of the vertices, with colours if there are some. They are looked up in tables of digits, which is
    faster than formatting numbers."""
    heads, tails, shades = _digit_tables()
    fixed = np.rint(vertices * 1e5).astype(np.int32)
    high, low = np.divmod(np.abs(fixed), 10_000)
    position = np.dtype([("head", np.uint64), ("tail", np.uint32)])
    line = np.zeros(len(vertices), np.dtype([("v", "S1"), ("position", position, 3), ("shade", np.uint64, 3),
                                             ("end", "S1")]))
    line["v"], line["end"] = b"v", b"\n"
    line["position"]["head"] = heads[high + 10_000 * (fixed < 0)]
    line["position"]["tail"] = tails[low]
    if colors is not None:
        line["shade"] = shades[np.rint(colors.clip(0, 1) * 10_000).astype(np.int32)]
    return line.tobytes().replace(b"\0", b"")


@functools.cache
def _digit_tables() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Texts of numbers as bytes in integers, padded with zero bytes.

    heads: " 0.0" to " 999.9", then the same with a minus sign. tails: the next four decimals, "0000" to "9999".
    shades: " 0.0000" to " 1.0000".
    """
    heads = [f" {sign}{value / 10:.1f}".encode() for sign in ("", "-") for value in range(10_000)]
    tails = [f"{value:04d}".encode() for value in range(10_000)]
    shades = [f" {value / 10_000:.4f}".encode() for value in range(10_001)]
    return (np.array(heads, "S8").view(np.uint64), np.array(tails, "S4").view(np.uint32),
            np.array(shades, "S8").view(np.uint64))


@functools.lru_cache(maxsize=2)
def _face_lines(triangles: bytes) -> bytes:
    """The lines of the triangles, given as the bytes of an int32 array. All meshes of a face model share them."""
    indices = np.frombuffer(triangles, dtype=np.int32) + 1
    return ("f %d %d %d\n" * (len(indices) // 3) % tuple(indices.tolist())).encode()


@functools.lru_cache(maxsize=2)
def _texture_lines(uv: bytes) -> bytes:
    """The lines of the places in the texture, given as the bytes of a float32 array, as for `_face_lines`."""
    places = np.frombuffer(uv, np.float32)
    return ("vt %.5f %.5f\n" * (len(places) // 2) % tuple(places.tolist())).encode()


@functools.lru_cache(maxsize=2)
def _textured_face_lines(triangles: bytes) -> bytes:
    """The lines of triangles whose corners have places in the texture, see `_face_lines`."""
    indices = np.frombuffer(triangles, dtype=np.int32) + 1
    return ("f %d/%d %d/%d %d/%d\n" * (len(indices) // 3) % tuple(np.repeat(indices, 2).tolist())).encode()
