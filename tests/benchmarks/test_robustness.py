"""The changes of photos leave the landmarks where the face is, and the benchmark writes its table and pictures."""
import numpy as np
import pytest
from PIL import Image

from datasets.face_detection import landmarks_found
from datasets.photos import read_photo
from tests.benchmarks import robustness
from tests.benchmarks.robustness import CHANGES, Face
from tests.benchmarks.scores import normalised_error, outer_eye_distance
from tests.helpers import EXAMPLES


@pytest.fixture(scope="module")
def face() -> Face:
    pixels = np.asarray(Image.fromarray(read_photo(EXAMPLES / "astronaut.png")).resize((256, 256)))
    landmarks, = landmarks_found(pixels)
    return Face(pixels, landmarks)


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.name)
def test_a_changed_photo_differs_and_its_landmarks_are_on_the_face(face, change):
    changed = [change.apply(face, strength) for strength in change.strengths]
    found, = landmarks_found(changed[0].pixels)
    assert normalised_error(found, changed[0].landmarks, outer_eye_distance(changed[0].landmarks)) < 0.08
    assert not np.array_equal(changed[0].pixels, face.pixels)
    assert not any(np.array_equal(one.pixels, other.pixels)
                   for one, other in zip(changed, changed[1:], strict=False))


def test_the_table_names_weak_spots_and_a_picture_is_drawn_for_each_measure(face, tmp_path, monkeypatch, capsys):
    (tmp_path / "photos" / "landmarks").mkdir(parents=True)
    Image.fromarray(face.pixels).save(tmp_path / "photos" / "a.png")
    np.savetxt(tmp_path / "photos" / "landmarks" / "a.txt", face.landmarks)
    extremes = [CHANGES[0]._replace(strengths=(1.5, 40)), CHANGES[1]._replace(strengths=(1.5, 2))]   # smaller, darker
    monkeypatch.setattr(robustness, "CHANGES", extremes)
    assert robustness.main([str(tmp_path / "photos"), f"--out={tmp_path / 'out'}", "--gpu_ids=-1"]) == 0
    text = (tmp_path / "out.md").read_text()
    assert "Weakest spots, with failures of more than 10%: smaller from 40 (times)." in text
    assert "| nan % / 100 % / nan |" in text.replace("40: ", "")
    assert text in capsys.readouterr().out
    for name in ("nme", "failures", "id"):
        assert Image.open(tmp_path / f"out_{name}.png").size == (720, 480)

    (tmp_path / "photos" / "landmarks" / "a.txt").unlink()
    assert robustness.main([str(tmp_path / "photos"), f"--out={tmp_path / 'out'}", "--gpu_ids=-1"]) == 2
    assert "landmarks/a.txt is missing" in capsys.readouterr().err.replace("\\", "/")
