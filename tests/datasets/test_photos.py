"""Every photo a camera, phone or program writes is read as the eye sees it; all else is refused by name."""

import struct
import subprocess
import sys
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

from datasets.photos import list_photos, photo_size, read_incomplete_photo, read_photo, remark_on_unread_photos
from tests.helpers import ROOT
from util.files import InputError, atomic_write

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


@pytest.fixture
def picture():
    """A smooth (60, 80, 3) picture without symmetry."""
    y, x = np.mgrid[:60, :80]
    return np.stack([x * 3, y * 4, 255 - x - 2 * y], axis=-1).astype(np.uint8)


def save(image, path, **options):
    (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(path, **options)
    return path


def png_16_bit_rgb(path, pixels):
    """PIL can't write this kind."""
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width = pixels.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0))
    data = chunk(b"IDAT", zlib.compress(rows))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + data + chunk(b"IEND", b""))
    return path


def test_lists_every_image_type_in_any_case_sorted(tmp_path, picture):
    names = ["a.jpeg", "b.JPG", "c.Png", "d.bmp", "e.webp", "f.TIFF", "g.tif"]
    for name in reversed(names):
        save(picture, tmp_path / name)
    for name in ("notes.txt", ".hidden.png", "photo.png.txt"):
        (tmp_path / name).write_text("no photo")
    (tmp_path / "folder.png").mkdir()
    save(picture, tmp_path / "folder.png" / "inside.png")
    photos = list_photos(str(tmp_path) + "/")
    assert [path.name for path in photos] == names
    assert all(read_photo(path).shape == (60, 80, 3) for path in photos)


def test_folders_without_photos_are_refused(tmp_path):
    with pytest.raises(InputError, match="no photos in .*empty: looked for .apng .avif .bmp .dib .gif"):
        (tmp_path / "empty").mkdir()
        list_photos(tmp_path / "empty")
    with pytest.raises(InputError, match="missing does not exist"):
        list_photos(tmp_path / "missing")
    with pytest.raises(InputError, match="does not exist .*Patterns are not replaced here"):
        list_photos(tmp_path / "*.jpg")
    with pytest.raises(InputError, match="not a folder"):
        (tmp_path / "file.png").write_bytes(b"")
        list_photos(tmp_path / "file.png")


def test_photos_without_a_suffix_and_links_to_nowhere_are_listed(tmp_path, picture):
    save(picture, tmp_path / "a.jpg").rename(tmp_path / "a")
    (tmp_path / "b.jpg").symlink_to(tmp_path / "nowhere.jpg")
    (tmp_path / "README").write_text("no photo")
    assert list_photos(tmp_path) == [tmp_path / "a", tmp_path / "b.jpg"]
    assert read_photo(tmp_path / "a").shape == picture.shape
    with pytest.raises(InputError, match="b.jpg is a link to a file that does not exist"):
        read_photo(tmp_path / "b.jpg")
    assert not remark_on_unread_photos(tmp_path)


def test_photos_that_cannot_be_read_are_counted(tmp_path, picture):
    for name in ("1.CR2", "2.cr2", "3.jxl"):
        (tmp_path / name).write_bytes(b"II*\0")   # a preview could be read, but not the photo
    save(picture, tmp_path / "4.png").rename(tmp_path / "4.png~")
    for folder in ("more", "mask", ".hidden"):
        (tmp_path / folder).mkdir()
        save(picture, tmp_path / folder / "5.png")
    with pytest.raises(InputError, match=r"no photos in .*: 2 .cr2, 1 .jxl, 1 .png~, for example 1.CR2.*: 1 in more\."):
        list_photos(tmp_path)
    save(picture, tmp_path / "6.png")
    assert list_photos(tmp_path) == [tmp_path / "6.png"]
    assert "1 .png~" in remark_on_unread_photos(tmp_path) and "1 in more." in remark_on_unread_photos(tmp_path)


@pytest.mark.parametrize("suffix", [".png", ".apng", ".bmp", ".dib", ".tif", ".ppm", ".pnm", ".tga", ".qoi", ".pcx",
                                    ".sgi", ".j2k"])
def test_lossless_rgb_is_exact(tmp_path, picture, suffix):
    photo = read_photo(save(picture, tmp_path / f"photo{suffix}"))
    assert photo.dtype == np.uint8 and photo.flags.writeable and (photo == picture).all()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp"])
def test_exif_rotation_is_applied(tmp_path, picture, orientation, suffix):
    stored = {1: picture, 2: picture[:, ::-1], 3: picture[::-1, ::-1], 4: picture[::-1],
              5: picture.transpose(1, 0, 2), 6: np.rot90(picture), 7: picture[::-1, ::-1].transpose(1, 0, 2),
              8: np.rot90(picture, -1)}[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    photo = read_photo(save(np.ascontiguousarray(stored), tmp_path / f"photo{suffix}", exif=exif))
    assert photo.shape == picture.shape
    assert np.abs(photo.astype(int) - picture).mean() < 4


def test_broken_exif_does_not_spoil_a_photo(tmp_path, picture):
    path = save(picture, tmp_path / "photo.jpg", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\x01\x12\0\x03")
    assert read_photo(path).shape == picture.shape


def test_sixteen_bit_photos(tmp_path, picture):
    deep = picture.astype(np.uint16) * 257
    rgb = read_photo(png_16_bit_rgb(tmp_path / "rgb.png", deep))
    assert np.abs(rgb.astype(int) - picture).max() <= 1
    for name in ("grey.png", "grey.tif"):
        grey = read_photo(save(np.ascontiguousarray(deep[..., 0]), tmp_path / name))
        assert np.abs(grey.astype(int) - picture[..., :1]).max() <= 1


def test_float_photos(tmp_path, picture):
    grey = picture[..., 0].astype(np.float32)
    assert (read_photo(save(grey, tmp_path / "255.tif")) == picture[..., :1]).all()
    assert (read_photo(save(grey / 255, tmp_path / "1.tif")) == picture[..., :1]).all()
    grey[0, 0], grey[0, 1] = np.nan, -5
    assert (read_photo(save(grey, tmp_path / "nan.tif"))[0, :2] == 0).all()


def test_grey_bilevel_and_cmyk_photos(tmp_path, picture):
    grey = read_photo(save(Image.fromarray(picture[..., 0]), tmp_path / "grey.png"))
    assert (grey == picture[..., :1]).all()
    bilevel = read_photo(save(Image.fromarray(picture[..., 0]).convert("1"), tmp_path / "1.png"))
    assert set(np.unique(bilevel)) == {0, 255}
    for suffix in (".jpg", ".tif"):
        flat = Image.new("RGB", (16, 16), (200, 100, 50)).convert("CMYK")
        cmyk = read_photo(save(flat, tmp_path / f"cmyk{suffix}"))
        assert np.abs(cmyk.astype(int) - (200, 100, 50)).max() <= 3


def test_transparency_shows_white(tmp_path):
    rgba = np.zeros((4, 4, 4), dtype=np.uint8)
    rgba[:2] = (*RED, 255)
    rgba[2:] = (*BLUE, 0)
    photo = read_photo(save(rgba, tmp_path / "rgba.png"))
    assert (photo[:2] == RED).all() and (photo[2:] == WHITE).all()

    half = np.full((4, 4, 2), (0, 128), dtype=np.uint8)
    assert (read_photo(save(Image.fromarray(half, "LA"), tmp_path / "la.png")) == 127).all()

    palette = Image.new("P", (4, 4), 0)
    palette.putpalette([*GREEN, *BLUE])
    palette.putpixel((0, 0), 1)
    assert (read_photo(save(palette, tmp_path / "opaque.png"))[1:] == GREEN).all()
    palette_photo = read_photo(save(palette, tmp_path / "palette.png", transparency=0))
    assert (palette_photo[0, 0] == BLUE).all() and (palette_photo[1:] == WHITE).all()


@pytest.mark.parametrize("content", [b"", b"just some text", b"\xff\xd8\xff\xe0 nearly a photo"])
def test_files_that_are_no_photos_are_refused_by_name(tmp_path, content):
    path = tmp_path / "holiday.jpg"
    path.write_bytes(content)
    with pytest.raises(InputError, match="holiday.jpg"):
        read_photo(path)


@pytest.mark.parametrize("name", ["phone.HEIC", "phone.heif", "renamed.jpg"])
def test_heic_photos_are_listed_and_refused_with_what_to_do(tmp_path, name):
    (tmp_path / name).write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100))
    path, = list_photos(tmp_path)
    with pytest.raises(InputError, match=f"{name} .*HEIC.*convert it to JPEG or PNG first"):
        read_photo(path)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".webp", ".tif"])
def test_truncated_photos_are_refused_by_name(tmp_path, picture, suffix):
    path = save(picture, tmp_path / f"holiday{suffix}")
    path.write_bytes(path.read_bytes()[:-path.stat().st_size // 3])
    with pytest.raises(InputError, match="holiday"):
        read_photo(path)


def test_a_jpeg_without_its_last_bytes_is_read_with_a_remark(tmp_path, picture):
    """But not by read_photo, which training uses."""
    picture = np.tile(picture, (10, 10, 1))
    exif = Image.Exif()
    exif[0x0112] = 6
    path = save(picture, tmp_path / "photo.jpg", quality=90, exif=exif)
    content, complete = path.read_bytes(), read_photo(path)
    assert read_incomplete_photo(path)[1] == ""
    for missing in (2, 500):
        path.write_bytes(content[:-missing])
        pixels, remark = read_incomplete_photo(path)
        assert remark.startswith(f"{path}: the end of the file is missing")
        assert (pixels[:, 32:] == complete[:, 32:]).all()   # the last rows are at the left of the upright photo
    path.write_bytes(content[:-500])
    with pytest.raises(InputError, match="truncated"):
        read_photo(path)
    path.write_bytes(content[:len(content) // 2])
    with pytest.raises(InputError, match="photo.jpg"):
        read_incomplete_photo(path)


def test_missing_photo_and_folder_are_refused_by_name(tmp_path):
    with pytest.raises(InputError, match="gone.png does not exist"):
        read_photo(tmp_path / "gone.png")
    with pytest.raises(InputError, match=tmp_path.name):
        read_photo(tmp_path)


def test_pillows_limit_stays_as_it_is_for_others(tmp_path, picture):
    code = ("import PIL.Image; limit = PIL.Image.MAX_IMAGE_PIXELS; import datasets.photos; "
            "assert limit and PIL.Image.MAX_IMAGE_PIXELS == limit")
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
    limit = Image.MAX_IMAGE_PIXELS
    read_photo(save(picture, tmp_path / "photo.png"))
    with pytest.raises(InputError):
        read_photo(tmp_path / "gone.png")
    assert limit and Image.MAX_IMAGE_PIXELS == limit


def test_large_photos_are_read_without_warning_and_bombs_refused(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        photo = read_photo(save(Image.new("L", (20_000, 5_000), 7), tmp_path / "large.png", compress_level=1))
        assert photo.shape == (5_000, 20_000, 3) and photo[-1, -1, 0] == 7
    header = struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, 30_000, 30_000, 1, 24, 0, 0, 0, 0, 0, 0)
    (tmp_path / "bomb.bmp").write_bytes(b"BM" + header)
    with pytest.raises(InputError, match="bomb.bmp.*megapixels"):
        read_photo(tmp_path / "bomb.bmp")
    assert photo_size(tmp_path / "bomb.bmp") == (30_000, 30_000)


def test_atomic_write_replaces_whole_or_not_at_all(tmp_path):
    path = tmp_path / "result.txt"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), atomic_write(path) as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError
    assert path.read_text() == "old"
    with atomic_write(path) as temporary:
        assert temporary.suffix == ".txt" and temporary.parent == tmp_path
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
@pytest.mark.parametrize("reduce", [2, 4, 8])
def test_photos_read_smaller_show_the_same(tmp_path, suffix, reduce):
    y, x = np.mgrid[:173, :241]
    picture = np.stack([x, y, 240 - x / 2 - y / 2], axis=-1).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6   # to be turned clockwise
    path = save(picture, tmp_path / f"photo{suffix}", exif=exif)
    small, large = read_photo(path, reduce), read_photo(path)
    height, width = large.shape[:2]
    assert (height, width) == (241, 173) and small.shape == (-(-height // reduce), -(-width // reduce), 3)
    means = np.asarray(Image.fromarray(large).reduce(reduce))
    inside = np.s_[1:-2, 1:-2]
    assert np.abs(small.astype(int) - means)[inside].max() <= 6
