"""Face models and networks from files that are not what they should be."""
import numpy as np
import pytest
import torch
from scipy.io import savemat

from models.checkpoints import load_checkpoint, load_imagenet_init, load_regressor, trained_with
from models.face_model import FaceModel
from models.face_model_files import choose_face_model, load_face_model_data
from models.regressor import Regressor
from tests.helpers import filled
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


def test_the_open_model_is_taken_where_no_other_is_wanted(tmp_path):
    assert choose_face_model(tmp_path) == "open_face_model.npz"
    with pytest.raises(InputError, match="BFM_model_front.mat is missing"):
        choose_face_model(tmp_path, "BFM_model_front.mat")


@pytest.fixture
def save_checkpoint(tmp_path):
    def save(state):
        torch.save({"net_recon": state}, tmp_path / "epoch_20.pth")
        return tmp_path / "epoch_20.pth"
    return save


def test_a_network_saved_while_parallel_is_read(save_checkpoint):
    network = filled(Regressor("resnet18"))
    path = save_checkpoint({f"module.{name}": values for name, values in network.state_dict().items()})
    crops = torch.rand(1, 3, 64, 64)
    assert torch.equal(load_regressor(path).eval()(crops), network(crops))


@pytest.mark.parametrize("change, message", [
    (lambda state: state.pop("final_layers.3.bias"), "lacks 1 arrays.*final_layers.3.bias"),
    (lambda state: state.update(extra=torch.zeros(1)), "1 unknown ones, as extra"),
    (lambda state: state.update({"backbone.bn1.weight": torch.zeros(3)}), "size mismatch for backbone.bn1.weight"),
    (lambda state: state.update({"backbone.conv1.weight": [1, 2]}), "backbone.conv1.weight"),
    (lambda state: state.update({3: torch.zeros(1)}), "holds no network"),
    (lambda state: state["backbone.bn1.weight"].fill_(torch.nan), "weights that are no numbers")])
def test_weights_that_do_not_fit_are_named_in_one_line(save_checkpoint, change, message):
    state = Regressor("resnet18").state_dict()
    change(state)
    with pytest.raises(InputError, match=rf"epoch_20\.pth.*{message}") as raised:
        load_regressor(save_checkpoint(state))
    assert "\n" not in str(raised.value)


def test_a_checkpoint_brings_the_states_of_optimiser_and_scheduler(tmp_path):
    network = Regressor("resnet18")
    optimiser = torch.optim.Adam(network.parameters())
    scheduler = torch.optim.lr_scheduler.StepLR(optimiser, 10, 0.2)
    network(torch.rand(2, 3, 64, 64)).sum().backward()
    optimiser.step()
    torch.save({"net_recon": network.state_dict(), "opt_00": optimiser.state_dict(),
                "sched_00": scheduler.state_dict()}, tmp_path / "epoch_1.pth")
    checkpoint = load_checkpoint(tmp_path / "epoch_1.pth")
    optimiser.load_state_dict(checkpoint["opt_00"])
    scheduler.load_state_dict(checkpoint["sched_00"])


def test_missing_imagenet_weights_are_named_with_their_source(tmp_path):
    with pytest.raises(InputError, match=r"init\.pth is missing.*--init_path.*torchvision"):
        load_imagenet_init(Regressor("resnet18"), tmp_path / "init.pth")


def test_imagenet_weights_of_another_network_are_named(tmp_path):
    weights = {name.removeprefix("backbone."): values for name, values in Regressor("resnet34").state_dict().items()}
    torch.save(weights, tmp_path / "init.pth")
    with pytest.raises(InputError, match=r"init\.pth.*holds a resnet34, to start a resnet18"):
        load_imagenet_init(Regressor("resnet18"), tmp_path / "init.pth")
    torch.save({"conv.weight": torch.zeros(1)}, tmp_path / "init.pth")
    with pytest.raises(InputError, match="network of another kind"):
        load_imagenet_init(Regressor("resnet18"), tmp_path / "init.pth")
