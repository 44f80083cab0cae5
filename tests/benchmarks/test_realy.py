"""Meshes and keypoints for REALY."""
import json

import numpy as np
import pytest
import torch

from models.face_model import FaceModel
from models.simplification import simplify
from tests.benchmarks import realy
from tests.benchmarks.meshes import read_obj
from tests.benchmarks.registration import points_at
from tests.helpers import EXAMPLES
from util.files import InputError
from util.obj_files import write_obj


@pytest.fixture(scope="module")
def small(face_model) -> FaceModel:
    """The open face model with another mesh."""
    return simplify(face_model, 20000)


@pytest.fixture(scope="module")
def keypoints(small) -> tuple[np.ndarray, np.ndarray]:
    """85 keypoints of that mesh: its 68 landmarks, and 17 points inside triangles of the cheeks."""
    tri, mean = small.tri.numpy(), small.mean_shape.view(-1, 3).numpy()
    landmarks = [np.argwhere(tri == vertex)[0] for vertex in small.keypoints.numpy()]
    centers = mean[tri].mean(1)
    cheeks = np.flatnonzero((abs(abs(centers[:, 0]) - .4) < .15) & (abs(centers[:, 1]) < .15) & (centers[:, 2] > 0))
    numbers = np.array([triangle for triangle, _ in landmarks] + list(cheeks[::len(cheeks) // 17][:17]))
    weights = np.full((85, 3), 1 / 3)
    weights[:68] = np.eye(3)[[corner for _, corner in landmarks]]
    return numbers, weights


@pytest.fixture(scope="module")
def data(small, keypoints, tmp_path_factory):
    """The folder `data` of REALY, where a person's face in that mesh takes the place of Deep3D.obj, in mm."""
    folder = tmp_path_factory.mktemp("data")
    identity = .6 * torch.randn(1, 80, generator=torch.Generator().manual_seed(0))
    shape = small.shape(identity, torch.zeros(1, 64))[0].numpy()
    write_obj(folder / "Deep3D.obj", 100 * shape, None, small.tri.numpy())
    numbers, weights = keypoints
    rows = [[int(number), *pair[:2]] for number, pair in zip(numbers, weights.tolist(), strict=True)]
    (folder / "Deep3D.txt").write_text(json.dumps(rows))
    return folder


def run(monkeypatch, *arguments) -> int:
    monkeypatch.setattr("sys.argv", ["realy.py", *map(str, arguments)])
    return realy.main()


def test_keypoints_are_found_on_another_mesh(data, small, keypoints, monkeypatch, tmp_path, capsys):
    out = tmp_path / "out"
    assert run(monkeypatch, "keypoints", "--realy", data, "--out", out, "--bfm_model=open_face_model.npz",
               "--picture", out / "points.png") == 0
    assert "own landmarks without the jaw: mean 0." in capsys.readouterr().out
    found = points_at(*realy.read_template(out, "open_face_model"))   # on the mean face, mm
    true = 100 * points_at(small.mean_shape.view(-1, 3).numpy(), small.tri.numpy(), *keypoints)
    errors = np.linalg.norm(found - true, axis=1)
    assert errors[17:68].mean() < 1 and errors[68:].mean() < 3 and errors[:17].mean() < 8, errors
    assert (out / "points.png").stat().st_size > 10_000


def test_the_same_mesh_keeps_its_keypoints(small, keypoints):
    template = small.mean_shape.view(-1, 3).numpy(), small.tri.numpy(), *keypoints
    numbers, weights = realy.transfer_keypoints(small, template)
    assert np.array_equal(numbers, keypoints[0]) and np.array_equal(weights, keypoints[1])


def test_meshes_have_the_names_of_the_photos(monkeypatch, tmp_path, face_model):
    assert run(monkeypatch, "reconstruct", "--photos", EXAMPLES, "--out", tmp_path / "out", "--gpu_ids=-1") == 0
    meshes = sorted((tmp_path / "out").iterdir())
    assert [path.name for path in meshes] == ["astronaut.obj", "grace_hopper.obj"]
    vertices, triangles = read_obj(meshes[0])
    assert np.array_equal(triangles, face_model.tri.numpy()) and 120 < np.ptp(vertices[:, 0]) < 220   # mm
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no photos in"):
        run(monkeypatch, "reconstruct", "--photos", tmp_path / "empty", "--out", tmp_path / "out")


@pytest.mark.parametrize(("text", "message"), [
    ("[[0, 1, 0]]", r"must hold 85 points.*not \(1, 3\)"), ("some text", "cannot be read"),
    (json.dumps([[10**6, 1, 0]] * 85), "names triangles that Deep3D.obj does not have")])
def test_other_files_are_refused(data, tmp_path, text, message):
    (tmp_path / "Deep3D.obj").symlink_to(data / "Deep3D.obj")
    (tmp_path / "Deep3D.txt").write_text(text)
    with pytest.raises(InputError, match=f"Deep3D.txt {message}"):
        realy.read_template(tmp_path)
