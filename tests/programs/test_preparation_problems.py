"""data_preparation.py with photos, landmarks, masks and folders that cannot be used: each is named."""
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models.landmarks import five_points
from tests.programs.preparing import EXAMPLE, FACE, add_photo, face_photo, masks_listed, written


def test_bad_photos_are_named_and_the_others_done(root, prepare, capsys):
    folder = root / "photos"
    add_photo(folder, "good.png")
    add_photo(folder, "good.jpg")
    left = FACE - [five_points(FACE)[:, 0].min(), 0]   # eyes, nose and mouth are just inside
    for name, landmarks, size in (("tiny", FACE / 5, 64), ("outside", FACE + [150, 0], 224), ("cut", left, 224)):
        add_photo(folder, f"{name}.png", landmarks, face_photo(landmarks, size))
    add_photo(folder, "line.png", FACE * [1, 0])
    add_photo(folder, "points67.png", FACE[:67])
    add_photo(folder, "words.png").parent.joinpath("landmarks", "words.txt").write_text("left eye, right eye")
    add_photo(folder, "noface.png", None, np.full((64, 64, 3), 128, np.uint8))
    add_photo(folder, "detections4.png", landmarks=None)
    (folder / "detections").mkdir()
    (folder / "detections" / "detections4.txt").write_text("10 10\n" * 4)
    (folder / "empty.jpg").touch()
    (folder / "text.jpg").write_text("not a photo")
    (folder / "broken.png").write_bytes((folder / "good.png").read_bytes()[:30_000])
    (folder / "line\nbreak.png").write_bytes((folder / "good.png").read_bytes())
    (folder / os.fsdecode(b"caf\xe9.png")).write_bytes((folder / "good.png").read_bytes())
    users = written(folder)

    assert prepare("--img_folder", "photos") == 1
    assert masks_listed(root) == ["photos/mask/good.png"]
    assert {path: content for path, content in written(folder).items() if path in users} == users
    reasons = {"tiny": "too small", "outside": "lie outside the photo of 224 x 224", "cut": "too much of the face",
               "line": "not have the shape of a face", "points67": "has 67 points",
               "words": "two numbers in each line", "noface": "no face found",
               "detections4": "has 4 points", "empty": "not a photo", "text": "not a photo", "broken": "cannot read",
               "good.png": "good.jpg has landmarks of the same name", "line\\nbreak": "rename", "caf\\udce9": "rename"}
    skipped = (folder / "skipped.txt").read_text().splitlines()
    for name, reason in reasons.items():
        assert [line for line in skipped if line.startswith(name) and reason in line], (name, skipped)
    assert len(skipped) == len(reasons)
    assert f"{len(reasons)} left out: photos/skipped.txt" in capsys.readouterr().out

    for name in ("tiny.png", "good.png"):   # mended
        (folder / name).unlink()
    assert prepare("--img_folder", "photos") == 1
    assert len((folder / "skipped.txt").read_text().splitlines()) == len(reasons) - 2


def test_broken_landmarks_are_named_where_the_mask_is_there(root, prepare):
    """After they were prepared, or with a mask that came along with them."""
    folder = root / "photos"
    for name in ("cut.png", "own.png", "good.png"):
        add_photo(folder, name)
    (folder / "mask").mkdir()
    Image.new("RGB", (224, 224)).save(folder / "mask" / "own.png")
    np.savetxt(folder / "landmarks" / "own.txt", FACE[:60])
    assert prepare("--img_folder", "photos") == 1
    assert masks_listed(root) == ["photos/mask/cut.png", "photos/mask/good.png"]
    np.savetxt(folder / "landmarks" / "cut.txt", FACE[:60])
    os.utime(folder / "landmarks" / "cut.txt", (0, 0))
    assert prepare("--img_folder", "photos") == 1
    assert masks_listed(root) == ["photos/mask/good.png"]
    skipped = (folder / "skipped.txt").read_text().splitlines()
    assert [line.split(" has ")[0] for line in skipped] == [f"{name}.png: photos/landmarks/{name}.txt"
                                                            for name in ("cut", "own")]


def provide_mask(photo, name, mask):
    (photo.parent / "mask").mkdir(exist_ok=True)
    mask.save(photo.parent / "mask" / name)


def test_provided_masks_are_checked(root, prepare):
    """In every run: nothing notes that they were right in an earlier one."""
    folder = root / "photos"
    white = Image.new("L", (224, 224), 255)
    masks = {"good.png": white, "bit.png": white.convert("1"), "black.png": Image.new("1", (224, 224)),
             "size.png": Image.new("L", (256, 256), 255), "label.png": Image.new("L", (224, 224), 1),
             "colour.png": Image.fromarray(EXAMPLE[:224, :224])}
    for name, mask in masks.items():
        provide_mask(add_photo(folder, name), name, mask)
    provide_mask(add_photo(folder, "text.png"), "text.png", white)
    (folder / "mask" / "text.png").write_text("not a picture")
    before = written(folder / "mask")
    for _ in range(2):
        assert prepare("--img_folder", "photos") == 1
        assert [Path(mask).name for mask in masks_listed(root)] == ["bit.png", "good.png"]
        skipped = (folder / "skipped.txt").read_text().splitlines()
        reasons = {"size": "has 256 x 256 pixels, but the upright photo has 224 x 224", "label": "largest value",
                   "text": "read", "colour": "colours", "black": "no pixel is skin"}
        for name, reason in reasons.items():
            assert [line for line in skipped if f"the mask photos/mask/{name}.png" in line and reason in line
                    and "or delete this one" in line], (name, skipped)
        assert len(skipped) == len(reasons)
        assert written(folder / "mask") == before
    (folder / "mask" / "size.png").unlink()   # as the message says
    assert prepare("--img_folder", "photos") == 1
    assert "photos/mask/size.png" in masks_listed(root)


def test_a_provided_mask_fits_the_upright_photo(root, prepare):
    folder = root / "photos"
    turned = Image.fromarray(EXAMPLE[:480, :]).rotate(90, expand=True)
    exif = Image.Exif()
    exif[0x0112] = 6   # stored turned left: 480 wide and 512 high
    folder.mkdir()
    turned.save(folder / "turned.jpg", exif=exif)
    provide_mask(folder / "turned.jpg", "turned.png", Image.new("L", (512, 480), 255))
    assert prepare("--img_folder", "photos") == 0
    provide_mask(folder / "turned.jpg", "turned.png", Image.new("L", (480, 512), 255))
    assert prepare("--img_folder", "photos") == 2   # no photo is left
    assert "has 480 x 512 pixels, but the upright photo has 512 x 480" in (folder / "skipped.txt").read_text()


def test_a_provided_mask_may_have_another_suffix_than_the_photo(root, prepare, capsys):
    """As Deep3DFaceRecon names it, or after the photos were converted."""
    folder = root / "photos"
    mask = Image.new("RGB", (224, 224), "white")
    for photo, name in {"a.png": "a.jpg", "b.jpg": "b.jpg", "c.bmp": "c.PNG"}.items():
        provide_mask(add_photo(folder, photo), name, mask)
    assert prepare("--img_folder", "photos") == 0
    assert masks_listed(root) == ["photos/mask/a.jpg", "photos/mask/b.jpg", "photos/mask/c.PNG"]
    assert "not used" not in capsys.readouterr().err


def test_a_damaged_mask_is_named_and_does_not_stop_the_others(root, prepare):
    folder = root / "photos"
    add_photo(folder, "damaged.png")
    assert prepare("--img_folder", "photos") == 0
    mask = folder / "mask" / "damaged.png"
    content = bytearray(mask.read_bytes())
    content[8:12] = (5).to_bytes(4)   # the length of its first chunk
    mask.write_bytes(content)
    add_photo(folder, "good.png")
    assert prepare("--img_folder", "photos") == 1
    assert (folder / "mask" / "good.png").exists()
    assert mask.read_bytes() == content
    assert "the mask photos/mask/damaged.png cannot be read" in (folder / "skipped.txt").read_text()
    mask.unlink()   # as the message says
    assert prepare("--img_folder", "photos") == 0


def test_files_that_are_not_used_are_named(root, prepare, capsys):
    folder = root / "photos"
    for name in ("a.png", "b.png"):
        add_photo(folder, name)
    (folder / "landmarks" / "a.png.txt").touch()
    provide_mask(folder / "a.png", "b.npy.png", Image.new("L", (224, 224)))
    assert prepare("--img_folder", "photos") == 0
    assert "photos: 2 files are not used, for example landmarks/a.png.txt" in capsys.readouterr().err


def test_landmarks_in_a_pts_file_are_not_passed_over(root, prepare):
    folder = root / "photos"
    add_photo(folder, "good.png")
    add_photo(folder, "other.png", landmarks=None)
    points = "\n".join(f"{x:f} {y:f}" for x, y in FACE)
    (folder / "landmarks" / "other.pts").write_text(f"version: 1\nn_points: 68\n{{\n{points}\n}}\n")
    if prepare("--img_folder", "photos") == 1:
        assert "photos/landmarks/other.pts" in (folder / "skipped.txt").read_text()
    else:
        listed = (root / "datalist" / "train" / "landmarks.txt").read_text().splitlines()
        assert listed == ["photos/landmarks/good.txt", "photos/landmarks/other.pts"]
    assert not (folder / "landmarks" / "other.txt").exists()


@pytest.mark.parametrize("name", ["line\nbreak", " leading", "trailing ", os.fsdecode(b"caf\xe9")])
def test_a_folder_that_train_could_not_find_is_refused_before_the_work(root, prepare, capsys, name):
    add_photo(root / "good", "0.png")
    add_photo(root / name, "0.png")
    assert prepare("--img_folder", "good", name) == 2
    errors = capsys.readouterr().err
    assert "rename it" in errors and repr(name) in errors
    assert not (root / "good" / "mask").exists() and not (root / name / "mask").exists()


def test_the_screen_shows_the_first_ten_photos_that_are_left_out(root, prepare, capsys):
    folder = root / "photos"
    add_photo(folder, "good.png")
    for number in range(25):
        (folder / f"{number:02}.jpg").write_text("not a photo")
    assert prepare("--img_folder", "photos") == 1
    errors = capsys.readouterr().err
    assert errors.count("left out: photos/") == 10
    assert "left out: 15 more photos" in errors
    assert len((folder / "skipped.txt").read_text().splitlines()) == 25
    assert prepare("--img_folder", "photos", "--verbose") == 1
    assert capsys.readouterr().err.count("left out: photos/") == 25


@pytest.mark.parametrize("in_the_way", ["photos/landmarks", "photos/vis", "datalist"])
def test_where_nothing_can_be_written(root, prepare, capsys, in_the_way):
    add_photo(root / "photos", "one.png", landmarks=None if "landmarks" in in_the_way else FACE)
    if "landmarks" in in_the_way:
        (root / in_the_way).rmdir()
    (root / in_the_way).write_text("a file in the way")
    assert prepare("--img_folder", "photos") == 2
    errors = capsys.readouterr().err
    assert "cannot write" in errors and in_the_way in errors


def test_lists_that_cannot_be_written_are_noticed_before_the_work(root, prepare, capsys):
    add_photo(root / "photos", "one.png")
    (root / "lists").write_text("a file in the way")
    assert prepare("--img_folder", "photos", "--datalist_dir=lists") == 2
    assert "lists/train" in capsys.readouterr().err
    assert not (root / "photos" / "mask").exists()
