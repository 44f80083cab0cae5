"""Reconstruction from Python, in any folder and without a word."""
import runpy

import numpy as np
import pytest
import torch

from datasets.face_finder import FaceFinder
from datasets.photo_folder import PhotoFolder
from datasets.photos import read_photo
from models.coefficients import SLICES
from models.reconstruction import Reconstructor
from tests.helpers import EXAMPLES
from util.files import InputError


@pytest.fixture(scope="module")
def reconstructor():
    return Reconstructor.load("open_face", 20, "cpu", FaceFinder())


@pytest.fixture(scope="module")
def photos():
    """Two photos, and one without a face between them."""
    return [read_photo(EXAMPLES / "astronaut.png"), np.full((50, 80, 3), 200, np.uint8),
            read_photo(EXAMPLES / "grace_hopper.jpg")]


def test_the_examples_run_in_another_folder_and_print_nothing(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    names = runpy.run_module("tests.examples.reconstruct")
    assert names["coefficients"].shape == (2, 64) and names["meshes"].shape[0] == 2
    assert names["results_at_points"][0].coefficients["angle"] == pytest.approx(
        names["results"][0].coefficients["angle"], abs=0.05)
    names = runpy.run_module("tests.examples.optimise")
    angle = SLICES["angle"]
    assert (names["found"][:, angle] - names["wanted"][:, angle]).abs().max() < 0.05
    assert capfd.readouterr() == ("", "")


def test_results_of_arrays_are_those_of_the_files(reconstructor, photos):
    faces = [photo.faces[0] for photo in PhotoFolder([EXAMPLES / "astronaut.png", EXAMPLES / "grace_hopper.jpg"])]
    points = [np.loadtxt(EXAMPLES / "detections" / "astronaut.txt"), None,
              np.loadtxt(EXAMPLES / "detections" / "grace_hopper.txt")]
    first, without_face, second = reconstructor.reconstruct(photos, points, batch_size=1)
    assert without_face is None
    for result, expected in zip((first, second), reconstructor(faces), strict=True):
        np.testing.assert_allclose(result.vertices, expected.vertices, atol=1e-4)
        assert np.array_equal(result.face.crop, expected.face.crop)
    assert reconstructor.reconstruct([]) == [] and reconstructor.reconstruct(photos[1:2]) == [None]


def test_a_fit_gets_the_landmarks_that_it_needs(photos):
    reconstructor = Reconstructor.load("open_face", "0", torch.device("cpu"), FaceFinder(), fit_iters=1,
                                       bfm_model="open_face_model.npz")
    result, = reconstructor.reconstruct(photos[:1], np.loadtxt(EXAMPLES / "detections" / "astronaut.txt")[None])
    assert result.face.landmarks.shape == (68, 2)


@pytest.mark.parametrize("image, points, message", [
    (np.zeros((50, 80, 3)), None, r"image 0 must be \(H, W, 3\) uint8 RGB, not \(50, 80, 3\) float64"),
    (np.zeros((50, 80), np.uint8), None, "image 0 must be"),
    (np.zeros((50, 80, 3), np.uint8), [np.zeros((4, 2))], r"image 0: points must have the shape \(5, 2\) or \(68, 2\)"),
    (np.zeros((50, 80, 3), np.uint8), [np.full((5, 2), np.nan)], "image 0: .*not a number")])
def test_what_cannot_be_reconstructed_is_named(reconstructor, image, points, message):
    with pytest.raises(InputError, match=message):
        reconstructor.reconstruct([image], points)


def test_finding_faces_needs_a_finder(photos):
    with pytest.raises(ValueError, match="FaceFinder"):
        Reconstructor.load("open_face", 20).reconstruct(photos)
