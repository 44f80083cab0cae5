"""What the result files of a face are made of. Each part is computed when a file first needs it."""
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from models.coefficients import split
from models.coordinates import camera_matrix, camera_to_world, project
from models.face_model import FaceModel, light, rotation
from models.outputs.arkit import ArkitUnits
from models.outputs.texture import SeenFace, TextureMap, make_texture, texture_map
from models.outputs.uv_layout import UvLayout, unwrap_once
from models.records import FaceResult, Origin
from models.simplification import simplify
from util.pictures import png_bytes

PREVIEW_TRIANGLES = 6000


@dataclass(frozen=True)
class OutputSettings:
    """What the outputs of all faces share.

    face_model: on the CPU, where the files are made. origin: what the faces were reconstructed with. read_photo:
    returns the pixels (H, W, 3) uint8 RGB of a photo by its path. frontal: meshes face along z, at the origin, and not
    as in the photo. neutral: meshes have no expression. lit: whether textures show the photo's light, or else the
    albedo. arkit: ARKit's shapes of the face model; None: it has none. mirror: whether pictures for EG3D are mirrored
    too. read_video: returns the frames of a video by its path, each as its time in seconds and its pixels (H, W, 3)
    uint8 RGB.
    """
    face_model: FaceModel
    origin: Origin
    read_photo: Callable[[Path], np.ndarray]
    frontal: bool = False
    neutral: bool = False
    lit: bool = True
    arkit: ArkitUnits | None = None
    mirror: bool = False
    read_video: Callable[[Path], Iterator[tuple[float, np.ndarray]]] | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)   # so that one thread computes what all use

    @property
    def preview_model(self) -> FaceModel:
        """The face model with fewer triangles, which the report page shows."""
        with self.lock:
            return self._preview_model

    @cached_property
    def triangles(self) -> np.ndarray:
        """The triangles (F, 3) int32 of every mesh: indices of its vertices, from 0."""
        return self.face_model.tri.numpy()

    def normals(self, vertices: np.ndarray) -> np.ndarray:
        """The unit normals (N, 3) of the surface with these vertices (N, 3)."""
        return self.face_model.normals(torch.from_numpy(vertices)[None])[0].numpy()

    @property
    def layout(self) -> UvLayout:
        """Where the texture shows each vertex."""
        with self.lock:
            return self._layout

    @property
    def texels(self) -> TextureMap:
        """What each texel shows."""
        with self.lock:
            return self._texels

    @cached_property
    def _preview_model(self) -> FaceModel:
        return simplify(self.face_model, PREVIEW_TRIANGLES)

    @cached_property
    def _layout(self) -> UvLayout:
        return unwrap_once(self.face_model.mean_shape.view(-1, 3).numpy(), self.triangles)

    @cached_property
    def _texels(self) -> TextureMap:
        return texture_map(self._layout, self.face_model.tri)


class FaceDetails:
    """A reconstructed face, and what several of its result files need. Arrays have a row for each of N vertices."""

    def __init__(self, result: FaceResult, settings: OutputSettings):
        self.result, self.face, self.settings = result, result.face, settings

    @cached_property
    def coefficients(self) -> dict[str, torch.Tensor]:
        """The coefficients by name, each as a batch of one."""
        return split(torch.from_numpy(np.concatenate(list(self.result.coefficients.values())))[None])

    @cached_property
    def vertices(self) -> np.ndarray:
        """The vertices (N, 3) of the face in the photo, world coordinates, decimetres."""
        return self._placed(self.shape) if self.result.vertices is None else self.result.vertices

    @cached_property
    def shape(self) -> np.ndarray:
        """The vertices (N, 3) of the face before it is turned and moved to its place in the photo, decimetres."""
        return self.settings.face_model.shape(self.coefficients["id"], self.coefficients["exp"])[0].numpy()

    @cached_property
    def mesh_shape(self) -> np.ndarray:
        """The same as `shape` for the mesh files: without the expression if the settings ask for a neutral face."""
        if not self.settings.neutral:
            return self.shape
        return self.settings.face_model.shape(self.coefficients["id"], 0 * self.coefficients["exp"])[0].numpy()

    @cached_property
    def mesh_vertices(self) -> np.ndarray:
        """The vertices (N, 3) of the mesh files, decimetres: those of the face in the photo, unless the settings ask
        for a frontal or neutral face."""
        if self.settings.frontal:
            return self.mesh_shape
        return self._placed(self.mesh_shape) if self.settings.neutral else self.vertices

    def _placed(self, shape: np.ndarray) -> np.ndarray:
        """The vertices (N, 3) of a shape, turned and moved to the face's place in the photo, world coordinates."""
        model = self.settings.face_model
        placed = model.to_camera(torch.from_numpy(shape)[None], self.coefficients["angle"], self.coefficients["trans"])
        return camera_to_world(placed[0], model.camera_d).numpy()

    @cached_property
    def normals(self) -> np.ndarray:
        """The unit normals (N, 3) of `shape`."""
        return self.settings.normals(self.shape)

    @cached_property
    def rotation(self) -> np.ndarray:
        """The matrix (3, 3) for row vectors that turns `shape` and `normals` to world coordinates."""
        return rotation(self.coefficients["angle"])[0].numpy()

    @cached_property
    def albedo(self) -> np.ndarray:
        """The albedo (N, 3) RGB, about 0..1, by the face model."""
        return self.settings.face_model.albedo(self.coefficients["tex"])[0].numpy()

    @cached_property
    def light(self) -> np.ndarray:
        """The light (N, 3) for each colour channel."""
        normals = torch.from_numpy(self.normals @ self.rotation)[None]
        return light(normals, self.coefficients["gamma"])[0].numpy()

    @cached_property
    def colors(self) -> np.ndarray:
        """The colours (N, 3) RGB 0..1: albedo under the photo's light."""
        return (self.albedo * self.light).clip(0, 1) if self.result.colors is None else self.result.colors

    @cached_property
    def camera_matrix(self) -> np.ndarray:
        """The matrix (3, 4) from world coordinates to pixels of the photo, see `models.coordinates.camera_matrix`."""
        model = self.settings.face_model
        return camera_matrix(model.focal, model.camera_d, self.face.trans_params, self.face.turns)

    @cached_property
    def landmarks_in_photo(self) -> np.ndarray:
        """The 68 landmarks (68, 2) of the reconstructed face, px in the photo, y down, where its mesh is drawn."""
        model = self.settings.face_model
        shape = model.shape(self.coefficients["id"], self.coefficients["exp"], model.annotated_keypoints)
        points = model.to_camera(shape, self.coefficients["angle"], self.coefficients["trans"])
        return project(camera_to_world(points[0], model.camera_d).double().numpy(), self.camera_matrix)

    @cached_property
    def photo(self) -> np.ndarray:
        """The pixels (H, W, 3) uint8 RGB of the whole photo."""
        return self.settings.read_photo(self.face.photo)

    @cached_property
    def texture(self) -> np.ndarray:
        """The texture, uint8 RGB."""
        seen = SeenFace(self.photo, self.vertices, self.normals @ self.rotation, self.albedo, self.light,
                        self.camera_matrix, np.array([0, 0, self.settings.face_model.camera_d]))
        return make_texture(seen, self.settings.texels, self.settings.lit)

    @cached_property
    def texture_file(self) -> bytes:
        """The texture as the bytes of a PNG file."""
        return png_bytes(self.texture)
