"""Options: their defaults, and that those of the losses and of the course of a training do what they say."""
import os
import re
from pathlib import Path

import pytest
import torch

from models.coefficients import SIZE, split
from models.losses import color_loss, perceptual_loss
from models.objective import WEIGHT_NAMES
from models.records import Batch
from models.training import Trainer
from options import preparation, testing, training
from tests.helpers import CPU, ROOT, arguments
from train import build_trainer, train
from util.training_log import TrainingLog

# What the published scripts have; None where what is there decides: the GPUs, the checkpoint, the face model.
BASE = {
    "name": "face_recon", "gpu_ids": None, "checkpoints_dir": Path("checkpoints"), "vis_batch_nums": 1,
    "eval_batch_nums": float("inf"), "use_ddp": True, "ddp_port": "12355", "display_per_batch": True,
    "add_image": True, "world_size": 1, "model": "facerecon", "epoch": "latest", "verbose": False, "suffix": "",
    "net_recon": None, "init_path": None, "use_last_fc": False, "bfm_folder": Path("BFM"), "bfm_model": None,
    "focal": 1015, "center": 112, "camera_d": 10, "z_near": 5, "z_far": 15, "use_opengl": True}
TEST = {"phase": "test", "dataset_mode": None, "img_folder": Path("datasets/examples")}
TRAIN = {
    "data_root": Path(), "flist": Path("datalist/train/masks.txt"), "batch_size": 32, "dataset_mode": "flist",
    "serial_batches": False, "num_threads": min(4, os.cpu_count()), "max_dataset_size": float("inf"),
    "preprocess": "shift_scale_rot_flip", "use_aug": True, "flist_val": Path("datalist/val/masks.txt"),
    "batch_size_val": 32, "display_freq": 1000, "print_freq": 100, "save_latest_freq": 5000, "save_epoch_freq": 1,
    "evaluation_freq": 5000, "save_by_iter": False, "continue_train": False, "epoch_count": 1, "phase": "train",
    "pretrained_name": None, "n_epochs": 20, "lr": 1e-4, "lr_policy": "step", "lr_decay_epochs": 10,
    "net_recog": "r50", "net_recog_path": Path("checkpoints/recog_model/ms1mv3_arcface_r50_fp16/backbone.pth"),
    "use_crop_face": True, "use_predef_M": False, "shift_pixs": 10, "scale_delta": 0.1, "rot_angle": 10,
    "w_feat": 0.2, "w_color": 1.92, "w_reg": 3e-4, "w_id": 1, "w_exp": 0.8, "w_tex": 1.7e-2, "w_gamma": 10,
    "w_lm": 1.6e-3, "w_reflc": 5}
# What we add must not change the published training.
OURS = {"image_size": 224, "balance_heads": False, "max_grad_norm": float("inf"), "amp": "off", "antialias": False,
        "color_norm": 1, "w_fit": 0, "w_close": 0, "teachers": None,
        "degraded": 0}


@pytest.mark.parametrize("parse, table", [(testing.parse, BASE | TEST), (training.parse, BASE | TRAIN | OURS)])
def test_defaults_are_the_published_ones(parse, table):
    options = vars(parse([]))
    assert {name: options[name] for name in table} == table


def test_an_empty_init_path_is_not_the_current_folder():
    assert training.parse(["--init_path="]).init_path == ""
    assert training.parse(["--init_path=a/b.pth"]).init_path == Path("a/b.pth")


@pytest.mark.parametrize("parse", [testing.parse, training.parse, preparation.parse])
def test_every_option_is_read_or_says_that_it_has_no_effect(parse, capsys):
    with pytest.raises(SystemExit):
        parse(["--help"])
    entries = re.findall(r"^  --(\w+)(.*?)(?=^  --|\Z)", capsys.readouterr().out, re.MULTILINE | re.DOTALL)
    assert len(entries) >= 7
    sources = "".join(path.read_text() for folder in (".", "datasets", "models", "options", "util")
                      for path in (ROOT / folder).glob("*.py"))
    read = set(re.findall(r"options\.(\w+)", sources)) | {f"w_{name}" for name in WEIGHT_NAMES}
    assert [name for name, text in entries if name not in read and not re.search(r"(no|without)\s+effect", text)] == []


def trainer(photos, folder, *more: str) -> Trainer:
    return build_trainer(training.parse(arguments(photos, folder, *more)), CPU)


def validation_batch(trainer: Trainer) -> Batch:
    return next(iter(trainer.validation))


def test_the_loss_is_the_sum_of_its_terms_by_their_weights(photos, tmp_path, generator):
    full = trainer(photos, tmp_path, "--net_recog=dlib", "--w_feat=0.2", "--w_close=0.002")
    coeffs = 0.3 * torch.randn(4, SIZE, generator=generator)
    losses = full.train_step.objective(coeffs, validation_batch(full), CPU)
    weights = {"feat": 0.2, "color": 1.92, "lm": 1.6e-3, "close": 2e-3, "reg": 3e-4, "gamma": 10, "reflc": 5}
    assert losses.keys() == {"all", *weights}
    assert all(losses[name] > 0 for name in weights)
    assert losses["all"].item() == pytest.approx(sum(w * losses[name].item() for name, w in weights.items()))
    c = split(coeffs)
    squares = c["id"].square().sum() + 0.8 * c["exp"].square().sum() + 1.7e-2 * c["tex"].square().sum()
    assert losses["reg"].item() == pytest.approx(squares.item() / 4)


def test_colours_are_compared_inside_the_face_or_on_all_of_it(photos, tmp_path):
    found, wanted = [], []
    for option, part in (("--use_crop_face", "inner_tri"), ("--use_crop_face=no", "tri")):
        objective = (one := trainer(photos, tmp_path, option)).train_step.objective
        batch, model = validation_batch(one), objective.face_model
        coeffs = torch.zeros(4, SIZE)
        found.append(objective(coeffs, batch, CPU)["color"].item())
        face = model(coeffs)
        _, _, image = objective.renderer(face.vertices, model.tri, face.color, 64)
        shown, _, _ = objective.renderer(face.vertices, getattr(model, part), face.color, 64)
        wanted.append(color_loss(image, batch.photo, batch.mask * shown).item())
    assert found == pytest.approx(wanted, rel=1e-5)
    assert wanted[0] != pytest.approx(wanted[1], rel=1e-3)


def test_the_render_is_aligned_by_the_predicted_or_by_the_given_landmarks(photos, tmp_path):
    found, wanted = [], []
    for option, given in (("--use_predef_M=no", False), ("--use_predef_M", True)):
        objective = (one := trainer(photos, tmp_path, option, "--net_recog=dlib", "--w_feat=0.2",
                                    "--image_size=224")).train_step.objective
        batch, model = validation_batch(one), objective.face_model
        coeffs = torch.zeros(4, SIZE)
        with torch.no_grad():
            found.append(objective(coeffs, batch, CPU)["feat"].item())
            face = model(coeffs)
            _, _, image = objective.renderer(face.vertices, model.tri, face.color)
            wanted.append(perceptual_loss(
                objective.recognition(image, batch.landmarks if given else face.landmarks),
                objective.recognition(batch.photo, batch.landmarks)).item())
    assert found == pytest.approx(wanted, rel=1e-4)
    assert wanted[0] != pytest.approx(wanted[1], rel=0.01)


def test_photos_come_in_the_order_of_the_datalist_or_shuffled(photos, tmp_path):
    names = [f"{number:02}.png" for number in range(12)]
    for option, in_order in (("--serial_batches", True), ("--serial_batches=no", False)):
        batches = trainer(photos, tmp_path, option).data.epoch(1)
        found = [Path(path).name for batch in batches for path in batch.paths]
        assert sorted(found) == names
        assert (found == names) == in_order


def test_checkpoints_by_iteration_in_a_folder_with_the_suffix(photos, tmp_path):
    command = arguments(photos, tmp_path, "--name=m", "--suffix=bs{batch_size}", "--save_by_iter", "--n_epochs=1",
                        "--save_latest_freq=2", "--flist_val=none")
    assert train(training.parse(command)) == 0
    assert {path.name for path in (tmp_path / "m_bs4").glob("*.pth")} == {"epoch_iter_2.pth", "epoch_iter_3.pth",
                                                                       "epoch_1.pth"}


@pytest.mark.parametrize("option, lines", [("--display_per_batch", 1), ("--display_per_batch=no", 2)])
def test_frequencies_count_batches_or_images(photos, tmp_path, option, lines):
    """There are three batches of four images. The second one has the eighth image. The last one is always reported."""
    command = arguments(photos, tmp_path, "--name=m", option, "--print_freq=8", "--n_epochs=1", "--flist_val=none")
    assert train(training.parse(command)) == 0
    assert (tmp_path / "m" / "loss_log.txt").read_text().count("dataset: train") == lines


def test_batches_of_an_evaluation_that_are_computed_and_shown(photos, tmp_path):
    def evaluate(name: str, *more: str) -> tuple[float, int]:
        one = trainer(photos, tmp_path, "--batch_size_val=2", *more)
        (tmp_path / name).mkdir()
        with TrainingLog(tmp_path / name, add_image=False) as log:
            return one.evaluate(log)["color"], len(list((tmp_path / name).rglob("*.png")))

    (tmp_path / "two.txt").write_text("".join((photos / "val.txt").read_text().splitlines(True)[:2]))
    color_of_two, _ = evaluate("two", f"--flist_val={tmp_path / 'two.txt'}")
    color, shown = evaluate("first", "--eval_batch_nums=1", "--vis_batch_nums=2")
    assert color == pytest.approx(color_of_two) and shown == 2
    color, shown = evaluate("all", "--vis_batch_nums=2")
    assert color != pytest.approx(color_of_two, rel=0.01) and shown == 4
    assert evaluate("none", "--vis_batch_nums=0")[1] == 0
