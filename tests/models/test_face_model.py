import math

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from models.coefficients import SIZE, SLICES, join, split
from models.coordinates import camera_to_world
from models.face_model import FaceModel, light, rotation


class ReferenceFaceModel(FaceModel):
    """Normals in plain PyTorch, in any precision: what the kernels are tested against."""

    def normals(self, shape):
        v1, v2, v3 = (shape[:, column] for column in self.tri.long().unbind(1))
        face_normals = normalize(torch.linalg.cross(v1 - v2, v2 - v3), dim=-1)
        face_normals = torch.nn.functional.pad(face_normals, (0, 0, 0, 1))   # the padding of point_buf counts nothing
        return normalize(face_normals[:, self.point_buf.long()].sum(2), dim=-1)


@pytest.fixture(scope="module")
def small_model() -> FaceModel:
    """A made-up model of a bumpy sheet, in float64 for derivatives."""
    random = np.random.default_rng(0)
    x, y = np.meshgrid(np.linspace(-1, 1, 5), np.linspace(-1, 1, 5))
    mean = np.stack([x, y, 0.1 * random.random((5, 5))], -1).reshape(-1, 3)
    quads = [(r * 5 + c, r * 5 + c + 1, r * 5 + c + 6, r * 5 + c + 5) for r in range(4) for c in range(4)]
    tri = np.array([t for a, b, c, d in quads for t in ((a, b, c), (a, c, d))])
    point_buf = np.full((25, 8), len(tri))
    for vertex in range(25):
        faces = np.nonzero((tri == vertex).any(1))[0]
        point_buf[vertex, :len(faces)] = faces
    front = np.array([3, 4, 8, 9])   # vertices of the last quad of the first row
    data = {
        "meanshape": mean.reshape(1, -1), "meantex": 255 * random.random((1, 75)),
        "idBase": 0.02 * random.standard_normal((75, 80)), "exBase": 0.02 * random.standard_normal((75, 64)),
        "texBase": 5 * random.standard_normal((75, 80)), "tri": tri + 1, "point_buf": point_buf + 1,
        "keypoints": np.arange(68)[None] % 25 + 1, "frontmask2_idx": front[:, None] + 1,
        "tri_mask2": np.array([[1, 2, 4], [1, 4, 3]]), "skinmask": np.ones((1, 25)),
    }
    return ReferenceFaceModel(data).double()


def random_coefficients(generator, count=2, dtype=torch.float64):
    spread = torch.ones(SIZE, dtype=dtype)
    spread[SLICES["angle"]], spread[SLICES["gamma"]], spread[SLICES["trans"]] = 0.3, 0.1, 0.2
    return torch.randn(count, SIZE, generator=generator, dtype=dtype) * spread


def test_the_vector_splits_and_joins(generator):
    coeffs = random_coefficients(generator)
    parts = split(coeffs)
    assert {name: part.shape[1] for name, part in parts.items()} == {
        "id": 80, "exp": 64, "tex": 80, "angle": 3, "gamma": 27, "trans": 3}
    assert torch.equal(join(parts), coeffs)


def test_a_vector_of_another_length_is_refused():
    with pytest.raises(ValueError, match=r"\(B, 257\).*\(2, 256\)"):
        split(torch.zeros(2, 256))


def test_zero_coefficients_give_the_mean_face_at_the_centre(face_model):
    face = face_model(torch.zeros(1, SIZE))
    world = camera_to_world(face.vertices, face_model.camera_d)[0]
    assert torch.allclose(world, face_model.mean_shape.view(-1, 3), atol=1e-5)
    assert world.mean(0).abs().max() < 1e-5
    assert (face.landmarks[0] - 112).abs().max() < 112
    assert torch.allclose(face.albedo.ravel(), face_model.mean_tex / 255, atol=1e-6)


def test_light_of_zero_gamma_is_plain_white():
    normals = torch.nn.functional.normalize(torch.randn(1, 50, 3), dim=-1)
    expected = 0.8 * math.pi / math.sqrt(4 * math.pi)
    assert torch.allclose(light(normals, torch.zeros(1, 27)), torch.full((1, 50, 3), expected))


def test_light_from_the_front_brightens_what_faces_it():
    gamma = torch.zeros(1, 27)
    gamma[0, 2::9] = 0.5   # the band of z
    front, back = light(torch.tensor([[[0.0, 0, 1], [0, 0, -1]]]), gamma)[0]
    assert (front > back).all()


@pytest.mark.parametrize("axis, moved", [(0, [0, 0, 1]), (1, [0, 1, 0]), (2, [-1, 0, 0])])
def test_quarter_turns_are_right_handed(axis, moved):
    angle = torch.zeros(1, 3)
    angle[0, axis] = math.pi / 2
    assert torch.allclose(torch.tensor([0.0, 1, 0]) @ rotation(angle)[0], torch.tensor(moved).float(), atol=1e-6)


def test_rotation_is_about_x_then_y_then_z(generator):
    angle = torch.randn(3, 3, generator=generator)
    x, y, z = (rotation(angle * torch.eye(3)[axis]) for axis in range(3))
    assert torch.allclose(rotation(angle), x @ y @ z, atol=1e-6)


def test_normals_are_perpendicular_and_outward(face_model):
    normals = face_model.normals(face_model.mean_shape.view(1, -1, 3))[0]
    assert torch.allclose(normals.norm(dim=1), torch.ones(len(normals)), atol=1e-4)
    nose = face_model.keypoints[30]
    assert normals[nose, 2] > 0.7


def test_normals_and_their_gradients_are_those_of_the_reference(face_model, generator):
    shape = face_model.mean_shape.view(1, -1, 3).repeat(3, 1, 1)
    shape = (shape + 0.003 * torch.randn(shape.shape, generator=generator)).requires_grad_()
    weights = torch.randn(shape.shape, generator=generator)
    normals, expected = face_model.normals(shape), ReferenceFaceModel.normals(face_model, shape)
    assert (normals - expected).abs().max() < 1e-4
    gradient, = torch.autograd.grad((normals * weights).sum(), shape)
    expected, = torch.autograd.grad((expected * weights).sum(), shape)
    assert (gradient - expected).abs().max() < 1e-4 * expected.abs().max()


def test_a_mesh_without_area_has_no_normals_and_no_gradient(face_model):
    flat = torch.zeros(1, len(face_model.mean_shape) // 3, 3, requires_grad=True)
    normals = face_model.normals(flat)
    normals.sum().backward()
    assert not normals.any() and not flat.grad.any()


def test_landmarks_alone_equal_those_of_the_whole_face(face_model, generator):
    coeffs = random_coefficients(generator, dtype=torch.float32)
    assert torch.allclose(face_model.landmarks(coeffs), face_model(coeffs).landmarks, atol=1e-3)


def test_moving_up_and_right_moves_the_landmarks_so(face_model):
    coeffs = torch.zeros(2, SIZE)
    coeffs[1, SLICES["trans"]] = torch.tensor([0.1, 0.2, 0.0])
    moved = face_model.landmarks(coeffs)
    shift = (moved[1] - moved[0]).mean(0)
    assert shift[0] == pytest.approx(10, abs=1) and shift[1] == pytest.approx(20, abs=2)


def test_the_inner_triangles_count_within_the_front_vertices(small_model):
    assert small_model.inner_tri.tolist() == [[3, 4, 9], [3, 9, 8]]


def test_a_model_with_fewer_components_ignores_the_missing_coefficients(small_model, generator):
    coeffs = random_coefficients(generator)
    truncated = ReferenceFaceModel(_data_with(small_model, components=10)).double()
    zeroed = coeffs.clone()
    for name in ("id", "exp", "tex"):
        zeroed[:, SLICES[name]][:, 10:] = 0
    assert torch.allclose(truncated(coeffs).vertices, small_model(zeroed).vertices, atol=1e-6)


def _data_with(model, components):
    one_based = {"tri": model.tri, "point_buf": model.point_buf, "keypoints": model.keypoints[None]}
    data = {name: indices.numpy() + 1 for name, indices in one_based.items()}
    shape, tex = model.shape_base.numpy(), model.tex_base.numpy()
    return data | {
        "meanshape": model.mean_shape.numpy(), "meantex": model.mean_tex.numpy(), "idBase": shape[:components].T,
        "exBase": shape[80:80 + components].T, "texBase": tex[:components].T, "skinmask": model.skin_mask.numpy(),
        "frontmask2_idx": np.ones((1, 1)), "tri_mask2": np.ones((1, 3))}


@pytest.mark.parametrize("output", ["vertices", "color", "landmarks"])
def test_derivatives(small_model, generator, output):
    coeffs = random_coefficients(generator, count=1).requires_grad_()
    assert torch.autograd.gradcheck(lambda c: getattr(small_model(c), output), coeffs, atol=1e-6)
