"""Poses and landmarks of made-up files in the layouts of AFLW2000-3D, 300W-LP and BIWI."""
import shutil

import numpy as np
import pytest
from scipy.io import savemat
from scipy.spatial.transform import Rotation

from datasets.face_finder import FaceFinder
from datasets.photos import read_photo
from models.reconstruction import Reconstructor
from tests.benchmarks import aflw
from tests.benchmarks.reconstructing import landmarks_in_photo
from tests.helpers import EXAMPLES
from util.files import InputError

PHOTO = EXAMPLES / "grace_hopper.jpg"


@pytest.fixture(scope="module")
def reconstructor() -> Reconstructor:
    return Reconstructor.load("photo_face", 20, "cpu", FaceFinder())


@pytest.fixture(scope="module")
def result(reconstructor):
    return reconstructor.reconstruct([read_photo(PHOTO)])[0]


def write_mat(path, angles: np.ndarray, **more):
    """angles: yaw, pitch and roll in degrees."""
    yaw, pitch, roll = np.radians(angles)
    savemat(path, {"Pose_Para": np.float32([[pitch, yaw, roll, 100, 100, -60, 0.001]]), "roi": np.array([[1, 1, 9, 9]]),
                   **more})


@pytest.mark.parametrize(("axis", "degrees", "expected", "where"), [
    ("y", 30, (-30, 0, 0), "to the image's right"), ("y", -30, (30, 0, 0), "to the image's left"),
    ("x", -20, (0, 20, 0), "up"), ("z", -10, (0, 0, 10), "tilted to the image's right")])
def test_the_signs_of_the_angles(axis, degrees, expected, where):
    matrix = Rotation.from_euler(axis, degrees, degrees=True).as_matrix()
    nose, top = matrix @ [0, 0, 1], matrix @ [0, 1, 0]
    assert {"to the image's right": nose[0] > 0.4, "to the image's left": nose[0] < -0.4, "up": nose[1] > 0.3,
            "tilted to the image's right": top[0] > 0.1}[where]
    assert aflw.head_angles(matrix) == pytest.approx(expected, abs=1e-9)


def test_angles_are_those_of_the_definition():
    """A rotation about x by -pitch, y by -yaw and z by -roll, multiplied in this order."""
    yaw, pitch, roll = 40.0, -15, 25
    matrix = (Rotation.from_euler("x", -pitch, degrees=True) * Rotation.from_euler("y", -yaw, degrees=True)
              * Rotation.from_euler("z", -roll, degrees=True)).as_matrix()
    assert aflw.head_angles(matrix) == pytest.approx([yaw, pitch, roll])
    assert aflw.angle_errors(np.array([179.0, 5, 0]), np.array([-179.0, 2, 0])) == pytest.approx([2, 3, 0])


def test_errors_are_averaged_in_bins_of_the_yaw():
    errors = np.array([1.0, 3, np.nan, 8, 20])
    yaw = np.array([-10.0, 30, 20, 45, -75])
    assert aflw.binned_error(errors, yaw) == pytest.approx({"0-30": 2, "30-60": 8, "60-90": 20, "mean": 10})
    assert np.isnan(aflw.binned_error(errors[:2], yaw[:2])["mean"])


def test_known_differences_are_measured_on_aflw2000(tmp_path, monkeypatch, capsys, result, reconstructor):
    """The annotation is what is reconstructed, moved by known amounts."""
    angles, landmarks = aflw.angles_of(result), landmarks_in_photo(result) + [3, 4]
    width, height = np.ptp(landmarks, axis=0)
    shutil.copy(PHOTO, tmp_path / "image00002.jpg")
    write_mat(tmp_path / "image00002.mat", angles + [1, -2, 6], pt2d=-np.ones((2, 21)),
              pt3d_68=np.vstack([landmarks.T + 1, np.zeros(68)]))
    shutil.copy(PHOTO, tmp_path / "image00004.jpg")
    write_mat(tmp_path / "image00004.mat", np.array([120, 0, 0]), pt2d=-np.ones((2, 21)),
              pt3d_68=np.vstack([landmarks.T + 1, np.zeros(68)]))
    monkeypatch.setattr(aflw, "load_reconstructor", lambda options: reconstructor)
    monkeypatch.setattr("sys.argv", ["aflw.py", str(tmp_path), "--json", str(tmp_path / "results.json")])
    assert aflw.main() == 0
    measured = aflw.json.loads((tmp_path / "results.json").read_text())
    assert measured["photos"] == measured["found"] == 2
    assert measured["pose"] == pytest.approx({"yaw": 1, "pitch": 2, "roll": 6, "mean": 3}, abs=0.01)
    assert measured["nme"]["0-30"] == pytest.approx(100 * 5 / np.sqrt(width * height), rel=1e-3)
    output = capsys.readouterr().out
    assert "2 photos; a face found in 2" in output and "| | 1.00 | 2.00 | 6.00 | 3.00 |" in output


def test_300w_lp_has_its_landmarks_in_another_folder(tmp_path):
    points = np.random.default_rng(0).uniform(50, 100, (68, 2))
    for folder in ("AFW", "landmarks/AFW"):
        (tmp_path / folder).mkdir(parents=True)
    for name in ("AFW_1_0", "AFW_2_0"):
        (tmp_path / "AFW" / f"{name}.jpg").write_bytes(b"")
        write_mat(tmp_path / "AFW" / f"{name}.mat", np.array([1, 2, 3]), pt2d=points.T)
    savemat(tmp_path / "landmarks" / "AFW" / "AFW_1_0_pts.mat", {"pts_2d": 0 * points, "pts_3d": points})
    first, second = aflw.read_annotations(tmp_path)
    assert first.angles == pytest.approx([1, 2, 3], abs=1e-5) and second.landmarks is None
    assert first.landmarks == pytest.approx(points - 1)
    middle = (points.min(0) + points.max(0)) / 2 - 1
    assert first.center == pytest.approx(middle) and second.center == pytest.approx(middle)


def test_biwi_is_read_with_the_same_angles(tmp_path):
    """The rotations of BIWI have y down and z away from the viewer. The papers take the angles from the transposed
    matrix: pitch is atan2(32, 33), yaw -atan2(-31, root of 32 and 33), and roll -atan2(21, 11)."""
    matrix = Rotation.from_rotvec([0.2, 0.5, -0.3]).as_matrix()
    (tmp_path / "01").mkdir()
    pose = tmp_path / "01" / "frame_00003_pose.txt"
    pose.write_text("\n".join(" ".join(map(str, row)) for row in matrix) + "\n\n70.1 80.2 900.3\n")
    with pytest.raises(InputError, match="frame_00003_rgb.png is missing"):
        aflw.read_annotations(tmp_path)
    (tmp_path / "01" / "frame_00003_rgb.png").write_bytes(b"")
    annotation, = aflw.read_annotations(tmp_path)
    t = matrix.T
    expected = [-np.arctan2(-t[2, 0], np.hypot(t[2, 1], t[2, 2])), np.arctan2(t[2, 1], t[2, 2]),
                -np.arctan2(t[1, 0], t[0, 0])]
    assert annotation.angles == pytest.approx(np.degrees(expected))
    pose.write_text("1 2 3")
    with pytest.raises(InputError, match="frame_00003_pose.txt must hold a rotation"):
        aflw.read_annotations(tmp_path)


def test_other_folders_are_refused(tmp_path):
    shutil.copy(PHOTO, tmp_path)
    with pytest.raises(InputError, match="has neither photos"):
        aflw.read_annotations(tmp_path)
    savemat(tmp_path / "grace_hopper.mat", {"pose": np.zeros(3)})
    with pytest.raises(InputError, match="grace_hopper.mat is another file: it lacks Pose_Para"):
        aflw.read_annotations(tmp_path)
