"""What makes a fit good: where it looks, where it ends, and what holds it where a photo tells nothing."""
import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import avg_pool2d

from datasets.face_finder import attention_mask
from datasets.photo_folder import PhotoFolder
from models.coefficients import SIZE, SLICES, split
from models.coordinates import CROP_SIZE, flip_y, projection_to_crop, turn_points, turn_trans_params
from models.fitting import FIT_WEIGHTS, Fitter
from models.gauss_newton import GaussNewton
from models.landmarks import LOWER_LIDS, UPPER_LIDS
from models.losses import gamma_loss, reflectance_loss
from models.recognition import choose_recognition
from models.reconstruction import Reconstructor
from models.records import AlignedFace
from models.renderer import MeshRenderer
from tests.helpers import CPU, EXAMPLES

BLUE = (30, 60, 220)   # no colour of skin
UNCHANGED = np.array([CROP_SIZE, CROP_SIZE, 1, CROP_SIZE / 2, CROP_SIZE / 2])   # the crop is the photo


@pytest.fixture
def truth(generator):
    """Coefficients of two faces in coloured light."""
    spread = {"id": 0.5, "exp": 0.3, "tex": 0.5, "angle": 0.1, "gamma": 0.15, "trans": 0.02}
    return torch.cat([std * torch.randn(2, SLICES[name].stop - SLICES[name].start, generator=generator)
                      for name, std in spread.items()], 1)


@pytest.fixture
def photos(face_model, truth):
    """(2, 3, 224, 224) RGB 0..1, over grey."""
    face = face_model(truth)
    mask, _, image = MeshRenderer()(face.vertices, face_model.tri, face.color)
    return (image + 0.4 * (1 - mask)).clamp(0, 1)


@pytest.fixture
def landmarks(face_model, truth):
    return face_model.landmarks(truth)


@pytest.fixture(scope="module")
def fitter(face_model):
    return Fitter(face_model, MeshRenderer())


def test_what_lies_over_the_face_moves_a_fit_by_its_attention(face_model, photos, landmarks):
    reconstructor = Reconstructor(face_model, MeshRenderer(), None, Fitter(face_model, MeshRenderer()), 4, CPU.device)
    patch = slice(110, 134), slice(84, 108)   # of a cheek

    def fit(covered, attention):
        crops = (255 * photos).byte().permute(0, 2, 3, 1).numpy().copy()
        if covered:
            crops[:, *patch] = BLUE
        mask = np.full((CROP_SIZE, CROP_SIZE), 255, np.uint8)
        mask[patch] = attention
        faces = [AlignedFace(Path(), "", "", crop, UNCHANGED, points.numpy(), mask)
                 for crop, points in zip(crops, landmarks, strict=True)]
        return reconstructor.coefficients(faces, torch.from_numpy(crops).permute(0, 3, 1, 2) / 255)

    assert torch.equal(fit(True, 0), fit(False, 0))
    change = split(fit(True, 255) - fit(False, 255))
    assert all(change[name].abs().amax(1).min() > 0.05 for name in ("id", "exp", "tex"))


def color_loss(stage, coeffs, photos, attention):
    """The loss (B,) of a stage of the fit without the term of the landmarks, with a gradient."""
    pictures, color_share = stage.pictures(photos, attention)
    with torch.no_grad():
        view = stage.view(coeffs)
        areas = stage.seen_areas(coeffs, view, attention.shape[-1])
    return stage.loss(coeffs, stage.compare_colors(coeffs, view, pictures, areas, color_share))


def test_no_face_of_a_batch_is_worse_than_at_the_start(fitter, photos, landmarks, truth):
    start = truth.clone()
    start[1, SLICES["gamma"]] += 0.3
    attention = torch.ones(2, 1, CROP_SIZE, CROP_SIZE)
    found = fitter.fine(start, photos, landmarks, torch.ones(2, 68), attention, 2)
    before, after = (color_loss(fitter.fine, coeffs, photos, attention) for coeffs in (start, found))
    assert after[0] <= before[0]
    assert after[1] < before[1] / 2


def test_albedo_and_light_end_where_the_losses_hold_each_other_in_balance(face_model, photos, truth, generator):
    weights = FIT_WEIGHTS | {"reg": 1, "tex": 0.01, "reflc": 5}   # all of them strong enough to be seen
    photos = avg_pool2d(photos, 2)
    photos = (photos + 0.1 * torch.randn(photos.shape, generator=generator)).clamp(0, 1)   # no face fits it exactly
    attention = torch.linspace(0, 1, CROP_SIZE // 2).expand(2, 1, CROP_SIZE // 2, CROP_SIZE // 2)
    stages = {loss: GaussNewton(face_model, MeshRenderer(), weights | ({loss: 0} if loss else {}), 1500)
              for loss in ("", "color", "tex", "reflc", "gamma")}
    found = stages[""].fit_colors(truth, photos, attention, 30)

    def pull(without, name):
        """Lengths (2,) of the loss's gradients."""
        coeffs = found.clone().requires_grad_()
        color_loss(stages[without], coeffs, photos, attention).sum().backward()
        return split(coeffs.grad)[name].norm(dim=1)

    for name, losses in (("tex", ("color", "tex", "reflc")), ("gamma", ("color", "gamma"))):
        for loss in losses:
            assert (pull("", name) < 0.1 * pull(loss, name)).all(), (name, loss)


def test_a_fit_of_colors_keeps_shape_and_pose_and_finds_albedo_and_light(fitter, photos, truth):
    attention = torch.ones(2, 1, CROP_SIZE, CROP_SIZE)
    start = truth.clone()
    start[:, SLICES["tex"]] = start[:, SLICES["gamma"]] = 0
    found = fitter.fine.fit_colors(start, photos, attention, 4)
    for name in ("id", "exp", "angle", "trans"):
        assert torch.equal(split(found)[name], split(truth)[name])
    far, near = (color_loss(fitter.fine, coeffs, photos, attention) for coeffs in (start, found))
    assert (near < far / 4).all()


def test_the_light_on_a_grey_photo_has_no_color_but_the_skin_has(fitter, face_model, photos, landmarks):
    grey = photos.mean(1, keepdim=True).expand_as(photos)
    found = split(fitter(torch.zeros(2, SIZE), grey, landmarks, torch.ones(2, 1, CROP_SIZE, CROP_SIZE), 8))
    assert gamma_loss(found["gamma"]) < 1e-4
    red, green, blue = face_model.albedo(found["tex"])[:, face_model.skin_mask > 0].mean((0, 1))
    assert red > 1.1 * green > 1.1 * blue


def test_the_tensors_of_a_fit_follow_its_module(face_model):
    stage = GaussNewton(copy.deepcopy(face_model), MeshRenderer(), FIT_WEIGHTS, 1500).to("meta")
    assert all(buffer.is_meta for buffer in stage.buffers())


def test_light_from_where_no_pixel_faces_stays_small(fitter, photos):
    attention = torch.zeros(2, 1, CROP_SIZE, CROP_SIZE)
    attention[..., 100:102, 110:112] = 1
    found = fitter.fine.fit_colors(torch.zeros(2, SIZE), photos, attention, 4)
    assert 0 < split(found)["gamma"].abs().max() < 1


def test_to_a_recognition_network_the_fit_becomes_the_person_of_the_photo(face_model):
    face = PhotoFolder([EXAMPLES / "astronaut.png"], for_fit=True)[0].faces[0]
    recognition, weight = choose_recognition("dlib", Path())
    distances = []
    for network in (None, recognition):
        fitter = Fitter(face_model, MeshRenderer(), network, FIT_WEIGHTS | {"feat": weight})
        result, = Reconstructor(face_model, MeshRenderer(), None, fitter, 10, CPU.device)([face])
        pictures = torch.from_numpy(np.stack([face.crop, result.overlay])).permute(0, 3, 1, 2) / 255
        of_photo, of_render = recognition(pictures, torch.from_numpy(face.landmarks).expand(2, -1, -1).float())
        distances.append((of_photo - of_render).norm())
    assert distances[1] < 0.9 * distances[0]


def test_landmarks_alone_give_the_pose(fitter, face_model, photos, landmarks):
    start = torch.zeros(2, SIZE)
    found = fitter(start, photos, landmarks, torch.zeros(2, 1, CROP_SIZE, CROP_SIZE), 10)
    far, near = ((face_model.landmarks(coeffs) - landmarks).norm(dim=2).mean(1) for coeffs in (start, found))
    assert (near < far / 5).all(), (near, far)


def test_closed_eyes_close(face_model, photos, landmarks):
    lids = [[*UPPER_LIDS], [*LOWER_LIDS]]
    closed = landmarks.clone()
    closed[:, lids] = landmarks[:, lids].mean(1, keepdim=True)

    def opening(weights):
        fitter = Fitter(face_model, MeshRenderer(), None, weights)
        found = fitter(torch.zeros(2, SIZE), photos, closed, torch.zeros(2, 1, CROP_SIZE, CROP_SIZE), 10)
        upper, lower = face_model.landmarks(found)[:, lids].unbind(1)
        return (upper - lower).norm(dim=-1).mean(1)

    assert (opening(FIT_WEIGHTS) < opening(FIT_WEIGHTS | {"close": 0}) / 1.5).all()


@pytest.mark.parametrize("trans_params, turns", [
    ((500, 400, 0.63, 251.7, 204.2), 0), ((331, 287, 1.37, 160.1, 140.9), 0), ((500, 400, 0.63, 251.7, 204.2), 1)])
def test_a_fit_puts_the_landmarks_on_the_pixels_that_show_them(face_model, photos, landmarks, trans_params, turns):
    crops = (255 * photos).byte().permute(0, 2, 3, 1).numpy()
    nowhere = np.zeros((CROP_SIZE, CROP_SIZE), np.uint8)

    def aligned(crop, rendered):
        """The face lies in the photo where the crop shows it rendered, and is upright after so many quarter turns."""
        given = turn_points(projection_to_crop(rendered, trans_params), (CROP_SIZE, CROP_SIZE), -turns)
        return AlignedFace(Path(), "", "", np.rot90(crop, -turns), turn_trans_params(trans_params, -turns), given,
                           nowhere, turns)

    faces = [aligned(crop, rendered.double().numpy()) for crop, rendered in zip(crops, landmarks, strict=True)]
    results = Reconstructor(face_model, MeshRenderer(), None, Fitter(face_model, MeshRenderer()), 8, CPU.device)(faces)
    for face, result, rendered in zip(faces, results, landmarks, strict=True):
        assert np.abs((result.landmarks - face.landmarks).mean(0)).max() < 0.1
        coeffs = torch.cat([torch.from_numpy(part) for part in result.coefficients.values()])
        # Projections turn about (112, 112), the middle of a picture of 225 px.
        expected = turn_points(rendered, (CROP_SIZE + 1, CROP_SIZE + 1), -turns)
        assert (face_model.landmarks(coeffs[None])[0] - expected).mean(0).abs().max() < 0.1


def test_what_a_photo_does_not_show_goes_to_the_mean(fitter, face_model, photos, landmarks, truth):
    found = fitter(truth, photos, landmarks, torch.zeros(2, 1, CROP_SIZE, CROP_SIZE), 5)

    def distances(coeffs):
        c = split(coeffs)
        return torch.stack([c["id"].norm(), c["exp"].norm(), gamma_loss(c["gamma"]),
                            reflectance_loss(face_model.albedo(c["tex"]), face_model.skin_mask)])

    assert (distances(found) < 0.9 * distances(truth)).all()


def test_a_photo_without_skin_leaves_a_plausible_face(fitter, face_model, landmarks):
    photos = torch.full((2, 3, CROP_SIZE, CROP_SIZE), 0.4)
    crops = (255 * photos).byte().permute(0, 2, 3, 1).numpy()
    attention = np.stack([attention_mask(crop, points) for crop, points in zip(crops, landmarks.numpy(), strict=True)])
    found = split(fitter(torch.zeros(2, SIZE), photos, landmarks, torch.from_numpy(attention)[:, None] / 255, 10))
    assert all(found[name].abs().max() < 5 for name in ("id", "exp", "tex"))
    albedo = face_model.albedo(found["tex"])
    assert albedo.min() > -0.1 and albedo.max() < 1.2


def test_attention_is_on_the_features_less_on_skin_and_none_on_what_covers_it():
    example = PhotoFolder([EXAMPLES / "astronaut.png"], for_fit=True)[0].faces[0]
    features = flip_y(example.landmarks[17:], CROP_SIZE).round().astype(int)
    chin = slice(176, 188), slice(90, 125)
    assert example.attention[*features.T[::-1]].min() == 255
    assert 50 < np.median(example.attention[chin]) < 100
    crop = example.crop.copy()
    crop[chin] = BLUE
    assert attention_mask(crop, example.landmarks)[chin].max() < 3
