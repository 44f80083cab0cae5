"""data_preparation.py as a user runs it: from folders of photos to what train.py reads."""
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import data_preparation
from datasets.face_mesh import mesh_landmarks
from datasets.photos import read_photo
from datasets.skin_mask import skin_mask
from datasets.training_photos import read_datalist, read_sample
from models.landmarks import five_points
from tests.helpers import EXAMPLES, GOLDEN, ROOT, linux_only, not_on_windows, press_ctrl_c, wait_for

FACE = np.load(GOLDEN / "augment.npz")["lm_in"] * [1, -1] + [0, 223]   # (68, 2) px, y down, 147 px wide
EXAMPLE = read_photo(EXAMPLES / "astronaut.png")   # (512, 512, 3)


@pytest.fixture
def root(tmp_path, monkeypatch):
    """An empty data_root, from which data_preparation.py is run."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def photos(root):
    """A folder of a photo that has detections and one that has not."""
    folder = root / "photos"
    (folder / "detections").mkdir(parents=True)
    shutil.copy(EXAMPLES / "detections" / "astronaut.txt", folder / "detections")
    Image.fromarray(EXAMPLE).save(folder / "astronaut.png")
    Image.fromarray(EXAMPLE[:320, 80:400]).save(folder / "searched.jpg", quality=95)
    return folder


def add_photo(folder, name, landmarks=FACE, size=(224, 224)):
    """A photo of noise, with landmarks."""
    (folder / "landmarks").mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(len(name)).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(noise).save(folder / name)
    if landmarks is not None:
        np.savetxt((folder / "landmarks" / name).with_suffix(".txt"), landmarks)
    return folder / name


def command(*arguments) -> list[str]:
    return [str(ROOT / "data_preparation.py"), "--data_root=.", "--num_threads=0", *map(str, arguments)]


@pytest.fixture
def prepare(monkeypatch):
    """Runs the script in this process: prepare("--img_folder", "photos") -> exit status."""
    def run(*arguments) -> int:
        monkeypatch.setattr(sys, "argv", command(*arguments))
        try:
            return data_preparation.main()
        except SystemExit as end:   # of wrong options
            return end.code
    return run


def start(*arguments, **options) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, *command(*arguments)], text=True, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, **options)


def expected_mask(photo) -> np.ndarray:
    return np.repeat(skin_mask(read_photo(photo))[..., None], 3, axis=2)


def written(folder) -> dict[Path, tuple]:
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in sorted(folder.rglob("*")) if path.is_file()}


def masks_listed(root, mode="train") -> list[str]:
    return (root / "datalist" / mode / "masks.txt").read_text().splitlines()


def test_from_photos_to_training_samples(root, photos):
    process = start("--img_folder", "photos", "--num_threads=2")
    output, errors = process.communicate()
    assert process.returncode == 0, errors
    assert "2 of 2 photos prepared" in output
    assert "2/2 photos" in errors
    assert not (photos / "skipped.txt").exists()
    assert (photos / "vis" / "sheet_001.jpg").exists()

    landmarks = np.loadtxt(photos / "landmarks" / "astronaut.txt")
    assert np.abs(five_points(landmarks) - np.loadtxt(EXAMPLES / "detections" / "astronaut.txt")).max() < 6
    mesh = np.load(photos / "dense" / "astronaut.npy")
    assert mesh.shape == (468, 3) and mesh.dtype == np.float32
    np.testing.assert_allclose(mesh_landmarks(mesh[:, :2]), landmarks, atol=0.001)
    searched = np.loadtxt(photos / "landmarks" / "searched.txt") + [80, 0]
    assert np.linalg.norm(searched - landmarks, axis=1).mean() < 3
    for name in ("astronaut.png", "searched.jpg"):
        mask = Image.open((photos / "mask" / name).with_suffix(".png"))
        assert np.array_equal(np.asarray(mask), expected_mask(photos / name))

    samples = read_datalist(root / "datalist" / "train" / "masks.txt", root)
    assert [sample.photo.name for sample in samples] == ["astronaut.png", "searched.jpg"]
    first, second = (read_sample(sample) for sample in samples)
    assert np.abs(first[0].astype(int) - second[0]).mean() < 8
    assert first[1].mean() == pytest.approx(second[1].mean(), rel=0.1)


def test_given_landmarks_are_taken(root, photos, prepare):
    landmarks = FACE * 0.8 + [120, 20]   # about where the face is
    np.savetxt(photos / "detections" / "astronaut.txt", landmarks)
    assert prepare("--img_folder", "photos") == 0
    np.testing.assert_allclose(np.loadtxt(photos / "landmarks" / "astronaut.txt"), landmarks, atol=0.001)


def test_what_is_done_stays_and_the_rest_is_done(root, photos, prepare):
    assert prepare("--img_folder", "photos") == 0
    before = written(photos)
    assert prepare("--img_folder", "photos") == 0
    assert written(photos) == before

    missing = [photos / "landmarks" / "astronaut.txt", photos / "landmarks" / "searched.txt",
               photos / "dense" / "searched.npy", photos / "mask" / "searched.png"]
    for path in missing:
        path.unlink()
    add_photo(photos, "another.png")
    assert prepare("--img_folder", "photos") == 0
    after = written(photos)
    new = {path for path in after if after[path][0] != before.get(path, (None,))[0]}
    assert new == {*missing, photos / "dense" / "astronaut.npy", photos / "mask" / "astronaut.png",   # it names both
                   photos / "another.png", photos / "landmarks" / "another.txt",
                   photos / "mask" / "another.png", photos / "vis" / "sheet_001.jpg"}
    assert all(after[path][1] == before[path][1] for path in missing)


def test_a_photo_that_has_changed_is_done_again_one_that_was_copied_is_not(root, photos, prepare):
    (photos / "detections" / "astronaut.txt").unlink()
    add_photo(photos, "given.png")
    add_photo(photos, "copied.png")
    assert prepare("--img_folder", "photos") == 0
    before = written(photos)
    Image.fromarray(np.roll(EXAMPLE, 40, axis=1)).save(photos / "astronaut.png")
    Image.new("RGB", (224, 224), "peru").save(photos / "given.png")
    (photos / "copied.png").touch()
    assert prepare("--img_folder", "photos") == 0
    after = written(photos)
    new = {path.relative_to(photos) for path in after if after[path] != before[path]}
    assert new == {Path("astronaut.png"), Path("landmarks/astronaut.txt"), Path("dense/astronaut.npy"),
                   Path("mask/astronaut.png"), Path("given.png"), Path("mask/given.png"), Path("copied.png"),
                   Path("vis/sheet_001.jpg")}
    mask = Image.open(photos / "mask" / "given.png")
    assert np.array_equal(np.asarray(mask), expected_mask(photos / "given.png"))


def test_an_edit_that_keeps_the_number_of_bytes_is_noticed(root, prepare):
    folder = root / "photos"
    add_photo(folder, "given.bmp")
    add_photo(folder, "copied.bmp")
    assert prepare("--img_folder", "photos") == 0
    before = written(folder / "mask")
    Image.new("RGB", (224, 224), "peru").save(folder / "given.bmp")
    (folder / "copied.bmp").touch()
    assert prepare("--img_folder", "photos") == 0
    after = written(folder / "mask")
    assert {path.name for path in after if after[path] != before[path]} == {"given.png"}
    mask = Image.open(folder / "mask" / "given.png")
    assert np.array_equal(np.asarray(mask), expected_mask(folder / "given.bmp"))


def test_an_older_photo_put_in_the_place_of_another_is_noticed(root, photos, prepare):
    older = root / "older.jpg"
    Image.fromarray(np.roll(EXAMPLE, 40, axis=1)).save(older)
    os.utime(older, (0, 0))
    assert prepare("--img_folder", "photos") == 0
    before = np.loadtxt(photos / "landmarks" / "searched.txt")
    older.replace(photos / "searched.jpg")
    assert prepare("--img_folder", "photos") == 0
    moved = np.loadtxt(photos / "landmarks" / "searched.txt") - before
    assert np.abs(moved - [120, 0]).max() < 6   # the first photo began 80 px further right
    mask = Image.open(photos / "mask" / "searched.png")
    assert np.array_equal(np.asarray(mask), expected_mask(photos / "searched.jpg"))


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


def test_the_users_own_landmarks_and_masks_stay(root, photos, prepare):
    """Also when all is done again, and masks named and made as those of Deep3DFaceRecon."""
    add_photo(photos, "given.jpeg")
    own = Image.new("RGB", (224, 224), "grey")
    (photos / "mask").mkdir()
    own.save(photos / "mask" / "given.jpeg")
    Image.new("RGB", (512, 512), "white").save(photos / "mask" / "astronaut.png")
    (photos / "dense").mkdir()
    np.save(photos / "dense" / "searched.npy", np.zeros((468, 3)))
    before = written(photos)
    assert prepare("--img_folder", "photos") == 0
    first = written(photos)
    assert prepare("--img_folder", "photos", "--overwrite") == 0
    second = written(photos)
    for after in (first, second):
        assert {path: after[path] for path in before} == before
    again = {path.relative_to(photos) for path in second if second[path] != first[path]}
    assert again == {Path("landmarks/searched.txt"), Path("mask/searched.png"), Path("vis/sheet_001.jpg")}
    assert [Path(mask).name for mask in masks_listed(root)] == ["astronaut.png", "given.jpeg", "searched.png"]
    assert len(read_datalist(root / "datalist" / "train" / "masks.txt", root)) == 3


def test_bad_photos_are_named_and_the_others_done(root, prepare, capsys):
    folder = root / "photos"
    add_photo(folder, "good.png")
    add_photo(folder, "good.jpg")
    add_photo(folder, "tiny.png", FACE / 10, size=(600, 800))
    add_photo(folder, "outside.png", FACE + [150, 0])
    add_photo(folder, "cut.png", FACE - [five_points(FACE)[:, 0].min(), 0])   # eyes, nose and mouth are just inside
    add_photo(folder, "line.png", FACE * [1, 0])
    add_photo(folder, "points67.png", FACE[:67])
    add_photo(folder, "words.png").parent.joinpath("landmarks", "words.txt").write_text("left eye, right eye")
    add_photo(folder, "noface.png", landmarks=None)
    add_photo(folder, "detections4.png", landmarks=None)
    (folder / "detections").mkdir()
    (folder / "detections" / "detections4.txt").write_text("10 10\n" * 4)
    (folder / "empty.jpg").touch()
    (folder / "text.jpg").write_text("not a photo")
    (folder / "broken.png").write_bytes((folder / "tiny.png").read_bytes()[:30_000])
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
    add_photo(folder, "0000.png")
    for number in range(1, 102):
        for name in (f"{number:04}.png", f"landmarks/{number:04}.txt"):
            (folder / name).hardlink_to((folder / name).with_stem("0000"))
    assert prepare("--img_folder", "photos") == 0
    before = np.asarray(Image.open(folder / "vis" / "sheet_001.jpg")).astype(int)
    assert before.shape == (240, 2 * 224, 3)
    mask = folder / "mask" / "0100.png"
    beginning = mask.read_bytes()[:2000]
    mask.unlink()
    mask.write_bytes(beginning)
    assert prepare("--img_folder", "photos") == 0
    sheet = np.asarray(Image.open(folder / "vis" / "sheet_001.jpg")).astype(int)
    assert np.abs(sheet[:224, :224] - before[:224, :224]).mean() < 5
    assert sheet[60:224, 224:].mean() < 5   # why it can't be read is written above


def test_contact_sheets_of_photos_that_are_gone_go_and_other_pictures_stay(root, photos, prepare):
    assert prepare("--img_folder", "photos") == 0
    sheet, others = photos / "vis" / "sheet_001.jpg", ["sheet_of_ann.jpg", "sheet_004.jpg", "astronaut.jpg"]
    for name in ["sheet_002.jpg", *others]:
        shutil.copy(sheet, photos / "vis" / name)
    before = sheet.read_bytes()
    (photos / "astronaut.png").unlink()
    assert prepare("--img_folder", "photos") == 0
    assert sheet.read_bytes() != before
    assert {path.name for path in sheet.parent.iterdir()} == {sheet.name, *others}


@not_on_windows
def test_ctrl_c_is_answered_in_a_line(root):
    folder = root / "photos"
    add_photo(folder, "0.png")
    for number in range(1, 400):
        for name in (f"{number}.png", f"landmarks/{number}.txt"):
            (folder / name).hardlink_to((folder / name).with_stem("0"))
    process = start("--img_folder", "photos", "--num_threads=1", start_new_session=True)
    wait_for(folder / "mask" / "0.png", process)
    assert press_ctrl_c(process) == "data_preparation.py: stopped; what it has written stays"


def test_killed_at_any_moment_it_leaves_whole_files_and_goes_on(root, prepare):
    folder = root / "photos"
    add_photo(folder, "00.png")
    for number in range(1, 80):
        for name in (f"{number:02}.png", f"landmarks/{number:02}.txt"):
            (folder / name).hardlink_to((folder / name).with_stem("00"))
    remnant = folder / "mask" / f".{'0' * 32}.png"

    def masks():
        return sorted((folder / "mask").glob("[!.]*"))

    process = start("--img_folder", "photos", "--num_threads=1")
    while len(masks()) < 20 and process.poll() is None:
        time.sleep(0.01)
    assert process.poll() is None
    process.kill()
    process.communicate()
    assert 20 <= len(masks()) < 80
    assert not (root / "datalist").exists()
    for mask in masks():
        assert np.asarray(Image.open(mask)).shape == (224, 224, 3)
    remnant.touch()
    os.utime(remnant, (0, 0))
    assert prepare("--img_folder", "photos") == 0
    assert len(masks()) == 80 == len(masks_listed(root))
    assert not remnant.exists()


@linux_only
def test_a_worker_that_is_killed(root):
    """As the system does when memory runs out."""
    folder = root / "photos"
    folder.mkdir()
    for number in range(50):
        Image.fromarray(EXAMPLE).save(folder / f"{number}.png", compress_level=0)
    process = start("--img_folder", "photos", "--num_threads=1")
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    while not (folder / "mask").is_dir() or not any((folder / "mask").iterdir()):
        assert process.poll() is None
        time.sleep(0.01)
    for child in children.read_text().split():
        os.kill(int(child), signal.SIGKILL)
    _, errors = process.communicate()
    assert process.returncode == 2
    assert "memory" in errors and "--num_threads=1" in errors and "Traceback" not in errors


def test_processes_of_torchrun_share_the_photos(root, photos, prepare):
    add_photo(photos, "given.png")
    (photos / "text.jpg").write_text("not a photo")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2",
                *command("--img_folder", "photos", "--num_threads=2")]
    done = subprocess.run(torchrun, text=True, capture_output=True)
    assert done.returncode == 1   # the text
    assert done.stdout.count("3 of 4 photos prepared") == 1, done.stderr
    assert len(masks_listed(root)) == 3
    shared = {path: content for path, (_, content) in written(root).items()}
    for name in ("landmarks/searched.txt", "landmarks/astronaut.txt", "skipped.txt"):
        (photos / name).unlink()
    for name in ("dense", "mask", "vis"):
        shutil.rmtree(photos / name)
    shutil.rmtree(root / "datalist")
    assert prepare("--img_folder", "photos") == 1
    assert {path: content for path, (_, content) in written(root).items()} == shared


@pytest.mark.parametrize("arguments, message", [
    (["--img_folder", "nowhere"], "nowhere does not exist: --img_folder is looked for in --data_root=."),
    (["--img_folder", "photos", "photos/detections"], "no photos in photos/detections"),
    ([], "--img_folder"),
    (["--img_folder", "photos", "--mode=test"], "test"),
    (["--img_folder", "photos", "--num_threads=-1"], "--num_threads"),
])
def test_wrong_usage(root, photos, prepare, capsys, arguments, message):
    assert prepare(*arguments) == 2
    assert message in capsys.readouterr().err
    assert not (photos / "mask").exists() or not any((photos / "mask").iterdir())


def test_the_users_landmark_detector_is_taken(root, photos, prepare, capsys):
    """So an incomplete one is named, not passed over."""
    graph = root / "checkpoints" / "lm_model" / "68lm_detector.pb"
    graph.parent.mkdir(parents=True)
    graph.touch()
    assert prepare("--img_folder", "photos") == 2
    assert "checkpoints/lm_model/BBRegressorParam_r.mat" in capsys.readouterr().err


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
