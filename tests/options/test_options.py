import re
import subprocess
import sys
from pathlib import Path

import pytest

from models import recognition, regressor
from models.outputs.table import OUTPUTS, choose_outputs
from options import common, preparation, testing, training
from tests.helpers import ROOT
from util.files import InputError


def test_the_options_name_every_network():
    assert set(common.BACKBONES) == set(regressor.BACKBONES)
    assert set(common.RECOGNITION_NETWORKS) == set(recognition.NETWORKS)


def test_the_option_save_names_every_output(capsys):
    assert set(testing.OUTPUTS) == set(OUTPUTS) - {"report"}
    assert choose_outputs(testing.parse([]).save, arkit=True) == ("png", "obj", "mat")
    assert choose_outputs(testing.parse(["--save=mat, png,mat"]).save, arkit=False) == ("png", "mat")
    assert choose_outputs(testing.parse(["--save=png,all"]).save, arkit=True) == testing.OUTPUTS
    assert "arkit" not in choose_outputs(testing.parse(["--save=all"]).save, arkit=False)
    with pytest.raises(InputError, match="leave out arkit"):
        choose_outputs(testing.parse(["--save=png,arkit"]).save, arkit=False)
    for wrong in ("--save=png,jpg", "--save="):
        with pytest.raises(SystemExit):
            testing.parse([wrong])
        assert ", ".join(testing.OUTPUTS) in capsys.readouterr().err


def test_options_are_parsed_without_loading_pytorch():
    """Loading it takes seconds, and it reads environment variables that the programs set after parsing."""
    modules = "options.testing, options.training, options.preparation"
    subprocess.run([sys.executable, "-c", f"import sys, {modules}; assert 'torch' not in sys.modules"], cwd=ROOT,
                   check=True)


def test_the_suffix_takes_the_values_of_options():
    for parse in (testing.parse, training.parse):
        assert parse(["--name=a", "--suffix={epoch}_{focal:g}", "--epoch=3"]).name == "a_3_1015"


def test_a_tilde_is_the_home_of_the_user():
    home = Path.home()
    assert testing.parse(["--img_folder=~/photos"]).img_folder == home / "photos"
    assert training.parse(["--flist=~/list.txt", "--init_path="]).flist == home / "list.txt"
    assert preparation.parse(["--img_folder", "~/a", "b"]).img_folder == [home / "a", Path("b")]
    assert testing.parse(["--img_folder=~nobody-of-this-name/x"]).img_folder == Path("~nobody-of-this-name/x")


def test_names_that_the_shell_has_put_in_the_place_of_a_pattern_are_explained(tmp_path, capsys):
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).touch()
    with pytest.raises(SystemExit):
        testing.parse(["--img_folder", *map(str, sorted(tmp_path.iterdir()))])
    assert "replace a pattern such as *.jpg" in capsys.readouterr().err


def test_only_the_first_process_of_torchrun_reports_wrong_options(monkeypatch, capsys):
    for rank in "01":
        monkeypatch.setenv("RANK", rank)
        with pytest.raises(SystemExit, match="2"):
            testing.parse(["--no_such_option"])
        assert ("no_such_option" in capsys.readouterr().err) == (rank == "0")


def test_whole_numbers_may_have_a_point():
    options = training.parse(["--vis_batch_nums=2.0", "--eval_batch_nums=20.", "--shift_pixs=1e1"])
    assert (options.vis_batch_nums, options.eval_batch_nums, options.shift_pixs) == (2, 20, 10)


@pytest.mark.parametrize("parse, argument", [
    (testing.parse, "--fit_iters=1.5"), (testing.parse, "--fit_iters=inf"),
    (training.parse, "--n_epochs=inf"), (testing.parse, "--z_near=15"),
    (training.parse, "--z_far=5"), (testing.parse, "--suffix={name.x}"), (testing.parse, "--suffix={none}"),
    (training.parse, "--suffix={}"), (training.parse, "--suffix={lr"), (training.parse, "--suffix={lr[0]}")])
def test_the_message_about_a_wrong_value_names_its_option(parse, argument, capsys):
    with pytest.raises(SystemExit, match="2"):
        parse([argument])
    assert argument.partition("=")[0] in capsys.readouterr().err.splitlines()[-1]


def test_help_of_the_reconstruction_shows_the_options_that_have_an_effect(capsys):
    with pytest.raises(SystemExit, match="0"):
        testing.parse(["--help"])
    shown = set(re.findall(r"--(\w+)", capsys.readouterr().out.partition("Reconstructs")[0]))
    assert shown == {
        "name", "gpu_ids", "checkpoints_dir", "epoch", "suffix", "verbose", "use_ddp", "net_recon", "bfm_folder",
        "bfm_model", "focal", "center", "camera_d", "z_near", "z_far", "renderer", "img_folder", "save", "all_faces",
        "fit_iters", "detector", "batch_size", "num_threads", "recursive", "results_dir", "frontal", "neutral",
        "texture", "mirror", "report", "fit_color", "net_recog", "net_recog_path", "coeffs", "exp_from", "pose_from",
        "light_from", "frame_rate", "smooth", "same_person"}


def test_the_reconstruction_accepts_options_without_effect():
    options = testing.parse([
        "--model=facerecon", "--vis_batch_nums=2", "--eval_batch_nums=3", "--display_per_batch=no", "--add_image=no",
        "--ddp_port=1234", "--world_size=2", "--init_path=weights.pth", "--use_last_fc", "--use_opengl=no",
        "--phase=train", "--dataset_mode=flist"])
    assert vars(options).keys() >= set(testing.WITHOUT_EFFECT)
