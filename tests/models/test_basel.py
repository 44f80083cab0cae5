"""The Basel face model derived from its files, of which made-up ones take the place here."""
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.io import savemat

from models.basel import EXPRESSION_VERTICES, VERTICES
from models.face_model import FaceModel
from models.face_model_files import load_face_model_data
from models.records import Origin
from tests.benchmarks import now
from tests.helpers import ROOT, not_on_windows
from util.files import InputError

FRONT = 200   # vertices of the made-up face
DERIVED, MORPHABLE, EXPRESSIONS = "BFM_model_front.mat", "01_MorphableModel.mat", "Exp_Pca.bin"


def separable(rows, columns, seed):
    """(rows, columns) float32, quickly made: the product of a number a row and one a column."""
    random = np.random.default_rng(seed)
    return np.outer(random.random(rows, np.float32), random.random(columns, np.float32))


@pytest.fixture(scope="module")
def parts():
    random = np.random.default_rng(0)
    trimmed = np.sort(random.choice(VERTICES, EXPRESSION_VERTICES, replace=False)) + 1
    return {
        "shapePC": separable(3 * VERTICES, 199, 1), "shapeEV": 8e5 * random.random((199, 1)),
        "shapeMU": 1e5 * separable(3 * VERTICES, 1, 2), "texPC": separable(3 * VERTICES, 199, 3),
        "texEV": 5e3 * random.random((199, 1)), "texMU": 255 * separable(3 * VERTICES, 1, 4),
        "tl": random.integers(1, VERTICES + 1, (500, 3)),
        "expPC": separable(79, 3 * EXPRESSION_VERTICES, 5), "std": 1e5 * random.random(79),
        "trimIndex": trimmed[:, None], "idx": random.integers(1, EXPRESSION_VERTICES + 1, (FRONT, 1)),
        "tri": random.integers(1, FRONT + 1, (300, 3)), "point_buf": random.integers(1, 302, (FRONT, 8)),
        "keypoints": random.integers(1, FRONT + 1, (1, 68)), "frontmask2_idx": np.arange(1, 101)[:, None],
        "tri_mask2": random.integers(1, 101, (50, 3)), "skinmask": np.ones((1, FRONT))}


@pytest.fixture(scope="module")
def original(parts, tmp_path_factory):
    """A folder with the files that the model is derived from."""
    folder = tmp_path_factory.mktemp("original")

    def save(name, *keys):
        savemat(folder / name, {key: parts[key] for key in keys})

    save(MORPHABLE, "shapePC", "shapeEV", "shapeMU", "texPC", "texEV", "texMU", "tl")
    save("BFM_front_idx.mat", "idx")
    save("BFM_exp_idx.mat", "trimIndex")
    save("facemodel_info.mat", "tri", "point_buf", "keypoints", "frontmask2_idx", "tri_mask2", "skinmask")
    np.savetxt(folder / "std_exp.txt", parts["std"][None])
    with (folder / EXPRESSIONS).open("wb") as file:
        np.array([79], "<i4").tofile(file)
        np.full(3 * EXPRESSION_VERTICES, 123, "<f4").tofile(file)   # the mean, which does not count
        parts["expPC"].tofile(file)
    yield folder
    shutil.rmtree(folder)   # 300 MB


@pytest.fixture
def folder(original, tmp_path):
    """The same files, to take away and replace some."""
    for path in original.iterdir():
        (tmp_path / path.name).symlink_to(path)
    return tmp_path


@pytest.fixture
def replace(folder):
    def replace_file(name, content=None, **variables):
        (folder / name).unlink(missing_ok=True)
        if content is None:
            savemat(folder / name, variables)
        else:
            (folder / name).write_bytes(content)
    return replace_file


def test_the_numbers_of_each_vertex(parts, folder):
    model = load_face_model_data(folder)
    for vertex in (0, 77, FRONT - 1):
        with_expression = parts["idx"][vertex, 0] - 1
        whole = parts["trimIndex"][with_expression, 0] - 1
        here, there, expression = (np.s_[3 * v:3 * v + 3] for v in (vertex, whole, with_expression))
        for name, expected in (
                ("meanshape", parts["shapeMU"][there].T / 1e5), ("meantex", parts["texMU"][there].T),
                ("idBase", parts["shapePC"][there, :80] * parts["shapeEV"][:80, 0] / 1e5),
                ("exBase", parts["expPC"][:64, expression].T * parts["std"][:64] / 1e5),
                ("texBase", parts["texPC"][there, :80] * parts["texEV"][:80, 0])):
            found = model[name][:, here] if name.startswith("mean") else model[name][here]
            np.testing.assert_allclose(found, expected, rtol=1e-6, err_msg=name)
    for name in ("tri", "point_buf", "keypoints", "frontmask2_idx", "tri_mask2", "skinmask"):
        assert np.array_equal(model[name], parts[name])


def test_the_whole_head_has_the_same_shape_as_the_face(parts, folder):
    model = FaceModel(load_face_model_data(folder))
    reconstructor = SimpleNamespace(face_model=model, origin=Origin(DERIVED))
    shape, triangles, seven = now.full_basel_mesh(reconstructor, folder)
    identity = np.float32(np.random.default_rng(0).normal(size=80))
    head = shape(SimpleNamespace(coefficients={"id": identity}))
    face = model.shape(torch.from_numpy(identity)[None], torch.zeros(1, 64))[0].numpy()
    assert head.shape == (VERTICES, 3) and np.array_equal(triangles, parts["tl"] - 1)
    keypoints = parts["keypoints"][0, [36, 39, 42, 45, 33, 48, 54]] - 1
    whole = parts["trimIndex"][parts["idx"][:, 0] - 1, 0] - 1
    middle = parts["shapeMU"].reshape(-1, 3)[whole].mean(0) / 1e5   # which the face model subtracts
    assert head[seven] == pytest.approx(face[keypoints] + middle, rel=1e-4)
    reconstructor.origin = Origin("open_face_model.npz")
    with pytest.raises(InputError, match="Basel Face Model 2009, but the face model is open_face_model.npz"):
        now.full_basel_mesh(reconstructor, folder)


def test_it_is_kept_and_read_again(folder):
    derived = load_face_model_data(folder)
    time = (folder / DERIVED).stat().st_mtime_ns
    (folder / MORPHABLE).unlink()
    kept = load_face_model_data(folder)
    assert all(np.array_equal(kept[name], derived[name]) for name in derived)
    assert (folder / DERIVED).stat().st_mtime_ns == time


@not_on_windows
def test_where_it_cannot_be_kept_it_is_used_nevertheless(folder):
    import resource
    before = sorted(folder.iterdir())
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))   # as a full disk
    try:
        with pytest.warns(UserWarning, match=f"{DERIVED} cannot be saved"):
            model = load_face_model_data(folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert model["idBase"].shape == (3 * FRONT, 80)
    assert sorted(folder.iterdir()) == before


@pytest.mark.parametrize("name, source", [
    (MORPHABLE, "faces.dmi.unibas.ch"), (EXPRESSIONS, "Juyong/3DFace"), ("std_exp.txt", "Deep3DFaceRecon_pytorch"),
    ("BFM_front_idx.mat", "folder BFM"), ("BFM_exp_idx.mat", "folder BFM"), ("facemodel_info.mat", "folder BFM")])
def test_a_missing_file_is_named_with_its_source(folder, name, source):
    (folder / name).unlink()
    with pytest.raises(InputError, match=f"(?s)--bfm_model.*{name} is missing.*{source}"):
        load_face_model_data(folder)


def test_without_the_gated_files_the_open_model_is_taken(folder):
    (folder / "open_face_model.npz").symlink_to(ROOT / "BFM" / "open_face_model.npz")
    (folder / MORPHABLE).unlink()
    (folder / EXPRESSIONS).unlink()
    with pytest.warns(UserWarning, match="open_face_model.npz is used.*01_Morph.*Exp_Pca"):
        assert len(load_face_model_data(folder)["point_buf"]) > 30_000
    assert not (folder / DERIVED).exists()


def test_the_models_of_2017_and_2019_are_told_apart(folder, replace):
    hdf5 = b"\x89HDF\r\n\x1a\n" + bytes(2000)
    replace(MORPHABLE, hdf5)
    with pytest.raises(InputError, match=f"{MORPHABLE} cannot be read: it is an HDF5 file"):
        load_face_model_data(folder)
    (folder / MORPHABLE).rename(folder / "model2019_bfm.h5")
    with pytest.raises(InputError, match="(?s)model2019_bfm.h5 is not the Basel Face Model 2009.*"
                                         "01_MorphableModel.mat is missing"):
        load_face_model_data(folder)
    with pytest.raises(InputError, match="HDF5"):
        load_face_model_data(folder, "model2019_bfm.h5")


@pytest.mark.parametrize("name, length, message", [
    (MORPHABLE, 10_000_000, "cannot be read: it is incomplete"), (MORPHABLE, 0, "cannot be read"),
    (EXPRESSIONS, 10_000_000, "is incomplete: 10000000 bytes"), (EXPRESSIONS, 3, "broken or another file"),
    ("std_exp.txt", 300, "numbers, not 79"), ("facemodel_info.mat", 1000, "cannot be read"),
    ("BFM_front_idx.mat", 150, "cannot be read")])
def test_a_truncated_file_is_named(original, folder, replace, name, length, message):
    with (original / name).open("rb") as file:
        replace(name, file.read(length))
    with pytest.raises(InputError, match=f"{name} .*{message}"):
        load_face_model_data(folder)
    assert not (folder / DERIVED).exists()


def test_another_dictionary_is_named(folder, replace):
    replace(MORPHABLE, shapeMU=np.zeros((9, 1)), w=np.zeros((9, 1)))
    with pytest.raises(InputError, match=f"{MORPHABLE} is another file: it lacks shapePC, .* and holds shapeMU, w"):
        load_face_model_data(folder)


def test_another_number_of_vertices_is_named(parts, folder, replace):
    replace(MORPHABLE, **{name: parts[name] for name in ("shapeEV", "texPC", "texEV", "shapeMU", "texMU")},
            shapePC=np.zeros((3 * 53215, 199), np.float32))
    with pytest.raises(InputError, match=f"{MORPHABLE}.*shapePC is 159645 x 199, not 160470 x 199"):
        load_face_model_data(folder)


def test_index_files_of_another_model_are_named(parts, folder, replace):
    replace("BFM_front_idx.mat", idx=parts["idx"] + EXPRESSION_VERTICES)
    with pytest.raises(InputError, match="BFM_front_idx.mat.*the indices in idx must be from 1 to 53215"):
        load_face_model_data(folder)
    replace("BFM_front_idx.mat", idx=parts["idx"][:-1])
    with pytest.raises(InputError, match="of 199 vertices, point_buf of 200"):
        load_face_model_data(folder)
    assert not (folder / DERIVED).exists()
