"""The folder for NoW is written, checked, and measured against scans whose distance is known."""
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.benchmarks import now
from tests.benchmarks.meshes import read_obj
from tests.benchmarks.scores import Surface
from tests.helpers import EXAMPLES, sphere
from util.files import InputError
from util.obj_files import write_obj

PHOTOS = ["astronaut.png", "grace_hopper.jpg"]
TURN = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
PICKED = """<!DOCTYPE PickedPoints>
<PickedPoints>
 <DocumentData>
  <DateTime date="2018-05-04" time="12:00:00"/>
  <User name="me"/>
  <DataFileName name="scan.obj"/>
  <templateName name="new Template"/>
 </DocumentData>
{}
</PickedPoints>
"""


def run(monkeypatch, *arguments) -> int:
    monkeypatch.setattr("sys.argv", ["now.py", *map(str, arguments)])
    return now.main()


def write_lists(data: Path) -> list[str]:
    lines = [f"subject{number}/{challenge}/{photo}" for number, (challenge, photo)
             in enumerate(zip(["multiview_neutral", "selfie"], PHOTOS, strict=True))]
    (data / "imagepathsvalidation.txt").write_text("\n".join(lines) + "\n")
    return lines


@pytest.fixture
def made(tmp_path) -> tuple[Path, Path]:
    """The folder NoW_Dataset without photos, and a folder with the predictions of an egg for its two photos."""
    data, out = tmp_path / "NoW_Dataset", tmp_path / "out"
    data.mkdir()
    vertices, triangles = (x.numpy() for x in sphere())
    vertices = vertices * [60.0, 90, 70] + 5 * np.sin(3 * vertices[:, [1, 2, 0]])
    for line in write_lists(data):
        mesh = (out / line).with_suffix(".obj")
        mesh.parent.mkdir(parents=True)
        write_obj(mesh, vertices, None, triangles)
        np.save(mesh.with_suffix(".npy"), vertices[::len(vertices) // 7][:7])
    return data, out


def write_scan(data: Path, out: Path, subject: str, file: str, offset: float):
    """Writes a scan of a subject: its prediction, turned, moved and made larger. Its points lie `offset` mm from that,
    half of them inside and half of them outside."""
    mesh = next((out / subject).rglob("*.obj"))
    vertices, triangles = read_obj(mesh)
    points = 1.2 * np.load(mesh.with_suffix(".npy")) @ TURN + [10, 20, 30]
    surface = Surface(1.2 * vertices @ TURN + [10, 20, 30], triangles)
    numbers = np.arange(len(triangles))
    sides = np.where(numbers % 2, 1, -1)[:, None]
    scan = surface.corners.mean(1) + offset * sides * surface.normals(numbers)
    place = data / "scans" / subject / f"{file}.obj"
    place.parent.mkdir(parents=True)
    place.write_text("".join(f"v {x} {y} {z} 0.5 0.5 0.5\n" for x, y, z in scan) + "f 1/1 2/2 3/3\n")
    tags = [f' <point x="{x}" y="{y}" active="1" z="{z}" name="{i}"/>' for i, (x, y, z) in enumerate(points)]
    (data / "scans_lmks_onlypp" / subject).mkdir(parents=True)
    (data / "scans_lmks_onlypp" / subject / f"{file}.pp").write_text(PICKED.format("\n".join(tags)))


def test_predictions_are_neutral_meshes_with_seven_points(tmp_path, monkeypatch):
    out = tmp_path / "out"
    for line in write_lists(tmp_path):
        photo = tmp_path / "final_release_version" / "iphone_pictures" / line
        photo.parent.mkdir(parents=True)
        shutil.copy(EXAMPLES / photo.name, photo)
    assert run(monkeypatch, "reconstruct", "--now", tmp_path, "--out", out, "--gpu_ids=-1") == 0
    files = sorted(path.relative_to(out).as_posix() for path in out.rglob("*.*"))
    assert files == ["subject0/multiview_neutral/astronaut.npy", "subject0/multiview_neutral/astronaut.obj",
                     "subject1/selfie/grace_hopper.npy", "subject1/selfie/grace_hopper.obj"]
    vertices, triangles = read_obj(out / "subject1" / "selfie" / "grace_hopper.obj")
    points = np.load(out / "subject1" / "selfie" / "grace_hopper.npy")
    assert Surface(vertices, triangles).distances(points).max() < 0.01
    left_outer, left_inner, right_inner, right_outer, nose, left_mouth, right_mouth = points
    x = [left_outer[0], left_inner[0], left_mouth[0], nose[0], right_mouth[0], right_inner[0], right_outer[0]]
    assert 80 < right_outer[0] - left_outer[0] < 110   # mm
    assert x[0] < x[1] < x[3] < x[5] < x[6] and x[2] < x[3] < x[4]
    assert min(left_inner[1], right_inner[1]) > nose[1] > max(left_mouth[1], right_mouth[1])   # y up


def test_scans_at_a_known_distance_are_measured(made, monkeypatch, capsys, tmp_path):
    data, out = made
    write_scan(data, out, "subject0", "scan", 0)
    write_scan(data, out, "subject1", "other", 0.5)
    assert run(monkeypatch, "evaluate", "--now", data, "--out", out, "--plot", tmp_path / "now.png") == 0
    table = {row[0]: [float(cell) for cell in row[1:]] for row in
             (line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines()[2:])}
    assert list(table) == ["multiview_neutral", "selfie", "all"]
    assert table["multiview_neutral"] == pytest.approx([0, 0, 0], abs=0.001)
    assert table["selfie"] == pytest.approx([0.5, 0.5, 0], abs=0.02)
    assert table["all"][1:] == pytest.approx([0.25, 0.25], abs=0.02)
    assert (tmp_path / "now.png").stat().st_size > 1000
    with pytest.raises(InputError, match="the validation set only"):
        now.read_scan(data, "another subject")


def test_the_check_finds_what_the_upload_lacks(made, monkeypatch, capsys):
    data, out = made
    assert run(monkeypatch, "check", "--now", data, "--out", out) == 0
    assert "is complete: 2 photos" in capsys.readouterr().out
    (out / "subject0" / "multiview_neutral" / "astronaut.obj").unlink()
    points = out / "subject1" / "selfie" / "grace_hopper.npy"
    np.save(points, np.load(points) + [0, 0, 50])
    assert run(monkeypatch, "check", "--now", data, "--out", out) == 1
    missing, elsewhere = capsys.readouterr().out.splitlines()
    assert "astronaut.obj is missing" in missing and "grace_hopper.npy: the seven points are not on" in elsewhere
    np.save(points, np.zeros((5, 3)))
    photos = now.read_list(data, "val")
    assert "must hold seven points (7, 3), not (5, 3)" in now.problems(photos, out)[1]
    mesh = points.with_suffix(".obj")
    mesh.write_text(mesh.read_text().replace("\nv ", " 1 1 1\nv "))
    assert "has colours" in now.problems(photos, out)[1]


@pytest.mark.parametrize("line", ["IMG_0001.jpg", "subject/happy/IMG_0001.jpg"])
def test_other_lists_are_refused(tmp_path, line):
    (tmp_path / "imagepathstest.txt").write_text(line)
    with pytest.raises(InputError, match=f"imagepathstest.txt is no list of NoW.*not '{line}'"):
        now.read_list(tmp_path, "test")
    with pytest.raises(InputError, match="imagepathsvalidation.txt cannot be read"):
        now.read_list(tmp_path, "val")
    with pytest.raises(InputError, match="iphone_pictures is missing"):
        now.photo_folder(tmp_path)


def test_other_points_are_refused(tmp_path):
    path = tmp_path / "scan.pp"
    path.write_text(PICKED.format('<point x="1" y="2" z="3"/>'))
    with pytest.raises(InputError, match="scan.pp has 1 points, not seven"):
        now.read_picked_points(path)
    path.write_text(PICKED.format('<point x="1" z="3"/>'))
    with pytest.raises(InputError, match="scan.pp cannot be read as MeshLab's picked points"):
        now.read_picked_points(path)
