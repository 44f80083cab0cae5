"""Draws curves into a picture."""
import math
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from util.files import atomic_write

SIZE = 720, 480                                # px
LEFT, TOP, RIGHT, BOTTOM = 80, 40, 700, 420    # of the area with the curves
COLORS = ["#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#17becf", "#8c564b", "#7f7f7f"]


def draw_curves(path: Path, curves: dict[str, tuple[np.ndarray, np.ndarray]], title: str, x_label: str, y_label: str,
                y_range: tuple[float, float] | None = None):
    """Writes a picture with curves.

    path: of the picture, for example a .png file. curves: by the name that the legend shows, the x and y values (K,)
    of each; where one is nan, the curve has a gap. y_range: lowest and highest y; None: from 0, or the lowest y if it
    is negative, to the highest.
    """
    every_x, every_y = (np.concatenate([np.asarray(curve[axis], float) for curve in curves.values()])
                        for axis in (0, 1))
    x_ticks = ticks(np.nanmin(every_x), np.nanmax(every_x))
    y_ticks = ticks(*y_range or (min(np.nanmin(every_y), 0), np.nanmax(every_y)))
    picture = Image.new("RGB", SIZE, "white")
    draw = ImageDraw.Draw(picture)
    font = ImageFont.load_default(15)

    def place(x: float, y: float) -> tuple[float, float]:
        return (LEFT + (x - x_ticks[0]) / (x_ticks[-1] - x_ticks[0]) * (RIGHT - LEFT),
                BOTTOM - (y - y_ticks[0]) / (y_ticks[-1] - y_ticks[0]) * (BOTTOM - TOP))

    for x in x_ticks:
        column, _ = place(x, y_ticks[0])
        draw.line([column, TOP, column, BOTTOM], "#dddddd")
        draw.text((column, BOTTOM + 6), f"{x:.6g}", "black", font, "ma")
    for y in y_ticks:
        _, row = place(x_ticks[0], y)
        draw.line([LEFT, row, RIGHT, row], "#dddddd")
        draw.text((LEFT - 6, row), f"{y:.6g}", "black", font, "rm")
    draw.rectangle([LEFT, TOP, RIGHT, BOTTOM], outline="black")
    draw.text((SIZE[0] / 2, 10), title, "black", font, "ma")
    draw.text(((LEFT + RIGHT) / 2, BOTTOM + 30), x_label, "black", font, "ma")
    upright = Image.new("L", (BOTTOM - TOP, 24))
    ImageDraw.Draw(upright).text((upright.width / 2, 12), y_label, 255, font, "mm")
    picture.paste("black", (6, TOP), upright.rotate(90, expand=True))
    for number, (name, (x, y)) in enumerate(curves.items()):
        color = COLORS[number % len(COLORS)]
        points = [place(*each) for each in zip(x, y, strict=True)]
        for start, end in zip(points, points[1:], strict=False):
            if not np.isnan([*start, *end]).any():
                draw.line([start, end], color, 3)
        draw.text((RIGHT - 10, BOTTOM - 10 - 20 * (len(curves) - 1 - number)), name, color, font, "rs")
    with atomic_write(path) as temporary:
        picture.save(temporary)


def ticks(low: float, high: float) -> np.ndarray:
    """Returns about 5 round numbers at equal steps; the first is `low` or less, the last is `high` or more."""
    span = high - low or abs(high) or 1
    step = 10 ** math.floor(math.log10(span / 4))
    step *= next(factor for factor in (1, 2, 2.5, 5, 10) if span / (factor * step) <= 6)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return step * np.arange(first, max(last, first + 1) + 1)
