"""Renders an endless supply of training samples: random faces of a face model in random scenes.

The coefficients of every rendered face are known, so the network can learn them directly.
"""
from collections.abc import Callable

import numpy as np
import torch
import trimesh
from scipy.spatial import cKDTree

from datasets.alignment import FACE_SCALE
from datasets.synthetic.camera import Camera
from datasets.synthetic.painter import paint, texture_bank
from datasets.synthetic.scenes import Head, random_scene
from models.coefficients import join, split
from models.coordinates import CROP_SIZE
from models.face_model import AMBIENT, FaceModel, light_bands, light_basis, rotation
from models.landmarks import (
    INNER_LIP_MIDDLES,
    LOWER_LIDS,
    MOUTH_CORNERS,
    OUTER_LIP_MIDDLES,
    STANDARD_POINTS,
    UPPER_LIDS,
    WITHOUT_JAW,
    five_points,
)
from models.records import Batch
from models.renderer import MeshRenderer
from models.simplification import simplify

# The mesh is simplified to this many triangles per pixel of the picture's width. With more of them, most triangles
# would be smaller than a pixel.
TRIANGLES_PER_PIXEL = 110
# Distribution of white light: mean and Cholesky factor of the covariance of the nine bands, ambient light included, in
# units of the first band's mean. Measured by fits to 377 photos of the training sets of AFW and HELEN.
LIGHT_MEAN = np.array([1.0, -.13, .04, .01, 0, -.02, .02, -.01, -.06])
LIGHT_FACTOR = np.array([
    [.283, 0, 0, 0, 0, 0, 0, 0, 0],
    [.006, .113, 0, 0, 0, 0, 0, 0, 0],
    [-.149, -.021, .153, 0, 0, 0, 0, 0, 0],
    [.004, -.012, -.015, .114, 0, 0, 0, 0, 0],
    [.003, .005, .004, -.014, .057, 0, 0, 0, 0],
    [.007, -.043, .01, .003, -.007, .088, 0, 0, 0],
    [.119, .032, -.081, .005, -.006, .018, .077, 0, 0],
    [-.003, 0, 0, -.005, -.017, -.005, .016, .079, 0],
    [-.019, .024, -.005, .001, .001, -.002, -.028, -.003, .073]])
FADE = .2             # decimetres from the outline of the mesh over which the face fades into the skull
HEIGHT_ERROR = .02    # decimetres: standard deviation of a mean landmark height around its value in photos
# Mean height of landmarks 18 to 68 in the crops of 1,207 photos, from the annotations of AFW and HELEN: px, y up.
HEIGHTS = torch.tensor([
    151.8, 159.9, 162.6, 161.1, 156.6, 156.6, 161.1, 162.6, 159.9, 151.8, 141.8, 130.0, 118.4, 106.4, 97.7, 95.4, 93.4,
    95.4, 97.7, 139.6, 143.9, 143.9, 137.9, 136.5, 136.6, 137.9, 143.9, 143.9, 139.6, 136.6, 136.5, 75.9, 80.0, 82.1,
    80.4, 82.1, 80.0, 75.9, 66.2, 61.9, 61.1, 61.9, 66.2, 75.4, 76.4, 75.6, 76.4, 75.4, 70.7, 69.9, 70.7])
DARKEST, BRIGHTEST = .15, .75   # limits of the mean colour (0..1) of skin that faces the camera
FRONTAL = light_basis(torch.tensor([0., 0, 1])).numpy()   # (9,) light of each band on a surface that faces the camera


# Measures a distance (...) between landmarks (..., 68, 3). It must be linear in them.
Measure = Callable[[torch.Tensor], torch.Tensor]


class SyntheticFaces:
    """Renders batches of random faces of any face model.

    The same seed and step give the same batch, in any order of the steps and in any thread.

    size: side of the square pictures, px.
    """

    def __init__(self, face_model: FaceModel, renderer: MeshRenderer, seed: int, size: int = CROP_SIZE):
        self.face_model, self.renderer, self.seed, self.size = face_model, renderer, seed, size
        self.drawn = simplify(face_model, TRIANGLES_PER_PIXEL * size)      # the mesh that is rendered
        self.device = face_model.mean_shape.device
        rng = np.random.default_rng(seed)
        self.bank = torch.from_numpy(texture_bank(rng)).to(self.device)
        self.camera = Camera(rng, self.device)
        standard = torch.from_numpy(np.column_stack([STANDARD_POINTS, np.ones(5, np.float32)]))
        # (4, 5), from five points to the least-squares projection that maps the standard points to them
        self.projection_from_points = torch.linalg.pinv(standard).to(self.device)
        # The colour of the skull continues that of the forehead, the top fifth of the skin.
        skin = (self.drawn.skin_mask > 0).nonzero().ravel()
        forehead = skin[self.drawn.mean_shape[3 * skin + 1].topk(len(skin) // 5 + 1).indices]
        rows = 3 * forehead[:, None] + torch.arange(3, device=self.device)
        self.skin_mean = self.drawn.mean_tex[rows].mean(0) / 255           # (3,)
        self.skin_base = self.drawn.tex_base[:, rows].mean(1) / 255        # (80, 3)
        self.opacity = opacity(self.drawn)                                 # (N, 1)
        self.mean_identity = torch.zeros(80, device=self.device)
        for _ in range(4):
            self.mean_identity += self.mean_identity_step()

    @torch.no_grad()
    def mean_identity_step(self) -> torch.Tensor:
        """Returns a change of the mean identity (80,) that brings the mean landmark heights closer to HEIGHTS.

        It is needed since a model's mean face differs from that of people in photos, and since its keypoints do not lie
        exactly where people annotate landmarks. The change is the most probable one: identity coefficients are
        normally distributed around 0, and the errors of the heights have a standard deviation of HEIGHT_ERROR.
        """
        landmarks = self.face_model.landmarks(self.coefficients(np.random.default_rng(0), 2000))
        heights = landmarks[:, WITHOUT_JAW, 1].mean(0)
        change = (HEIGHTS.to(heights) - heights) * self.face_model.camera_d / self.face_model.focal
        base = self.face_model.shape_base[:80].view(80, -1, 3)[:, self.face_model.keypoints[WITHOUT_JAW], 1]
        base = base - base.mean(1, keepdim=True)                      # the alignment removes a common shift
        ridge = HEIGHT_ERROR ** 2 * torch.eye(80, device=self.device)
        return torch.linalg.solve(base @ base.T + ridge, base @ (change - change.mean()) - ridge @ self.mean_identity)

    @torch.no_grad()
    def batch(self, step: int, batch_size: int) -> Batch:
        """Returns the samples of a step and their coefficients. The mask says how much of each pixel shows the face."""
        rng = np.random.default_rng((self.seed, step))
        coeffs = self.coefficients(rng, batch_size)
        photo, mask = self.photos(coeffs, rng)
        return Batch(photo, photo, mask, self.face_model.landmarks(coeffs), ground_truth=coeffs,
                     paths=[f"rendered face {step}.{i}" for i in range(batch_size)])

    def coefficients(self, rng: np.random.Generator, count: int) -> torch.Tensor:
        """Returns the coefficients (B, 257) of random faces. Their places are those that the alignment gives faces."""
        parts = {
            "id": rng.normal(0, 1, (count, 80)) * rng.uniform(.6, 1.3, (count, 1)),
            "exp": rng.normal(0, 1, (count, 64)) * rng.choice([.2, .5, .5, .9], (count, 1)),
            "tex": rng.normal(0, 1, (count, 80)) * rng.uniform(.7, 1.3, (count, 1)),
            "angle": random_angles(rng, count),
            "gamma": np.zeros((count, 27)),
            "trans": np.zeros((count, 3)),
        }
        parts = {name: torch.from_numpy(part.astype(np.float32)).to(self.device) for name, part in parts.items()}
        parts["id"] += self.mean_identity
        light = random_light(rng, self.skin_color(parts["tex"]).cpu().numpy())
        parts["gamma"] = torch.from_numpy(light.astype(np.float32)).to(self.device).flatten(1)
        parts["exp"] = self.posed_expression(rng, parts["id"], parts["exp"])
        parts["trans"] = self.aligned_translation(rng, parts)
        return join(parts)

    def skin_color(self, texture: torch.Tensor) -> torch.Tensor:
        """Returns the mean albedo of the forehead (B, 3), RGB 0..1, which neck, ears and skull have too."""
        return (self.skin_mean + texture @ self.skin_base).clamp(.02, 1)

    def posed_expression(self, rng: np.random.Generator, identity: torch.Tensor, expression: torch.Tensor
                         ) -> torch.Tensor:
        """Returns expressions (B, 64) in which some faces smile, open or shut their mouth, or close their eyes.

        Random coefficients alone give few such faces. Here a distance between landmarks is chosen at random, in
        decimetres, and the coefficients are changed until the face has it: first the smile, then the distance between
        the lips, then that between the eyelids.
        """
        count = len(expression)
        smiling = np.abs(rng.normal(0, .2, count)) * (rng.random(count) < .55)
        opening = np.abs(rng.normal(0, .17, count)) * (rng.random(count) < .45)
        exact = rng.random(count) < .7
        closing = rng.uniform(.5, 1, count) * (rng.random(count) < .15)   # share by which the eyes' opening shrinks

        expression = self.change_distance(expression, smile_size, smiling)
        gap = self.distance(identity, expression, lip_opening)
        # Most mouths get the chosen opening, which is often 0. The others may stay open wider.
        wanted_gap = np.where(exact, opening, np.maximum(opening, gap))
        expression = self.change_distance(expression, lip_opening, wanted_gap - gap)
        gap = self.distance(identity, expression, eye_opening)
        return self.change_distance(expression, eye_opening, -closing * gap)

    def distance(self, identity: torch.Tensor, expression: torch.Tensor, measure: Measure) -> np.ndarray:
        """Measures a distance (B,), decimetres, between landmarks of the unposed faces."""
        return measure(self.face_model.shape(identity, expression, self.face_model.keypoints)).cpu().numpy()

    def change_distance(self, expression: torch.Tensor, measure: Measure, change: np.ndarray) -> torch.Tensor:
        """Returns the expressions (B, 64) after the smallest change that changes a distance by `change` (B,)."""
        base = self.face_model.shape_base[80:].view(64, -1, 3)[:, self.face_model.keypoints]   # (64, 68, 3)
        effect = measure(base)   # (64,) change of the distance for one unit of each coefficient: measures are linear
        change = torch.from_numpy(change.astype(np.float32)).to(effect)
        return expression + change[:, None] * effect / effect.square().sum().clamp(min=1e-6)

    def aligned_translation(self, rng, parts: dict[str, torch.Tensor]) -> torch.Tensor:
        """Returns the translations (B, 3) that faces have after their photos were aligned by five detected points.

        Repeats what the alignment does: projects the five points, with errors like those of a detector, computes
        scale and shift to the standard points, and moves the face by them.
        """
        model, count = self.face_model, len(parts["id"])
        shape = model.shape(parts["id"], parts["exp"], model.keypoints)
        # A detector's points are about one pixel off, in some photos more.
        error = rng.normal(0, 1, (count, 5, 2)) * rng.gamma(2, .5, (count, 1, 1))
        error = torch.from_numpy(error.astype(np.float32)).to(self.device)
        trans = parts["trans"]
        for _ in range(3):
            points = five_points(model.project(model.to_camera(shape, parts["angle"], trans))) + error
            solution = self.projection_from_points @ points                                             # (B, 4, 2)
            scale = solution[:, :3].norm(dim=1).mean(1, keepdim=True) / FACE_SCALE
            distance = (model.camera_d - trans[:, 2:]) * scale
            shift = (CROP_SIZE / 2 - solution[:, 3]) * distance / model.focal / scale
            trans = torch.cat([trans[:, :2] + shift, model.camera_d - distance], 1)
        return trans

    def photos(self, coeffs: torch.Tensor, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """Renders the faces in random scenes.

        Returns photos (B, 3, S, S) RGB 0..1, and how much of each pixel shows the face (B, 1, S, S), 0..1.
        """
        model = self.drawn
        face = split(coeffs)
        shape, turn = model.shape(face["id"], face["exp"]), rotation(face["angle"])
        normals = model.normals(shape) @ turn
        color = model.color(model.albedo(face["tex"]), normals, face["gamma"])
        attributes = torch.cat([color, normals, self.opacity.expand(len(coeffs), -1, -1)], 2)
        vertices = model.to_camera(shape, face["angle"], face["trans"])
        mask, _, image = self.renderer(vertices, model.tri, attributes, self.size)

        points = self.face_model.shape(face["id"], face["exp"], self.face_model.keypoints)
        head = Head(points.cpu().numpy(), turn.cpu().numpy(), face["trans"].cpu().numpy(), model.focal, model.camera_d)
        skin = self.skin_color(face["tex"]).cpu().numpy()
        bands = light_bands(face["gamma"])
        light = (bands.cpu().numpy() @ FRONTAL).clip(.05)
        photo, visible = paint(image, mask, bands, *random_scene(rng, head, skin, light), self.bank)
        return self.camera(photo, rng), visible


def opacity(face_model: FaceModel) -> torch.Tensor:
    """Returns the opacity of the vertices (N, 1), 0..1.

    Above the mouth, the face fades into the skull towards the outline of the mesh.
    """
    shape, tri = face_model.mean_shape.view(-1, 3).cpu().numpy(), face_model.tri.cpu().numpy()
    edges = trimesh.Trimesh(shape, tri, process=False).edges_sorted
    border = edges[trimesh.grouping.group_rows(edges, require_count=1)]
    outline = max(trimesh.graph.connected_components(border), key=len)     # the longest border
    outline = outline[shape[outline, 1] > shape[face_model.keypoints[[*MOUTH_CORNERS]].cpu(), 1].mean()]
    distance = cKDTree(shape[outline]).query(shape)[0]
    return torch.from_numpy(np.clip(distance / FADE, 0, 1).astype(np.float32)[:, None]).to(face_model.mean_shape.device)


def smile_size(points: torch.Tensor) -> torch.Tensor:
    """Returns width of the mouth plus height of its corners above its middle (...), of landmarks (..., 68, 3), y up."""
    corners, lips = points[..., MOUTH_CORNERS, :], points[..., OUTER_LIP_MIDDLES, :]
    return corners[..., 1, 0] - corners[..., 0, 0] + (corners - lips)[..., 1].mean(-1)


def lip_opening(points: torch.Tensor) -> torch.Tensor:
    """Returns the distance between the inner edges of the lips (...), of landmarks (..., 68, 3), y up."""
    upper, lower = INNER_LIP_MIDDLES
    return points[..., upper, 1] - points[..., lower, 1]


def eye_opening(points: torch.Tensor) -> torch.Tensor:
    """Returns the mean distance between the eyelids (...), of landmarks (..., 68, 3), y up."""
    return (points[..., UPPER_LIDS, 1] - points[..., LOWER_LIDS, 1]).mean(-1)


def random_angles(rng: np.random.Generator, count: int) -> np.ndarray:
    """Returns pitch, yaw and roll (B, 3), radian, up to 30, 60 and 25 degrees.

    Most faces are nearly frontal; Student's distribution makes large angles more frequent than a normal one.
    """
    degrees = rng.standard_t(5, (count, 3)) * [8, 16, 6] + [2.5, 0, 0]
    return np.radians(np.clip(degrees, [-30, -60, -25], [30, 60, 25]))


def random_light(rng: np.random.Generator, skin: np.ndarray) -> np.ndarray:
    """Returns light coefficients (B, 3, 9), without the ambient light.

    The light is nearly white. Faces in photos are well exposed, so the light is chosen such that skin which faces the
    camera is neither too dark nor too bright.

    skin: (B, 3) albedo, RGB 0..1.
    """
    count = len(skin)
    white = LIGHT_MEAN + .8 * rng.standard_t(5, (count, 9)) @ LIGHT_FACTOR.T                  # (B, 9)
    # Skin that faces the camera must lie between DARKEST and about BRIGHTEST.
    albedo = skin.mean(1)
    white[:, 0] += np.maximum(DARKEST - albedo * (white @ FRONTAL), 0) / (albedo * FRONTAL[0])
    white *= np.minimum(1.1, BRIGHTEST / (albedo * (white @ FRONTAL)))[:, None]
    warm = rng.normal(.03, .07, (count, 1)) * [1, 0, -1] + rng.normal(0, .03, (count, 3))
    light = white[:, None] * np.exp(warm)[..., None] + rng.normal(0, .02, (count, 3, 9))
    light[..., 0] -= AMBIENT
    return light
