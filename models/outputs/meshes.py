"""Writes the mesh of a face with a texture."""
import os
from pathlib import Path

import numpy as np

from models.outputs.details import FaceDetails
from util.files import atomic_write
from util.gltf_files import TexturedMesh, write_glb
from util.obj_files import write_textured_obj

METRES = 0.1   # for one decimetre


def write_textured_mesh(stem: Path, details: FaceDetails):
    """Write <stem>_textured.obj, its material <stem>_textured.mtl, and its texture <stem>_texture.png."""
    write_texture(stem, details)
    material = f"newmtl face\nKa 0 0 0\nKd 1 1 1\nKs 0 0 0\nillum 1\nmap_Kd {stem.name}_texture.png\n"
    with atomic_write(Path(f"{stem}_textured.mtl")) as temporary:
        temporary.write_bytes(os.fsencode(material))
    write_textured_obj(Path(f"{stem}_textured.obj"), details.mesh_vertices, details.settings.layout.uv,
                       details.settings.triangles, f"{stem.name}_textured.mtl", "face")


def write_texture(stem: Path, details: FaceDetails):
    """Write <stem>_texture.png."""
    with atomic_write(Path(f"{stem}_texture.png")) as temporary:
        temporary.write_bytes(details.texture_file)


def write_binary_mesh(stem: Path, details: FaceDetails):
    """Write <stem>.glb: the mesh with its texture and, for a face model that has them, ARKit's shapes.

    The vertices are those of the face looking straight ahead. Unless the settings ask for a frontal mesh, the node of
    the mesh turns and moves it to its place in the photo.
    """
    settings = details.settings
    rotation, place = details.rotation.T, np.asarray(details.result.coefficients["trans"])
    if settings.frontal:
        rotation, place = np.eye(3), np.zeros(3)
    mesh = TexturedMesh(
        name=stem.name, vertices=METRES * details.mesh_shape, normals=settings.normals(details.mesh_shape),
        uv=settings.layout.uv, triangles=settings.triangles, texture=details.texture_file, lit=settings.lit,
        rotation=rotation, translation=METRES * place)
    write_glb(Path(f"{stem}.glb"), mesh, settings.arkit.shapes if settings.arkit else [])
