"""The shared measures give the numbers that are worked out by hand here."""
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from tests.benchmarks import scores

TURN = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])   # x becomes y
SQUARE = np.array([[0.0, 0, 0], [2, 0, 0], [2, 2, 0], [0, 2, 0]]), np.array([[0, 1, 2], [0, 2, 3]])


def test_landmark_errors_are_divided_by_the_size_of_the_face():
    annotated = np.zeros((68, 2))
    annotated[36:42] = [6, 0]                            # the left eye
    annotated[36], annotated[45] = [16, 0], [40, 40]     # the outer corners of the eyes
    found = annotated + [3, 4]                           # each landmark is 5 px off
    assert scores.outer_eye_distance(annotated) == pytest.approx(np.hypot(24, 40))
    assert scores.pupil_distance(annotated) == pytest.approx(np.hypot((40 - 46) / 6, 40 / 6))   # x: 5 * 6 + 16 = 46
    assert scores.box_size(annotated) == pytest.approx(np.sqrt(40 * 40))
    assert scores.normalised_error(found, annotated, scores.box_size(annotated)) == pytest.approx(5 / 40)
    both = np.stack([annotated, 2 * annotated])
    assert scores.normalised_error(both + [3, 4], both, scores.box_size(both)) == pytest.approx([5 / 40, 5 / 80])


def test_failures_and_the_area_under_the_curve():
    errors = np.array([0.02, 0.04, 0.08, 0.09, np.nan])   # the last photo has no face found
    assert scores.failure_rate(errors, 0.08) == pytest.approx(2 / 5)
    # Up to 0.08 the curve is 0 until 0.02, then 1/5 until 0.04, then 2/5.
    assert scores.area_under_curve(errors, 0.08) == pytest.approx((0.02 * 1 / 5 + 0.04 * 2 / 5) / 0.08)
    assert scores.area_under_curve(np.zeros(3), 0.1) == 1


def test_the_alignment_of_points_finds_the_similarity():
    source = np.random.default_rng(0).normal(size=(7, 3))
    found = scores.align_points(source, 3 * source @ TURN.T + [1, 2, 3])
    assert found.scale == pytest.approx(3)
    assert found.rotation == pytest.approx(TURN)
    assert found.shift == pytest.approx([1, 2, 3])
    assert found.inverse(found(source)) == pytest.approx(source)
    rigid = scores.align_points(source, 3 * source @ TURN.T, with_scale=False)
    assert rigid.scale == 1 and rigid.rotation == pytest.approx(TURN)
    mirrored = scores.align_points(source, source * [-1, 1, 1])
    assert np.linalg.det(mirrored.rotation) == pytest.approx(1)   # a turn, no reflection


def test_distances_from_a_surface_are_those_from_its_faces_edges_and_corners():
    surface = scores.Surface(*SQUARE)
    points = np.array([[0.5, 0.5, 3], [1, 1, 0], [3, 1, 0], [5, 6, 0], [-3, -4, 12]])
    nearest, _ = surface.nearest(points)
    assert nearest == pytest.approx(np.array([[0.5, 0.5, 0], [1, 1, 0], [2, 1, 0], [2, 2, 0], [0, 0, 0]]), abs=1e-6)
    assert surface.distances(points) == pytest.approx([3, 0, 1, 5, 13], abs=1e-6)


def bowl(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Returns points (N, 3) of a surface without symmetry, 80 units wide."""
    return np.stack([x, y, 30 * np.sin(x / 25) + 20 * np.cos(y / 20 + x / 50)], -1).reshape(-1, 3)


def bowl_mesh() -> scores.Surface:
    steps = np.linspace(-40, 40, 81)
    corner = np.arange(80 * 81).reshape(80, 81)[:, :-1].ravel()
    quads = corner[:, None] + [0, 1, 82, 81]
    return scores.Surface(bowl(*np.meshgrid(steps, steps)), np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]]))


@pytest.fixture(scope="module")
def surface() -> scores.Surface:
    return bowl_mesh()


def scan(surface: scores.Surface, count: int = 2000) -> np.ndarray:
    """Returns random points of the surface away from its border."""
    generator = np.random.default_rng(1)
    return surface.nearest(bowl(*generator.uniform(-30, 30, (2, count))))[0]


def test_a_scan_of_the_surface_is_found_without_error(surface):
    points = scan(surface)
    true = scores.Similarity(1.5, TURN, np.array([100.0, 0, -50]))
    start = true._replace(scale=1.6, rotation=Rotation.from_rotvec([0.1, -0.05, 0.1]).as_matrix() @ TURN)
    found = scores.align_to_scan(surface, true(points), start)
    assert scores.scan_distances(surface, start, true(points)).mean() > 1
    assert scores.scan_distances(surface, found, true(points)).max() < 1e-3
    assert found.scale == pytest.approx(1.5, abs=1e-5)


def test_an_alignment_without_scale_leaves_the_error_of_the_scale(surface):
    points = scan(surface)
    start = scores.Similarity(1.0, np.eye(3), np.zeros(3))
    larger = points * 1.1
    assert scores.scan_distances(surface, scores.align_to_scan(surface, larger, start), larger).max() < 1e-3
    rigid = scores.align_to_scan(surface, larger, start, with_scale=False)
    assert rigid.scale == 1 and scores.scan_distances(surface, rigid, larger).mean() > 0.1


def test_points_on_both_sides_keep_their_distance(surface):
    """Half of the points lie 0.5 above the surface and half below it, so nothing can bring them nearer."""
    on_surface = scan(surface)
    _, triangles = surface.nearest(on_surface)
    sides = np.where(np.arange(len(on_surface)) % 2, 0.5, -0.5)[:, None]
    points = on_surface + sides * surface.normals(triangles)
    start = scores.Similarity(1.0, np.eye(3), np.array([0.5, -0.3, 0.2]))
    distances = scores.scan_distances(surface, scores.align_to_scan(surface, points, start), points)
    assert scores.summary(distances)["median"] == pytest.approx(0.5, abs=0.02)
    assert scores.summary(distances)["std"] < 0.05


def test_the_summary_is_that_of_the_distances():
    assert scores.summary(np.array([1.0, 1, 4])) == pytest.approx({"median": 1, "mean": 2, "std": np.sqrt(2)})
