"""train.py as a user runs it, on a few small photos that the fixture makes: rendered faces."""
import math
import os
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from models.checkpoints import load_regressor
from models.training import Trainer, make_scheduler, train
from options import testing
from options.training import parse
from test import build_reconstructor
from tests.helpers import CPU, ROOT, arguments, kill_readers, wait_for
from util.distributed import Processes, run_on_gpus
from util.files import InputError


def start(*command, **options) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, *map(str, command)], cwd=ROOT, text=True, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, env=os.environ | {"OMP_NUM_THREADS": "1"}, **options)


def read_losses(path: Path, dataset: str) -> list[dict[str, float]]:
    lines = [line for line in path.read_text().splitlines() if f"dataset: {dataset}," in line]
    return [dict(zip(words[0::2], map(float, words[1::2]), strict=True))
            for words in (line.split(") ")[1].replace(":", "").split() for line in lines)]


def weights(path: Path) -> dict[str, torch.Tensor]:
    return torch.load(path, weights_only=True)["net_recon"]


@pytest.fixture(scope="module")
def trained(photos, tmp_path_factory) -> Path:
    """The experiment's folder after a run of two epochs of three steps, never disturbed."""
    folder = tmp_path_factory.mktemp("trained")
    run = start("train.py", *arguments(photos, folder, "--name=m", "--n_epochs=2", "--print_freq=1",
                                       "--display_freq=2", "--save_latest_freq=1"))
    output, _ = run.communicate()
    assert run.returncode == 0, output
    return folder / "m"


def test_a_run_leaves_checkpoints_logs_and_pictures(trained):
    names = {path.name for path in trained.iterdir()}
    assert names == {"epoch_1.pth", "epoch_2.pth", "epoch_latest.pth", "train_opt.txt", "loss_log.txt", "logs",
                     "results"}
    assert "batch_size: 4" in (trained / "train_opt.txt").read_text()
    first = (trained / "loss_log.txt").read_text().splitlines()[0]
    assert first.startswith("(dataset: train, epoch: 1, iters: 1, time: ")
    for dataset, count in (("train", 6), ("val", 2)):
        losses = read_losses(trained / "loss_log.txt", dataset)
        assert len(losses) == count
        assert set(losses[0]) == {"all", "color", "lm", "reg", "gamma", "reflc"}
        pictures = sorted((trained / "results" / dataset).glob("*/*.png"))
        assert pictures and Image.open(pictures[0]).size == (672, 224)
    board = EventAccumulator(str(trained / "logs")).Reload()
    assert {"color/train", "lm/val", "learning_rate", "samples_per_second", "data_wait_share"} <= set(
        board.Tags()["scalars"])
    assert board.Tags()["images"]


def test_a_checkpoint_has_the_keys_of_the_original_and_reconstructs(trained, run_script):
    checkpoint = torch.load(trained / "epoch_2.pth", weights_only=True)
    assert {"net_recon", "opt_00", "sched_00"} <= set(checkpoint)
    assert checkpoint["options"]["batch_size"] == 4
    result = run_script("test.py", "--name=m", "--epoch=2", f"--checkpoints_dir={trained.parent}", "--gpu_ids=-1")
    assert result.returncode == 0, result.stderr


def test_the_losses_of_a_photo_learned_by_heart_fall(photos, tmp_path):
    (tmp_path / "list.txt").write_text("mask/03.png\n" * 4 * 30)
    options = parse(arguments(photos, tmp_path, "--name=m", f"--flist={tmp_path / 'list.txt'}", "--use_aug=no",
                              "--n_epochs=1", "--print_freq=1", "--flist_val=none", "--net_recon=dlib_resnet29"))
    assert train(options) == 0
    losses = read_losses(tmp_path / "m" / "loss_log.txt", "train")
    for name in ("lm", "color"):
        first, last = (np.mean([line[name] for line in part]) for part in (losses[:5], losses[-5:]))
        assert last < 0.7 * first


def test_a_killed_training_goes_on_as_if_never_killed(photos, trained, tmp_path):
    command = arguments(photos, tmp_path, "--name=m", "--n_epochs=2", "--print_freq=1", "--display_freq=2",
                        "--save_latest_freq=1")
    run = start("train.py", *command)
    wait_for(tmp_path / "m" / "epoch_latest.pth", run)
    run.kill()
    run.communicate()
    assert not (tmp_path / "m" / "epoch_2.pth").exists()
    again = start("train.py", *command)
    output, _ = again.communicate()
    assert again.returncode == 0, output
    assert "continues from" in output
    undisturbed, resumed = weights(trained / "epoch_2.pth"), weights(tmp_path / "m" / "epoch_2.pth")
    assert all(torch.equal(undisturbed[key], resumed[key]) for key in undisturbed)


def test_a_full_disk_leaves_the_checkpoint_before(photos, trained, tmp_path):
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


def test_a_signal_saves_and_stops(photos, tmp_path):
    run = start("train.py", *arguments(photos, tmp_path, "--name=m", "--n_epochs=1000", "--flist_val=none",
                                       "--save_epoch_freq=1000"))
    wait_for(tmp_path / "m" / "epoch_latest.pth", run)
    run.send_signal(signal.SIGTERM)
    output, _ = run.communicate()
    assert run.returncode == 128 + signal.SIGTERM
    assert "the same command continues" in output
    steps = torch.load(tmp_path / "m" / "epoch_latest.pth", weights_only=True)["step"]
    resumed = Trainer(parse(arguments(photos, tmp_path, "--name=m", "--flist_val=none")), CPU)
    assert resumed.step == steps > 0


def test_a_reader_that_is_killed_is_told_in_a_line(photos, tmp_path):
    (tmp_path / "list.txt").write_text("mask/03.png\n" * 4000)
    run = start("train.py", *arguments(photos, tmp_path, "--name=m", f"--flist={tmp_path / 'list.txt'}",
                                       "--flist_val=none", "--save_latest_freq=1", "--num_threads=1"))
    wait_for(tmp_path / "m" / "epoch_latest.pth", run)
    kill_readers(run)
    output, _ = run.communicate()
    assert run.returncode == 2
    assert "--num_threads=1" in output and "Traceback" not in output


def assert_same_losses(folder: Path, other: Path):
    for dataset in ("train", "val"):
        one, two = (read_losses(path / "loss_log.txt", dataset) for path in (folder, other))
        for alone, together in zip(one, two, strict=True):
            assert together == pytest.approx(alone, rel=5e-3)   # the log has four digits


def test_two_processes_train_as_one(photos, trained, tmp_path):
    run = start("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "train.py",
                *arguments(photos, tmp_path, "--name=m", "--n_epochs=2", "--print_freq=1"))
    output, _ = run.communicate()
    assert run.returncode == 0, output
    assert_same_losses(trained, tmp_path / "m")


@pytest.fixture
def two_hosts():
    """Names of two network namespaces, each a host with an address of its own, 10.77.0.1 and 10.77.0.2."""
    def ip(arguments: str):
        subprocess.run(["ip", *arguments.split()], check=True)

    hosts = ["train0", "train1"]
    try:
        for host in hosts:
            ip(f"netns add {host}")
        ip("link add wire0 netns train0 type veth peer name wire1 netns train1")
        for number, host in enumerate(hosts):
            ip(f"-n {host} addr add 10.77.0.{number + 1}/24 dev wire{number}")
            ip(f"-n {host} link set wire{number} up")
            ip(f"-n {host} link set lo up")
        yield hosts
    finally:
        for host in hosts:
            subprocess.run(["ip", "netns", "del", host], check=False)


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("ip") is None, reason="network namespaces need root and iproute2")
def test_two_machines_train_as_one(photos, trained, tmp_path, two_hosts):
    runs = []
    for rank, host in enumerate(two_hosts):
        command = ["-m", "torch.distributed.run", "--nnodes=2", f"--node_rank={rank}", "--master_addr=10.77.0.1",
                   "--master_port=29500", "train.py",
                   *arguments(photos, tmp_path, "--name=m", "--n_epochs=2", "--print_freq=1")]
        runs.append(subprocess.Popen(
            ["ip", "netns", "exec", host, sys.executable, *command], cwd=ROOT, text=True, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, env=os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": f"wire{rank}"}))
    for run in runs:
        output, _ = run.communicate(timeout=300)
        assert run.returncode == 0, output
    assert_same_losses(trained, tmp_path / "m")


def test_identity_supervision_by_the_recognition_network_of_dlib(photos, tmp_path):
    options = parse(arguments(photos, tmp_path, "--name=m", "--n_epochs=1", "--print_freq=1", "--net_recog=dlib",
                              "--w_feat=2", "--max_dataset_size=4", "--flist_val=none"))
    assert train(options) == 0
    assert 0 < read_losses(tmp_path / "m" / "loss_log.txt", "train")[0]["feat"] < 1


def test_without_weights_of_the_recognition_network_the_message_tells_the_ways_out(photos, tmp_path):
    command = [word for word in arguments(photos, tmp_path) if word != "--w_feat=0"]
    with pytest.raises(InputError, match="--net_recog=dlib.*--w_feat=0"):
        train(parse([*command, f"--net_recog_path={tmp_path / 'none.pth'}"]))


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_mixed_precision_gives_nearly_the_same_losses(photos, trained, tmp_path, precision):
    (tmp_path / "m").symlink_to(trained)
    for name, amp in (("half", precision), ("whole", "off")):
        options = parse(arguments(photos, tmp_path, f"--name={name}", "--pretrained_name=m", "--n_epochs=1",
                                  "--print_freq=1", f"--amp={amp}", "--max_dataset_size=4", "--flist_val=none"))
        assert train(options) == 0
    half, whole = (read_losses(tmp_path / name / "loss_log.txt", "train")[0] for name in ("half", "whole"))
    assert half == pytest.approx(whole, rel=0.05)


def test_a_training_goes_on_in_another_precision(photos, trained):
    trainer = Trainer(parse(arguments(photos, trained.parent, "--name=m", "--amp=fp16")), CPU)
    assert trainer.epoch == 3 and trainer.scaler.is_enabled()


def test_compile_compiles_the_network(photos, tmp_path):
    trainer = Trainer(parse(arguments(photos, tmp_path, "--compile")), CPU)
    # Shown by what refuses it: compiling takes minutes.
    with torch.compiler.set_stance("fail_on_recompile"), pytest.raises(RuntimeError, match="fail_on_recompile"):
        trainer.train_on(next(trainer.data.epoch(1, 0)))


def test_a_network_without_the_state_of_its_training_is_not_continued_but_started_from(photos, trained, tmp_path):
    (tmp_path / "m").mkdir()
    torch.save({"net_recon": weights(trained / "epoch_2.pth")}, tmp_path / "m" / "epoch_2.pth")
    command = arguments(photos, tmp_path, "--bfm_model=open_face_model.npz")
    with pytest.raises(InputError, match="--pretrained_name=m"):
        train(parse([*command, "--name=m"]))
    Trainer(parse([*command, "--name=n", "--pretrained_name=m"]), CPU)


def test_a_published_network_is_not_trained_on_with_another_face_model_unawares(photos, trained, tmp_path):
    (tmp_path / "m").mkdir()
    torch.save({"net_recon": weights(trained / "epoch_2.pth")}, tmp_path / "m" / "epoch_2.pth")
    folder = tmp_path / "models"
    folder.mkdir()
    shutil.copy(ROOT / "BFM" / "open_face_model.npz", folder)
    for names in (["--name=m"], ["--name=n", "--pretrained_name=m"]):
        with pytest.raises(InputError, match="BFM_model_front.mat is missing"):
            train(parse(arguments(photos, tmp_path, f"--bfm_folder={folder}", *names)))


def test_an_epoch_shorter_than_print_freq_is_reported_at_its_end(photos, tmp_path):
    assert train(parse(arguments(photos, tmp_path, "--name=m", "--n_epochs=2", "--antialias"))) == 0
    assert len(read_losses(tmp_path / "m" / "loss_log.txt", "train")) == 2


@pytest.mark.parametrize("mode", ["synthetic", "mixed"])
def test_rendered_faces_come_with_the_truth(photos, tmp_path, mode):
    options = parse(arguments(photos, tmp_path, "--name=m", "--n_epochs=1", "--print_freq=1", "--display_freq=1",
                              f"--dataset_mode={mode}", "--max_dataset_size=8"))
    assert train(options) == 0
    for dataset, has_truth in (("train", True), ("val", False)):
        losses = read_losses(tmp_path / "m" / "loss_log.txt", dataset)
        assert all(("coef" in line and "vertex" in line) == has_truth for line in losses)


def test_photos_are_augmented_unless_told_otherwise(photos, tmp_path):
    for option, augmented in (((), True), (("--use_aug=no",), False)):
        trainer = Trainer(parse(arguments(photos, tmp_path, *option)), CPU)
        assert (trainer.data.photos.augment is not None) == augmented


def test_unreadable_photos_of_the_validation_do_not_stop_the_training(photos, tmp_path):
    lines = (photos / "val.txt").read_text().splitlines()
    (tmp_path / "val.txt").write_text("\n".join(["mask/gone.png", "mask/lost.png", *lines[2:]]))
    command = arguments(photos, tmp_path, "--name=m", "--n_epochs=2", f"--flist_val={tmp_path / 'val.txt'}")
    assert train(parse(command)) == 1
    assert len((tmp_path / "m" / "unreadable.txt").read_text().splitlines()) == 2
    (tmp_path / "val.txt").write_text("\n".join(lines))
    assert train(parse([*command, "--n_epochs=3"])) == 0
    assert not (tmp_path / "m" / "unreadable.txt").exists()


def test_weights_of_another_network_are_refused(photos, tmp_path):
    with pytest.raises(InputError, match="--init_path=imagenet.pth: .*dlib's weights"):
        train(parse(arguments(photos, tmp_path, "--net_recon=dlib_resnet29", "--init_path=imagenet.pth")))


@pytest.mark.parametrize("option", ["--scale_delta=1", "--scale_delta=-0.1", "--rot_angle=nan", "--w_lm=inf"])
def test_numbers_that_make_no_sense_are_refused(option, capsys):
    with pytest.raises(SystemExit, match="2"):
        parse([option])
    assert option.split("=")[0] in capsys.readouterr().err


def test_mixed_batches_need_two_faces(photos, tmp_path):
    with pytest.raises(InputError, match="--batch_size of 2 for each process"):
        train(parse(arguments(photos, tmp_path, "--dataset_mode=mixed", "--batch_size=1")))


def test_a_new_experiment_starts_from_the_network_of_another(photos, trained, tmp_path):
    (tmp_path / "m").symlink_to(trained)
    command = arguments(photos, tmp_path, "--name=n", "--pretrained_name=m", "--epoch=1", "--continue_train")
    trainer = Trainer(parse(command), CPU)
    expected = weights(trained / "epoch_1.pth")
    assert all(torch.equal(value, expected[key]) for key, value in trainer.network.state_dict().items())
    assert (trainer.epoch, trainer.step) == (1, 0)


def test_a_checkpoint_of_the_original_is_continued(photos, trained, tmp_path):
    checkpoint = torch.load(trained / "epoch_1.pth", weights_only=True)
    (tmp_path / "m").mkdir()
    for name, finished in (("9", 8), ("12", 11), ("10", 9), ("latest", 11)):   # copied in any order
        checkpoint["sched_00"]["last_epoch"] = finished
        torch.save({key: checkpoint[key] for key in ("net_recon", "opt_00", "sched_00")},
                   tmp_path / "m" / f"epoch_{name}.pth")
    trainer = Trainer(parse(arguments(photos, tmp_path, "--name=m", "--bfm_model=open_face_model.npz")), CPU)
    assert trainer.epoch == 13
    assert trainer.optimiser.state_dict()["state"]
    (tmp_path / "m" / "epoch_12.pth").unlink()
    trainer = Trainer(parse(arguments(photos, tmp_path, "--name=m", "--bfm_model=open_face_model.npz")), CPU)
    assert trainer.epoch == 12   # again, of which a part may be done


def test_a_network_is_not_taken_for_one_of_another_camera(photos, trained, tmp_path):
    camera = ["--name=m", "--focal=800"]
    with pytest.raises(InputError, match=r"--focal=1015\.0, not 800"):
        Trainer(parse(arguments(photos, trained.parent, *camera)), CPU)
    with pytest.raises(InputError, match=r"--focal=1015\.0, not 800"):
        build_reconstructor(testing.parse([*camera, "--epoch=2", f"--checkpoints_dir={trained.parent}"]), CPU.device)


def test_the_face_model_of_the_training_is_recorded_and_taken_again(photos, trained, tmp_path):
    assert torch.load(trained / "epoch_2.pth", weights_only=True)["options"]["bfm_model"] == "open_face_model.npz"
    folder = tmp_path / "models"
    folder.mkdir()
    shutil.copy(ROOT / "BFM" / "open_face_model.npz", folder)
    (folder / "BFM_model_front.mat").write_text("put there later")
    trainer = Trainer(parse(arguments(photos, trained.parent, "--name=m", f"--bfm_folder={folder}")), CPU)
    assert trainer.options.bfm_model == "open_face_model.npz"


def test_gradients_are_shortened(photos, tmp_path):
    trainer = Trainer(parse(arguments(photos, tmp_path, "--max_grad_norm=0.001")), CPU)
    trainer.train_on(next(trainer.data.epoch(1, 0)))
    norm = torch.nn.utils.get_total_norm(p.grad for p in trainer.network.parameters())
    assert norm == pytest.approx(0.001, rel=1e-2)


def test_the_network_of_a_checkpoint_is_taken_whatever_the_default_is(photos, trained):
    command = [word for word in arguments(photos, trained.parent, "--name=m") if "net_recon" not in word]
    trainer = Trainer(parse(command), CPU)
    assert trainer.network.state_dict().keys() == load_regressor(trained / "epoch_2.pth").state_dict().keys()


def test_continue_train_wants_a_checkpoint(photos, tmp_path):
    with pytest.raises(InputError, match="no checkpoint"):
        train(parse(arguments(photos, tmp_path, "--continue_train")))


def test_a_loss_that_is_not_finite_stops_and_names_the_photos(photos, tmp_path):
    command = arguments(photos, tmp_path, "--lr=1e30", "--flist_val=none", "--n_epochs=1")
    with pytest.raises(InputError, match=r"not finite.*\d\d\.png.*--skip_nonfinite"):
        train(parse(command))


def test_batches_that_are_not_finite_can_be_left_out(photos, tmp_path, capsys):
    command = arguments(photos, tmp_path, "--lr=1e30", "--flist_val=none", "--n_epochs=1", "--skip_nonfinite",
                        "--name=m")
    assert train(parse(command)) == 0
    assert "left out" in capsys.readouterr().out
    assert all(math.isfinite(value) for line in read_losses(tmp_path / "m" / "loss_log.txt", "train")
               for value in line.values())
    assert all(value.isfinite().all() for value in weights(tmp_path / "m" / "epoch_1.pth").values())


def test_fewer_photos_than_a_batch_are_refused(photos, tmp_path):
    with pytest.raises(InputError, match="12 .*batch"):
        train(parse(arguments(photos, tmp_path, "--batch_size=16")))
    with pytest.raises(InputError, match="3 rendered faces .*batch of 4"):
        train(parse(arguments(photos, tmp_path, "--dataset_mode=synthetic", "--max_dataset_size=3")))


def test_an_unreadable_photo_is_left_out_and_listed_but_not_many(photos, tmp_path):
    lines = (photos / "train.txt").read_text()
    (tmp_path / "one.txt").write_text(lines + "mask/missing.png\n")
    command = arguments(photos, tmp_path, "--name=m", "--n_epochs=4", "--flist_val=none")
    assert train(parse([*command, f"--flist={tmp_path / 'one.txt'}"])) == 1
    assert "missing" in (tmp_path / "m" / "unreadable.txt").read_text()
    (tmp_path / "three.txt").write_text(lines + "mask/a.png\nmask/b.png\nmask/c.png\n")
    with pytest.raises(InputError, match="more than 1 %"):
        train(parse([*command, "--name=n", f"--flist={tmp_path / 'three.txt'}"]))


def test_gpus_that_are_not_there_are_told_once(run_script):
    result = run_script("train.py", "--gpu_ids=98,99")
    assert result.returncode == 2
    assert result.stderr.count("train.py:") == 1
    assert "--gpu_ids=98" in result.stderr


def test_without_use_ddp_several_gpus_start_no_processes():
    assert run_on_gpus(lambda: 7, "98,99", use_ddp=False) == 7


def test_a_batch_must_divide_among_the_processes():
    with pytest.raises(InputError, match="--batch_size=7 .* 2 processes"):
        Processes(torch.device("cpu"), size=2).share(7, "--batch_size")


@pytest.mark.parametrize(("policy", "factors"), [
    ("step", [1, 1, 0.2, 0.2, 0.04, 0.04]),
    ("linear", [1, 1, 1, 1, 2 / 3, 1 / 3]),
    ("cosine", [(1 + math.cos(math.pi * epoch / 6)) / 2 for epoch in range(6)])])
def test_learning_rate_policies(policy, factors):
    optimiser = torch.optim.Adam([torch.zeros(1, requires_grad=True)], 1e-4)
    options = parse(["--n_epochs=6", f"--lr_policy={policy}", "--lr_decay_epochs=2"])
    scheduler = make_scheduler(optimiser, parse(["--n_epochs=3", f"--lr_policy={policy}", "--lr_decay_epochs=1"]))
    found = []
    for epoch in range(len(factors)):
        if epoch in (0, 3):   # goes on by the new options
            scheduler = make_scheduler(optimiser, options, scheduler.state_dict())
        found.append(optimiser.param_groups[0]["lr"] / 1e-4)
        optimiser.step()
        scheduler.step()
    assert found == pytest.approx(factors)


@pytest.mark.parametrize("policy", ["step", "plateau"])
def test_another_policy_goes_on_from_plateau(policy):
    optimiser = torch.optim.Adam([torch.zeros(1, requires_grad=True)], 1e-4)
    state = make_scheduler(optimiser, parse(["--lr_policy=plateau"])).state_dict()
    make_scheduler(optimiser, parse([f"--lr_policy={policy}"]), state)
    assert optimiser.param_groups[0]["lr"] == 1e-4


def test_plateau_lowers_the_rate_when_the_validation_stands_still():
    optimiser = torch.optim.Adam([torch.zeros(1, requires_grad=True)], 1e-4)
    scheduler = make_scheduler(optimiser, parse(["--lr_policy=plateau"]))
    for _ in range(8):
        scheduler.step(1.0)
    assert optimiser.param_groups[0]["lr"] == pytest.approx(2e-5)


def test_plateau_needs_a_validation(photos, tmp_path):
    for option in ("--flist_val=none", "--eval_batch_nums=0"):
        with pytest.raises(InputError, match="plateau"):
            train(parse(arguments(photos, tmp_path, "--lr_policy=plateau", option)))
