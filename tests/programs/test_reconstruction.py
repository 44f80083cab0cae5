"""test.py as a user runs it."""
import hashlib
import shutil

import numpy as np
import pytest
import trimesh
from PIL import Image
from scipy.io import loadmat

from datasets.photos import read_photo
from models.coordinates import crop_to_photo, flip_y, turn_points
from tests.helpers import (
    EXAMPLES,
    ROOT,
    color_error,
    crop_and_overlay,
)


def test_the_three_files_of_a_photo(run_script, checkpoints, astronaut, face_model, tmp_path):
    results = tmp_path / "results"
    done = run_script("test.py", "--name=M", "--epoch=20", f"--img_folder={astronaut}", f"--results_dir={results}",
                      f"--checkpoints_dir={checkpoints}", "--gpu_ids=-1")
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in results.glob("[!.]*")) == ["astronaut.mat", "astronaut.obj", "astronaut.png"]

    panel = results / "astronaut.png"
    assert Image.open(panel).size == (672, 224)
    crop, overlay = crop_and_overlay(panel)
    assert 0.2 < (crop != overlay).any(2).mean() < 0.8

    mat = loadmat(results / "astronaut.mat")
    shapes = {"id": (1, 80), "exp": (1, 64), "tex": (1, 80), "angle": (1, 3), "gamma": (1, 27), "trans": (1, 3),
              "lm68": (1, 68, 2), "trans_params": (1, 5)}
    assert {key: mat[key].shape for key in shapes} == shapes
    assert mat["trans_params"][0, :2].tolist() == [512, 512]

    mesh = trimesh.load(results / "astronaut.obj", process=False)
    assert mesh.vertices.shape == (len(face_model.mean_shape) // 3, 3)
    assert np.abs(mesh.vertices - face_model.mean_shape.view(-1, 3).numpy()).max() < 1e-4
    assert np.array_equal(mesh.faces, face_model.tri.numpy())


def test_another_camera(reconstruct, astronaut, face_model):
    """The crop is the camera's image, 2 * center px wide. The mesh does not depend on where the camera is."""
    done, results = reconstruct(astronaut, "--center=168", "--focal=1522.5", "--camera_d=12")
    assert done.returncode == 0, done.stderr
    mesh = trimesh.load(results / "astronaut.obj", process=False)
    assert np.abs(mesh.vertices - face_model.mean_shape.view(-1, 3).numpy()).max() < 1e-4
    keypoints = mesh.vertices[face_model.keypoints]
    expected = 1015 * keypoints[:, :2] * (1, -1) / (12 - keypoints[:, 2:]) + (112, 111)   # y down
    assert np.abs(loadmat(results / "astronaut.mat")["lm68"][0] - expected).max() < 0.01


def test_names_that_look_like_suffixes_and_a_slash_at_the_end(run_here, checkpoints, astronaut, tmp_path):
    folder = tmp_path / "jpg.png.d"
    (folder / "detections").mkdir(parents=True)
    shutil.copy(astronaut / "astronaut.png", folder / "png_jpg.jpg.PNG")
    shutil.copy(astronaut / "detections" / "astronaut.txt", folder / "detections" / "png_jpg.jpg.txt")
    done = run_here("test.py", "--name=M", "--epoch=20", f"--img_folder={folder}/",
                    f"--checkpoints_dir={checkpoints}", "--gpu_ids=-1")
    assert done.returncode == 0, done.stderr
    results = checkpoints / "M" / "results" / "jpg.png.d" / "epoch_20_000000"
    assert {path.name for path in results.iterdir()} == {f"png_jpg.jpg.{kind}" for kind in ("mat", "obj", "png")}


def test_a_fit_finds_the_face_and_its_landmarks_lie_on_it(reconstruct, astronaut):
    """Without detections: the face is found, fitted from the mean face, and mapped back from the crop to the photo."""
    shutil.rmtree(astronaut / "detections")
    done, results = reconstruct(astronaut, "--fit_iters=10", name="fit", epoch=0)
    assert done.returncode == 0, done.stderr
    mat = loadmat(results / "astronaut.mat")
    in_photo = crop_to_photo(flip_y(mat["lm68"][0], 224), mat["trans_params"][0])
    in_photo = flip_y(in_photo, 512)
    eyes = [in_photo[36:42].mean(0), in_photo[42:48].mean(0)]
    expected = np.loadtxt(EXAMPLES / "detections" / "astronaut.txt")
    assert np.abs(np.array(eyes) - expected[:2]).max() < 3
    assert color_error(results / "astronaut.png") < 0.14


@pytest.mark.parametrize("name, epoch, fit_iters", [("open_face", 20, 0), ("fit", 0, 4)])
def test_a_turned_photo_gives_the_same_face_turned(reconstruct, tmp_path, name, epoch, fit_iters):
    """By the network and by the fit. The photos are turned anticlockwise by 0 to 3 quarters."""
    folder = tmp_path / "turned"
    (folder / "detections").mkdir(parents=True)
    photo = read_photo(EXAMPLES / "grace_hopper.jpg")
    points = np.loadtxt(EXAMPLES / "detections" / "grace_hopper.txt")
    size = photo.shape[1::-1]
    for turns in range(4):
        Image.fromarray(np.rot90(photo, turns)).save(folder / f"{turns}.png")
        np.savetxt(folder / "detections" / f"{turns}.txt", turn_points(points, size, -turns))   # -: y is down here
    # One face a batch: rounding depends on a face's place in the batch, and Adam's steps enlarge such differences.
    done, results = reconstruct(folder, f"--fit_iters={fit_iters}", "--batch_size=1", name=name, epoch=epoch)
    assert done.returncode == 0, done.stderr
    upright = loadmat(results / "0.mat")
    crop, overlay = crop_and_overlay(results / "0.png")
    in_photo = flip_y(crop_to_photo(flip_y(upright["lm68"][0], 224), upright["trans_params"][0]), size[1])
    for turns in range(1, 4):
        turned = loadmat(results / f"{turns}.mat")
        for part in ("id", "exp", "tex"):
            np.testing.assert_allclose(turned[part], upright[part], atol=1e-3)
        assert np.exp(1j * (turned["angle"] - upright["angle"]))[0, 2] == pytest.approx(1j ** turns, abs=1e-3)
        turned_crop, turned_overlay = crop_and_overlay(results / f"{turns}.png")
        assert np.array_equal(turned_crop, np.rot90(crop, turns))
        difference = np.abs(turned_overlay.astype(int) - np.rot90(overlay, turns))
        assert difference.mean() < 0.05 and (difference > 8).mean() < 1e-3
        width, height, *_ = turned["trans_params"][0]
        assert (width, height) == (size if turns == 2 else size[::-1])
        found = flip_y(crop_to_photo(flip_y(turned["lm68"][0], 224), turned["trans_params"][0]), height)
        pixel = 1 / turned["trans_params"][0, 2]   # of the crop, in the photo
        np.testing.assert_allclose(found, turn_points(in_photo, size, -turns), atol=1.01 * pixel)


def test_turned_faces_are_found_and_fitted(reconstruct, tmp_path):
    folder, directions = tmp_path / "turned", (60, 120, 180, 240, 300)
    folder.mkdir()
    photo = Image.open(EXAMPLES / "astronaut.png")
    for degrees in directions:
        photo.rotate(degrees, Image.Resampling.BICUBIC).save(folder / f"{degrees}.png")
    done, results = reconstruct(folder, "--fit_iters=2", "--save=mat", name="fit", epoch=0)
    assert done.returncode == 0, done.stderr
    for degrees in directions:
        angle = loadmat(results / f"{degrees}.mat")["angle"][0, 2]
        assert np.exp(1j * angle) == pytest.approx(np.exp(1j * np.radians(degrees)), abs=0.3), degrees


def test_bad_photos_are_named_and_the_others_reconstructed(reconstruct, astronaut):
    points = (astronaut / "detections" / "astronaut.txt").read_text().splitlines()

    def with_points(name, text):
        shutil.copy(astronaut / "astronaut.png", astronaut / f"{name}.png")
        (astronaut / "detections" / f"{name}.txt").write_text(text)

    with_points("commas", "\n".join(",".join(line.split()) for line in points))
    with_points("four", "\n".join(points[:4]))
    with_points("nan", "\n".join(["nan nan", *points[1:]]))
    with_points("equal", "\n".join(points[:1] * 5))
    with_points("outside", "\n".join("9000 9000" for _ in points))
    (astronaut / "empty.jpg").touch()
    (astronaut / "text.jpg").write_text("not a photo")
    (astronaut / "broken.png").write_bytes((astronaut / "astronaut.png").read_bytes()[:30_000])
    Image.new("RGB", (300, 300), "green").save(astronaut / "noface.bmp")
    Image.open(astronaut / "astronaut.png").save(astronaut / "astronaut.TIFF")
    before = sorted(astronaut.rglob("*"))

    done, results = reconstruct(astronaut, "--batch_size=3")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    bad = {"four.png", "nan.png", "equal.png", "outside.png", "empty.jpg", "text.jpg", "broken.png", "noface.bmp"}
    skipped = (results / "skipped.txt").read_text().splitlines()
    left_out = {line.split(":")[0] for line in skipped}
    assert left_out - {"astronaut.TIFF", "astronaut.png"} == bad
    assert len(left_out) == len(bad) + 1   # one of the two astronauts
    for name in left_out:
        assert name.split(".")[0] in done.stderr
    assert {path.stem for path in results.glob("*.obj")} == {"astronaut", "commas"}
    assert sorted(astronaut.rglob("*")) == before


def test_every_face_of_a_photo(reconstruct, tmp_path):
    folder = tmp_path / "pair"
    folder.mkdir()
    one = Image.open(EXAMPLES / "astronaut.png").convert("RGB").crop((100, 0, 400, 300))
    both = Image.new("RGB", (600, 300))
    both.paste(one.resize((200, 200)), (20, 50))
    both.paste(one, (300, 0))
    both.save(folder / "pair.png")
    done, results = reconstruct(folder, "--all_faces")
    assert done.returncode == 0, done.stderr
    assert {path.stem for path in results.glob("*.obj")} == {"pair_0", "pair_1"}
    scales = [loadmat(results / f"pair_{i}.mat")["trans_params"][0, 2] for i in (0, 1)]
    assert scales[0] < scales[1]   # the larger face first

    done, results = reconstruct(folder)
    assert done.returncode == 0
    assert "largest of 2 faces" in done.stderr
    assert (results / "pair.obj").exists()


def test_missing_gpus_are_reported_once(reconstruct, astronaut):
    done, _ = reconstruct(astronaut, "--gpu_ids=98,99")
    assert done.returncode == 2
    assert done.stderr.count("test.py:") == 1 and "--gpu_ids=98" in done.stderr


def test_a_photo_whose_results_cannot_be_written_is_left_out(reconstruct, astronaut):
    _, results = reconstruct(astronaut)
    (results / "astronaut.obj").unlink()
    (results / "astronaut.obj").mkdir()   # a folder in the way of the file
    try:
        done, _ = reconstruct(astronaut, "--verbose")
        assert done.returncode == 1
        assert "0 of 1 photos done" in done.stdout
        assert "astronaut.png: not all of its results could be written" in (results / "skipped.txt").read_text()
        assert "left out: " in done.stderr and "Traceback" in done.stderr
    finally:
        (results / "astronaut.obj").rmdir()


def test_skipped_txt_of_an_earlier_run_does_not_stay(reconstruct, astronaut):
    (astronaut / "text.jpg").write_text("not a photo")
    assert reconstruct(astronaut)[0].returncode == 1
    (astronaut / "text.jpg").unlink()
    done, results = reconstruct(astronaut)
    assert done.returncode == 0
    assert not (results / "skipped.txt").exists()


def test_only_the_coefficients(reconstruct, astronaut, face_model):
    """The camera matrix takes the mesh to the landmarks in the photo."""
    done, results = reconstruct(astronaut, "--save=coeffs", name="open_face")
    assert done.returncode == 0, done.stderr
    assert [path.name for path in results.iterdir()] == ["astronaut.npz"]
    numbers = np.load(results / "astronaut.npz", allow_pickle=False)
    assert sum(numbers[name].size for name in ("id", "exp", "tex", "angle", "gamma", "trans")) == 257
    assert numbers["face_model"] == "open_face_model.npz"
    checkpoint = ROOT / "checkpoints" / "open_face" / "epoch_20.pth"
    assert numbers["checkpoint_sha256"] == hashlib.sha256(checkpoint.read_bytes()).hexdigest()

    reconstruct(astronaut, "--save=obj", name="open_face")
    keypoints = trimesh.load(results / "astronaut.obj", process=False).vertices[face_model.keypoints]
    projected = np.column_stack([keypoints, np.ones(68)]) @ numbers["camera_matrix"].T
    assert np.abs(projected[:, :2] / projected[:, 2:] - numbers["landmarks"]).max() < 0.02
    eyes = [numbers["landmarks"][36:42].mean(0), numbers["landmarks"][42:48].mean(0)]
    assert np.abs(eyes - np.loadtxt(EXAMPLES / "detections" / "astronaut.txt")[:2]).max() < 5


@pytest.mark.parametrize("arguments, message", [
    (["--img_folder=/nowhere/photos"], "/nowhere/photos does not exist"),
    (["--img_folder=models"], "no photos in models"),
    (["--epoch=21"], r"epoch_21.pth"),
    (["--gpu_ids=99"], "GPU"),
    (["--gpu_ids=first"], "GPUs by number"),
    (["--bfm_folder=nowhere"], "no face model nowhere"),
    (["--epoch=0"], "--fit_iters"),
    (["--batch_size=0"], "--batch_size"),
    (["--center=0"], "--center"),
    (["--verbose=maybe"], "maybe"),
    (["--no_such_option"], "no_such_option"),
])
def test_wrong_usage(run_here, checkpoints, arguments, message):
    done = run_here("test.py", "--name=M", "--epoch=20", f"--checkpoints_dir={checkpoints}", *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_published_network_without_the_basel_model(reconstruct, astronaut, tmp_path):
    """With another face model, the network would give wrong faces."""
    folder = tmp_path / "BFM"
    folder.mkdir()
    shutil.copy(ROOT / "BFM" / "open_face_model.npz", folder)
    done, results = reconstruct(astronaut, f"--bfm_folder={folder}", name="published")
    assert done.returncode == 2
    for part in ("BFM_model_front.mat is missing", "01_MorphableModel.mat is missing", "faces.dmi.unibas.ch",
                 "--bfm_model=open_face"):
        assert part in done.stderr
    assert not results.exists()
    done, _ = reconstruct(astronaut, f"--bfm_folder={folder}", "--bfm_model=open_face_model.npz", name="published")
    assert done.returncode == 0, done.stderr


def test_a_results_folder_that_cannot_be_written(run_here, astronaut, tmp_path):
    (tmp_path / "checkpoints").write_text("a file in the way")
    done = run_here("test.py", "--epoch=0", "--fit_iters=1", f"--img_folder={astronaut}",
                    f"--checkpoints_dir={tmp_path / 'checkpoints'}")
    assert done.returncode == 2
    assert "cannot write results" in done.stderr and "--results_dir" in done.stderr
