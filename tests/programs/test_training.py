"""train.py as a user runs it, on a few small photos. They are rendered faces, see tests/conftest.py."""
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from datasets import training_batches
from models import training
from models.training_step import TrainingStep
from options.training import parse
from tests.helpers import (
    CPU,
    ROOT,
    arguments,
    kill_readers,
    linux_only,
    read_losses,
    start_python,
    wait_for,
)
from train import build_trainer, train
from util import training_log
from util.distributed import Processes, run_on_gpus
from util.files import InputError


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


def test_a_checkpoint_has_the_keys_of_the_original_and_reconstructs(trained, run_here):
    checkpoint = torch.load(trained / "epoch_2.pth", weights_only=True)
    assert {"net_recon", "opt_00", "sched_00"} <= set(checkpoint)
    assert checkpoint["options"]["batch_size"] == 4
    result = run_here("test.py", "--name=m", "--epoch=2", f"--checkpoints_dir={trained.parent}", "--gpu_ids=-1")
    assert result.returncode == 0, result.stderr


def test_the_losses_of_a_photo_that_is_always_the_same_fall(photos, tmp_path):
    (tmp_path / "list.txt").write_text("mask/03.png\n" * 4 * 30)
    options = parse(arguments(photos, tmp_path, "--name=m", f"--flist={tmp_path / 'list.txt'}", "--use_aug=no",
                              "--n_epochs=1", "--print_freq=1", "--flist_val=none", "--net_recon=dlib_resnet29"))
    assert train(options) == 0
    losses = read_losses(tmp_path / "m" / "loss_log.txt", "train")
    for name in ("lm", "color"):
        first, last = (np.mean([line[name] for line in part]) for part in (losses[:5], losses[-5:]))
        assert last < 0.7 * first


@linux_only
def test_a_reader_that_is_killed_is_reported_in_one_line(photos, tmp_path):
    (tmp_path / "list.txt").write_text("mask/03.png\n" * 4000)
    run = start_python("train.py", *arguments(photos, tmp_path, "--name=m", f"--flist={tmp_path / 'list.txt'}",
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
    run = start_python("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "train.py",
                *arguments(photos, tmp_path, "--name=m", "--n_epochs=2", "--print_freq=1"))
    output, _ = run.communicate()
    assert run.returncode == 0, output
    assert_same_losses(trained, tmp_path / "m")


@pytest.fixture
def two_hosts():
    """The names of two network namespaces, which act as two machines with the addresses 10.77.0.1 and 10.77.0.2."""
    def ip(arguments: str):
        subprocess.run(["ip", *arguments.split()], check=True)

    hosts = [f"train{os.getpid()}-{number}" for number in range(2)]   # names that no earlier run has left behind
    try:
        for host in hosts:
            ip(f"netns add {host}")
        ip(f"link add wire0 netns {hosts[0]} type veth peer name wire1 netns {hosts[1]}")
        for number, host in enumerate(hosts):
            ip(f"-n {host} addr add 10.77.0.{number + 1}/24 dev wire{number}")
            ip(f"-n {host} link set wire{number} up")
            ip(f"-n {host} link set lo up")
        yield hosts
    finally:
        for host in hosts:
            subprocess.run(["ip", "netns", "del", host], check=False)


@pytest.mark.skipif(shutil.which("ip") is None or os.geteuid() != 0, reason="network namespaces need root and iproute2")
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


def test_without_weights_of_the_recognition_network_the_message_names_the_alternatives(photos, tmp_path):
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


def test_compile_compiles_the_network(photos, tmp_path):
    trainer = build_trainer(parse(arguments(photos, tmp_path, "--compile")), CPU)
    # Shown by what refuses it: compiling takes minutes.
    with torch.compiler.set_stance("fail_on_recompile"), pytest.raises(RuntimeError, match="fail_on_recompile"):
        trainer.train_step(next(trainer.data.epoch(1, 0)))


def test_an_epoch_shorter_than_print_freq_is_reported_at_its_end(photos, tmp_path):
    assert train(parse(arguments(photos, tmp_path, "--name=m", "--n_epochs=2", "--antialias"))) == 0
    assert len(read_losses(tmp_path / "m" / "loss_log.txt", "train")) == 2


@pytest.mark.parametrize("mode", ["synthetic", "mixed"])
def test_rendered_faces_have_a_ground_truth(photos, tmp_path, mode):
    options = parse(arguments(photos, tmp_path, "--name=m", "--n_epochs=1", "--print_freq=1", "--display_freq=1",
                              f"--dataset_mode={mode}", "--max_dataset_size=8"))
    assert train(options) == 0
    for dataset, has_ground_truth in (("train", True), ("val", False)):
        losses = read_losses(tmp_path / "m" / "loss_log.txt", dataset)
        assert all(("coef" in line and "vertex" in line) == has_ground_truth for line in losses)


def test_photos_are_augmented_unless_it_is_switched_off(photos, tmp_path):
    for option, augmented in (((), True), (("--use_aug=no",), False)):
        trainer = build_trainer(parse(arguments(photos, tmp_path, *option)), CPU)
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


def test_gradients_are_shortened(photos, tmp_path):
    trainer = build_trainer(parse(arguments(photos, tmp_path, "--max_grad_norm=0.001")), CPU)
    trainer.train_step(next(trainer.data.epoch(1, 0)))
    norm = torch.nn.utils.get_total_norm(p.grad for p in trainer.state.network.parameters())
    assert norm == pytest.approx(0.001, rel=1e-2)


def test_a_training_that_has_diverged_stops_and_blames_no_photo(photos, tmp_path):
    """Leaving out batches would not help: all of them would be left out."""
    command = arguments(photos, tmp_path, "--lr=1e6", "--flist_val=none", "--n_epochs=1", "--skip_nonfinite")
    with pytest.raises(InputError, match="has diverged: at step . .*--lr") as raised:
        train(parse(command))
    assert ".png" not in str(raised.value)


def test_a_photo_whose_loss_is_not_finite_stops_the_training_or_is_left_out(photos, tmp_path, capsys):
    trainer = build_trainer(parse(arguments(photos, tmp_path)), CPU)
    batch = next(trainer.data.epoch(1, 0))
    batch.landmarks[1] = torch.nan
    before = [values.clone() for values in trainer.state.network.parameters()]
    with pytest.raises(InputError, match=r"lm is not finite at step 1, of the photos .*\d\d\.png.*--skip_nonfinite"):
        trainer.train_step(batch)
    trainer.train_step.skip_nonfinite = True
    assert trainer.train_step(batch) == {}
    assert "left out: all, lm is not finite" in capsys.readouterr().out
    after = trainer.state.network.parameters()
    assert all(torch.equal(old, new) for old, new in zip(before, after, strict=True))


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


def test_missing_gpus_are_reported_once(run_here):
    result = run_here("train.py", "--gpu_ids=98,99")
    assert result.returncode == 2
    assert result.stderr.count("train.py:") == 1
    assert "--gpu_ids=98" in result.stderr


def test_without_use_ddp_several_gpus_start_no_processes():
    assert run_on_gpus(lambda: 7, "98,99", use_ddp=False) == 7


def test_a_batch_must_divide_among_the_processes():
    with pytest.raises(InputError, match="--batch_size=7 .* 2 processes"):
        Processes(torch.device("cpu"), size=2).share(7, "--batch_size")


def test_plateau_needs_a_validation(photos, tmp_path):
    for option in ("--flist_val=none", "--eval_batch_nums=0"):
        with pytest.raises(InputError, match="plateau"):
            train(parse(arguments(photos, tmp_path, "--lr_policy=plateau", option)))


def test_the_times_in_the_log_are_those_of_steps_alone(photos, tmp_path, monkeypatch):
    """The clock moves by 2 s when a batch is read, by 10 s in a step, and by 100 s or more in work between steps."""
    trainer = build_trainer(parse(arguments(photos, tmp_path, "--name=m", "--n_epochs=1", "--print_freq=1",
                                            "--display_freq=1", "--evaluation_freq=1", "--save_latest_freq=1")), CPU)
    now = 0.0

    def let_it_take(seconds: float, owner: object, name: str):
        work = getattr(owner, name)

        def timed(*arguments):
            nonlocal now
            now += seconds
            return work(*arguments)
        monkeypatch.setattr(owner, name, timed)

    monkeypatch.setattr(training_log, "monotonic", lambda: now)
    let_it_take(2, training_batches, "to_batch")
    let_it_take(10, TrainingStep, "__call__")
    for number, (owner, name) in enumerate([(trainer, "evaluate"), (trainer, "save"), (training, "draw_predictions")]):
        let_it_take(100 * 2 ** number, owner, name)
    assert trainer.run() == 0
    lines = [line for line in (tmp_path / "m" / "loss_log.txt").read_text().splitlines() if "dataset: train" in line]
    assert len(lines) == 3 and all("time: 12.000, data: 2.000)" in line for line in lines)


def test_only_the_first_process_draws(photos, tmp_path, monkeypatch):
    drawn = []
    draw = training.draw_predictions
    monkeypatch.setattr(training, "draw_predictions", lambda *arguments: drawn.append(1) or draw(*arguments))
    for rank in (1, 0):
        options = parse(arguments(photos, tmp_path, f"--name={rank}", "--n_epochs=1", "--display_freq=1"))
        assert build_trainer(options, Processes(CPU.device, rank)).run() == 0
        assert bool(drawn) == (rank == 0)


def test_a_size_that_the_rasteriser_of_nvidia_cannot_draw_is_refused(photos, tmp_path, monkeypatch):
    def build(size: int):
        return build_trainer(parse(arguments(photos, tmp_path, f"--image_size={size}")), CPU)

    build(100)   # by the rasteriser of this repository
    monkeypatch.setattr("models.renderer.choose_rasteriser", lambda *_: ("NVIDIA's operations", "their context"))
    with pytest.raises(InputError, match="--image_size=100: NVIDIA.* multiple of 8 px.*--renderer=portable"):
        build(100)
    build(96)
