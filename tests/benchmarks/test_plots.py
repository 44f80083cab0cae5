"""Curves appear in the picture where their values are."""
import numpy as np
import pytest
from PIL import Image, ImageColor

from tests.benchmarks import plots


@pytest.mark.parametrize(("low", "high", "expected"), [
    (0, 1, [0, .2, .4, .6, .8, 1]), (0, .08, [0, .02, .04, .06, .08]), (-3, 17, [-5, 0, 5, 10, 15, 20]),
    (2, 2, [2, 2.5])])
def test_ticks_are_round_and_cover_the_range(low, high, expected):
    found = plots.ticks(low, high)
    assert found[0] <= low and found[-1] >= high and np.ptp(np.diff(found)) < 1e-9
    assert found[:len(expected)] == pytest.approx(expected)


def test_curves_are_drawn_with_their_gaps(tmp_path):
    x = np.array([0.0, 1, 2, 3, 4])
    curves = {"rising": (x, x / 4), "broken": (x, np.array([1, 1, np.nan, 0, 0]))}
    plots.draw_curves(tmp_path / "curves.png", curves, "Title", "strength", "share", y_range=(0, 1))
    pixels = np.asarray(Image.open(tmp_path / "curves.png").convert("RGB"))

    def shows(number: int, x: float, y: float) -> bool:
        column = round(plots.LEFT + x / 4 * (plots.RIGHT - plots.LEFT))
        row = round(plots.BOTTOM - y * (plots.BOTTOM - plots.TOP))
        around = pixels[row - 2:row + 3, column - 2:column + 3]
        return (around == ImageColor.getrgb(plots.COLORS[number])).all(2).any()

    assert shows(0, 1, .25) and shows(0, 3, .75)
    assert shows(1, .5, 1) and shows(1, 3.5, 0)
    assert not shows(1, 1.5, .75) and not shows(1, 2.5, .25)
