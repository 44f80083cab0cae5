"""test.py --same_person: several photos of one person."""
import numpy as np
import pytest
from PIL import Image, ImageOps

from options.testing import parse
from test import reconstruct_folder
from tests.helpers import EXAMPLES


@pytest.mark.parametrize("fit", [(), ("--fit_color",), ("--epoch=0", "--fit_iters=4", "--net_recog=none")])
def test_the_photos_of_a_person_share_identity_and_albedo(tmp_path, fit):
    photo = Image.open(EXAMPLES / "astronaut.png").convert("RGB").crop((100, 0, 350, 250))
    for name, picture in (("straight", photo), ("mirrored", ImageOps.mirror(photo)), ("dark", photo.point(
            lambda value: value * 0.6))):
        picture.save(tmp_path / f"{name}.png")

    def run(*more: str) -> list[dict[str, np.ndarray]]:
        out = tmp_path / f"out{len(more)}"
        assert reconstruct_folder(parse(["--name=open_face", "--epoch=20", "--gpu_ids=-1", "--num_threads=0",
                                         f"--img_folder={tmp_path}", f"--results_dir={out}", "--save=coeffs", *fit,
                                         *more])) == 0
        return [np.load(out / f"{name}.npz") for name in ("straight", "mirrored", "dark")]

    alone, together = run(), run("--same_person")
    for part in ("id", "tex"):
        values = np.stack([numbers[part] for numbers in alone])
        shared = together[0][part]
        assert all((numbers[part] == shared).all() for numbers in together[1:])
        assert np.ptp(values, axis=0).max() > 0.05
        assert (values.min(0) - 1e-4 <= shared).all() and (shared <= values.max(0) + 1e-4).all()
    if fit:   # the light is fitted to the shared albedo
        light = [numbers["gamma"].reshape(3, 9)[:, 0].mean() for numbers in together]
        assert light[2] < light[0]


def test_photos_with_several_persons_are_refused(capsys):
    with pytest.raises(SystemExit, match="2"):
        parse(["--same_person", "--all_faces"])
    assert "leave out --all_faces" in capsys.readouterr().err
