"""Endless faces of a face model in random scenes, with the coefficients that made them."""
import numpy as np
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from datasets.alignment import FACE_SCALE
from datasets.synthetic.camera import Camera
from datasets.synthetic.painter import paint, texture_bank
from datasets.synthetic.scenes import Head, random_scene
from models.coefficients import join, split
from models.coordinates import CROP_SIZE
from models.face_model import AMBIENT, FaceModel, light_bands, light_basis, rotation
from models.landmarks import STANDARD_POINTS, five_points
from models.renderer import MeshRenderer
from models.simplification import simplify

# Triangles of the mesh to draw, per pixel of the picture's width: more are smaller than its pixels.
TRIANGLES_PER_PIXEL = 110
# Light, its three channels alike: mean and Cholesky factor of the covariance of the nine bands, ambient light included,
# as fits to 377 photos of the training sets of AFW and HELEN find them, in units of the first band's mean.
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
FADE = .2             # decimetres
HEIGHT_ERROR = .02    # decimetres: what the mean height of a landmark may be off
# Mean height of landmarks 18 to 68, px, y up, in the crops of 1,207 photos (annotations of AFW and HELEN).
HEIGHTS = torch.tensor([
    151.8, 159.9, 162.6, 161.1, 156.6, 156.6, 161.1, 162.6, 159.9, 151.8, 141.8, 130.0, 118.4, 106.4, 97.7, 95.4, 93.4,
    95.4, 97.7, 139.6, 143.9, 143.9, 137.9, 136.5, 136.6, 137.9, 143.9, 143.9, 139.6, 136.6, 136.5, 75.9, 80.0, 82.1,
    80.4, 82.1, 80.0, 75.9, 66.2, 61.9, 61.1, 61.9, 66.2, 75.4, 76.4, 75.6, 76.4, 75.4, 70.7, 69.9, 70.7])
DARKEST, BRIGHTEST = .15, .75   # mean colour of a face turned to the camera
FRONTAL = light_basis(torch.tensor([0., 0, 1])).numpy()   # what each band adds on a surface turned to the camera


class SyntheticFaces:
    """Random faces of any face model. size: pixels of the photos. The same seed and step give the same batch, in
    any order and from any thread."""

    def __init__(self, face_model: FaceModel, renderer: MeshRenderer, seed: int, size: int = CROP_SIZE):
        self.face_model, self.renderer, self.seed, self.size = face_model, renderer, seed, size
        self.drawn = simplify(face_model, TRIANGLES_PER_PIXEL * size)
        self.device = face_model.mean_shape.device
        rng = np.random.default_rng(seed)
        self.bank = torch.from_numpy(texture_bank(rng)).to(self.device)
        self.camera = Camera(rng, self.device)
        standard = torch.from_numpy(np.column_stack([STANDARD_POINTS, np.ones(5, np.float32)]))
        self.from_points = torch.linalg.pinv(standard).to(self.device)   # (4, 5)
        skin = (self.drawn.skin_mask > 0).nonzero().ravel()
        forehead = skin[self.drawn.mean_shape[3 * skin + 1].topk(len(skin) // 5 + 1).indices]
        rows = 3 * forehead[:, None] + torch.arange(3, device=self.device)
        self.skin_mean = self.drawn.mean_tex[rows].mean(0) / 255           # (3,)
        self.skin_base = self.drawn.tex_base[:, rows].mean(1) / 255        # (80, 3)
        self.opacity = opacity(self.drawn)                                 # (N, 1)
        self.mean_identity = torch.zeros(80, device=self.device)
        for _ in range(4):
            self.mean_identity += self.towards_photos()

    @torch.no_grad()
    def towards_photos(self) -> torch.Tensor:
        """The likeliest change of the mean identity (80,) that brings the landmarks to their heights in photos: the
        mean face of a model is not that of people, nor are its keypoints quite where people see them."""
        landmarks = self.face_model.landmarks(self.coefficients(np.random.default_rng(0), 2000))
        heights = landmarks[:, 17:, 1].mean(0)
        change = (HEIGHTS.to(heights) - heights) * self.face_model.camera_d / self.face_model.focal
        base = self.face_model.shape_base[:80].view(80, -1, 3)[:, self.face_model.keypoints[17:], 1]
        base = base - base.mean(1, keepdim=True)                      # the crop moves along with the face
        ridge = HEIGHT_ERROR ** 2 * torch.eye(80, device=self.device)
        return torch.linalg.solve(base @ base.T + ridge, base @ (change - change.mean()) - ridge @ self.mean_identity)

    @torch.no_grad()
    def batch(self, step: int, batch_size: int) -> dict[str, torch.Tensor]:
        """photo (B, 3, S, S) RGB 0..1; landmarks (B, 68, 2) px in the 224 x 224 crop, y up; mask (B, 1, S, S) 0..1:
        how much of the face is seen; coeffs (B, 257): the truth."""
        rng = np.random.default_rng((self.seed, step))
        coeffs = self.coefficients(rng, batch_size)
        photo, mask = self.photos(coeffs, rng)
        return {"photo": photo, "landmarks": self.face_model.landmarks(coeffs), "mask": mask, "coeffs": coeffs}

    def coefficients(self, rng: np.random.Generator, count: int) -> torch.Tensor:
        """Random faces (B, 257), placed as an alignment by five points places them."""
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
        """Mean albedo (B, 3) of the forehead, which goes on on the skull, RGB 0..1."""
        return (self.skin_mean + texture @ self.skin_base).clamp(.02, 1)

    def posed_expression(self, rng: np.random.Generator, identity: torch.Tensor, expression: torch.Tensor
                         ) -> torch.Tensor:
        """Expressions (B, 64) with smiles put on, mouths opened and eyes closed here and there: the likeliest change of
        the coefficients that brings the landmarks to the wanted distances."""
        count = len(expression)
        smiling = np.abs(rng.normal(0, .2, count)) * (rng.random(count) < .55)
        opening, shut = np.abs(rng.normal(0, .17, count)) * (rng.random(count) < .45), rng.random(count) < .7
        closing = rng.uniform(.5, 1, count) * (rng.random(count) < .15)
        base = self.face_model.shape_base[80:].view(64, -1, 3)[:, self.face_model.keypoints]   # (64, 68, 3)
        for distance, change in ((smile, lambda now: smiling),
                                 (lip_opening, lambda now: np.where(shut, opening, np.maximum(opening, now)) - now),
                                 (eye_opening, lambda now: -closing * now)):
            points = self.face_model.shape(identity, expression, self.face_model.keypoints)
            direction = distance(base)                                                          # (64,)
            wanted = torch.from_numpy(change(distance(points).cpu().numpy()).astype(np.float32)).to(direction)
            expression = expression + wanted[:, None] * direction / direction.square().sum().clamp(min=1e-6)
        return expression

    def aligned_translation(self, rng, parts: dict[str, torch.Tensor]) -> torch.Tensor:
        """Where the faces (translation (B, 3)) are when their photos have been aligned by five detected points."""
        model, count = self.face_model, len(parts["id"])
        shape = model.shape(parts["id"], parts["exp"], model.keypoints)
        # Detections are a pixel off, some of them more.
        error = rng.normal(0, 1, (count, 5, 2)) * rng.gamma(2, .5, (count, 1, 1))
        error = torch.from_numpy(error.astype(np.float32)).to(self.device)
        trans = parts["trans"]
        for _ in range(3):
            points = five_points(model.project(model.to_camera(shape, parts["angle"], trans))) + error
            solution = self.from_points @ points                                             # (B, 4, 2)
            scale = solution[:, :3].norm(dim=1).mean(1, keepdim=True) / FACE_SCALE
            distance = (model.camera_d - trans[:, 2:]) * scale
            shift = (CROP_SIZE / 2 - solution[:, 3]) * distance / model.focal / scale
            trans = torch.cat([trans[:, :2] + shift, model.camera_d - distance], 1)
        return trans

    def photos(self, coeffs: torch.Tensor, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """Photos (B, 3, S, S) of the faces in random scenes, and how much of each face is seen (B, 1, S, S)."""
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
    """(N, 1): how much of a vertex covers what lies behind, 0..1. Above the mouth the face fades into the skull towards
    the outline of the mesh."""
    shape, tri = face_model.mean_shape.view(-1, 3).cpu().numpy(), face_model.tri.cpu().numpy()
    edges, uses = np.unique(np.sort(tri[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)), axis=0, return_counts=True)
    border = edges[uses == 1]
    graph = coo_array((np.ones(len(border)), border.T), shape=(len(shape), len(shape)))
    loops = connected_components(graph, directed=False)[1][border[:, 0]]
    outline = np.unique(border[loops == np.bincount(loops, minlength=1).argmax()])     # the longest loop
    outline = outline[shape[outline, 1] > shape[face_model.keypoints[[48, 54]].cpu(), 1].mean()]
    distance = cKDTree(shape[outline]).query(shape)[0]
    return torch.from_numpy(np.clip(distance / FADE, 0, 1).astype(np.float32)[:, None]).to(face_model.mean_shape.device)


def smile(points: torch.Tensor) -> torch.Tensor:
    """How wide the mouth is and how high its corners are, (...) of landmarks (..., 68, 3)."""
    corners, lips = points[..., [48, 54], :], points[..., [51, 57], :]
    return corners[..., 1, 0] - corners[..., 0, 0] + (corners - lips)[..., 1].mean(-1)


def lip_opening(points: torch.Tensor) -> torch.Tensor:
    return points[..., 62, 1] - points[..., 66, 1]


def eye_opening(points: torch.Tensor) -> torch.Tensor:
    return (points[..., [37, 38, 43, 44], 1] - points[..., [41, 40, 47, 46], 1]).mean(-1)


def random_angles(rng: np.random.Generator, count: int) -> np.ndarray:
    """(B, 3) radian about x, y, z: mostly frontal, with heavy tails (Student's t), up to 30, 60 and 25 degrees."""
    degrees = rng.standard_t(5, (count, 3)) * [8, 16, 6] + [2.5, 0, 0]
    return np.radians(np.clip(degrees, [-30, -60, -25], [30, 60, 25]))


def random_light(rng: np.random.Generator, skin: np.ndarray) -> np.ndarray:
    """Light (B, 3, 9) without the ambient part for skin of a colour (B, 3): about white, from dark to bright, some from
    one side."""
    count = len(skin)
    white = LIGHT_MEAN + .8 * rng.standard_t(5, (count, 9)) @ LIGHT_FACTOR.T                  # (B, 9)
    # the exposure of a photo keeps a face that is turned to the camera between these
    albedo = skin.mean(1)
    white[:, 0] += np.maximum(DARKEST - albedo * (white @ FRONTAL), 0) / (albedo * FRONTAL[0])
    white *= np.minimum(1.1, BRIGHTEST / (albedo * (white @ FRONTAL)))[:, None]
    warm = rng.normal(.03, .07, (count, 1)) * [1, 0, -1] + rng.normal(0, .03, (count, 3))
    light = white[:, None] * np.exp(warm)[..., None] + rng.normal(0, .02, (count, 3, 9))
    light[..., 0] -= AMBIENT
    return light
