"""Training samples from a datalist: their files, their alignment, reading in several processes, and broken files."""
import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from datasets import training_photos
from datasets.augmentation import Augmentation
from datasets.sampling import EpochBatches
from datasets.skin_mask import skin_posterior
from datasets.training_photos import Datalist, TrainingPhotos, collate, read_datalist, read_sample
from models.coordinates import flip_y, turn_points
from tests.helpers import GOLDEN, ROOT
from util.files import InputError

SHARED = ROOT.parent / "shared"   # photos, which are not ours to give away
FACE = np.load(GOLDEN / "augment.npz")["lm_in"] * [1, -1] + [0, 223]   # (68, 2) px, y down, 147 px wide


def make_sample(folder, name, size=(300, 260), scale=1.0, shift=(20, 30), mask_name=None, **save_options):
    """Write a photo with a red dot at each landmark, its mask (the red channel) and its landmarks. Returns the mask."""
    landmarks = FACE * scale + shift
    y, x = np.mgrid[:size[1], :size[0]]
    photo = np.stack([np.zeros(x.shape), 60 + 40 * np.sin(x / 31), 60 + 40 * np.cos(y / 23)], axis=-1)
    for point in landmarks:
        column, row = point.round().astype(int)
        near = np.s_[max(row - 9, 0):row + 10, max(column - 9, 0):column + 10]
        distance = (x[near] - point[0]) ** 2 + (y[near] - point[1]) ** 2
        photo[near + (0,)] = np.maximum(photo[near + (0,)], 250 * np.exp(-distance / (4 * max(scale, 1) ** 2)))
    photo = photo.astype(np.uint8)
    for subfolder in ("mask", "landmarks"):
        (folder / subfolder).mkdir(parents=True, exist_ok=True)
    mask_name = mask_name or name
    Image.fromarray(photo).save(folder / name, **save_options)
    Image.fromarray(photo[..., 0]).save(folder / "mask" / mask_name)
    np.savetxt(folder / "landmarks" / f"{(folder / name).stem}.txt", landmarks)
    return folder / "mask" / mask_name


@pytest.fixture
def datalist(tmp_path):
    """A datalist of seven samples."""
    masks = [make_sample(tmp_path / "photos", f"{number}.png", scale=0.7 + number / 20, shift=(15, 10 + 3 * number))
             for number in range(7)]
    flist = tmp_path / "datalist" / "train" / "masks.txt"
    flist.parent.mkdir(parents=True)
    flist.write_text("".join(f"{mask.relative_to(tmp_path)}\n" for mask in masks))
    return read_datalist(flist, tmp_path)


def equal(sample, other):
    return all((value == expected).all() for value, expected in zip(sample[:3], other[:3], strict=True))


def red_at(sample):
    """The red of the photo at each landmark (68,): the largest value within 2 px."""
    red = sample.photo[0].numpy()
    columns, rows = sample.landmarks.numpy().T
    return np.array([red[max(int(223 - row) - 2, 0):int(223 - row) + 4, max(int(column) - 2, 0):int(column) + 4].max()
                     for column, row in zip(columns, rows, strict=True)])


def test_paths_relative_absolute_and_from_the_lists_beside(tmp_path):
    flist = tmp_path / "masks.txt"
    flist.write_text("\ufeffa/mask/x.png\r\n\n/b/mask/y.png \n", encoding="utf-8")
    (tmp_path / "images.txt").write_text("a/x.jpg\n/elsewhere/y.tif\n")
    (tmp_path / "landmarks.txt").write_text("a/landmarks/x.txt\n/b/y.txt\n")
    paths = read_datalist(flist, tmp_path / "root")
    root = str(tmp_path / "root")
    assert [[str(path) for path in sample] for sample in paths] == [
        [f"{root}/a/x.jpg", f"{root}/a/mask/x.png", f"{root}/a/landmarks/x.txt"],
        ["/elsewhere/y.tif", "/b/mask/y.png", "/b/y.txt"]]
    assert [sample.photo.name for sample in paths[1:]] == ["y.tif"]


def test_paths_from_the_mask_alone(tmp_path):
    """The folders may have any other names, and the photo any suffix."""
    folder = tmp_path / "mask" / "png.jpg"
    make_sample(folder, "my.face.JPG", mask_name="my.face.png")
    (tmp_path / "masks.txt").write_text("mask/png.jpg/mask/my.face.png")
    paths = read_datalist(tmp_path / "masks.txt", tmp_path)[0]
    assert paths == (folder / "my.face.JPG", folder / "mask" / "my.face.png", folder / "landmarks" / "my.face.txt")


def test_unusable_datalists_are_refused(tmp_path):
    flist = tmp_path / "masks.txt"
    with pytest.raises(InputError, match="masks.txt does not exist: let data_preparation.py"):
        read_datalist(flist, tmp_path)
    flist.write_text("\n \n")
    with pytest.raises(InputError, match="masks.txt is empty"):
        read_datalist(flist, tmp_path)
    flist.write_text("a/mask/x.png\n", encoding="utf-16")
    with pytest.raises(InputError, match="masks.txt is no text in UTF-8: save it"):
        read_datalist(flist, tmp_path)
    flist.write_text("a/mask/x.png\na/mask/y.png\n")
    (tmp_path / "landmarks.txt").write_text("a/landmarks/x.txt\n")
    with pytest.raises(InputError, match="landmarks.txt has 1 lines, .*masks.txt has 2"):
        read_datalist(flist, tmp_path)


@pytest.mark.parametrize("name, lines, message", [
    ("landmarks.txt", ["a/landmarks/y.txt", "a/landmarks/x.txt", "b/landmarks/x.txt"], "names a/landmarks/y.txt where"),
    ("landmarks.txt", ["a/landmarks/x.txt", "b/landmarks/x.txt", "a/landmarks/y.txt"], "names b/landmarks/x.txt where"),
    ("landmarks.txt", ["b/landmarks/x.txt", "a/landmarks/y.txt", "./a/landmarks/x.txt"], "names b/landmarks/x.txt"),
    ("images.txt", ["b/x.jpg", "a/y.jpg", "a/x.jpg"], "names b/x.jpg where .*masks.txt names a/mask/x.png"),
    ("images.txt", ["a/mask/x.png", "a/mask/y.png", "b/mask/x.png"], "both name a/mask/x.png"),
    ("images.txt", ["./a/x.jpg", "/c/y.tif", "b/images/x"], None)])
def test_lists_that_do_not_belong_together_are_refused(tmp_path, name, lines, message):
    flist = tmp_path / "masks.txt"
    flist.write_text("a/mask/x.png\na/mask/y.png\nb/mask/x.png\n")
    (tmp_path / name).write_text("\n".join(lines))
    if message is None:
        assert len(read_datalist(flist, tmp_path)) == 3
    else:
        with pytest.raises(InputError, match=f"{name} .*{message}"):
            read_datalist(flist, tmp_path)


def test_a_photo_in_the_place_of_a_mask_is_refused(tmp_path):
    mask = make_sample(tmp_path, "face.png")
    Image.open(tmp_path / "face.png").save(mask)
    with pytest.raises(InputError, match="mask/face.png has colours"):
        read_sample(Datalist(tmp_path, [("", str(mask), "")])[0])


@pytest.mark.parametrize("augment", [None, Augmentation()])
def test_a_sample_shows_the_face_and_its_landmarks(datalist, augment):
    photos = TrainingPhotos(datalist, augment, seed=0)
    for index in range(len(photos)):
        sample = photos[0, index]
        assert sample.photo.shape == (3, 224, 224) and sample.mask.shape == (1, 224, 224)
        assert {str(picture.dtype) for picture in (sample.photo, sample.mask)} == {"torch.uint8"}
        assert sample.landmarks.shape == (68, 2) and str(sample.landmarks.dtype) == "torch.float32"
        assert (sample.path, sample.problems) == (str(datalist[index].photo), [])
        inside = ((sample.landmarks > 3) & (sample.landmarks < 220)).all(dim=1).numpy()
        assert inside.sum() > 50 and (red_at(sample)[inside] > 120).all()
        assert (sample.photo[0] == sample.mask[0]).all()


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_face_on_its_side_gives_an_upright_sample(tmp_path, turns):
    mask = make_sample(tmp_path, "x.png")
    paths = Datalist(tmp_path, [("", str(mask), "")])
    upright = TrainingPhotos(paths, None, 0)[1, 0]
    for path in (tmp_path / "x.png", mask):
        Image.fromarray(np.rot90(np.array(Image.open(path)), turns)).save(path)
    landmarks = turn_points(flip_y(np.loadtxt(paths[0].landmarks), 260), (300, 260), turns)
    np.savetxt(paths[0].landmarks, flip_y(landmarks, 260 if turns == 2 else 300))
    sample = TrainingPhotos(paths, None, 0)[1, 0]
    assert (sample.landmarks - upright.landmarks).abs().max() < 1.5   # the crop is cut at whole pixels
    assert red_at(sample).min() > 150


def test_a_turned_photo_gives_the_sample_of_the_upright_one(tmp_path):
    upright = make_sample(tmp_path, "upright.png")
    turned = make_sample(tmp_path, "turned.png")
    exif = Image.Exif()
    exif[0x0112] = 6   # to be turned clockwise
    photo = Image.open(tmp_path / "turned.png").transpose(Image.Transpose.ROTATE_90)
    photo.save(tmp_path / "turned.png", exif=exif)
    photos = TrainingPhotos(Datalist(tmp_path, [("", str(mask), "") for mask in (upright, turned)]), None, 0)
    assert equal(photos[0, 0], photos[0, 1]) and not photos[0, 1].problems


def test_a_mask_of_three_channels_is_taken_too(tmp_path):
    mask = make_sample(tmp_path, "face.png")
    photos = TrainingPhotos(Datalist(tmp_path, [("", str(mask), "")]), None, 0)
    grey = photos[0, 0]
    Image.open(mask).convert("RGB").save(mask)
    assert equal(photos[0, 0], grey)


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_a_large_photo_read_smaller_gives_the_same_sample(tmp_path, monkeypatch, suffix):
    mask = make_sample(tmp_path, f"large.{suffix}", (1500, 1400), scale=6.5, shift=(150, 100), mask_name="large.png")
    paths = Datalist(tmp_path, [("", str(mask), "")])[0]
    sizes = []
    align = training_photos.align
    monkeypatch.setattr(training_photos, "align", lambda photo, *rest: sizes.append(photo.shape) or align(photo, *rest))
    photo, mask, landmarks, _ = read_sample(paths)
    monkeypatch.setattr(training_photos, "_reduction", lambda landmarks: 1)
    expected_photo, expected_mask, expected_landmarks, _ = read_sample(paths)
    assert sizes == [(700, 750, 3), (1400, 1500, 3)]
    for picture, expected in ((photo, expected_photo), (mask, expected_mask)):
        difference = np.abs(picture.astype(int) - expected)
        assert difference.max() <= 8 and difference.mean() < 0.5
    np.testing.assert_allclose(landmarks, expected_landmarks, atol=0.5)


def test_samples_depend_on_seed_epoch_and_index_only(datalist):
    photos = TrainingPhotos(datalist, Augmentation(), seed=5)
    loaded = {}
    for workers, shuffle in ((2, True), (2, False), (0, True)):
        batches = EpochBatches(7, 3, seed=workers, epoch=1, shuffle=shuffle, drop_last=False)
        for batch in DataLoader(photos, batch_sampler=batches, collate_fn=collate, num_workers=workers):
            assert batch.photos.shape[1:] == (3, 224, 224) and batch.problems == []
            for i, path in enumerate(batch.paths):
                sample = (batch.photos[i], batch.masks[i], batch.landmarks[i])
                assert equal(sample, loaded.setdefault(path, sample))
    assert len(loaded) == 7
    sample = photos[1, 0]
    assert equal(sample, loaded[sample.path])
    assert not equal(sample, photos[2, 0])
    assert not equal(sample, TrainingPhotos(datalist, Augmentation(), seed=6)[1, 0])


def replace_by(content):
    return lambda path: path.write_bytes(content)


def crop_mask(path):
    Image.open(path).crop((0, 0, 200, 200)).save(path)


@pytest.mark.parametrize("kind, damage, message", [
    ("photo", lambda path: path.unlink(), "3.png does not exist"),
    ("photo", lambda path: path.write_bytes(path.read_bytes()[:2000]), "cannot read the photo .*3.png"),
    ("mask", lambda path: path.unlink(), "mask.3.png does not exist"),
    ("mask", replace_by(b"no picture"), "mask.3.png is not a photo"),
    ("mask", crop_mask, "mask.3.png has not the size of the upright photo .*photos.3.png"),
    ("landmarks", lambda path: path.unlink(), "landmarks.3.txt do not exist"),
    ("landmarks", replace_by(b"1 2\n" * 67), "landmarks.3.txt has 67 points"),
    ("landmarks", replace_by(b"1 2\n" * 67 + b"3\n"), "landmarks.3.txt must have two numbers in each line"),
    ("landmarks", replace_by(b"1 2\n" * 67 + b"nan 2\n"), "landmarks.3.txt: point 68 is not a number"),
    ("landmarks", replace_by(b"1 2\n" * 68), "landmarks.3.txt: all points are the same"),
    ("landmarks", lambda path: np.savetxt(path, np.loadtxt(path) + (9000, 0)),
     "landmarks.3.txt: the points lie outside the photo of 300 x 260"),
    ("landmarks", lambda path: np.savetxt(path, np.loadtxt(path)[:, ::-1]), "landmarks.3.txt: x and y are exchanged"),
])
def test_a_broken_sample_is_replaced_by_the_next_and_named(datalist, kind, damage, message):
    photos = TrainingPhotos(datalist, None, seed=0)
    following = photos[0, 4]
    damage(getattr(datalist[3], kind))
    batch = collate([photos[0, index] for index in range(7)])
    assert batch.photos.shape == (7, 3, 224, 224) and (batch.photos[3] == following.photo).all()
    assert batch.paths[3] == batch.paths[4] == following.path
    assert len(batch.problems) == 1
    with pytest.raises(InputError, match=message):
        raise InputError(batch.problems[0])


def test_the_last_sample_is_replaced_by_the_first(datalist):
    photos = TrainingPhotos(datalist, Augmentation(), seed=0)
    datalist[6].photo.unlink()
    datalist[0].mask.unlink()
    sample = photos[3, 6]
    assert sample.path == str(datalist[1].photo) and len(sample.problems) == 2
    assert equal(sample, photos[3, 6])


def test_a_list_of_nothing_but_broken_samples_is_refused(tmp_path):
    photos = TrainingPhotos(Datalist(tmp_path, [("", f"a/mask/{number}.png", "") for number in range(300)]), None, 0)
    with pytest.raises(InputError, match="100 samples in a row can't be read, .*landmarks.7.txt do not exist"):
        photos[0, 7]


@pytest.mark.skipif(not SHARED.exists(), reason="the original's photos are not there")
@pytest.mark.parametrize("item", ["item0", "item3"])
def test_golden_samples(tmp_path, item):
    golden = np.load(SHARED / "golden" / "flist_item.npz")
    name = str(golden[f"{item}_name"])
    photo = SHARED / "upstream_data" / "examples" / name
    pixels = np.asarray(Image.open(photo).convert("RGB"))
    posterior = np.rint(255 * skin_posterior(pixels)).astype(np.uint8)
    # As the original wrote them: three channels, and JPEG for a JPEG photo.
    Image.fromarray(posterior).convert("RGB").save(tmp_path / name, quality=95)
    landmarks = golden[f"{item}_lm68_raw_yup"] * [1, -1] + [0, pixels.shape[0] - 1]
    np.savetxt(tmp_path / "landmarks.txt", landmarks)
    paths = Datalist(tmp_path, [(str(photo), name, "landmarks.txt")])
    sample = TrainingPhotos(paths, None, 0)[0, 0]
    difference = np.abs(sample.photo.numpy().astype(int) - golden[f"{item}_img_u8"])
    assert difference.max() <= 1 and (difference > 0).mean() < 1e-3   # resampling rounds after each axis
    assert np.abs(sample.mask.numpy().astype(int) - golden[f"{item}_msk_u8"]).max() <= 2
    np.testing.assert_allclose(sample.landmarks, golden[f"{item}_lms"], atol=1e-4)


def test_degraded_photos_are_what_the_network_sees_and_not_what_losses_compare(photos):
    paths = read_datalist(photos / "train.txt", photos)
    as_it_is = TrainingPhotos(paths, None, 0)
    all_degraded = TrainingPhotos(paths, None, 0, degraded=1)
    samples = [all_degraded[1, i] for i in range(12)]
    changed = [not torch.equal(sample.seen, sample.photo) for sample in samples]
    assert sum(changed) >= 7   # each change is made to a part of them
    assert all(torch.equal(sample.photo, as_it_is[1, i].photo) for i, sample in enumerate(samples))
    assert torch.equal(as_it_is[1, 0].seen, as_it_is[1, 0].photo)
    assert torch.equal(samples[5].seen, all_degraded[1, 5].seen)   # the same in every process
    assert not torch.equal(samples[5].seen, all_degraded[2, 5].seen) or not changed[5]
