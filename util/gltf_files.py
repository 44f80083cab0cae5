"""Writes textured meshes with named shapes as binary glTF 2.0 files (GLB)."""
import json
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from util.files import atomic_write

UNSIGNED_SHORT, UNSIGNED_INT, FLOAT = 5123, 5125, 5126   # component types of glTF
VERTEX_DATA, INDEX_DATA = 34962, 34963                   # targets of buffer views


@dataclass(frozen=True)
class Shape:
    """A displacement of some vertices of a mesh, which programs offer as a slider from 0 to 1."""
    name: str
    vertices: np.ndarray   # (n,) indices from 0, rising, at least one
    offsets: np.ndarray    # (n, 3) float32 metres


@dataclass(frozen=True)
class TexturedMesh:
    """A mesh of N vertices, in metres, x right, y up."""
    name: str
    vertices: np.ndarray      # (N, 3)
    normals: np.ndarray       # (N, 3) of unit length
    uv: np.ndarray            # (N, 2) 0..1, y up
    triangles: np.ndarray     # (F, 3) indices from 0, counterclockwise as seen from outside
    texture: bytes            # a PNG file
    lit: bool                 # whether the texture has light in it, so that programs must not add any
    rotation: np.ndarray      # (3, 3) for columns: how programs place the mesh
    translation: np.ndarray   # (3,) metres


@dataclass(frozen=True)
class Animation:
    """How a mesh moves: N moments, between which programs interpolate."""
    time: np.ndarray           # (N,) seconds, rising
    weights: np.ndarray        # (N, S) 0..1, of each shape
    rotations: np.ndarray      # (N, 3, 3) for columns
    translations: np.ndarray   # (N, 3) metres


def write_glb(path: Path, mesh: TexturedMesh, shapes: list[Shape], animation: Animation | None = None):
    """Write a mesh with its shapes and perhaps an animation, whole or not at all."""
    contents = _Contents()
    attributes = {"POSITION": contents.array(mesh.vertices, VERTEX_DATA, bounds=True),
                  "NORMAL": contents.array(mesh.normals, VERTEX_DATA),
                  "TEXCOORD_0": contents.array(mesh.uv * (1, -1) + (0, 1), VERTEX_DATA)}   # y down
    primitive = {"attributes": attributes, "indices": contents.indices(mesh.triangles), "material": 0}
    data = {"name": mesh.name, "primitives": [primitive]}
    if shapes:
        primitive["targets"] = [{"POSITION": contents.sparse(shape, len(mesh.vertices))} for shape in shapes]
        data |= {"weights": [0.0] * len(shapes), "extras": {"targetNames": [shape.name for shape in shapes]}}
    material = {"name": mesh.name, "doubleSided": True, "pbrMetallicRoughness": {
        "baseColorTexture": {"index": 0}, "metallicFactor": 0.0, "roughnessFactor": 0.7}}
    unlit = {}
    if mesh.lit:
        material["extensions"] = {"KHR_materials_unlit": {}}
        unlit["extensionsUsed"] = ["KHR_materials_unlit"]
    document = {
        "asset": {"version": "2.0", "generator": "3d_face_reconstruction"}, **unlit,
        "scene": 0, "scenes": [{"nodes": [0]}],
        "nodes": [{"name": mesh.name, "mesh": 0, "rotation": quaternion(mesh.rotation).tolist(),
                   "translation": np.asarray(mesh.translation, float).tolist()}],
        "meshes": [data], "materials": [material], "textures": [{"source": 0, "sampler": 0}],
        "samplers": [{"magFilter": 9729, "minFilter": 9987, "wrapS": 33071, "wrapT": 33071}],   # linear, clamped
        "images": [{"bufferView": contents.view(mesh.texture), "mimeType": "image/png"}],
        **_animations(contents, animation, bool(shapes)),
        "accessors": contents.accessors, "bufferViews": contents.views, "buffers": [{"byteLength": contents.length}]}
    text = json.dumps(document, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        file.write(b"glTF" + struct.pack("<III", 2, 28 + len(text) + contents.length, len(text)) + b"JSON" + text)
        file.write(struct.pack("<I", contents.length) + b"BIN\0")
        file.writelines(contents.parts)


def quaternion(rotation: np.ndarray) -> np.ndarray:
    """The quaternion (4,) x, y, z, w of a rotation matrix (3, 3) for columns."""
    # The eigenvector of the largest eigenvalue (Bar-Itzhack 2000) is right for every rotation.
    (a, b, c), (d, e, f), (g, h, i) = np.asarray(rotation, float)
    matrix = np.array([[a - e - i, b + d, c + g, h - f],
                       [b + d, e - a - i, f + h, c - g],
                       [c + g, f + h, i - a - e, d - b],
                       [h - f, c - g, d - b, a + e + i]])
    return np.linalg.eigh(matrix)[1][:, -1]


def _animations(contents: "_Contents", animation: Animation | None, has_shapes: bool) -> dict:
    """Adds an animation of the only node to the contents. Returns the part of the document that describes it."""
    if animation is None:
        return {}
    rotations = np.stack([quaternion(rotation) for rotation in animation.rotations])
    # A quaternion and its negative are the same rotation. Each one is next to the one before.
    signs = np.where((rotations[1:] * rotations[:-1]).sum(1) < 0, -1, 1)
    rotations[1:] *= np.cumprod(signs)[:, None]
    moves = {"rotation": rotations, "translation": animation.translations}
    if has_shapes:
        moves["weights"] = animation.weights.reshape(-1, 1)
    time = contents.array(animation.time[:, None], bounds=True)
    samplers = [{"input": time, "output": contents.array(values)} for values in moves.values()]
    channels = [{"sampler": number, "target": {"node": 0, "path": path}} for number, path in enumerate(moves)]
    return {"animations": [{"samplers": samplers, "channels": channels}]}


class _Contents:
    """The binary part of a file, and the accessors that describe it."""

    def __init__(self):
        self.parts: list[bytes] = []
        self.length = 0   # bytes
        self.views: list[dict] = []
        self.accessors: list[dict] = []

    def view(self, data: bytes, target: int | None = None) -> int:
        """Add bytes. Returns the number of their buffer view."""
        padding = b"\0" * (-len(data) % 4)
        self.views.append({"buffer": 0, "byteOffset": self.length, "byteLength": len(data)}
                          | ({"target": target} if target else {}))
        self.parts += [data, padding]
        self.length += len(data) + len(padding)
        return len(self.views) - 1

    def array(self, values: np.ndarray, target: int | None = None, bounds: bool = False) -> int:
        """Add n numbers (n, 1), or vectors (n, 2) to (n, 4). Returns the number of their accessor. bounds: say how
        large they are."""
        values = np.ascontiguousarray(values, "<f4")
        accessor = {"bufferView": self.view(values.tobytes(), target), "componentType": FLOAT, "count": len(values),
                    "type": "SCALAR" if values.shape[1] == 1 else f"VEC{values.shape[1]}"}
        if bounds:
            accessor |= {"min": values.min(0).tolist(), "max": values.max(0).tolist()}
        self.accessors.append(accessor)
        return len(self.accessors) - 1

    def indices(self, triangles: np.ndarray) -> int:
        """Add triangles (F, 3). Returns the number of their accessor."""
        view = self.view(np.ascontiguousarray(triangles, "<u4").tobytes(), INDEX_DATA)
        self.accessors.append({"bufferView": view, "componentType": UNSIGNED_INT, "count": triangles.size,
                               "type": "SCALAR"})
        return len(self.accessors) - 1

    def sparse(self, shape: Shape, count: int) -> int:
        """Add a shape as an accessor of `count` vectors that are 0 where it moves nothing. Returns its number."""
        offsets = np.ascontiguousarray(shape.offsets, "<f4")
        kind, number = (UNSIGNED_SHORT, "<u2") if count <= 2 ** 16 else (UNSIGNED_INT, "<u4")
        self.accessors.append({
            "componentType": FLOAT, "count": count, "type": "VEC3",
            "min": np.minimum(offsets.min(0), 0).tolist(), "max": np.maximum(offsets.max(0), 0).tolist(),
            "sparse": {"count": len(offsets),
                       "indices": {"bufferView": self.view(np.asarray(shape.vertices, number).tobytes()),
                                   "componentType": kind},
                       "values": {"bufferView": self.view(offsets.tobytes())}}})
        return len(self.accessors) - 1
