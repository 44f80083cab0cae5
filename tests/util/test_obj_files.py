"""Meshes written as OBJ read back as they were, quickly."""

import numpy as np
import pytest
import trimesh

from util.obj_files import write_obj


def random_mesh(vertices=500, faces=900, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(vertices, 3)), rng.random((vertices, 3)),
            rng.integers(0, vertices, (faces, 3)))


def read_obj(path):
    lines = [line.split(" ") for line in path.read_text().splitlines()]
    vertices = np.array([[float(word) for word in words[1:]] for words in lines if words[0] == "v"])
    triangles = np.array([[int(word) for word in words[1:]] for words in lines if words[0] == "f"]) - 1
    assert len(vertices) + len(triangles) == len(lines)
    return vertices[:, :3], vertices[:, 3:], triangles


def test_reads_back(tmp_path):
    vertices, colors, triangles = random_mesh()
    vertices[:4] = [[0, -0.0, -0.000001], [-0.00001, 0.99999, 0.999999], [-999.5, 999.9, 12.3],
                    [-1, 1, 10]]
    colors[:2] = [[0, 1, 0.5], [-0.1, 1.2, 0.00004]]
    write_obj(tmp_path / "face.obj", vertices, colors, triangles)
    read_vertices, read_colors, read_triangles = read_obj(tmp_path / "face.obj")
    np.testing.assert_allclose(read_vertices, vertices, atol=5.01e-6, rtol=0)
    np.testing.assert_allclose(read_colors, colors.clip(0, 1), atol=5.01e-5, rtol=0)
    assert (read_triangles == triangles).all()


def test_exact_text(tmp_path):
    write_obj(tmp_path / "a.obj", [[0.5, -1.25, 10], [0, 0, 0], [-0.00001, 123, 1]],
              [[1, 0, 0.5], [0, 0, 0], [1, 1, 1]], [[0, 1, 2]])
    assert (tmp_path / "a.obj").read_text() == (
        "v 0.50000 -1.25000 10.00000 1.0000 0.0000 0.5000\n"
        "v 0.00000 0.00000 0.00000 0.0000 0.0000 0.0000\n"
        "v -0.00001 123.00000 1.00000 1.0000 1.0000 1.0000\n"
        "f 1 2 3\n")


def test_trimesh_reads_it(tmp_path):
    vertices, colors, _ = random_mesh()
    triangles = np.arange(498).reshape(-1, 3)
    write_obj(tmp_path / "face.obj", vertices[:498], colors[:498], triangles)
    mesh = trimesh.load(tmp_path / "face.obj", process=False)
    np.testing.assert_allclose(mesh.vertices, vertices[:498], atol=1e-5)
    np.testing.assert_allclose(mesh.visual.vertex_colors[:, :3], colors[:498] * 255, atol=1)
    assert (mesh.faces == triangles).all()


def test_other_triangles_are_not_mixed_up(tmp_path):
    vertices, colors, triangles = random_mesh()
    for shift in (0, 1, 0, 2):
        write_obj(tmp_path / "face.obj", vertices, colors, np.roll(triangles, shift, axis=0))
        assert (read_obj(tmp_path / "face.obj")[2] == np.roll(triangles, shift, axis=0)).all()


@pytest.mark.parametrize("spoil", [
    lambda v, c, t: (v * np.nan, c, t),
    lambda v, c, t: (v + 1000, c, t),
    lambda v, c, t: (v, c * np.inf, t),
    lambda v, c, t: (v, c[:-1], t),
    lambda v, c, t: (v[:, :2], c[:, :2], t),
    lambda v, c, t: (v, c, t + 500),
    lambda v, c, t: (v, c, t - 500),
    lambda v, c, t: (v, c, t[:, :2]),
])
def test_what_is_no_mesh_is_refused_and_leaves_no_file(tmp_path, spoil):
    with pytest.raises(ValueError, match="must"):
        write_obj(tmp_path / "face.obj", *spoil(*random_mesh()))
    assert not list(tmp_path.iterdir())
