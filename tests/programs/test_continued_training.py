"""A training that is stopped and continued, goes back to an earlier epoch, or starts from another network."""
import shutil
import signal

import pytest
import torch

from models.checkpoints import load_regressor
from options import testing
from options.training import parse
from test import build_reconstructor
from tests.helpers import CPU, ROOT, arguments, network_weights, not_on_windows, start_python, wait_for
from train import build_trainer, train
from util.files import InputError
from util.locks import lock_folder


def test_a_killed_training_continues_as_if_it_had_never_stopped(photos, trained, tmp_path):
    command = arguments(photos, tmp_path, "--name=m", "--n_epochs=2", "--print_freq=1", "--display_freq=2",
                        "--save_latest_freq=1")
    run = start_python("train.py", *command)
    wait_for(tmp_path / "m" / "epoch_latest.pth", run)
    run.kill()
    run.communicate()
    assert not (tmp_path / "m" / "epoch_2.pth").exists()
    again = start_python("train.py", *command)
    output, _ = again.communicate()
    assert again.returncode == 0, output
    assert "continues from" in output
    undisturbed, resumed = network_weights(trained / "epoch_2.pth"), network_weights(tmp_path / "m" / "epoch_2.pth")
    assert all(torch.equal(undisturbed[key], resumed[key]) for key in undisturbed)


@not_on_windows
def test_a_full_disk_leaves_the_checkpoint_before(photos, trained, tmp_path):
    import resource
    shutil.copytree(trained, tmp_path / "m")
    before = (tmp_path / "m" / "epoch_latest.pth").read_bytes()
    names = {path.name for path in (tmp_path / "m").iterdir()}
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, limits[1]))
    try:
        with pytest.raises(InputError, match="cannot save the checkpoint"):
            train(parse(arguments(photos, tmp_path, "--name=m", "--n_epochs=3", "--save_latest_freq=1")))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (tmp_path / "m" / "epoch_latest.pth").read_bytes() == before
    assert {path.name for path in (tmp_path / "m").iterdir()} == names


def test_a_broken_checkpoint_is_named(photos, trained, tmp_path):
    (tmp_path / "m").mkdir()
    shutil.copy(trained / "epoch_1.pth", tmp_path / "m")
    (tmp_path / "m" / "epoch_2.pth").write_bytes((trained / "epoch_2.pth").read_bytes()[:100_000])
    with pytest.raises(InputError, match="epoch_2.pth cannot be read.*move it away"):
        train(parse(arguments(photos, tmp_path, "--name=m")))


@not_on_windows
def test_a_signal_saves_and_stops(photos, tmp_path):
    run = start_python("train.py", *arguments(photos, tmp_path, "--name=m", "--n_epochs=1000", "--flist_val=none",
                                       "--save_epoch_freq=1000"))
    wait_for(tmp_path / "m" / "epoch_latest.pth", run)
    run.send_signal(signal.SIGTERM)
    output, _ = run.communicate()
    assert run.returncode == 128 + signal.SIGTERM
    assert "the same command continues" in output
    steps = torch.load(tmp_path / "m" / "epoch_latest.pth", weights_only=True)["step"]
    resumed = build_trainer(parse(arguments(photos, tmp_path, "--name=m", "--flist_val=none")), CPU)
    assert resumed.state.step == steps > 0


def test_a_second_training_of_one_name_is_refused(photos, trained, tmp_path):
    shutil.copytree(trained, tmp_path / "m")
    before = (tmp_path / "m" / "train_opt.txt").read_text()
    with lock_folder(tmp_path / "m"), pytest.raises(InputError, match="another training writes to .*another --name"):
        train(parse(arguments(photos, tmp_path, "--name=m", "--n_epochs=9")))
    assert (tmp_path / "m" / "train_opt.txt").read_text() == before


def test_a_training_continues_in_another_precision(photos, trained):
    trainer = build_trainer(parse(arguments(photos, trained.parent, "--name=m", "--amp=fp16")), CPU)
    assert trainer.state.epoch == 3 and trainer.state.scaler.is_enabled()


def test_continue_train_needs_a_checkpoint(photos, tmp_path):
    with pytest.raises(InputError, match="no checkpoint"):
        train(parse(arguments(photos, tmp_path, "--continue_train")))


def test_a_checkpoint_of_the_original_is_continued(photos, trained, tmp_path):
    checkpoint = torch.load(trained / "epoch_1.pth", weights_only=True)
    (tmp_path / "m").mkdir()
    for name, finished in (("9", 8), ("12", 11), ("10", 9), ("latest", 11)):   # copied in any order
        checkpoint["sched_00"]["last_epoch"] = finished
        torch.save({key: checkpoint[key] for key in ("net_recon", "opt_00", "sched_00")},
                   tmp_path / "m" / f"epoch_{name}.pth")
    trainer = build_trainer(parse(arguments(photos, tmp_path, "--name=m", "--bfm_model=open_face_model.npz")), CPU)
    assert trainer.state.epoch == 13
    assert trainer.state.optimiser.state_dict()["state"]
    (tmp_path / "m" / "epoch_12.pth").unlink()
    trainer = build_trainer(parse(arguments(photos, tmp_path, "--name=m", "--bfm_model=open_face_model.npz")), CPU)
    assert trainer.state.epoch == 12   # again, of which a part may be done


def test_a_network_is_not_taken_for_one_of_another_camera(photos, trained, tmp_path):
    camera = ["--name=m", "--focal=800"]
    with pytest.raises(InputError, match=r"--focal=1015\.0, not 800"):
        build_trainer(parse(arguments(photos, trained.parent, *camera)), CPU)
    with pytest.raises(InputError, match=r"--focal=1015\.0, not 800"):
        build_reconstructor(testing.parse([*camera, "--epoch=2", f"--checkpoints_dir={trained.parent}"]), CPU)


def test_the_face_model_of_the_training_is_recorded_and_taken_again(photos, trained, tmp_path):
    assert torch.load(trained / "epoch_2.pth", weights_only=True)["options"]["bfm_model"] == "photo_face_model.npz"
    folder = tmp_path / "models"
    folder.mkdir()
    shutil.copy(ROOT / "BFM" / "photo_face_model.npz", folder)
    (folder / "BFM_model_front.mat").write_text("put there later")
    trainer = build_trainer(parse(arguments(photos, trained.parent, "--name=m", f"--bfm_folder={folder}")), CPU)
    assert trainer.recorded_options["bfm_model"] == "photo_face_model.npz"


def test_the_network_of_a_checkpoint_is_taken_whatever_the_default_is(photos, trained):
    command = [word for word in arguments(photos, trained.parent, "--name=m") if "net_recon" not in word]
    trainer = build_trainer(parse(command), CPU)
    assert trainer.state.network.state_dict().keys() == load_regressor(trained / "epoch_2.pth").state_dict().keys()


def test_a_network_without_the_state_of_its_training_is_not_continued_but_started_from(photos, trained, tmp_path):
    (tmp_path / "m").mkdir()
    torch.save({"net_recon": network_weights(trained / "epoch_2.pth")}, tmp_path / "m" / "epoch_2.pth")
    command = arguments(photos, tmp_path, "--bfm_model=open_face_model.npz")
    with pytest.raises(InputError, match="--pretrained_name=m"):
        train(parse([*command, "--name=m"]))
    build_trainer(parse([*command, "--name=n", "--pretrained_name=m"]), CPU)


def test_a_published_network_is_not_trained_further_with_another_face_model_by_default(photos, trained, tmp_path):
    (tmp_path / "m").mkdir()
    torch.save({"net_recon": network_weights(trained / "epoch_2.pth")}, tmp_path / "m" / "epoch_2.pth")
    folder = tmp_path / "models"
    folder.mkdir()
    shutil.copy(ROOT / "BFM" / "open_face_model.npz", folder)
    for names in (["--name=m"], ["--name=n", "--pretrained_name=m"]):
        with pytest.raises(InputError, match="BFM_model_front.mat is missing"):
            train(parse(arguments(photos, tmp_path, f"--bfm_folder={folder}", *names)))


def test_a_new_experiment_starts_from_the_network_of_another(photos, trained, tmp_path):
    (tmp_path / "m").symlink_to(trained)
    command = arguments(photos, tmp_path, "--name=n", "--pretrained_name=m", "--epoch=1", "--continue_train")
    trainer = build_trainer(parse(command), CPU)
    expected = network_weights(trained / "epoch_1.pth")
    assert all(torch.equal(value, expected[key]) for key, value in trainer.state.network.state_dict().items())
    assert (trainer.state.epoch, trainer.state.step) == (1, 0)


@not_on_windows
def test_a_training_that_went_back_is_continued_and_overwrites_nothing(photos, trained, tmp_path):
    folder = tmp_path / "m"
    shutil.copytree(trained, folder)   # two epochs of three steps
    earlier = {name: (folder / f"epoch_{name}.pth").read_bytes() for name in ("1", "2", "latest")}
    command = arguments(photos, tmp_path, "--name=m", "--flist_val=none", "--n_epochs=1000", "--save_latest_freq=1")
    run = start_python("train.py", *command, "--epoch=1")
    wait_for(folder / "epoch_latest_run1.pth", run)
    run.send_signal(signal.SIGTERM)
    output, _ = run.communicate()
    assert "the training goes back" in output and "the same command without --epoch continues" in output
    stopped = torch.load(folder / "epoch_latest.pth", weights_only=True)
    continued = build_trainer(parse(command), CPU).state
    assert (continued.run, continued.step) == (2, stopped["step"])

    assert train(parse([*command, f"--n_epochs={max(stopped['epoch'], 2)}"])) == 0   # writes epoch_2.pth, if not yet
    for name in ("1", "2_run1", "latest_run1"):
        assert (folder / f"epoch_{name}.pth").read_bytes() == earlier[name.removesuffix("_run1")]
    assert torch.load(folder / "epoch_2.pth", weights_only=True)["run"] == 2


def test_to_name_the_newest_checkpoint_is_not_to_go_back(photos, trained, capsys):
    state = build_trainer(parse(arguments(photos, trained.parent, "--name=m", "--epoch=2")), CPU).state
    assert (state.run, state.epoch) == (1, 3)
    assert "goes back" not in capsys.readouterr().out


def test_the_learning_rate_of_the_command_holds_in_a_continued_training(photos, trained, capsys):
    command = arguments(photos, trained.parent, "--name=m")
    assert build_trainer(parse(command), CPU).state.optimiser.param_groups[0]["lr"] == 1e-4
    assert "--lr" not in capsys.readouterr().out
    trainer = build_trainer(parse([*command, "--lr=0.0003"]), CPU)
    assert trainer.state.optimiser.param_groups[0]["lr"] == 3e-4 == trainer.recorded_options["lr"]
    assert "--lr=0.0003" in capsys.readouterr().out
