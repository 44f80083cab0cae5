"""The albedo that BFM/build_photo_face_model.py learns from photos."""
import numpy as np
import pytest
import torch

from BFM.build_photo_face_model import Work, place_annotated_keypoints, save_arrays
from BFM.builder.keypoints import choose_keypoints, find_landmarks
from BFM.builder.packing import PHOTO_ALBEDO_STEP, pack_albedo
from BFM.builder.photo_albedo import AlbedoSamples, balance, learn_albedo, mirror_vertices, restore_tones, sample_albedo
from datasets.face_detection import face_detector
from models.coefficients import SIZE, SLICES, split
from models.coordinates import CROP_SIZE, crop_to_photo, flip_y, projection_to_crop
from models.face_model_files import load_face_model_data
from models.landmarks import JAW, MIRRORED_LANDMARKS
from models.renderer import MeshRenderer
from tests.helpers import ROOT

VERTICES = 400


@pytest.fixture(scope="module")
def people():
    """Albedo (200, VERTICES, 3) of people who differ in three components, and these (3, VERTICES, 3)."""
    rng = np.random.default_rng(0)
    components = np.linalg.qr(rng.normal(size=(3 * VERTICES, 3)))[0].T.reshape(3, VERTICES, 3)
    people = 0.5 + np.einsum("nk,kvc->nvc", rng.normal(size=(200, 3)) * (1.6, 1.2, 0.8), components)
    return people, components


def samples_of(people, weights, covered=None):
    colors = people.copy()
    if covered is not None:
        colors[covered] = (0.1, 0.2, 0.9)
    return AlbedoSamples(colors.astype(np.float16), weights, np.ones(len(colors)))


def share_found(basis, components):
    """How much of the components (3, VERTICES, 3) the basis (k, VERTICES, 3) contains, 0..1."""
    space = np.linalg.qr(basis.reshape(len(basis), -1).T)[0]
    return np.linalg.norm(space.T @ components.reshape(3, -1).T) / np.sqrt(3)


def test_the_components_of_people_are_found_though_each_photo_shows_only_a_part_and_hands_cover_some(people):
    faces, components = people
    rng = np.random.default_rng(1)
    weights = (255 * (rng.random((len(faces), VERTICES)) < 0.6)).astype(np.uint8)
    covered = np.zeros(weights.shape, bool)
    for face, start in enumerate(rng.integers(0, VERTICES - 80, 20)):
        covered[face, start:start + 80] = True
    itself = np.arange(VERTICES)
    mean, basis = learn_albedo(samples_of(faces, weights, covered), itself, np.full((VERTICES, 3), 0.5), components=6,
                               say=lambda _: None)
    assert share_found(basis, components) > 0.95
    assert np.abs(mean - 0.5).mean() < 0.02
    assert basis.reshape(6, -1).std(1).max() < 2 * faces.std()


def test_rare_skin_tones_and_ages_count_more_and_failed_fits_nothing():
    brightness = np.r_[np.full(95, 0.6), np.full(5, 0.2)]
    colors = np.repeat(brightness, 3 * VERTICES).reshape(100, VERTICES, 3).astype(np.float16)
    weights, errors = np.full((100, VERTICES), 255, np.uint8), np.full(100, 0.05)
    errors[0] = 0.5
    ages = np.full(100, 30)
    ages[1] = 70
    shares = balance(colors, weights, errors, ages)
    assert shares[0] == 0
    assert shares[97] > 3 * shares[50] and shares[1] > 3 * shares[50]


def test_the_spread_of_skin_tones_is_restored(people):
    faces = np.stack([np.full((VERTICES, 3), tone) for tone in (0.48, 0.5, 0.52)])
    samples = samples_of(faces, np.full((3, VERTICES), 255, np.uint8))
    restore_tones(samples)
    dark, middle, light = samples.colors.mean((1, 2))
    assert dark < 0.45 and light > 0.55 and middle == pytest.approx(0.5, abs=0.01)


def test_the_albedo_of_a_rendered_face_is_read_from_its_picture(face_model, generator):
    coeffs = torch.zeros(1, SIZE)
    coeffs[:, SLICES["tex"]] = torch.randn(1, 80, generator=generator)
    coeffs[:, SLICES["angle"]] = torch.tensor([0, 0.3, 0])
    renderer = MeshRenderer()
    face = face_model(coeffs)
    image = renderer(face.vertices, face_model.tri, face.color)[2]
    photo = (255 * image[0]).round().clamp(0, 255).byte().permute(1, 2, 0).numpy()
    unchanged = np.array([[CROP_SIZE, CROP_SIZE, 1, CROP_SIZE / 2, CROP_SIZE / 2]])
    # The fit is another albedo of the same brightness: what is read must be that of the picture.
    fit = coeffs.clone()
    fit[:, SLICES["tex"]] = 0
    colors, weights, errors = sample_albedo(face_model, renderer, fit, [photo], unchanged,
                                            torch.ones(1, 1, CROP_SIZE, CROP_SIZE))
    seen = weights[0] > 0.9
    assert 0.2 < seen.mean() < 0.8
    true, mean = (face_model.albedo(split(c)["tex"])[0].numpy()[seen] for c in (coeffs, fit))
    read = colors[0][seen]
    ratio = read / true / np.median(read / true, 0)
    assert np.abs(ratio - 1).mean() < 0.05 < np.abs(mean / true / np.median(mean / true, 0) - 1).mean()
    assert 0 < errors[0] < 0.5


def test_a_packed_albedo_is_read_again_with_the_geometry_of_the_open_model(tmp_path, face_model, generator):
    source, path = ROOT / "BFM" / "open_face_model.npz", tmp_path / "photo_face_model.npz"
    mean = 100 + 20 * torch.randn(len(face_model.point_buf), 3, generator=generator).numpy()
    basis = 5 * torch.randn(mean.size, 80, generator=generator).numpy()
    keypoints = np.arange(68)
    pack_albedo(source, path, mean, basis, keypoints, keypoints + 100)
    packed, original = (load_face_model_data(p.parent, p.name) for p in (path, source))
    assert np.abs(packed["meantex"].reshape(-1, 3) - mean).max() < 0.01
    assert np.abs(packed["texBase"] - basis).max() <= PHOTO_ALBEDO_STEP / 2 + 1e-4
    assert np.array_equal(packed["keypoints"].ravel() - 1, keypoints)
    assert np.array_equal(packed["annotated_keypoints"].ravel() - 1, keypoints + 100)
    for name in ("meanshape", "idBase", "exBase", "tri"):
        assert np.array_equal(packed[name], original[name])


def test_landmarks_move_to_the_vertices_at_which_they_are_found(face_model, generator):
    coeffs = torch.zeros(40, SIZE)
    coeffs[:, SLICES["id"]] = torch.randn(40, 80, generator=generator)
    coeffs[:, 225] = torch.linspace(-0.5, 0.5, 40)
    projected = face_model.project(face_model(coeffs).vertices).numpy()
    mean, mirror = face_model.mean_shape.view(-1, 3).numpy(), mirror_vertices(face_model)
    keypoints = face_model.keypoints.numpy()
    places = keypoints.copy()
    for landmark in (19, 31, 36):   # a brow, a wing of the nose and a corner of an eye, 2 to 3 mm to the side
        near = np.linalg.norm(mean - (mean[keypoints[landmark]] + (0.02, 0.01, 0)), axis=1).argmin()
        places[[landmark, MIRRORED_LANDMARKS[landmark]]] = near, mirror[near]
    noise = torch.randn(40, 68, 2, generator=generator).numpy()
    found = projected[:, places] + 0.3 * noise
    found[:3] += 20   # the detector has missed these faces
    chosen = choose_keypoints(face_model, found, projected, coeffs[:, 225].numpy())
    distance = 100 * np.linalg.norm(mean[chosen] - mean[places], axis=1)
    assert distance.max() < 1
    assert np.array_equal(chosen[MIRRORED_LANDMARKS], np.where(chosen == mirror[chosen], chosen, mirror[chosen]))


def test_annotated_landmarks_beside_photos_give_a_second_set_of_vertices(face_model, generator, tmp_path):
    coeffs = torch.zeros(6, SIZE)
    coeffs[:, SLICES["id"]] = torch.randn(6, 80, generator=generator)
    trans_params = np.array([300, 400, 0.8, 140, 210])
    mean, mirror = face_model.mean_shape.view(-1, 3).numpy(), mirror_vertices(face_model)
    keypoints = face_model.keypoints.numpy()
    places = keypoints.copy()
    places[4] = np.linalg.norm(mean - (mean[keypoints[4]] + (0, 0.04, 0)), axis=1).argmin()   # 4 mm higher at the jaw
    places[12] = mirror[places[4]]
    vertices = face_model.project(face_model(coeffs).vertices).numpy()
    found, annotated = (np.stack([projection_to_crop(points[at], trans_params) for points in vertices])
                        for at in (keypoints, places))
    work = Work(tmp_path)
    save_arrays(work.crops(0), paths=[str(tmp_path / f"{number}.png") for number in range(6)], landmarks=found,
                trans_params=np.tile(trans_params, (6, 1)))
    save_arrays(work.fits(0, 0), coeffs=coeffs.numpy(), errors=np.zeros(6))
    assert place_annotated_keypoints(face_model, work, 0, 1) is None
    (tmp_path / "landmarks").mkdir()
    annotated[1] += 60   # of another face
    for number in range(5):
        np.savetxt(tmp_path / "landmarks" / f"{number}.txt",
                   flip_y(crop_to_photo(annotated[number], trans_params), trans_params[1]))
    chosen = place_annotated_keypoints(face_model, work, 0, 1)
    assert 100 * np.linalg.norm(mean[chosen] - mean[places], axis=1).max() < 1


def test_the_detector_finds_the_landmarks_of_fitted_faces_drawn_over_photos(face_model):
    crops = np.full((2, CROP_SIZE, CROP_SIZE, 3), 120, np.uint8)
    coeffs = torch.zeros(2, SIZE)
    coeffs[:, 225] = torch.tensor([0.0, 0.3])
    coeffs[:, SLICES["gamma"]].view(2, 3, 9)[:, :, 0] = 0.3
    found, vertices, turned = find_landmarks(face_model, MeshRenderer(), face_detector("mediapipe"), coeffs, crops)
    assert turned == pytest.approx([0, 0.3])
    inner = slice(JAW.stop, None)
    offsets = np.linalg.norm(found - vertices[:, face_model.keypoints.numpy()], axis=2)[:, inner]
    assert offsets.mean() < 3


def test_mirrored_vertices_lie_on_the_other_side(face_model):
    mirror = mirror_vertices(face_model)
    points = face_model.mean_shape.view(-1, 3).numpy()
    assert np.abs(points[mirror] - points * (-1, 1, 1)).max() < 0.05
