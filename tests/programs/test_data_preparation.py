"""data_preparation.py as a user runs it: from folders of photos to what train.py reads."""
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets.face_mesh import mesh_landmarks
from datasets.training_photos import read_datalist, read_sample
from models.landmarks import five_points
from tests.helpers import EXAMPLES
from tests.programs.preparing import (
    EXAMPLE,
    FACE,
    add_photo,
    add_photos,
    expected_mask,
    face_photo,
    masks_listed,
    start,
    written,
)


def test_from_photos_to_training_samples(root, two_photos):
    process = start("--img_folder", "photos", "--num_threads=2")
    output, errors = process.communicate()
    assert process.returncode == 0, errors
    assert "2 of 2 photos prepared" in output
    assert "2/2 photos" in errors
    assert not (two_photos / "skipped.txt").exists()
    assert (two_photos / "vis" / "sheet_001.jpg").exists()

    landmarks = np.loadtxt(two_photos / "landmarks" / "astronaut.txt")
    assert np.abs(five_points(landmarks) - np.loadtxt(EXAMPLES / "detections" / "astronaut.txt")).max() < 6
    mesh = np.load(two_photos / "dense" / "astronaut.npy")
    assert mesh.shape == (468, 3) and mesh.dtype == np.float32
    np.testing.assert_allclose(mesh_landmarks(mesh[:, :2]), landmarks, atol=0.001)
    searched = np.loadtxt(two_photos / "landmarks" / "searched.txt") + [80, 0]
    assert np.linalg.norm(searched - landmarks, axis=1).mean() < 3
    for name in ("astronaut.png", "searched.jpg"):
        mask = Image.open((two_photos / "mask" / name).with_suffix(".png"))
        assert np.array_equal(np.asarray(mask), expected_mask(two_photos / name))

    samples = read_datalist(root / "datalist" / "train" / "masks.txt", root)
    assert [sample.photo.name for sample in samples] == ["astronaut.png", "searched.jpg"]
    first, second = (read_sample(sample) for sample in samples)
    assert np.abs(first[0].astype(int) - second[0]).mean() < 8
    assert first[1].mean() == pytest.approx(second[1].mean(), rel=0.1)


def test_given_landmarks_are_taken(root, two_photos, prepare):
    landmarks = FACE * 0.8 + [120, 20]   # about where the face is
    np.savetxt(two_photos / "detections" / "astronaut.txt", landmarks)
    assert prepare("--img_folder", "photos") == 0
    np.testing.assert_allclose(np.loadtxt(two_photos / "landmarks" / "astronaut.txt"), landmarks, atol=0.001)


def test_what_is_done_stays_and_the_rest_is_done(root, two_photos, prepare):
    assert prepare("--img_folder", "photos") == 0
    before = written(two_photos)
    assert prepare("--img_folder", "photos") == 0
    assert written(two_photos) == before

    missing = [two_photos / "landmarks" / "astronaut.txt", two_photos / "landmarks" / "searched.txt",
               two_photos / "dense" / "searched.npy", two_photos / "mask" / "searched.png"]
    for path in missing:
        path.unlink()
    add_photo(two_photos, "another.png")
    assert prepare("--img_folder", "photos") == 0
    after = written(two_photos)
    new = {path for path in after if after[path][0] != before.get(path, (None,))[0]}
    also_written = ["dense/astronaut.npy", "mask/astronaut.png",   # which names both
                    "another.png", "landmarks/another.txt", "mask/another.png", "vis/sheet_001.jpg"]
    assert new == {*missing, *(two_photos / name for name in also_written)}
    assert all(after[path][1] == before[path][1] for path in missing)


def test_a_photo_that_has_changed_is_done_again_one_that_was_copied_is_not(root, two_photos, prepare):
    (two_photos / "detections" / "astronaut.txt").unlink()
    add_photo(two_photos, "given.png")
    add_photo(two_photos, "copied.png")
    assert prepare("--img_folder", "photos") == 0
    before = written(two_photos)
    Image.fromarray(np.roll(EXAMPLE, 40, axis=1)).save(two_photos / "astronaut.png")
    Image.fromarray(face_photo() // 2).save(two_photos / "given.png")
    (two_photos / "copied.png").touch()
    assert prepare("--img_folder", "photos") == 0
    after = written(two_photos)
    new = {path.relative_to(two_photos) for path in after if after[path] != before[path]}
    assert new == {Path("astronaut.png"), Path("landmarks/astronaut.txt"), Path("dense/astronaut.npy"),
                   Path("mask/astronaut.png"), Path("given.png"), Path("mask/given.png"), Path("copied.png"),
                   Path("vis/sheet_001.jpg")}
    mask = Image.open(two_photos / "mask" / "given.png")
    assert np.array_equal(np.asarray(mask), expected_mask(two_photos / "given.png"))


def test_an_edit_that_keeps_the_number_of_bytes_is_noticed(root, prepare):
    folder = root / "photos"
    add_photo(folder, "given.bmp")
    add_photo(folder, "copied.bmp")
    assert prepare("--img_folder", "photos") == 0
    before = written(folder / "mask")
    Image.fromarray(face_photo() // 2).save(folder / "given.bmp")
    (folder / "copied.bmp").touch()
    assert prepare("--img_folder", "photos") == 0
    after = written(folder / "mask")
    assert {path.name for path in after if after[path] != before[path]} == {"given.png"}
    mask = Image.open(folder / "mask" / "given.png")
    assert np.array_equal(np.asarray(mask), expected_mask(folder / "given.bmp"))


def test_an_older_photo_put_in_the_place_of_another_is_noticed(root, two_photos, prepare):
    older = root / "older.jpg"
    Image.fromarray(np.roll(EXAMPLE, 40, axis=1)).save(older)
    os.utime(older, (0, 0))
    assert prepare("--img_folder", "photos") == 0
    before = np.loadtxt(two_photos / "landmarks" / "searched.txt")
    older.replace(two_photos / "searched.jpg")
    assert prepare("--img_folder", "photos") == 0
    moved = np.loadtxt(two_photos / "landmarks" / "searched.txt") - before
    assert np.abs(moved - [120, 0]).max() < 6   # the first photo began 80 px further right
    mask = Image.open(two_photos / "mask" / "searched.png")
    assert np.array_equal(np.asarray(mask), expected_mask(two_photos / "searched.jpg"))


def test_the_users_own_landmarks_and_masks_stay(root, two_photos, prepare):
    """Also when all is done again, and masks named and made as those of Deep3DFaceRecon."""
    add_photo(two_photos, "given.jpeg")
    own = Image.new("RGB", (224, 224), "grey")
    (two_photos / "mask").mkdir()
    own.save(two_photos / "mask" / "given.jpeg")
    Image.new("RGB", (512, 512), "white").save(two_photos / "mask" / "astronaut.png")
    (two_photos / "dense").mkdir()
    np.save(two_photos / "dense" / "searched.npy", np.zeros((468, 3)))
    before = written(two_photos)
    assert prepare("--img_folder", "photos") == 0
    first = written(two_photos)
    assert prepare("--img_folder", "photos", "--overwrite") == 0
    second = written(two_photos)
    for after in (first, second):
        assert {path: after[path] for path in before} == before
    again = {path.relative_to(two_photos) for path in second if second[path] != first[path]}
    assert again == {Path("landmarks/searched.txt"), Path("mask/searched.png"), Path("vis/sheet_001.jpg")}
    assert [Path(mask).name for mask in masks_listed(root)] == ["astronaut.png", "given.jpeg", "searched.png"]
    assert len(read_datalist(root / "datalist" / "train" / "masks.txt", root)) == 3


def test_the_lists_go_to_the_folder_of_the_option(root, prepare):
    add_photo(root / "photos", "0.png")
    assert prepare("--img_folder", "photos", "--datalist_dir=lists/mine", "--mode=val") == 0
    samples = read_datalist(root / "lists" / "mine" / "val" / "masks.txt", root)
    assert [sample.photo.name for sample in samples] == ["0.png"]
    assert not (root / "datalist").exists()


def test_the_largest_of_several_faces_is_taken_and_said_so(root, capsys, prepare):
    folder = root / "photos"
    folder.mkdir()
    face = Image.fromarray(EXAMPLE[:300, 100:400])
    both = Image.new("RGB", (600, 300))
    both.paste(face.resize((200, 200)), (20, 50))
    both.paste(face, (300, 0))
    both.save(folder / "pair.png")
    assert prepare("--img_folder", "photos") == 0
    assert "photos/pair.png: the largest of 2 faces" in capsys.readouterr().err
    assert np.loadtxt(folder / "landmarks" / "pair.txt")[:, 0].min() > 300


def test_the_lists_of_several_folders(root, tmp_path_factory, prepare):
    """Below data_root as they are named, others by their own path; each folder once; the last command's alone."""
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    for folder in (root / "A", root / "B", elsewhere):
        add_photo(folder, "one.two.png")
        add_photo(folder, "0.jpg")
    assert prepare("--img_folder", "B", "A", "B/", elsewhere, "--mode=val") == 0
    assert masks_listed(root, "val") == [f"{folder}/mask/{name}.png" for folder in ("B", "A", elsewhere)
                                         for name in ("0", "one.two")]
    for name, there in (("images", "one.two.png"), ("landmarks", "landmarks/one.two.txt")):
        lines = (root / "datalist" / "val" / f"{name}.txt").read_text().splitlines()
        assert lines[1::2] == [f"{folder}/{there}" for folder in ("B", "A", elsewhere)]
    assert not (root / "datalist" / "train").exists()
    assert prepare("--img_folder", "A", "--mode=val") == 0
    assert masks_listed(root, "val") == ["A/mask/0.png", "A/mask/one.two.png"]


def test_contact_sheets_show_every_hundredth_photo(root, prepare):
    folder = root / "photos"
    add_photos(folder, 102)
    assert prepare("--img_folder", "photos") == 0
    before = np.asarray(Image.open(folder / "vis" / "sheet_001.jpg")).astype(int)
    assert before.shape == (240, 2 * 224, 3)
    mask = folder / "mask" / "100.png"
    beginning = mask.read_bytes()[:2000]
    mask.unlink()
    mask.write_bytes(beginning)
    assert prepare("--img_folder", "photos") == 0
    sheet = np.asarray(Image.open(folder / "vis" / "sheet_001.jpg")).astype(int)
    assert np.abs(sheet[:224, :224] - before[:224, :224]).mean() < 5
    assert sheet[60:224, 224:].mean() < 5   # why it can't be read is written above


def test_contact_sheets_of_photos_that_are_gone_go_and_other_pictures_stay(root, two_photos, prepare):
    assert prepare("--img_folder", "photos") == 0
    sheet, others = two_photos / "vis" / "sheet_001.jpg", ["sheet_of_ann.jpg", "sheet_004.jpg", "astronaut.jpg"]
    for name in ["sheet_002.jpg", *others]:
        shutil.copy(sheet, two_photos / "vis" / name)
    before = sheet.read_bytes()
    (two_photos / "astronaut.png").unlink()
    assert prepare("--img_folder", "photos") == 0
    assert sheet.read_bytes() != before
    assert {path.name for path in sheet.parent.iterdir()} == {sheet.name, *others}


@pytest.mark.parametrize("arguments, message", [
    (["--img_folder", "nowhere"], "nowhere does not exist: --img_folder is looked for in --data_root=."),
    (["--img_folder", "photos", "photos/detections"], "no photos in photos/detections"),
    ([], "--img_folder"),
    (["--img_folder", "photos", "--mode=test"], "test"),
    (["--img_folder", "photos", "--num_threads=-1"], "--num_threads"),
])
def test_wrong_usage(root, two_photos, prepare, capsys, arguments, message):
    assert prepare(*arguments) == 2
    assert message in capsys.readouterr().err
    assert not (two_photos / "mask").exists() or not any((two_photos / "mask").iterdir())


def test_the_users_landmark_detector_is_taken(root, two_photos, prepare, capsys):
    """So an incomplete one is named, not passed over."""
    graph = root / "checkpoints" / "lm_model" / "68lm_detector.pb"
    graph.parent.mkdir(parents=True)
    graph.touch()
    assert prepare("--img_folder", "photos") == 2
    assert "checkpoints/lm_model/BBRegressorParam_r.mat" in capsys.readouterr().err
