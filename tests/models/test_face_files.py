import copy
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from models.face_files import FaceWriter, write_face
from models.outputs.details import OutputSettings
from models.records import AlignedFace, FaceResult, Origin
from options.testing import parse

DEFAULT = parse([]).save


def random_result(face_model, name: str) -> FaceResult:
    random = np.random.default_rng(0)
    face = AlignedFace(Path(f"{name}.jpg"), name, name, random.integers(0, 256, (224, 224, 3), np.uint8),
                       trans_params=random.random(5), landmarks=random.random((5, 2)) * 224)
    count = len(face_model.skin_mask)
    return FaceResult(face, {"id": random.random(80)}, random.random((68, 2)) * 224, random.random((count, 3)),
                      random.random((count, 3)), overlay=random.integers(0, 256, (224, 224, 3), np.uint8))


@pytest.fixture
def settings(face_model):
    return OutputSettings(face_model, Origin(), read_photo=None)


def test_writing_does_not_change_the_result_and_gives_the_same_files_again(face_model, settings, tmp_path):
    result = random_result(face_model, "first")
    before = copy.deepcopy(result)
    for name in ("first", "second"):
        write_face(tmp_path, replace(result, face=replace(result.face, name=name)), DEFAULT, settings)
    for kind in ("png", "obj"):
        assert (tmp_path / f"first.{kind}").read_bytes() == (tmp_path / f"second.{kind}").read_bytes()
    np.testing.assert_equal(asdict(result), asdict(before))


def test_a_writer_returns_its_errors_and_writes_the_other_faces(face_model, settings, tmp_path):
    (tmp_path / "second.obj").mkdir()   # a folder in the way of the file
    with FaceWriter(tmp_path, DEFAULT, settings, threads=2) as writer:
        writer.start([random_result(face_model, name) for name in ("first", "second", "third")])
        (photo, error), = writer.finish()
        assert photo == Path("second.jpg") and isinstance(error, OSError)
        assert all((tmp_path / f"{name}.mat").is_file() for name in ("first", "third"))
        assert writer.finish() == []


def test_what_was_started_is_written_when_an_error_ends_the_work(face_model, settings, tmp_path):
    with pytest.raises(ZeroDivisionError), FaceWriter(tmp_path, DEFAULT, settings, threads=1) as writer:
        writer.start([random_result(face_model, name) for name in "abc"])
        raise ZeroDivisionError
    assert all((tmp_path / f"{name}.{kind}").is_file() for name in "abc" for kind in ("png", "obj", "mat"))
