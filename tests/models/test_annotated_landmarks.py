"""Landmarks of a face model that knows where people annotate them, and where a detector finds them."""
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import loadmat

from models.coefficients import SIZE, SLICES
from models.coordinates import CROP_SIZE, flip_y, projection_to_crop
from models.face_files import write_face
from models.face_model import FaceModel
from models.face_model_files import load_face_model_data
from models.fitting import Fitter
from models.landmarks import MIRRORED_LANDMARKS
from models.outputs.details import FaceDetails, OutputSettings
from models.reconstruction import Reconstructor
from models.records import AlignedFace, Origin
from models.renderer import MeshRenderer
from models.report.parts import face_numbers
from models.simplification import simplify
from tests.helpers import CPU, ROOT

UNCHANGED = np.array([CROP_SIZE, CROP_SIZE, 1, CROP_SIZE / 2, CROP_SIZE / 2])   # the crop is the photo


@pytest.fixture(scope="module")
def model() -> FaceModel:
    return FaceModel(load_face_model_data(ROOT / "BFM", "photo_face_model.npz"))


@pytest.fixture(scope="module")
def coefficients() -> torch.Tensor:
    values = 0.5 * torch.randn(1, SIZE, generator=torch.Generator().manual_seed(3))
    values[:, SLICES["angle"]], values[:, SLICES["trans"]] = torch.tensor([0.1, -0.2, 0.1]), 0.02
    values[:, SLICES["gamma"]] *= 0.2
    return values


@pytest.fixture(scope="module")
def face(model, coefficients) -> AlignedFace:
    """The face as a detector finds it in its render."""
    with torch.no_grad():
        drawn = model(coefficients)
        crop = MeshRenderer()(drawn.vertices, model.tri, drawn.color)[2][0].clamp(0, 1)
    found = projection_to_crop(drawn.landmarks[0].numpy(), UNCHANGED)
    return AlignedFace(Path("face.png"), "face", "face", (255 * crop).byte().permute(1, 2, 0).numpy(), UNCHANGED, found,
                       np.full((CROP_SIZE, CROP_SIZE), 255, np.uint8))


def test_both_kinds_lie_near_each_other_and_on_both_sides_alike(model):
    mean = model.mean_shape.view(-1, 3)
    distance = 100 * (mean[model.annotated_keypoints] - mean[model.keypoints]).norm(dim=1)   # mm
    assert 1 < distance.mean() < 5 and distance.max() < 15
    annotated = mean[model.annotated_keypoints]
    assert (annotated[MIRRORED_LANDMARKS] * torch.tensor([-1, 1, 1]) - annotated).norm(dim=1).max() < 0.05
    small = simplify(model, 6000)
    assert (small.mean_shape.view(-1, 3)[small.annotated_keypoints] - annotated).norm(dim=1).max() < 0.2


def test_a_fit_follows_the_detector_and_files_have_the_landmarks_of_annotations(model, coefficients, face, tmp_path):
    renderer = MeshRenderer()
    result, = Reconstructor(model, renderer, None, Fitter(model, renderer), 4, CPU.device)([face])
    fitted = torch.from_numpy(np.concatenate(list(result.coefficients.values())))[None]
    annotated, keypoints = (projection_to_crop(model.landmarks(fitted, vertices)[0].numpy(), UNCHANGED)
                            for vertices in (model.annotated_keypoints, model.keypoints))

    def distance(points):
        return np.linalg.norm(points - face.landmarks, axis=1).mean()

    assert distance(keypoints) < 0.5 * distance(annotated)
    settings = OutputSettings(model, Origin(), None)
    write_face(tmp_path, result, ["mat", "coeffs", "landmarks"], settings)
    written = [loadmat(tmp_path / "face.mat")["lm68"][0], np.load(tmp_path / "face.npz")["landmarks"],
               np.loadtxt(tmp_path / "face_landmarks.txt")]
    for points in written:
        assert np.abs(points - flip_y(annotated, CROP_SIZE)).max() < 0.02
    assert face_numbers(FaceDetails(result, settings))["landmarks"] == pytest.approx(distance(keypoints), abs=1e-3)


def test_a_model_without_annotated_keypoints_has_the_same_vertices_for_both(face_model):
    assert torch.equal(face_model.annotated_keypoints, face_model.keypoints)
