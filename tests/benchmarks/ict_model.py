"""Reads the face model of ICT-FaceKit, and makes random heads of it and pictures of them.

The model was made of scans in a light stage. It has a neutral head, meshes with one component of identity each, and
meshes with one expression each. Its unit is the centimetre. x points to the image's right, y up, z towards the viewer.
"""
from pathlib import Path

import cv2
import numpy as np
import torch
from torch.nn.functional import avg_pool2d
from trimesh import Trimesh

from datasets.synthetic.faces import random_angles, random_light
from models.coordinates import CROP_SIZE, camera_to_world
from models.face_model import FaceModel, light, rotation
from models.landmarks import WITHOUT_JAW
from models.renderer import MeshRenderer
from tests.benchmarks.meshes import read_obj, read_obj_vertices
from tests.benchmarks.registration import bend_onto, corresponding_places, points_at
from tests.benchmarks.scores import SEVEN_POINTS, Surface, scan_center_and_size
from util.files import InputError

NEUTRAL = "generic_neutral_mesh.obj"
VERTICES = 26719
# Vertices of the parts, as the README of ICT-FaceKit lists them. What follows the eyes is transparent, and not drawn.
NARROW_FACE, HEAD, MOUTH_SOCKET, EYE_SOCKETS = range(6706), range(11248), range(11248, 13294), range(13294, 14062)
GUMS, TEETH = range(14062, 17039), range(17039, 21451)
EYEBALLS = ((range(21451, 22221), range(22221, 23021)), (range(23021, 23791), range(23791, 24591)))   # sclera, iris
DRAWN = 24591
# Vertices of the 68 landmarks, from the same README
LANDMARKS = np.array([
    1225, 1888, 1052, 367, 1719, 1722, 2199, 1447, 966, 3661, 4390, 3927, 3924, 2608, 3272, 4088, 3443, 268, 493, 1914,
    2044, 1401, 3615, 4240, 4114, 2734, 2509, 978, 4527, 4942, 4857, 1140, 2075, 1147, 4269, 3360, 1507, 1542, 1537,
    1528, 1518, 1511, 3742, 3751, 3756, 3721, 3725, 3732, 5708, 5695, 2081, 0, 4275, 6200, 6213, 6346, 6461, 5518, 5957,
    5841, 5702, 5711, 5533, 6216, 6207, 6470, 5517, 5966])
CENTIMETRES = 10    # in a decimetre
INNER_FACE = 0.6    # radius of the inner face, as a share of the size that `scan_center_and_size` returns
IRIS, PUPIL = 0.06, 0.02   # radius, decimetres
FADE = 0.03, 0.15   # decimetres from the face model's mesh: up to here its albedo counts, from there the skin's mean
PICTURE = 512       # px, the width of the pictures
SEEN = 3.0          # decimetres that a picture shows at the distance of the head
DISTANCES = 7, 15   # of the camera, decimetres


class IctModel:
    """The face model of ICT-FaceKit: vertices in decimetres, without the transparent parts of the eyes.

    folder: the folder FaceXModel, or the one that holds it. Raises InputError if it is not there or not complete.
    """

    def __init__(self, folder: Path):
        files = folder / "FaceXModel" if (folder / "FaceXModel").is_dir() else folder
        if not (files / NEUTRAL).is_file():
            raise InputError(f"{folder} is not ICT-FaceKit: there is no {NEUTRAL} in it or in its folder FaceXModel")
        vertices, triangles = read_obj(files / NEUTRAL)
        if len(vertices) != VERTICES:
            raise InputError(f"{files / NEUTRAL} has {len(vertices)} vertices, that of ICT-FaceKit {VERTICES}: it is "
                             "another model")
        self.neutral = vertices[:DRAWN] / CENTIMETRES
        self.triangles = triangles[(triangles < DRAWN).all(1)]
        names = sorted(path.name for path in files.glob("identity*.obj"))
        expected = [f"identity{number:03d}.obj" for number in range(max(len(names), 1))]
        if names != expected:
            missing = next(name for name in expected if name not in names)
            raise InputError(f"{files / missing} is missing: fetch all meshes of ICT-FaceKit")
        self.identities = np.stack([self._displacement(files / name) for name in names])   # (K, V, 3)
        others = sorted(path for path in files.glob("*.obj") if path.name not in (NEUTRAL, *names))
        self.expressions = {path.stem: self._displacement(path) for path in others}

    def _displacement(self, path: Path) -> np.ndarray:
        vertices = read_obj_vertices(path)
        if len(vertices) != VERTICES:
            raise InputError(f"{path} has {len(vertices)} vertices, not {VERTICES}: copy it again")
        return np.float32(vertices[:DRAWN] / CENTIMETRES - self.neutral)

    def random_neutral(self, rng: np.random.Generator) -> np.ndarray:
        """Returns the vertices (V, 3) of a random person's head. The components have a standard deviation of 1."""
        return self.neutral + np.tensordot(np.float32(rng.normal(size=len(self.identities))), self.identities, 1)

    def random_expression(self, rng: np.random.Generator) -> np.ndarray:
        """Returns the displacements (V, 3) of a random expression: two of the model's, each with a weight up to 0.6.
        Those of the left and of the right come together."""
        groups = sorted({name.removesuffix("_L").removesuffix("_R") for name in self.expressions})
        displacement = np.zeros_like(self.neutral)
        for group in rng.choice(groups, min(2, len(groups)), replace=False):
            weight = rng.uniform(0, 0.6)
            for name in (group, f"{group}_L", f"{group}_R"):
                displacement += weight * self.expressions.get(name, 0)
        return displacement

    def surface(self) -> Surface:
        """Returns the skin of the neutral head."""
        return Surface(self.neutral, self.triangles[(self.triangles < HEAD.stop).all(1)])


class IctPainter:
    """Gives heads the random albedo of a face model, and draws them."""

    def __init__(self, model: IctModel, face_model: FaceModel):
        self.model, self.face_model = model, face_model
        self.bent = bend_face_model(face_model, model)
        self.tri = face_model.tri.numpy()
        self.places = corresponding_places(model.neutral, self.bent, self.tri)
        distances = Surface(self.bent, self.tri).distances(model.neutral)
        self.opacity = np.interp(distances, FADE, (1, 0))[:, None]

    def albedo(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Returns a random albedo of the vertices (V, 3), and of the skin (3,), RGB 0..1."""
        texture = torch.from_numpy(np.float32(rng.normal(size=(1, 80))))
        painted = self.face_model.albedo(texture)[0].clamp(0, 1).numpy()
        skin = painted[self.face_model.skin_mask.numpy() > 0].mean(0)
        color = self.opacity * points_at(painted, self.tri, *self.places) + (1 - self.opacity) * skin
        color[MOUTH_SOCKET] = color[GUMS] = 0.5 * skin * [1, 0.6, 0.6]
        color[EYE_SOCKETS], color[TEETH] = 0.8 * skin, 0.75
        iris_color = rng.choice([[0.25, 0.15, 0.08], [0.3, 0.35, 0.4], [0.25, 0.3, 0.2]])
        for sclera, iris in EYEBALLS:   # the sclera covers the iris, so it gets the colours of both
            place = self.model.neutral[sclera] - self.model.neutral[iris].mean(0)
            radius = np.where(place[:, 2] > 0, np.linalg.norm(place[:, :2], axis=1), np.inf)[:, None]
            color[sclera] = np.where(radius > IRIS, 0.75, np.where(radius > PUPIL, iris_color, 0.02))
        return color, skin

    def picture(self, vertices: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Returns a picture (PICTURE, PICTURE, 3) uint8 RGB of a head under random light, from a random distance, and
        turned at random. vertices: (V, 3) decimetres."""
        color, skin = self.albedo(rng)
        normals = Trimesh(vertices, self.model.triangles, process=False).vertex_normals
        turn = rotation(torch.from_numpy(np.float32(random_angles(rng, 1))))[0]
        gamma = torch.from_numpy(np.float32(random_light(rng, skin[None]))).flatten(1)
        shading = light(torch.from_numpy(np.float32(normals))[None] @ turn, gamma)
        distance = rng.uniform(*DISTANCES)
        placed = camera_to_world(torch.from_numpy(np.float32(vertices))[None] @ turn, distance)
        renderer = MeshRenderer(CROP_SIZE * distance / SEEN, distance - 3, distance + 3)
        attributes = torch.from_numpy(np.float32(color))[None] * shading
        mask, _, image = renderer(placed, torch.from_numpy(self.model.triangles), attributes, 2 * PICTURE)
        mask, image = (avg_pool2d(each, 2)[0].permute(1, 2, 0).numpy() for each in (mask, image.clamp(0, 1)))
        spots = cv2.resize(rng.normal(0, 0.1, (8, 8)), (PICTURE, PICTURE), interpolation=cv2.INTER_CUBIC)
        background = rng.uniform(0.2, 0.7, 3) + spots[..., None]
        return np.uint8(255 * (image + (1 - mask) * background).clip(0, 1))


def bend_face_model(face_model: FaceModel, model: IctModel) -> np.ndarray:
    """Returns the vertices (N, 3) of a face model's mean face, bent onto the neutral head of ICT-FaceKit."""
    mean = face_model.mean_shape.view(-1, 3).cpu().numpy().astype(float)
    keypoints = face_model.keypoints.cpu().numpy()[WITHOUT_JAW]
    return bend_onto(mean, face_model.tri.cpu().numpy(), mean[keypoints], model.surface(),
                     model.neutral[LANDMARKS[WITHOUT_JAW]])


def inner_face(model: IctModel, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns places that are spread evenly over the inner face: numbers of triangles (P,), and the weights (P, 3) of
    their corners. They are the same on every head.

    The inner face is the part of the narrow face that can be seen from the front of the neutral head, which leaves out
    nostrils and the inside of the lips, up to a distance from its middle.
    """
    camera = camera_to_world(torch.from_numpy(np.float32(model.neutral))[None], 10)
    seen = MeshRenderer(CROP_SIZE * 10 / SEEN).rasterize(camera, torch.from_numpy(model.triangles), 2 * PICTURE)
    numbers = seen[..., 3].int().unique().numpy()[1:] - 1   # 0 stands for pixels without a triangle
    numbers = numbers[(model.triangles[numbers] < NARROW_FACE.stop).all(1)]
    corners = model.neutral[model.triangles[numbers]]
    middle, size = scan_center_and_size(model.neutral[LANDMARKS[[*SEVEN_POINTS]]])
    near = np.linalg.norm(corners.mean(1) - middle, axis=1) < INNER_FACE * size
    numbers, corners = numbers[near], corners[near]
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    rng = np.random.default_rng(0)
    return rng.choice(numbers, count, p=area / area.sum()), rng.dirichlet([1, 1, 1], count)
