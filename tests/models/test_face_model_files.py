"""Face models from files, sound ones and broken ones, and which of them is taken."""
import numpy as np
import pytest
import torch
from scipy.io import savemat

from models.checkpoints import trained_with
from models.face_model import FaceModel
from models.face_model_files import choose_face_model, load_face_model_data
from util.files import InputError


@pytest.fixture
def arrays():
    """A face model of 30 vertices with fewer components than usual."""
    random = np.random.default_rng(0)
    return {
        "meanshape": random.random((1, 90)), "meantex": random.random((1, 90)), "idBase": random.random((90, 10)),
        "exBase": random.random((90, 5)), "texBase": random.random((90, 3)), "tri": random.integers(1, 31, (40, 3)),
        "point_buf": random.integers(1, 42, (30, 8)), "keypoints": random.integers(1, 31, (1, 68)),
        "frontmask2_idx": np.arange(1, 21)[:, None], "tri_mask2": random.integers(1, 21, (9, 3)),
        "skinmask": np.ones((1, 30))}


@pytest.fixture
def load(tmp_path):
    def load_model(arrays):
        savemat(tmp_path / "model.mat", arrays)
        return load_face_model_data(tmp_path, "model.mat")
    return load_model


def test_a_model_of_any_size_is_read(arrays, load):
    model = FaceModel(load(arrays))
    assert model(torch.zeros(1, 257)).vertices.shape == (1, 30, 3)


@pytest.mark.parametrize("name, change, message", [
    ("idBase", None, "lacks idBase and holds meanshape, meantex, exBase"),
    ("meanshape", lambda array: array[:, :87], "meanshape has values of 29 vertices, point_buf of 30"),
    ("texBase", lambda array: array[:60], "texBase has values of 20 vertices"),
    ("skinmask", lambda array: array[:, 1:], "skinmask has values of 29 vertices"),
    ("tri", lambda array: array - 1, "the indices in tri must be from 1 to 30"),
    ("point_buf", lambda array: array + 1, "the indices in point_buf must be from 1 to 41"),
    ("keypoints", lambda array: array[:, :5], "keypoints is 1 x 5, not 1 x 68"),
    ("keypoints", lambda array: array * 1000, "the indices in keypoints must be from 1 to 30"),
    ("tri_mask2", lambda array: array + 1, "the indices in tri_mask2 must be from 1 to 20"),
    ("frontmask2_idx", lambda array: array + 11, "the indices in frontmask2_idx must be from 1 to 30"),
    ("exBase", lambda array: array * np.nan, "exBase has values that are not finite"),
    ("meantex", lambda array: "red", "meantex must be numbers"),
    ("tri", lambda array: {"a": array}, "tri must be numbers"),
    ("idBase", lambda array: 1j * array, "idBase must be numbers")])
def test_arrays_that_are_no_face_model_are_named(arrays, load, name, change, message):
    array = arrays.pop(name)
    if change:
        arrays[name] = change(array)
    with pytest.raises(InputError, match=rf"model\.mat.*{message}"):
        load(arrays)


@pytest.mark.parametrize("checkpoint", [
    {"net_recon": {}}, {"net_recon": {}, "options": {"bfm_model": "BFM_model_front.mat"}},
    {"net_recon": {}, "options": None}])
def test_a_network_of_the_basel_model_is_not_taken_for_one_of_the_open_model(checkpoint, tmp_path):
    with pytest.raises(InputError, match=r"(?s)BFM_model_front.mat is missing.*--bfm_model=open_face_model.npz.*"
                       "Exp_Pca.bin is missing.*get it from"):
        choose_face_model(tmp_path, None, trained_with(checkpoint))
    assert choose_face_model(tmp_path, "open_face_model.npz", trained_with(checkpoint)) == "open_face_model.npz"
    (tmp_path / "BFM_model_front.mat").touch()
    assert choose_face_model(tmp_path, None, trained_with(checkpoint)) == "BFM_model_front.mat"


def test_a_free_model_is_taken_where_no_other_is_wanted(tmp_path):
    assert choose_face_model(tmp_path) == "open_face_model.npz"
    with pytest.raises(InputError, match="BFM_model_front.mat is missing"):
        choose_face_model(tmp_path, "BFM_model_front.mat")
    (tmp_path / "photo_face_model.npz").touch()
    assert choose_face_model(tmp_path) == "photo_face_model.npz"
