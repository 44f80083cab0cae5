import numpy as np
import pytest
import torch

from datasets.alignment import align
from datasets.synthetic.faces import HEIGHTS, SyntheticFaces
from models.coefficients import SLICES, split
from models.coordinates import flip_y
from models.face_model import FaceModel
from models.landmarks import five_points
from models.losses import coefficient_effects
from models.records import Batch
from models.renderer import MeshRenderer
from models.simplification import simplify

SIZE = 64


@pytest.fixture(scope="module")
def faces(face_model) -> SyntheticFaces:
    return SyntheticFaces(face_model, MeshRenderer(), seed=5, size=SIZE)


@pytest.fixture(scope="module")
def batch(faces) -> Batch:
    return faces.batch(3, 64)


def tensors(batch: Batch) -> dict[str, torch.Tensor]:
    return {name: value for name, value in vars(batch).items() if isinstance(value, torch.Tensor)}


def test_a_batch_has_the_shapes_and_ranges_of_training_data(batch):
    assert {name: tuple(value.shape) for name, value in tensors(batch).items()} == {
        "photo": (64, 3, SIZE, SIZE), "seen": (64, 3, SIZE, SIZE), "mask": (64, 1, SIZE, SIZE),
        "landmarks": (64, 68, 2), "ground_truth": (64, 257)}
    for picture in (batch.photo, batch.mask):
        assert 0 <= picture.min() and picture.max() <= 1
    assert all(value.dtype == torch.float32 and value.isfinite().all() for value in tensors(batch).values())
    assert len(batch) == 64 and batch.paths[5] == "rendered face 3.5"


def test_a_batch_depends_on_seed_and_step_alone(faces, face_model, batch):
    faces.batch(4, 2)
    again = tensors(faces.batch(3, 64))
    assert all(torch.equal(value, again[name]) for name, value in tensors(batch).items())
    afresh = tensors(SyntheticFaces(face_model, MeshRenderer(), seed=5, size=SIZE).batch(3, 64))
    assert all(torch.equal(value, afresh[name]) for name, value in tensors(batch).items())
    other = SyntheticFaces(face_model, MeshRenderer(), seed=6, size=SIZE).batch(3, 64)
    assert not torch.equal(batch.ground_truth, other.ground_truth) and not torch.equal(batch.photo, other.photo)


def test_landmarks_are_those_of_the_coefficients(face_model, batch):
    torch.testing.assert_close(face_model.landmarks(batch.ground_truth), batch.landmarks)


def test_faces_lie_where_the_alignment_puts_them(batch):
    photo = np.zeros((224, 224, 3), np.uint8)
    scales, shifts = [], []
    for landmarks in batch.landmarks.double().numpy():
        _, (_, _, scale, *center) = align(photo, five_points(landmarks))
        scales.append(scale)
        shifts.append(np.subtract(center, 112))
    # the five points of a detection are a pixel or two off
    assert abs(np.mean(scales) - 1) < 0.02 and np.std(scales) < 0.04
    assert np.abs(np.mean(shifts, 0)).max() < 1 and np.std(shifts) < 2


def test_poses_and_expressions_are_those_of_photos(face_model, faces):
    truth = split(faces.coefficients(np.random.default_rng(0), 2000))
    degrees = truth["angle"].rad2deg().abs()
    assert (degrees.amax(0) <= torch.tensor([30, 60, 25]) + 1e-3).all()
    assert (degrees[:, 1] < 20).float().mean() > 0.6 and (degrees[:, 1] > 40).float().mean() > 0.01
    points = face_model.shape(truth["id"], truth["exp"], face_model.keypoints)
    mouth = points[:, 62, 1] - points[:, 66, 1]
    eyes = (points[:, [37, 38, 43, 44], 1] - points[:, [41, 40, 47, 46], 1]).mean(1)
    assert 0.1 < (mouth > 0.15).float().mean() < 0.4 and (mouth < -0.02).float().mean() < 0.02
    assert 0.05 < (eyes < 0.4 * eyes.median()).float().mean() < 0.3


def test_mean_proportions_are_those_of_photos(face_model, faces):
    landmarks = face_model.landmarks(faces.coefficients(np.random.default_rng(1), 2000))
    assert (landmarks[:, 17:, 1].mean(0) - HEIGHTS).abs().mean() < 2


def test_the_mask_is_the_face_that_nothing_covers(faces, face_model, batch):
    coeffs = batch.ground_truth
    with torch.no_grad():
        face = face_model(coeffs)
        whole = MeshRenderer()(face.vertices, face_model.tri, size=SIZE)[0]
    mask = batch.mask
    around = torch.nn.functional.max_pool2d(whole, 3, 1, 1)
    assert (mask[around == 0] == 0).all()
    share = mask.sum((1, 2, 3)) / whole.sum((1, 2, 3))
    assert share.median() > 0.8 and share.min() < 0.8
    # where the mask says so the photo shows the face as it is lit, give or take the camera
    image = faces.renderer(face.vertices, face_model.tri, face.color, SIZE)[2].clamp(0, 1)
    seen = (mask > 0.99).expand_as(image) & (whole > 0).expand_as(image)
    assert (batch.photo - image)[seen].abs().median() < 0.05


def test_the_drawn_mesh_looks_like_the_whole_one(face_model, faces, batch):
    small = simplify(face_model, 10000)
    assert len(small.tri) <= 10000
    landmarks = flip_y(batch.landmarks[:4], 224)
    images = []
    for model in (face_model, small):
        face = model(batch.ground_truth[:4])
        images.append(faces.renderer(face.vertices, model.tri, face.color)[2])
    assert (images[0] - images[1]).abs().mean() < 0.01
    near = small.landmarks(batch.ground_truth[:4])
    assert (flip_y(near, 224) - landmarks).norm(dim=2).mean() < 2.5


def test_other_models_than_the_shipped_one_work(face_model):
    small = simplify(face_model, 2000)
    data = {"meanshape": small.mean_shape[None], "meantex": small.mean_tex[None], "idBase": small.shape_base[:20].T,
            "exBase": small.shape_base[80:100].T, "texBase": small.tex_base[:20].T, "tri": small.tri + 1,
            "point_buf": small.point_buf + 1, "keypoints": small.keypoints[None] + 1,
            "frontmask2_idx": torch.arange(len(small.skin_mask))[:, None] + 1, "tri_mask2": small.inner_tri + 1,
            "skinmask": small.skin_mask[None]}
    coarse = FaceModel({name: value.numpy() for name, value in data.items()})
    batch = SyntheticFaces(coarse, MeshRenderer(), seed=0, size=32).batch(0, 2)
    assert batch.photo.shape == (2, 3, 32, 32) and batch.mask.max() > 0.9
    torch.testing.assert_close(coarse.landmarks(batch.ground_truth), batch.landmarks)


@pytest.mark.parametrize("name, first, rms", [("id", 0, "mm"), ("exp", 3, "mm"), ("tex", 2, "grey"), ("angle", 1, "px"),
                                              ("gamma", 10, "grey"), ("trans", 0, "px"), ("trans", 2, "px")])
def test_the_effect_of_a_coefficient_is_what_one_unit_of_it_changes(face_model, name, first, rms):
    coeffs = torch.zeros(2, 257)
    number = SLICES[name].start + first
    coeffs[1, number] = step = 1e-2
    face = face_model(coeffs)
    values = {"mm": 100 * face.vertices, "grey": 255 / 4 * (face.albedo if name == "tex" else face.color),
              "px": face.landmarks}[rms]
    change = (values[1] - values[0]).square()
    # of points: the distance; of colours: per channel
    change = change.mean() if rms == "grey" else change.sum(1).mean()
    assert coefficient_effects(face_model)[number] == pytest.approx(change.sqrt().item() / step, rel=0.02)
