"""The errors of shapes on heads of a made-up face model in the layout of ICT-FaceKit."""
from pathlib import Path

import numpy as np
import pytest
import torch

from models.simplification import simplify
from tests.benchmarks import ict, table
from tests.benchmarks.ict_model import LANDMARKS, NARROW_FACE, VERTICES, IctModel
from util.files import InputError


def write_obj(path: Path, vertices: np.ndarray, faces: str = ""):
    path.write_text("# made up\n" + "".join(f"v {x:.5f} {y:.5f} {z:.5f}\n" for x, y, z in vertices) + faces)


@pytest.fixture(scope="module")
def folder(face_model, tmp_path_factory) -> Path:
    """A model whose neutral head is the mean face of the open face model, in centimetres, and whose vertices are those
    of a simplified mesh. It has two components of identity and three expressions."""
    small = simplify(face_model, 11000)
    keypoints = small.keypoints.numpy()
    others = np.setdiff1d(np.arange(len(small.mean_shape) // 3), keypoints)
    numbers = np.zeros(len(small.mean_shape) // 3, int)   # of each vertex in the made-up model
    numbers[keypoints] = LANDMARKS
    numbers[others] = np.setdiff1d(np.arange(NARROW_FACE.stop), LANDMARKS)[:len(others)]
    faces = "".join(f"f {a}/1 {b}/2 {c}/3\n" for a, b, c in numbers[small.tri.numpy()] + 1)

    def head(identity: int | None, expression: int | None) -> np.ndarray:
        parts = torch.zeros(1, 80), torch.zeros(1, 64)
        for part, number in zip(parts, (identity, expression), strict=True):
            if number is not None:
                part[0, number] = 1
        vertices = np.zeros((VERTICES, 3))
        vertices[numbers] = 10 * small.shape(*parts)[0].numpy()
        return vertices

    files = tmp_path_factory.mktemp("ICT-FaceKit") / "FaceXModel"
    files.mkdir()
    write_obj(files / "generic_neutral_mesh.obj", head(None, None), faces)
    for number in range(2):
        write_obj(files / f"identity{number:03d}.obj", head(number, None))
    for number, name in enumerate(["jawOpen", "mouthSmile_L", "mouthSmile_R"]):
        write_obj(files / f"{name}.obj", head(None, number))
    return files.parent


@pytest.fixture(scope="module")
def model(folder) -> IctModel:
    return IctModel(folder)


@pytest.fixture(scope="module")
def comparison(model, face_model) -> ict.Comparison:
    return ict.Comparison.build(model, face_model)


def test_the_same_face_has_almost_no_error_wherever_it_is(comparison, face_model):
    mean = face_model.mean_shape.view(-1, 3).numpy()
    turned = 3 * mean[:, [1, 2, 0]] + [4, 5, 6]
    for shape in (mean, turned):
        errors = comparison.errors(comparison.ict.neutral, shape)
        assert errors["surface"] < 0.15 and errors["correspondence"] < 1, errors


def test_a_known_difference_is_measured(comparison, model, face_model):
    """The head differs from the mean face by a component that both models have."""
    head = model.neutral + 3 * model.identities[0]
    mean = face_model.mean_shape.view(-1, 3).numpy()
    identity = torch.zeros(1, 80)
    identity[0, 0] = 3
    same = face_model.shape(identity, torch.zeros(1, 64))[0].numpy()
    of_mean, of_same = (comparison.errors(head, shape) for shape in (mean, same))
    inner = ict.points_at(model.neutral, model.triangles, *comparison.places)
    moved = ict.points_at(head, model.triangles, *comparison.places)
    expected = 100 * np.linalg.norm(ict.align_points(inner, moved)(inner) - moved, axis=1).mean()
    assert of_mean["correspondence"] == pytest.approx(expected, rel=0.25)
    assert of_mean["surface"] < of_mean["correspondence"]
    assert of_same["surface"] < 0.2 * of_mean["surface"] and of_same["correspondence"] < 0.5 * expected


def test_expressions_of_both_sides_come_together(model):
    rng = np.random.default_rng(0)
    left, right = model.expressions["mouthSmile_L"], model.expressions["mouthSmile_R"]
    basis = np.stack([model.expressions["jawOpen"].ravel(), (left + right).ravel()], 1)
    for _ in range(3):
        displacement = model.random_expression(rng).ravel()
        weights, *_ = np.linalg.lstsq(basis, displacement)
        assert basis @ weights == pytest.approx(displacement, abs=1e-6)
        assert 0 <= weights.min() and weights.max() <= 0.6


def test_random_heads_are_drawn_found_and_compared(folder, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr("sys.argv", ["ict.py", "--ict", str(folder), "--heads", "2", "--gpu_ids=-1", "--sheet",
                                     str(tmp_path / "heads.png")])
    assert ict.main() == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("2 components of identity (ICT-FaceKit has 100), 3 expressions")
    assert lines[1] == "2 heads; no face found in 0 pictures"
    table = {row[0]: [float(cell) for cell in row[1:]] for row in (line.strip("| ").split(" | ") for line in lines[5:])}
    assert list(table) == ["reconstruction", "that of the next head", "mean face", "random face"]
    assert all(0 < value < 10 for row in table.values() for value in row)
    assert (tmp_path / "heads.png").stat().st_size > 10_000


def test_the_table_of_all_numbers_has_the_errors_of_each_method(model):
    rows = list(table.rows_of_ict(model, 1, {"`photo_face`": ["--name=photo_face", "--gpu_ids=-1"]}))
    assert [row.measure for row in rows] == [
        f"distance by {kind}: {what}" for kind in ict.KINDS
        for what in ("reconstruction", "that of the next head", "mean face", "random face")]
    assert all(0 < row.cells["`photo_face`"]["mean"] < 10 and row.unit == "mm" for row in rows)


def test_other_folders_are_refused(folder, tmp_path):
    with pytest.raises(InputError, match="is not ICT-FaceKit: there is no generic_neutral_mesh.obj"):
        IctModel(tmp_path)
    (tmp_path / "generic_neutral_mesh.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
    with pytest.raises(InputError, match="has 3 vertices, that of ICT-FaceKit 26719"):
        IctModel(tmp_path)
    for name in ("generic_neutral_mesh", "identity000", "identity001"):
        (tmp_path / f"{name}.obj").unlink(missing_ok=True)
        (tmp_path / f"{name}.obj".replace("001", "002")).symlink_to(folder / "FaceXModel" / f"{name}.obj")
    with pytest.raises(InputError, match="identity001.obj is missing"):
        IctModel(tmp_path)
