import numpy as np
import pytest
import torch
from conftest import GOLDEN, filled

from models.files import load_regressor
from models.regressor import Regressor
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


def test_an_untrained_network_predicts_the_mean_face():
    assert not Regressor("resnet18")(torch.rand(2, 3, 224, 224)).any()


@pytest.fixture
def checkpoint(tmp_path):
    path = tmp_path / "M" / "epoch_20.pth"
    path.parent.mkdir()
    torch.save({"net_recon": Regressor("resnet18").state_dict(), "opt_00": {}, "sched_00": {}}, path)
    return path


def test_the_kind_of_network_is_read_from_the_checkpoint(checkpoint):
    assert len(load_regressor(checkpoint).backbone.layer1) == 2


def test_another_kind_of_network_is_refused(checkpoint):
    with pytest.raises(InputError, match=r"resnet50.*epoch_20\.pth holds a resnet18"):
        load_regressor(checkpoint, "resnet50")


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
    with pytest.raises(InputError, match="cannot be read"):
        load_regressor(checkpoint)
    assert not (tmp_path / "attacked").exists()


@pytest.mark.parametrize("content", [[], {"model": {}}, {"net_recon": {"fc.weight": torch.zeros(1)}}])
def test_another_dictionary_is_refused(checkpoint, content):
    torch.save(content, checkpoint)
    with pytest.raises(InputError, match=r"epoch_20\.pth"):
        load_regressor(checkpoint)
