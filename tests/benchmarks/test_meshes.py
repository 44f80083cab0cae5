"""OBJ files of many writers are read, and places on triangles are found."""
import numpy as np
import pytest

from tests.benchmarks import meshes, registration
from util.files import InputError

SQUARE = np.array([[0, 0, 0], [2, 0, 0], [2, 2, 0], [0, 2, 0]])


@pytest.mark.parametrize("faces", ["f 1 2 3 4", "f 1/5 2/6 3/7 4/8\n", "f 1//1 2//1 3//1\r\nf 1/1/1 3/1/1 4/1/1",
                                   "g part\nusemtl skin\nf -4 -3 -2 -1"])
def test_polygons_become_triangles(tmp_path, faces):
    path = tmp_path / "mesh.obj"
    lines = "".join(f"v {x} {y:.3e} {z} 0.1 0.2 0.3\n" for x, y, z in SQUARE)
    path.write_text(f"# by hand\nmtllib x.mtl\n{lines}vt 0 0\nvn 0 0 1\n{faces}")
    vertices, triangles = meshes.read_obj(path)
    assert np.array_equal(vertices, SQUARE) and np.array_equal(meshes.read_obj_vertices(path), SQUARE)
    assert triangles.tolist() == [[0, 1, 2], [0, 2, 3]]


@pytest.mark.parametrize(("text", "message"), [
    ("ply\n", "has no vertices"), ("v 0 0 0\nv 1 0 0\n", "has no triangles"), ("v 0 0\nf 1 1 1", "not all three"),
    ("v 0 0 0\nv 1 0\nf 1 2 1", "not all three numbers"), ("v 0 nan 0\nf 1 1 1", "finite numbers"),
    ("v 0 0 0\nf 1 1 2", "vertices that it does not have"), ("v 0 0 0\nf 1 1 0", "vertices that it does not have"),
    ("v 0 0 0\nf a b c", "no numbers of vertices")])
def test_what_is_no_mesh_is_refused(tmp_path, text, message):
    (tmp_path / "mesh.obj").write_text(text)
    with pytest.raises(InputError, match=f"mesh.obj.*{message}"):
        meshes.read_obj(tmp_path / "mesh.obj")
    with pytest.raises(InputError, match="missing.obj cannot be read"):
        meshes.read_obj(tmp_path / "missing.obj")


def test_places_on_a_mesh_are_found_again():
    triangles = np.array([[0, 1, 2], [0, 2, 3]])
    points = np.array([[1.5, 0.5, 0], [0, 2, 7]])   # inside the first triangle, and above a corner of the second
    numbers, weights = registration.corresponding_places(points, SQUARE.astype(float), triangles)
    assert numbers.tolist() == [0, 1]
    assert weights == pytest.approx(np.array([[0.25, 0.5, 0.25], [0, 0, 1]]), abs=1e-6)
    assert registration.points_at(SQUARE, triangles, numbers, weights) == pytest.approx(points * [1, 1, 0], abs=1e-6)
