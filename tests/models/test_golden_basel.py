"""A made-up Basel face model through the whole way of its numbers. Extra: the index files of the original, which it
needs, may not be part of this repository."""
import importlib.util
import shutil

import numpy as np
import pytest
import torch

from models.coefficients import split
from models.coordinates import camera_to_world
from models.face_model import FaceModel, rotation
from models.face_model_files import load_face_model_data
from models.renderer import MeshRenderer
from tests.helpers import ROOT

SHARED = ROOT.parent / "shared"
pytestmark = pytest.mark.skipif(not SHARED.exists(), reason="extra: needs the original's index files")


@pytest.fixture(scope="module")
def bfm_folder(tmp_path_factory):
    """01_MorphableModel.mat, Exp_Pca.bin and the index files."""
    script = importlib.util.spec_from_file_location("synthetic_bfm", SHARED / "golden" / "synthetic_bfm.py")
    synthetic = importlib.util.module_from_spec(script)
    script.loader.exec_module(synthetic)
    folder = tmp_path_factory.mktemp("bfm")
    for path in (SHARED / "upstream_data" / "BFM").iterdir():
        shutil.copyfile(path, folder / path.name)
    front = np.load(SHARED / "golden" / "synth_mean_front.npz")["q"] * 5.0
    synthetic.write(str(folder), synthetic.build(front, str(folder)))
    yield folder
    shutil.rmtree(folder)   # 430 MB


@pytest.fixture(scope="module")
def derived(bfm_folder):
    data = load_face_model_data(bfm_folder)
    kept = load_face_model_data(bfm_folder)   # from BFM_model_front.mat
    assert all(np.array_equal(data[name], kept[name]) for name in data)
    return data


@pytest.fixture(scope="module")
def golden():
    return np.load(SHARED / "golden" / "facemodel.npz")


def statistics(array):
    array = np.asarray(array, np.float64)
    return np.array([array.sum(), np.sqrt((array ** 2).sum()), array.min(), array.max()])


def test_the_derived_model(derived):
    golden = np.load(SHARED / "golden" / "bfm_transfer.npz")
    for name, array in derived.items():
        assert array.shape == tuple(golden[f"out_{name}_shape"])
        assert array.dtype == golden[f"out_{name}_dtype"]
        np.testing.assert_allclose(array.ravel()[golden[f"out_{name}_idx"]], golden[f"out_{name}_val"], rtol=1e-6)
        expected = golden[f"out_{name}_sum"]
        np.testing.assert_allclose(statistics(array), expected, rtol=1e-6, atol=1e-6 * expected[1])


def test_the_faces_of_four_vectors(derived, golden):
    model, at = FaceModel(derived), golden["vertex_ids"]
    coeffs = torch.from_numpy(golden["coeffs"])
    parts = split(coeffs)
    face, shape = model(coeffs), model.shape(parts["id"], parts["exp"])
    normals, turn = model.normals(shape), rotation(parts["angle"])
    world = camera_to_world(face.vertices, model.camera_d)
    for name, values, tolerance in (
            ("shape", shape, 2e-6), ("shape_world", world, 2e-6), ("vertex_cam", face.vertices, 2e-6),
            ("proj", model.project(face.vertices), 2e-4), ("texture", face.albedo, 2e-6), ("norm", normals, 1e-3),
            ("norm_rot", normals @ turn, 1e-3), ("color", face.color, 2e-3)):
        assert np.abs(values[:, at].numpy() - golden[name]).max() <= tolerance, name
        found = [[statistics(item[:, axis]) for axis in range(item.shape[1])] for item in values.numpy()]
        expected = golden[f"{name}_stat"]
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max(), err_msg=name)
    np.testing.assert_allclose(turn, golden["rotation"], atol=1e-6)
    np.testing.assert_allclose(face.landmarks, golden["landmark"], atol=2e-4)


@pytest.mark.parametrize("name, output, step", [("vertex", "vertices", 0.01), ("color", "color", 0.013),
                                                ("landmark", "landmarks", 1)])
def test_gradients(derived, golden, name, output, step):
    """Of a sum that weighs each vertex or landmark by sine and cosine of its number."""
    coeffs = torch.from_numpy(golden["coeffs"]).requires_grad_()
    values = getattr(FaceModel(derived)(coeffs), output)
    i = step * torch.arange(values.shape[1])
    phases = [i.cos(), i.sin()] if name == "landmark" else [i.cos(), (i + 1).sin(), (i + 2).cos()]
    total = (values * torch.stack(phases, -1)).sum()
    assert total.item() == pytest.approx(float(golden[f"L_{name}"]), rel=1e-4)
    gradient, = torch.autograd.grad(total, coeffs)
    expected = golden[f"grad_{name}"]
    assert np.abs(gradient.numpy() - expected).max() <= 1e-3 * np.abs(expected).max()


def test_the_pictures_of_four_vectors(derived, golden):
    """Drawn by another rasteriser, which rounds otherwise: single pixels at edges may show another triangle."""
    model, pictures = FaceModel(derived), np.load(SHARED / "golden" / "render_stub.npz")
    renderer = MeshRenderer()
    with torch.no_grad():
        face = model(torch.from_numpy(golden["coeffs"]))
        mask, depth, image = (x.numpy() for x in renderer(face.vertices, model.tri, face.color))
        inner = renderer(face.vertices, model.inner_tri)[0].numpy()
    expected, expected_inner = (np.unpackbits(pictures[name], count=mask.size).reshape(mask.shape)
                                for name in ("mask_bits", "mask_correct_front_bits"))
    assert (mask != expected).mean() < 1e-3
    assert (inner != expected_inner).mean() < 1e-3
    both = (mask > 0) & (expected > 0)
    error = np.abs(image - pictures["image_f16"])[np.broadcast_to(both, image.shape)]
    assert np.quantile(error, 0.999) < 2e-3
    fourth = np.s_[..., ::4, ::4]
    assert np.abs(depth[fourth] - pictures["depth_single_f32"])[both[fourth]].max() < 5e-3
