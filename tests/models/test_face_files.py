import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.face_files import FaceWriter, write_face
from models.records import FaceResult


def random_result(name: str) -> FaceResult:
    random = np.random.default_rng(0)
    return FaceResult(
        photo=Path(f"{name}.jpg"), name=name, crop=random.integers(0, 256, (224, 224, 3), np.uint8),
        overlay=random.integers(0, 256, (224, 224, 3), np.uint8), coefficients={"id": random.random(80)},
        vertices=random.random((20, 3)), colors=random.random((20, 3)), landmarks=random.random((68, 2)) * 224,
        given_landmarks=random.random((5, 2)) * 224, trans_params=random.random(5))


TRIANGLES = np.random.default_rng(1).integers(0, 20, (30, 3))


def test_writing_does_not_change_the_result_and_gives_the_same_files_again(tmp_path):
    result = random_result("first")
    before = copy.deepcopy(result)
    for name in ("first", "second"):
        write_face(tmp_path, replace(result, name=name), TRIANGLES)
    for kind in ("png", "obj"):
        assert (tmp_path / f"first.{kind}").read_bytes() == (tmp_path / f"second.{kind}").read_bytes()
    np.testing.assert_equal(vars(result), vars(before))


def test_a_writer_returns_its_errors_and_writes_the_other_faces(tmp_path):
    (tmp_path / "second.obj").mkdir()   # a folder in the way of the file
    with FaceWriter(tmp_path, TRIANGLES, threads=2) as writer:
        writer.start([random_result(name) for name in ("first", "second", "third")])
        (photo, error), = writer.finish()
        assert photo == Path("second.jpg") and isinstance(error, OSError)
        assert all((tmp_path / f"{name}.mat").is_file() for name in ("first", "third"))
        assert writer.finish() == []


def test_what_was_started_is_written_when_an_error_ends_the_work(tmp_path):
    with pytest.raises(ZeroDivisionError), FaceWriter(tmp_path, TRIANGLES, threads=1) as writer:
        writer.start([random_result(name) for name in "abc"])
        raise ZeroDivisionError
    assert all((tmp_path / f"{name}.{kind}").is_file() for name in "abc" for kind in ("png", "obj", "mat"))
