"""test.py --coeffs, faces from stored coefficients, and --save=eg3d, which needs the same run. The functions are called
in this process, which is quick."""
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image
from scipy.io import loadmat

from datasets.compare import main, read_faces
from datasets.face_embeddings import embed_faces, pictures_of
from models.recognition import load_recognition
from options.testing import parse
from test import reconstruct_folder
from tests.helpers import EXAMPLES, ROOT, crop_and_overlay
from util.files import InputError


def run(*arguments: object) -> int:
    """The exit status of test.py."""
    return reconstruct_folder(parse(["--gpu_ids=-1", "--num_threads=0", *map(str, arguments)]))


@pytest.fixture(scope="module")
def stored(tmp_path_factory) -> Path:
    """A folder with photos and, in `results`, the files of their faces."""
    folder = tmp_path_factory.mktemp("stored")
    (folder / "photos" / "detections").mkdir(parents=True)
    for name in ("astronaut.png", "grace_hopper.jpg"):
        shutil.copy(EXAMPLES / name, folder / "photos")
        shutil.copy((EXAMPLES / "detections" / name).with_suffix(".txt"), folder / "photos" / "detections")
    photo = Image.open(folder / "photos" / "grace_hopper.jpg").rotate(90, expand=True)
    photo.save(folder / "photos" / "turned.png")
    assert run("--name=open_face", "--epoch=20", f"--checkpoints_dir={ROOT / 'checkpoints'}",
               "--save=png,obj,mat,coeffs,eg3d", "--mirror", f"--img_folder={folder / 'photos'}",
               f"--results_dir={folder / 'results'}") == 0
    return folder


def vertices(path: Path) -> np.ndarray:
    return np.asarray(trimesh.load(path, process=False).vertices)


def test_stored_faces_are_drawn_as_before(stored, tmp_path):
    names = ("astronaut", "grace_hopper", "turned")
    files = [stored / "results" / f"{name}.npz" for name in names]
    assert run("--coeffs", *files, f"--results_dir={tmp_path / 'out'}") == 0
    for name in names:
        before, after = (folder / name for folder in (stored / "results", tmp_path / "out"))
        assert before.with_suffix(".obj").read_bytes() == after.with_suffix(".obj").read_bytes()
        for first, second in zip(crop_and_overlay(before.with_suffix(".png")),
                                 crop_and_overlay(after.with_suffix(".png")), strict=True):
            assert np.array_equal(first, second)


def test_expression_pose_and_light_of_another_face(stored, tmp_path):
    first, other = stored / "results" / "astronaut.npz", stored / "results" / "grace_hopper.npz"
    assert run("--coeffs", first, "--exp_from", other, "--pose_from", other, "--light_from", other, "--save=mat",
               f"--results_dir={tmp_path / 'out'}") == 0
    mixed, one, two = (loadmat(path) for path in (tmp_path / "out" / "astronaut.mat", first.with_suffix(".mat"),
                                                  other.with_suffix(".mat")))
    for part, source in (("id", one), ("tex", one), ("exp", two), ("angle", two), ("trans", two), ("gamma", two)):
        assert np.array_equal(mixed[part], source[part]), part


def test_edited_numbers_without_the_photo_and_frontal_and_neutral_meshes(stored, tmp_path, face_model):
    numbers = dict(np.load(stored / "results" / "astronaut.npz"))
    numbers |= {"angle": np.array([0.0, 0.5, 0.0]), "photo": "gone.png"}
    np.savez(tmp_path / "edited.npz", **numbers)
    assert run("--coeffs", tmp_path / "edited.npz", "--frontal", "--neutral", "--save=png,obj",
               f"--results_dir={tmp_path / 'out'}") == 0
    crop, overlay = crop_and_overlay(tmp_path / "out" / "edited.png")
    assert (crop == 255).all() and (overlay != 255).any(2).mean() > 0.2
    expected = face_model.shape(*(face_model.mean_shape.new_tensor(values)[None] for values in
                                  (numbers["id"], 0 * numbers["exp"])))[0]
    assert np.abs(vertices(tmp_path / "out" / "edited.obj") - expected.numpy()).max() < 2e-5


def test_files_that_cannot_be_used_are_named_and_the_others_drawn(stored, tmp_path):
    numbers = dict(np.load(stored / "results" / "astronaut.npz"))
    np.savez(tmp_path / "good.npz", **numbers)
    np.savez(tmp_path / "other_model.npz", **numbers | {"face_model": "other.mat"})
    np.savez(tmp_path / "nan.npz", **numbers | {"exp": np.full(64, np.nan)})
    np.savez(tmp_path / "short.npz", **numbers | {"id": np.zeros(79)})
    np.savez(tmp_path / "part.npz", id=numbers["id"])
    (tmp_path / "text.npz").write_text("no numbers")
    names = ["good", "other_model", "nan", "short", "part", "text", "missing"]
    assert run("--coeffs", *(tmp_path / f"{name}.npz" for name in names), "--save=obj",
               f"--results_dir={tmp_path / 'out'}") == 1
    reasons = dict(line.split(": ", 1) for line in (tmp_path / "out" / "skipped.txt").read_text().splitlines())
    assert reasons.keys() == {f"{name}.npz" for name in names[1:]}
    for name, reason in (("other_model", "face_model other.mat"), ("nan", "exp has a number that is infinite or nan"),
                         ("short", "id must be"), ("part", "exp"), ("text", "no .npz file"),
                         ("missing", "does not exist")):
        assert reason in reasons[f"{name}.npz"]
    assert (tmp_path / "out" / "good.obj").exists()
    with pytest.raises(InputError, match="could overwrite"):
        run("--coeffs", tmp_path / "good.npz", f"--results_dir={tmp_path}")


def test_the_training_set_of_eg3d_has_a_label_for_each_picture(stored):
    folder = stored / "results" / "eg3d"
    for name in ("dataset.json", "dataset_cor.json"):
        labels = dict(json.loads((folder / name).read_text())["labels"])
        assert labels.keys() == {f"{face}{end}.png" for face in ("astronaut", "grace_hopper", "turned")
                                 for end in ("", "_mirrored")}
        for file, label in labels.items():
            assert Image.open(folder / file).size == (512, 512) and len(label) == 25
    poses = {file.removesuffix(".png"): np.array(label[:16]).reshape(4, 4) for file, label in labels.items()}
    assert poses["grace_hopper"][0, 0] > 0.9 and poses["turned"][1, 0] < -0.9   # where the picture's right points to
    upright, turned = (np.asarray(Image.open(folder / f"{name}.png")) for name in ("grace_hopper", "turned"))
    assert np.corrcoef(np.rot90(upright).ravel(), turned.ravel())[0, 1] > 0.8


def test_photos_are_compared_by_their_results_or_reconstructed_first(stored, tmp_path):
    """The persons are told apart by dlib's network, from the photos."""
    def metrics(first, second, *options):
        assert main([str(first), str(second), f"--json={tmp_path / 'out.json'}", *options]) == 0
        return json.loads((tmp_path / "out.json").read_text())["metrics"]

    astronaut, hopper = (stored / "results" / f"{name}.npz" for name in ("astronaut", "grace_hopper"))
    again = metrics(hopper, stored / "photos" / "grace_hopper.jpg", "--name=open_face", "--epoch=20", "--gpu_ids=-1",
                    f"--checkpoints_dir={ROOT / 'checkpoints'}", "--num_threads=0")
    assert again["AED_sum64"] < 1e-3 and again["LMD_68_px"] < 0.01 and again["identity_cosine_dlib"] > 0.9999
    others = metrics(astronaut, hopper)
    assert others["AED_sum64"] > 1 and others["identity_cosine_dlib"] < 0.9


def test_frames_without_a_face_have_no_embedding(stored):
    faces = read_faces(stored / "results" / "astronaut.npz")
    photo, = pictures_of(faces.source, is_video=False)
    params, landmarks = faces.trans_params.repeat(3, 0), faces.landmarks.repeat(3, 0)
    recognition = load_recognition("dlib", Path())
    first, second, third = embed_faces([photo, 0 * photo, photo], params, landmarks, np.array([True, False, True]),
                                       recognition)
    assert first @ third == pytest.approx(1, abs=1e-5) and np.isnan(second).all()
    for frames, message in (([photo, photo], "number of frames"), ([photo[2:]] * 3, "pixels")):
        with pytest.raises(InputError, match=message):
            embed_faces(frames, params, landmarks, np.ones(3, bool), recognition)


@pytest.mark.parametrize("arguments, message", [
    (["--mirror"], "eg3d"), (["--coeffs=a.npz"], "--results_dir"), (["--exp_from=b.npz"], "--coeffs"),
    (["--coeffs=a.npz", "--results_dir=out", "--img_folder=photos"], "--img_folder")])
def test_options_that_do_not_go_together(arguments, message, capsys):
    with pytest.raises(SystemExit, match="2"):
        parse(arguments)
    assert message in capsys.readouterr().err
