"""Crops and masks of the original's example photos, pixel by pixel. Extra: neither may be part of this repository."""
import zlib

import numpy as np
import pytest

from datasets.alignment import align
from datasets.photos import read_photo
from datasets.skin_mask import skin_posterior
from models.coordinates import flip_y
from models.landmarks import five_points
from tests.helpers import ROOT

SHARED = ROOT.parent / "shared"
pytestmark = pytest.mark.skipif(not SHARED.exists(), reason="extra: needs the original's example photos")


def golden(name):
    return np.load(SHARED / "golden" / f"{name}.npz")


@pytest.fixture(scope="module")
def photos():
    """By name; those that this machine decodes otherwise are left out."""
    names, checksums = (golden("decode_crc")[key] for key in ("names", "pil_rgb_crc32"))
    photos = {name: read_photo(SHARED / "upstream_data" / "examples" / name) for name in names}
    same = {name: photo for (name, photo), checksum in zip(photos.items(), checksums, strict=True)
            if zlib.crc32(photo) == checksum}
    assert same
    return same


def skin_mask(photo):
    return np.rint(255 * skin_posterior(photo)).astype(np.uint8)


def test_crops(photos):
    crops, points = golden("align5_crops")["crop"], golden("align5")["lm5_raw"]
    for index, name in enumerate(golden("align5")["names"]):
        if name in photos:
            crop, _ = align(photos[name], flip_y(points[index].astype(np.float64), photos[name].shape[0]))
            assert np.abs(crop.astype(int) - crops[index]).max() <= 1, name


def test_masks_are_cropped_with_the_photo(photos):
    masks, landmarks = golden("align68_masks"), golden("align68")["lm68_raw_yup"]
    for index, name in enumerate(golden("align68")["names"]):
        if name in photos:
            photo = photos[name]
            _, _, mask = align(photo, five_points(landmarks[index].astype(np.float64)), skin_mask(photo))
            assert mask.sum(dtype=float) == pytest.approx(masks["all_mask_sum"][index], rel=1e-3), name
            if index < len(masks["mask_crop"]):
                assert np.abs(mask.astype(int) - masks["mask_crop"][index]).max() <= 1, name


@pytest.mark.parametrize("name", ["000002.jpg", "vd034.png", "015310.jpg"])
def test_masks(photos, name):
    if name in photos:
        expected = golden("skinmask")[f"{name.replace('.', '_')}_mask"]
        assert np.abs(skin_mask(photos[name]).astype(int) - expected).max() <= 1
