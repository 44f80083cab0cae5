"""Derives BFM_model_front.mat: the face of the Basel Face Model 2009 with the expressions of Guo et al."""
from pathlib import Path

import numpy as np

from util import assets
from util.files import InputError
from util.mat_files import is_hdf5, read_mat

VERTICES = 53490              # of the whole head
EXPRESSION_VERTICES = 53215   # of the head without the inside of the mouth: those that the expressions move
ID, EXP, TEX = 80, 64, 80     # components that are used
MICRONS = 1e5                 # in a decimetre
MORPHABLE_SHAPES = {
    "shapePC": (3 * VERTICES, 199), "shapeEV": (199, 1), "shapeMU": (3 * VERTICES, 1),
    "texPC": (3 * VERTICES, 199), "texEV": (199, 1), "texMU": (3 * VERTICES, 1)}
TOPOLOGY_SHAPES = {
    "tri": (None, 3), "point_buf": (None, 8), "tri_mask2": (None, 3), "keypoints": (1, 68), "frontmask2_idx": (None, 1),
    "skinmask": (1, None)}


def missing_files(folder: Path) -> list[assets.Asset]:
    """The files that the model is derived from and that the folder lacks.

    Raises InputError if some are missing though the user clearly wants this model: the folder has the shapes
    (01_MorphableModel.mat) or the expressions (Exp_Pca.bin), or a Basel Face Model of another year.
    """
    missing = [asset for asset in assets.BASEL if not (folder / asset.name).is_file()]
    if not missing:
        return []
    problems = [asset.missing(folder / asset.name) for asset in missing]
    newer = [path for path in folder.glob("*.h5") if is_hdf5(path)]
    if newer and assets.MORPHABLE_MODEL in missing:
        problems.insert(0, f"{newer[0]} is not the Basel Face Model 2009. Those of 2017 and 2019 have other vertices "
                           "and cannot be used")
    if newer or not {assets.MORPHABLE_MODEL, assets.EXPRESSIONS} <= {*missing}:
        raise InputError(f"the Basel Face Model 2009 in {folder} is not complete (--bfm_model={assets.OPEN_MODEL.name} "
                         "chooses the open face model instead):\n  " + "\n  ".join(problems))
    return missing


def derive(folder: Path) -> dict[str, np.ndarray]:
    """The arrays of BFM_model_front.mat, derived from the files of `assets.BASEL` in the folder.

    Lengths are converted from microns to decimetres, and each component is multiplied by its standard deviation. Raises
    InputError if a file is broken or another one.
    """
    topology = read_mat(folder / assets.TOPOLOGY.name, TOPOLOGY_SHAPES)
    front = read_front_choice(folder / assets.FRONT_CHOICE.name)
    vertices = read_expression_choice(folder / assets.EXPRESSION_CHOICE.name)[front]
    spread = read_expression_spread(folder / assets.EXPRESSION_SPREAD.name)
    components = read_expressions(folder / assets.EXPRESSIONS.name)
    head = read_mat(folder / assets.MORPHABLE_MODEL.name, MORPHABLE_SHAPES)

    def rows(columns: np.ndarray, vertices: np.ndarray) -> np.ndarray:
        """The rows (3N, k) of N vertices, of the columns (3V, k) of all."""
        return columns.reshape(-1, 3, columns.shape[1])[vertices].reshape(-1, columns.shape[1])

    return {
        "meanshape": rows(head["shapeMU"], vertices).reshape(1, -1) / MICRONS,
        "meantex": rows(head["texMU"], vertices).reshape(1, -1),
        "idBase": rows(head["shapePC"][:, :ID], vertices) * head["shapeEV"][:ID, 0] / MICRONS,
        "exBase": rows(components[:EXP].T, front) * spread[:EXP] / MICRONS,
        "texBase": rows(head["texPC"][:, :TEX], vertices) * head["texEV"][:TEX, 0],
        **topology}


def read_expressions(path: Path) -> np.ndarray:
    """The expression components (k, 3 x 53215) float32 of Exp_Pca.bin; k is at least 64. They are movements in microns
    once multiplied by the standard deviations. The mean in that file is not used. Raises InputError."""
    length = 3 * EXPRESSION_VERTICES
    size = path.stat().st_size
    count = int(np.fromfile(path, "<i4", 1)[0]) if size >= 4 else 0
    if not EXP <= count <= 1000:
        raise InputError(f"{path} is broken or another file: it must begin with the number of its components, 79")
    if size < 4 * (1 + length * (1 + count)):
        raise InputError(f"{path} is incomplete: {size} bytes, not {4 * (1 + length * (1 + count))}; copy it again")
    components = np.fromfile(path, "<f4", count * length, offset=4 * (1 + length)).reshape(count, length)
    if not np.isfinite(components[:EXP]).all():
        raise InputError(f"{path} is broken: it has values that are not finite")
    return components


def read_expression_spread(path: Path) -> np.ndarray:
    """Standard deviations (k,) float64 of the expression components; k is at least 64. Raises InputError."""
    try:
        spread = np.array(path.read_text().split(), np.float64)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    if len(spread) < EXP or not np.isfinite(spread).all():
        raise InputError(f"{path} is broken or another file: it has {len(spread)} numbers, not 79")
    return spread


def read_front_choice(path: Path) -> np.ndarray:
    """Indices (N,) int64, from 0, of the vertices that make the face, among those that the expressions move. Raises
    InputError."""
    return _read_indices(path, "idx", None, EXPRESSION_VERTICES)


def read_expression_choice(path: Path) -> np.ndarray:
    """Indices (53215,) int64, from 0, of the vertices that the expressions move, among those of the whole head. Raises
    InputError."""
    return _read_indices(path, "trimIndex", EXPRESSION_VERTICES, VERTICES)


def _read_indices(path: Path, name: str, length: int | None, count: int) -> np.ndarray:
    """The column of indices `name` of a MATLAB file, from 0. length: how many there must be; None: any number. count:
    the file's indices must be from 1 to it. Raises InputError."""
    values = read_mat(path, {name: (length, 1)})[name].ravel().astype(np.int64)
    if not len(values) or values.min() < 1 or values.max() > count:
        raise InputError(f"{path} is broken or another file: the indices in {name} must be from 1 to {count}")
    return values - 1
