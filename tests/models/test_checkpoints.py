"""Networks from files that are not what they should be, and which checkpoint of an experiment is taken."""
import os
import shutil
from argparse import Namespace

import numpy as np
import pytest
import torch

from models.checkpoints import (
    check_camera,
    choose_start,
    load_checkpoint,
    load_imagenet_init,
    load_regressor,
    new_regressor,
    newest_checkpoint,
    trained_camera,
)
from models.regressor import Regressor
from tests.helpers import filled
from util.files import InputError


@pytest.fixture
def save_checkpoint(tmp_path):
    def save(state):
        torch.save({"net_recon": state}, tmp_path / "epoch_20.pth")
        return tmp_path / "epoch_20.pth"
    return save


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."])
def test_a_network_saved_while_parallel_or_compiled_is_read(save_checkpoint, prefix):
    network = filled(Regressor("resnet18"))
    path = save_checkpoint({f"{prefix}{name}": values for name, values in network.state_dict().items()})
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


@pytest.mark.parametrize("zipped", [True, False])
def test_objects_of_other_programs_in_a_checkpoint_are_passed_over(tmp_path, zipped):
    """None of them is rebuilt: that could run code."""
    class Trap:
        def __reduce__(self):
            return shutil.copy, (__file__, str(tmp_path / "code has run"))

    others = {"opt": Namespace(lr=1e-4), "where": tmp_path, "best": np.float64(0.5), "curve": np.arange(3.0),
              "trap": Trap()}
    network = filled(Regressor("resnet18")).state_dict()
    torch.save({"net_recon": network, "options": {"focal": 1015.0}} | others, tmp_path / "epoch_20.pth",
               _use_new_zipfile_serialization=zipped)
    checkpoint = load_checkpoint(tmp_path / "epoch_20.pth")
    assert trained_camera(checkpoint) == {"focal": 1015}
    assert checkpoint["best"] == 0.5 and checkpoint["curve"].tolist() == [0, 1, 2]
    assert torch.equal(load_regressor(tmp_path / "epoch_20.pth").state_dict()["backbone.conv1.weight"],
                       network["backbone.conv1.weight"])
    assert not (tmp_path / "code has run").exists()


def test_objects_that_cannot_be_passed_over_are_named(tmp_path):
    class Trap:
        def __reduce__(self):
            return os.system, ("exit",)

    for content, message in (
            ({"net_recon": {}, "trap": Trap()}, "objects of the type (posix|nt).system.*save it again"),
            (Regressor("resnet18"), "no weights but an object of the type Regressor: save its state_dict"),
            ({"net_recon": Regressor("resnet18")}, "'net_recon' .* is an object of the type Regressor: save")):
        torch.save(content, tmp_path / "epoch_20.pth")
        with pytest.raises(InputError, match=message):
            load_checkpoint(tmp_path / "epoch_20.pth")


def test_a_camera_that_the_checkpoint_does_not_know_is_remarked_on(tmp_path):
    said = []
    check_camera({}, tmp_path, 1015, 112, 10, said.append)
    check_camera({"options": {"focal": 1500}}, tmp_path, 1500, 112, 10, said.append)
    assert not said
    check_camera({"options": {"center": 112}}, tmp_path, 1500, 112, 10, said.append)
    assert len(said) == 1 and "--focal=1015" in said[0] and "--focal=1500" in said[0]


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


def test_the_newest_checkpoint_is_that_of_the_last_run_whatever_the_times_of_the_files(tmp_path):
    assert newest_checkpoint(tmp_path) is None
    for name, run, step in (("1", 1, 10), ("2_run1", 1, 20), ("latest_run1", 1, 25), ("2", 2, 20), ("latest", 2, 22),
                            ("iter_15", 2, 15)):
        torch.save({"net_recon": {}, "run": run, "step": step}, tmp_path / f"epoch_{name}.pth")
    assert newest_checkpoint(tmp_path).name == "epoch_latest.pth"
    (tmp_path / "epoch_latest.pth").unlink()
    assert newest_checkpoint(tmp_path).name == "epoch_2.pth"


def test_a_training_continues_its_own_checkpoints_before_it_starts_from_those_of_another(tmp_path):
    def start(*arguments, **options) -> tuple[str | None, bool]:
        path, continues = choose_start(tmp_path, "m", *arguments, **options)
        return path and str(path.relative_to(tmp_path)), continues

    for name in ("m", "other"):
        (tmp_path / name).mkdir()
    torch.save({"net_recon": {}, "step": 20}, tmp_path / "other" / "epoch_2.pth")
    assert start() == (None, False)
    with pytest.raises(InputError, match="--continue_train"):
        start(must_continue=True)
    assert start("1") == ("m/epoch_1.pth", True)
    assert start("latest", "other", must_continue=True) == ("other/epoch_2.pth", False)
    assert start("1", "other") == ("other/epoch_1.pth", False)
    torch.save({"net_recon": {}, "step": 10}, tmp_path / "m" / "epoch_1.pth")
    assert start() == start("1", "other") == ("m/epoch_1.pth", True)


def test_an_empty_init_path_is_a_network_of_random_weights_without_a_word(tmp_path):
    weights = tmp_path / "init_model" / "resnet18-0.pth"
    weights.parent.mkdir()
    weights.touch()
    said = []
    with pytest.raises(InputError, match="resnet18-0.pth"):   # by default the file there is read
        new_regressor("resnet18", False, None, weights.parent, said.append)
    new_regressor("resnet18", False, "", weights.parent, said.append)
    assert not said
    weights.unlink()
    new_regressor("resnet18", False, None, weights.parent, said.append)
    assert "random weights" in said[0] and f"{tmp_path}/init_model/resnet18-*.pth" in said[0]
