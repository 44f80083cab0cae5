import numpy as np
import pytest
import torch
from torchvision.models import get_model

from models.checkpoints import build_regressor, load_checkpoint, load_imagenet_init, load_regressor
from models.dlib_recognition import load_dlib_face
from models.regressor import BACKBONES, Regressor, backbone_of, init_from_dlib
from tests.helpers import GOLDEN, filled
from util.files import InputError


@pytest.mark.parametrize("backbone", ["resnet18", "resnet34", "resnet50"])
@pytest.mark.parametrize("heads", ["heads", "lastfc"])
def test_keys_and_outputs_are_those_of_published_checkpoints(backbone, heads):
    golden = np.load(GOLDEN / "regressor.npz")
    network = filled(Regressor(backbone, use_last_fc=heads == "lastfc"))
    assert list(network.state_dict()) == golden[f"keys_{backbone}_{heads}"].tolist()
    crops = torch.from_numpy(np.random.default_rng(2024).random((2, 3, 224, 224))).float()
    with torch.no_grad():
        assert np.abs(network(crops).numpy() - golden[f"{backbone}_{heads}"]).max() < 1e-5


@pytest.mark.parametrize("backbone", ["resnet18", "resnet50"])
def test_gradients_and_training_are_those_of_published_checkpoints(backbone):
    golden = np.load(GOLDEN / "regressor.npz")
    network = filled(Regressor(backbone))
    crops = torch.from_numpy(np.random.default_rng(2024).random((2, 3, 224, 224))).float()
    (network(crops) * torch.arange(257).cos()).sum().backward()
    for name, parameter in network.named_parameters():
        if f"{backbone}_grad_{name}_idx" in golden:
            expected = golden[f"{backbone}_grad_{name}_val"]
            gradient = parameter.grad.flatten()[golden[f"{backbone}_grad_{name}_idx"]].numpy()
            assert np.abs(gradient - expected).max() < 1e-3 * np.abs(expected).max()
    with torch.no_grad():
        output = network.train()(crops).numpy()
    assert np.abs(output - golden[f"{backbone}_out_train_mode"]).max() < 5e-5   # in a batch of 2 rounding grows
    assert np.abs(network.backbone.bn1.running_mean.numpy() - golden[f"{backbone}_running_mean_after"]).max() < 1e-6


@pytest.mark.parametrize("size", [112, 224])
@pytest.mark.parametrize("backbone", BACKBONES)
def test_an_untrained_network_predicts_the_mean_face(backbone, size):
    coeffs = Regressor(backbone)(torch.rand(2, 3, size, size))
    assert coeffs.shape == (2, 257) and not coeffs.any()


def test_mobilenet_has_the_names_of_torchvision():
    theirs = {f"backbone.{name}" for name in get_model("mobilenet_v3_large").state_dict() if "classifier" not in name}
    ours = {name for name in Regressor("mobilenet_v3_large").state_dict() if not name.startswith("final_layers")}
    assert ours == theirs


@pytest.mark.parametrize("backbone, last", [("resnet18", "fc"), ("mobilenet_v3_large", "classifier")])
def test_imagenet_weights_fill_all_but_the_last_layer(tmp_path, backbone, last):
    theirs = filled(get_model(backbone))
    torch.save(theirs.state_dict(), tmp_path / "imagenet.pth")
    setattr(theirs, last, torch.nn.Identity())
    crops = torch.rand(1, 3, 64, 64)
    for use_last_fc in (False, True):
        regressor = Regressor(backbone, use_last_fc).eval()
        load_imagenet_init(regressor, tmp_path / "imagenet.pth")
        assert not regressor(crops).any()
        setattr(regressor.backbone, last, torch.nn.Identity())
        assert torch.equal(regressor.backbone(crops), theirs(crops))


def test_the_trunk_of_dlib_starts_with_what_dlib_knows():
    recognition = load_dlib_face()
    regressor = Regressor("dlib_resnet29")
    init_from_dlib(regressor)
    crops = torch.rand(2, 3, 150, 150)
    with torch.no_grad():
        features = recognition.trunk.blocks[-1](8 * regressor.backbone(crops).view(2, 256, 4, 4))
        assert torch.allclose(recognition.fc(features.mean((2, 3))), recognition(crops), atol=1e-5)
        assert not regressor(crops).any()


@pytest.fixture
def checkpoint(tmp_path):
    path = tmp_path / "M" / "epoch_20.pth"
    path.parent.mkdir()
    torch.save({"net_recon": Regressor("resnet18").state_dict(), "opt_00": {}, "sched_00": {}}, path)
    return path


@pytest.mark.parametrize("use_last_fc", [False, True])
@pytest.mark.parametrize("backbone", BACKBONES)
def test_the_kind_of_network_is_read_from_the_checkpoint(checkpoint, backbone, use_last_fc):
    network = filled(Regressor(backbone, use_last_fc))
    torch.save({"net_recon": network.state_dict()}, checkpoint)
    loaded = load_regressor(checkpoint).eval()
    crops = torch.rand(1, 3, 64, 64)
    assert backbone_of(loaded.state_dict()) == backbone
    assert torch.equal(loaded(crops), network(crops))


def test_another_kind_of_network_is_refused(checkpoint):
    with pytest.raises(InputError, match=r"resnet50.*epoch_20\.pth holds a resnet18"):
        build_regressor(load_checkpoint(checkpoint), checkpoint, "resnet50")


def test_a_missing_checkpoint_names_what_there_is(checkpoint):
    with pytest.raises(InputError, match=r"epoch_3\.pth.*epochs 20"):
        load_regressor(checkpoint.with_name("epoch_3.pth"))
    with pytest.raises(InputError, match=r"checkpoints are M"):
        load_regressor(checkpoint.parent.with_name("N") / "epoch_20.pth")


@pytest.mark.parametrize("content", [b"", b"weights", None])
def test_a_file_that_is_no_checkpoint_is_named(checkpoint, content):
    checkpoint.write_bytes(checkpoint.read_bytes()[:100_000] if content is None else content)
    with pytest.raises(InputError, match=r"epoch_20\.pth cannot be read"):
        load_regressor(checkpoint)


def test_a_checkpoint_cannot_run_code(checkpoint, tmp_path):
    class Attack:
        def __reduce__(self):
            return (open, (str(tmp_path / "attacked"), "w"))

    torch.save({"net_recon": Attack()}, checkpoint)
    with pytest.raises(InputError, match=r"net_recon.*epoch_20\.pth.*state_dict"):
        load_regressor(checkpoint)
    assert not (tmp_path / "attacked").exists()


@pytest.mark.parametrize("content", [[], {"model": {}}, {"net_recon": {"fc.weight": torch.zeros(1)}}])
def test_another_dictionary_is_refused(checkpoint, content):
    torch.save(content, checkpoint)
    with pytest.raises(InputError, match=r"epoch_20\.pth"):
        load_regressor(checkpoint)
