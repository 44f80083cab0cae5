"""Reads points of a face from the files that people bring.

A file holds the points of one face:

- 5 alignment points: left eye, right eye, nose tip, left and right mouth corner, as seen in the photo;
- or the 68 landmarks of `models.landmarks`;
- or 468 or 478 points of MediaPipe's face mesh, in pixels or as fractions of the photo's width and height.

They may stand in a table of numbers, in a .pts file as iBUG writes it, or in JSON as MTCNN, RetinaFace and MediaPipe
write it. A table has one point a line, or all numbers in one line. Between the numbers may be spaces, tabs, commas or
semicolons. Comments, names before the numbers, and a third column such as a confidence or a depth are understood.

`datasets.point_checks` checks whether these can be the points of a face.
"""
import ast
import codecs
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from datasets.face_mesh import MESH_COUNT, mesh_landmarks
from datasets.face_pose import fit_pose
from models.landmarks import COUNT, five_points
from util.files import InputError

DETECTIONS = "detections"              # the folder of these files beside the photos
SUFFIXES = (".txt", ".pts", ".json")   # of the files, in the order in which they are looked for
MESH_COUNTS = (MESH_COUNT, 478)        # without and with the irises
COUNTS = (5, COUNT, *MESH_COUNTS)
EXPECTED = ("expected 5: left eye, right eye, nose tip, left and right mouth corner, as seen in the photo; or the 68 "
            "landmarks; or the 468 or 478 points of MediaPipe's face mesh")
NO_PAIRS = "must have two numbers in each line, x and y of a point in pixels"
EXCHANGED_SIDES = [1, 0, 2, 4, 3]      # the five points with left and right exchanged

# The words of the five points' names: left_eye, leftEye, mouth_left, "left mouth corner", nose_tip and the like.
_NAMES = ("left eye", "right eye", "nose", "left mouth", "right mouth")
_MORE_WORDS = {"tip", "corner", "center", "centre"}

_PTS = re.compile(r"\s*version\s*:.*?\{(.*?)\}", re.DOTALL)
_DECIMAL_COMMAS = re.compile(r"(\s*-?\d+,\d+[ \t;]+-?\d+,\d+[ \t;\r]*(\n|$))+")   # lines such as "12,5 34,0"
_BETWEEN_NUMBERS = str.maketrans(",;:=()[]{}", " " * 10)


def points_file(folder: Path, stem: str) -> Path | None:
    """The file in a folder that gives the points of the photo `stem`, or None. A broken link counts as a file."""
    paths = (folder / f"{stem}{suffix}" for suffix in SUFFIXES)
    return next((path for path in paths if path.exists() or path.is_symlink()), None)


def remark_on_unused_files(folder: Path, photos: list[Path]) -> str:
    """One line about the files of points in a photo folder that belong to no photo there, or "" if there are none.

    Looked at are the files in `detections/`, and those beside the photos that have the name of a photo.
    """
    stems = {photo.stem for photo in photos}
    try:
        present = {path.name for path in (folder / DETECTIONS).iterdir()}
    except OSError:   # there is no such folder, or it cannot be opened, which reading a file in it reports
        present = set()
    used = {f"{stem}{suffix}" for stem in stems for suffix in SUFFIXES} & present
    unused = [f"{DETECTIONS}/{name}" for name in present - used if not name.startswith(".")]
    unused += [path.name for path in folder.iterdir() if path.stem in stems and path.name not in used
               and path.suffix in SUFFIXES and _holds_points(path)]
    if not unused:
        return ""
    return (f"{folder}: files of points that belong to no photo: {len(unused)}, for example {min(unused)}. The points "
            f"of {photos[0].name} are expected in {DETECTIONS}/{photos[0].stem}.txt (or {' or '.join(SUFFIXES[1:])})")


def _holds_points(path: Path) -> bool:
    try:
        read_points(path, lambda: (1, 1))
    except InputError:
        return False
    return True


def read_points(path: Path, photo_size: Callable[[], tuple[int, int]]) -> tuple[np.ndarray, str]:
    """Read the points of a face from a file.

    photo_size: returns the width and height of the upright photo, px. It is called only for the points of a face mesh
    that are fractions of these.

    Returns the points (5, 2) or (68, 2), float64 px in the photo, y down, and a remark. The remark is empty unless the
    file holds several faces: then the points are those of the largest. Numbers that are not finite are returned too.
    Raises InputError, which names the file, when it cannot be read or does not hold one of these numbers of points.
    """
    try:
        faces = _faces_in_text(_decoded(path.read_bytes()))
    except OSError as error:
        reason = "it is a link to a file that does not exist" if path.is_symlink() else error.strerror
        raise InputError(f"cannot read {path}: {reason}") from error
    except ValueError as error:
        raise InputError(f"{path} {error}") from error
    faces = [_without_mesh(face, photo_size) for face in faces]
    if len(faces) == 1:
        return faces[0], ""
    largest = max(faces, key=lambda face: np.ptp(five_points(face), axis=0).max())
    return largest, f"{path}: the largest of {len(faces)} faces"


def _decoded(content: bytes) -> str:
    is_utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return content.decode("utf-16" if is_utf16 else "utf-8-sig", errors="replace")


def _faces_in_text(text: str) -> list[np.ndarray]:
    """The points of each face in a text, (5, 68, 468 or 478, 2). Raises ValueError when there are none."""
    if text.lstrip().startswith(("{", "[", "(")) and (tree := _tree(text)) is not None:
        faces = list(_faces_in_tree(tree))
        if not faces:
            raise ValueError(f"has no points of a face, {EXPECTED}")
        return faces
    pts = _PTS.match(text)
    points = _points_in_table(_table(pts[1] if pts else text))
    if len(points) not in COUNTS:
        raise ValueError(f"has {len(points)} points, {EXPECTED}")
    return [points - 1 if pts else points]   # .pts files count pixels from 1


def _without_mesh(points: np.ndarray, photo_size: Callable[[], tuple[int, int]]) -> np.ndarray:
    """The 68 landmarks of a face mesh (468 or 478, 2). Other points are returned as they are."""
    if len(points) not in MESH_COUNTS:
        return points
    if np.abs(points).max() < 2:   # fractions, a little outside the photo at most
        points = points * photo_size() - 0.5
    return mesh_landmarks(points)


# Tables of numbers

def _table(text: str) -> np.ndarray:
    """The numbers of a text (lines, columns) without comments and names. Raises ValueError.

    Points with the names of all five alignment points are put into their order.
    """
    if "," in text and _DECIMAL_COMMAS.fullmatch(text):
        text = text.replace(",", ".")
    if "#" in text:
        text = re.sub("#.*", "", text)
    rows = [row for line in text.translate(_BETWEEN_NUMBERS).splitlines() if (row := line.split())]
    try:
        return np.array(rows, dtype=float).reshape(len(rows), -1 if rows else 2)
    except ValueError:
        pass   # other things than numbers, or lines of different lengths
    names, numbers = zip(*(_split_name(row) for row in rows), strict=True)
    if not numbers[0]:   # a heading
        names, numbers = names[1:], numbers[1:]
    if len({len(row) for row in numbers}) != 1 or not numbers[0] or not all(map(_is_number, sum(numbers, []))):
        raise ValueError(NO_PAIRS)
    table = np.array(numbers, dtype=float)
    named = dict(zip(map(_index_of_name, names), table, strict=True))
    if set(named) != set(range(5)) or table.shape[1] not in (2, 3):
        return table
    return _sorted_sides(np.array([named[index] for index in range(5)])[:, :2])


def _split_name(row: list[str]) -> tuple[str, list[str]]:
    """The words before the first number of a line, and the rest of the line."""
    count = next((i for i, word in enumerate(row) if _is_number(word)), len(row))
    return " ".join(row[:count]), row[count:]


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _points_in_table(table: np.ndarray) -> np.ndarray:
    """The points (N, 2) of a table of numbers (lines, columns). Raises ValueError."""
    lines, columns = table.shape
    if columns == 3 and lines > 1:
        counts_lines = any((table[:, 0] == np.arange(first, first + lines)).all() for first in (0, 1))
        return table[:, 1:] if counts_lines else table[:, :2]
    if columns == 2:
        return table
    points = _points_in_sequence(table.ravel())
    if points is None:
        raise ValueError(NO_PAIRS)
    return points


def _points_in_sequence(numbers: np.ndarray) -> np.ndarray | None:
    """The points of a face (N, 2) whose 2 N or 3 N numbers follow each other. None where it is another number.

    Two numbers of a point may lie together, or all x may come before all y: the order that fits a face better is taken.
    """
    if numbers.size in (3 * count for count in COUNTS):
        return numbers.reshape(-1, 3)[:, :2]
    if numbers.size not in (2 * count for count in COUNTS):
        return None
    orders = numbers.reshape(-1, 2), numbers.reshape(2, -1).T
    return min(orders, key=_misfit)


def _misfit(points: np.ndarray) -> float:
    """How badly points (5, 68, 468 or 478, 2) fit a face, decimetres. Infinite for points that are not finite."""
    five = five_points(mesh_landmarks(points) if len(points) in MESH_COUNTS else points)
    return fit_pose(five).error if np.isfinite(five).all() and np.ptp(five, axis=0).any() else np.inf


# Trees, as JSON has them

def _tree(text: str) -> object | None:
    """The value of a text in JSON, or of a Python value as it is printed. None where the text is neither."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None


def _faces_in_tree(tree: object) -> Iterator[np.ndarray]:
    """The points (N, 2) of each face in a tree of dicts and lists. Raises ValueError where one lacks a named point."""
    if isinstance(tree, dict):
        named = {index: value for name, value in tree.items() if (index := _index_of_name(str(name))) is not None}
        tree = list(tree.values())
        if named:
            missing = [name for index, name in enumerate(_NAMES) if index not in named]
            if missing:
                raise ValueError(f"lacks a point of the face: {', '.join(missing)}")
            tree = [named[index] for index in range(5)]
    else:
        named = {}
    if not isinstance(tree, list | tuple):
        return
    points = _points_in_list(tree)
    if points is None:
        for branch in tree:
            yield from _faces_in_tree(branch)
    else:
        yield _sorted_sides(points) if named else points


def _points_in_list(items: list | tuple) -> np.ndarray | None:
    """The points of a face (N, 2) in a list of [x, y], {"x": x, "y": y} or numbers. None where the list is another."""
    try:
        table = np.array([[item["x"], item["y"]] if isinstance(item, dict) else item for item in items], dtype=float)
    except (ValueError, TypeError, KeyError):
        return None
    if table.ndim == 1:
        return _points_in_sequence(table)
    return table[:, :2] if table.ndim == 2 and len(table) in COUNTS and table.shape[1] in (2, 3) else None


# Names of points

def _index_of_name(name: str) -> int | None:
    """The place among the five points of the one with that name. None for other names."""
    words = {word.lower() for word in re.findall("[A-Z]?[a-z]+|[A-Z]+", name)} - _MORE_WORDS
    return next((index for index, name in enumerate(_NAMES) if words == set(name.split())), None)


def _sorted_sides(points: np.ndarray) -> np.ndarray:
    """Five points in the order left, right as seen in the photo, of points whose names may mean the person's sides."""
    return points[EXCHANGED_SIDES] if np.isfinite(_misfit(points)) and fit_pose(points).yaw > 90 else points
