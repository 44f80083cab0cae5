"""Faces that are moved onto the landmarks of their photos."""
import numpy as np
import pytest
import torch

from models.coefficients import IDENTITY, SLICES
from models.coordinates import CROP_SIZE
from models.face_model import FaceModel
from models.landmark_fit import AT_ONCE, move_onto_landmarks
from models.landmarks import JAW_ENDS, WITHOUT_JAW


@pytest.fixture(scope="module")
def faces() -> np.ndarray:
    """The coefficients of some more faces than are computed at once."""
    numbers = np.random.default_rng(0)
    coefficients = np.zeros((AT_ONCE + 2, 257), np.float32)
    for name, deviation in {"id": 0.5, "exp": 0.7, "tex": 0.5, "angle": 0.1, "gamma": 0.1, "trans": 0.05}.items():
        coefficients[:, SLICES[name]] = deviation * numbers.standard_normal((len(coefficients), 257))[:, SLICES[name]]
    return coefficients


def landmarks(model: FaceModel, coefficients: np.ndarray) -> np.ndarray:
    return model.landmarks(torch.from_numpy(coefficients)).numpy()


def test_expression_and_pose_come_nearer_to_the_true_ones(face_model, faces):
    numbers = np.random.default_rng(1)
    predicted = faces.copy()
    for name, deviation in {"exp": 0.5, "angle": 0.03, "trans": 0.1}.items():
        predicted[:, SLICES[name]] += deviation * numbers.standard_normal(predicted[:, SLICES[name]].shape)
    found = landmarks(face_model, faces) + numbers.normal(0, 0.5, (len(faces), 68, 2))
    found[:, JAW_ENDS] += 40   # where the outline is found does not matter
    moved = move_onto_landmarks(face_model, predicted, found)

    def errors(coefficients: np.ndarray, name: str) -> float:
        return np.abs(coefficients - faces)[:, SLICES[name]].mean()

    for name, share in (("exp", 0.9), ("angle", 0.7), ("trans", 0.7)):
        assert errors(moved, name) < share * errors(predicted, name), name
    offsets = [np.linalg.norm(landmarks(face_model, c) - found, axis=-1)[:, WITHOUT_JAW].mean()
               for c in (predicted, moved)]
    assert offsets[1] < 0.4 * offsets[0]
    kept = np.r_[IDENTITY, SLICES["gamma"]]
    np.testing.assert_array_equal(moved[:, kept], predicted[:, kept])


def test_a_face_that_agrees_with_its_landmarks_stays(face_model, faces):
    moved = move_onto_landmarks(face_model, faces, landmarks(face_model, faces))
    np.testing.assert_allclose(moved, faces, atol=1e-3)


def test_landmarks_that_cannot_be_right_do_not_tear_the_face_apart(face_model, faces):
    found = np.random.default_rng(2).uniform(0, CROP_SIZE, (len(faces), 68, 2))
    moved = move_onto_landmarks(face_model, faces, found)
    assert np.isfinite(moved).all() and np.abs(moved[:, SLICES["angle"]] - faces[:, SLICES["angle"]]).max() < 1
