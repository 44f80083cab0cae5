"""The front of the Basel Face Model 2009, with the expressions of Guo et al., from the files its users have."""
from pathlib import Path

import numpy as np

from util import assets
from util.files import InputError
from util.mat_files import is_hdf5, read_mat

VERTICES, EXPRESSION_VERTICES = 53490, 53215   # of the whole head, and of it without the inside of the mouth
ID, EXP, TEX = 80, 64, 80   # components taken
MICRONS = 1e5   # in a decimetre
MORPHABLE_SHAPES = {
    "shapePC": (3 * VERTICES, 199), "shapeEV": (199, 1), "shapeMU": (3 * VERTICES, 1),
    "texPC": (3 * VERTICES, 199), "texEV": (199, 1), "texMU": (3 * VERTICES, 1)}
TOPOLOGY_SHAPES = {"tri": (None, 3), "point_buf": (None, 8), "tri_mask2": (None, 3), "keypoints": (1, 68),
               "frontmask2_idx": (None, 1), "skinmask": (1, None)}


def missing_files(folder: Path) -> list[assets.Asset]:
    """Of the files that the model is derived from, those that the folder has not. Raises InputError when a user plainly
    wants the model but a file is missing or of another one."""
    missing = [asset for asset in assets.BASEL if not (folder / asset.name).is_file()]
    if not missing:
        return []
    problems = [asset.missing(folder / asset.name) for asset in missing]
    newer = [path for path in folder.glob("*.h5") if is_hdf5(path)]
    if newer and assets.MORPHABLE_MODEL in missing:
        problems.insert(0, f"{newer[0]} is none of 2009, as the Basel Face Models of 2017 and 2019 are, whose vertices "
                           "are others")
    if newer or not {assets.MORPHABLE_MODEL, assets.EXPRESSIONS} <= {*missing}:
        raise InputError("the Basel Face Model 2009 is not complete (--bfm_model=open_face_model.npz takes the open "
                         "one):\n  " + "\n  ".join(problems))
    return missing


def derive(folder: Path) -> dict[str, np.ndarray]:
    """The arrays of BFM_model_front.mat, from the files in the folder. Raises InputError."""
    topology = read_mat(folder / assets.TOPOLOGY.name, TOPOLOGY_SHAPES)
    front = read_front_choice(folder / assets.FRONT_CHOICE.name)
    vertices = read_expression_choice(folder / assets.EXPRESSION_CHOICE.name)[front]
    spread = read_expression_spread(folder / assets.EXPRESSION_SPREAD.name)
    components = read_expressions(folder / assets.EXPRESSIONS.name)
    head = read_mat(folder / assets.MORPHABLE_MODEL.name, MORPHABLE_SHAPES)

    def rows(columns, vertices):   # (3V, k) of the whole -> (3N, k) of the vertices chosen
        return columns.reshape(-1, 3, columns.shape[1])[vertices].reshape(-1, columns.shape[1])

    return {
        "meanshape": rows(head["shapeMU"], vertices).reshape(1, -1) / MICRONS,
        "meantex": rows(head["texMU"], vertices).reshape(1, -1),
        "idBase": rows(head["shapePC"][:, :ID], vertices) * head["shapeEV"][:ID, 0] / MICRONS,
        "exBase": rows(components[:EXP].T, front) * spread[:EXP] / MICRONS,
        "texBase": rows(head["texPC"][:, :TEX], vertices) * head["texEV"][:TEX, 0],
        **topology}


def read_expressions(path: Path) -> np.ndarray:
    """The components (k >= 64, 3 x 53215) float32 of Exp_Pca.bin; its mean is not used. Raises InputError."""
    length = 3 * EXPRESSION_VERTICES
    size = path.stat().st_size
    count = int(np.fromfile(path, "<i4", 1)[0]) if size >= 4 else 0
    if not EXP <= count <= 1000:
        raise InputError(f"{path} is broken or another file: it should begin with the number of its components, 79")
    if size < 4 * (1 + length * (1 + count)):
        raise InputError(f"{path} is incomplete: {size} bytes, not {4 * (1 + length * (1 + count))}; copy it again")
    components = np.fromfile(path, "<f4", count * length, offset=4 * (1 + length)).reshape(count, length)
    if not np.isfinite(components[:EXP]).all():
        raise InputError(f"{path} is broken: it has values that are no numbers")
    return components


def read_expression_spread(path: Path) -> np.ndarray:
    """Standard deviations (k >= 64,) of the expression components. Raises InputError."""
    try:
        spread = np.array(path.read_text().split(), np.float64)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    if len(spread) < EXP or not np.isfinite(spread).all():
        raise InputError(f"{path} is broken or another file: it has {len(spread)} numbers, not 79")
    return spread


def read_front_choice(path: Path) -> np.ndarray:
    """Which (N,) of the vertices with expressions make the face, from 0. Raises InputError."""
    return _read_indices(path, "idx", None, EXPRESSION_VERTICES)


def read_expression_choice(path: Path) -> np.ndarray:
    """Which (53215,) of the vertices of the whole head have expressions, from 0. Raises InputError."""
    return _read_indices(path, "trimIndex", EXPRESSION_VERTICES, VERTICES)


def _read_indices(path: Path, name: str, length: int | None, count: int) -> np.ndarray:
    values = read_mat(path, {name: (length, 1)})[name].ravel().astype(np.int64)
    if not len(values) or values.min() < 1 or values.max() > count:
        raise InputError(f"{path} is broken or another file: {name} must count from 1 to {count}")
    return values - 1
