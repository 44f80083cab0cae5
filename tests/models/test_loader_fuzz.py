"""Files cut off, with bits turned round and of other kinds: each is read or named, and none runs code."""
import pickle
import random

import numpy as np
import pytest
import torch
from scipy.io import savemat

from datasets.frozen_landmarks import read_box_network, read_mean_face
from models import arcface
from models.basel import read_expression_choice, read_expressions
from models.checkpoints import load_imagenet_init, load_regressor
from models.face_model_files import load_face_model_data
from models.recognition import load_recognition
from models.regressor import Regressor
from tests.helpers import ROOT, filled
from util.files import InputError

RUNS, RUNS_OF_LARGE = 100, 6
pytestmark = pytest.mark.filterwarnings("ignore")   # of PyTorch and NumPy about what they read


def save_face_model(path):
    numbers = np.random.default_rng(0)
    savemat(path, {
        "meanshape": numbers.random((1, 30)), "meantex": numbers.random((1, 30)), "idBase": numbers.random((30, 8)),
        "exBase": numbers.random((30, 8)), "texBase": numbers.random((30, 8)), "tri": numbers.integers(1, 11, (12, 3)),
        "point_buf": numbers.integers(1, 14, (10, 8)), "keypoints": numbers.integers(1, 11, (1, 68)),
        "frontmask2_idx": np.arange(1, 6)[:, None], "tri_mask2": numbers.integers(1, 6, (4, 3)),
        "skinmask": np.ones((1, 10))}, do_compression=True)


def save_open_model(path):
    path.write_bytes((ROOT / "BFM" / "open_face_model.npz").read_bytes())


def save_checkpoint(path):
    torch.save({"net_recon": Regressor("resnet18").state_dict(), "opt_00": {}, "sched_00": {}}, path)


def save_imagenet_weights(path):
    torch.save(Regressor("resnet18").backbone.state_dict(), path)


def save_recognition(path):
    torch.save(filled(arcface.IResNet("r18")).state_dict(), path)


def save_expressions(path):
    with path.open("wb") as file:
        np.array([64], "<i4").tofile(file)
        np.zeros(65 * 3 * 53215, "<f4").tofile(file)


def save_choice(path):
    savemat(path, {"trimIndex": np.arange(1, 53216)[:, None]}, do_compression=True)


def save_box_network(path):
    savemat(path, {"W1": np.ones((200, 10)), "B1": np.ones((200, 1)), "W2": np.ones((3, 200)), "B2": np.ones((3, 1))})


def save_mean_face(path):
    np.savetxt(path, np.arange(136.0))


def load_model(path):
    return load_face_model_data(path.parent, path.name)


def load_resnet18(path):
    load_imagenet_init(Regressor("resnet18"), path)


def load_r18(path):
    return load_recognition("r18", path)


LOADERS = {   # name: how such a file is made, how it is read
    "model.mat": (save_face_model, load_model), "model.npz": (save_open_model, load_model),
    "epoch_20.pth": (save_checkpoint, load_regressor), "imagenet.pth": (save_imagenet_weights, load_resnet18),
    "backbone.pth": (save_recognition, load_r18), "Exp_Pca.bin": (save_expressions, read_expressions),
    "BFM_exp_idx.mat": (save_choice, read_expression_choice),
    "BBRegressorParam_r.mat": (save_box_network, read_box_network),
    "test_mean_face.txt": (save_mean_face, read_mean_face)}


def damaged(content, chance):
    """The bytes cut off, or with some of them changed, mostly near both ends, where a file's structure is."""
    if chance.random() < 0.2:
        return content[:chance.randrange(len(content))]
    content = bytearray(content)
    for _ in range(chance.choice([1, 1, 3, 30])):
        reach = min(len(content), chance.choice([100, 1000, 20_000, len(content)]))
        place = chance.randrange(reach)
        content[place if chance.random() < 0.5 else -1 - place] ^= 1 << chance.randrange(8)
    return bytes(content)


@pytest.mark.parametrize("name", LOADERS)
def test_damaged_files_are_read_or_named(tmp_path, name):
    save, load = LOADERS[name]
    save(tmp_path / name)
    load(tmp_path / name)
    whole, chance = (tmp_path / name).read_bytes(), random.Random(name)
    refused = 0
    for _ in range(RUNS if len(whole) < 1_000_000 else RUNS_OF_LARGE):
        (tmp_path / name).write_bytes(damaged(whole, chance))
        try:
            load(tmp_path / name)
        except InputError as error:
            assert name in str(error)
            refused += 1
    assert refused


@pytest.mark.parametrize("name", LOADERS)
def test_files_of_another_kind_are_named(tmp_path, name):
    class Attack:
        def __reduce__(self):
            return open, (str(tmp_path / "attacked"), "w")

    _, load = LOADERS[name]
    contents = [b"", b"\x00" * 5000, b"<html>not found</html>", bytes(range(256)) * 50,
                (ROOT / "datasets" / "examples" / "astronaut.png").read_bytes(), pickle.dumps(Attack()),
                pickle.dumps({"net_recon": Attack(), "conv1.weight": Attack()}, protocol=2)]
    torch.save({"net_recon": Attack()}, tmp_path / "attack")
    contents.append((tmp_path / "attack").read_bytes())
    np.save(tmp_path / "attack.npy", np.array([Attack()], object), allow_pickle=True)
    contents.append((tmp_path / "attack.npy").read_bytes())
    np.savez(tmp_path / "attack.npz", **{"shapes": np.array([Attack()], object)})
    contents.append((tmp_path / "attack.npz").read_bytes())
    for content in contents:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=name.replace(".", r"\.")):
            load(tmp_path / name)
    assert not (tmp_path / "attacked").exists()
