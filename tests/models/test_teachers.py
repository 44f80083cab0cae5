import numpy as np
import pytest
import torch

from datasets.augmentation import AffineMap
from datasets.teachers import TeacherFiles
from datasets.training_photos import SamplePaths, TrainingPhotos, read_sample
from models.coefficients import SIZE, SLICES, split
from models.coordinates import CROP_SIZE
from models.records import Teachers
from models.renderer import MeshRenderer
from models.teachers import TeacherLoss
from options.training import parse
from tests.helpers import arguments, read_losses
from train import train
from util.files import InputError


@pytest.fixture(scope="module")
def loss(face_model):
    return TeacherLoss(face_model)


@pytest.fixture(scope="module")
def coeffs(face_model):
    coeffs = 0.3 * torch.randn(2, SIZE, generator=torch.Generator().manual_seed(1))
    coeffs[:, SLICES["trans"]] = torch.tensor([[0.1, -0.2, 0.3], [-0.1, 0.05, 0.0]])
    return coeffs


def matrices(*changes: AffineMap) -> torch.Tensor:
    return torch.from_numpy(np.stack([change.pixel_matrix for change in changes]).astype(np.float32))


def test_a_face_is_at_no_distance_from_itself_and_a_photo_without_teacher_counts_nothing(loss, coeffs):
    teachers = Teachers(coeffs, torch.eye(3).expand(2, 3, 3))
    assert loss(coeffs, teachers) < 0.01
    moved = coeffs.clone()
    moved[1, SLICES["trans"].start] += 0.1
    alone = teachers._replace(to_crop=torch.stack([torch.eye(3), torch.zeros(3, 3)]))
    assert loss(moved, teachers) > 1 and loss(moved, alone) < 0.01
    assert loss(moved, teachers._replace(to_crop=torch.zeros(2, 3, 3))) == 0


def test_the_loss_finds_the_face_of_a_shifted_rotated_and_larger_crop(loss, coeffs):
    # Only pose, place and light of the face change, as the network should see them in such a crop.
    change = AffineMap(shift=(6, -4), scale=1.1, rot=8)
    teachers = Teachers(coeffs[:1], matrices(change))
    found = coeffs[:1].clone().requires_grad_()
    before = loss(found, teachers).item()
    free = [i for name in ("angle", "gamma", "trans") for i in range(SIZE)[SLICES[name]]]
    optimiser = torch.optim.Adam([found], 0.04)
    for _ in range(35):
        optimiser.zero_grad()
        loss(found, teachers).backward()
        found.grad[:, [i for i in range(SIZE) if i not in free]] = 0
        optimiser.step()
    turned = split(found.detach() - coeffs[:1])
    assert loss(found, teachers).item() < 0.4 * before
    assert turned["angle"][0, 2] == pytest.approx(-np.radians(8), abs=0.02)   # clockwise in the picture
    assert turned["trans"][0, 2] == pytest.approx(10 * (1 - 1 / 1.1), abs=0.15)   # nearer by the scale


def test_the_teacher_of_a_mirrored_crop_is_the_mirrored_face(loss, face_model, coeffs):
    known = loss.in_crop(loss.describe(coeffs[:1]), matrices(AffineMap(flip=True)))
    renderer = MeshRenderer()
    face = face_model(coeffs[:1])
    mask, _, image = renderer(face.vertices, face_model.tri, face.color)
    image, inside = image.flip(3)[0], mask.flip(3)[0, 0] > 0
    columns, rows = known.pixels[0].round().long().clamp(0, CROP_SIZE - 1).unbind(1)
    seen = inside[rows, columns]

    def difference(faces) -> float:   # the median, since some vertices are hidden by others
        return (image[:, rows, columns].T - faces.color[0])[seen].norm(dim=1).median().item()

    assert difference(known) < 0.3 * difference(loss.describe(coeffs[:1]))


@pytest.fixture
def prepared(photos, face_model, tmp_path):
    """A training sample and a file of coefficients of its photo."""
    paths = SamplePaths(photos / "00.png", photos / "mask" / "00.png", photos / "landmarks" / "00.txt")
    trans_params = read_sample(paths)[3].trans_params.copy()
    trans_params[2:] += [0.05, 3, -2]   # another crop of the same photo
    values = {name: np.zeros(part.stop - part.start, np.float32) for name, part in SLICES.items()}

    def write(name: str = "00.npz", **changed):
        np.savez(tmp_path / name, **(values | {
            "trans_params": trans_params, "turns": 0, "landmarks": np.zeros((68, 2)), "focal": face_model.focal,
            "camera_d": face_model.camera_d, "face_model": "open_face_model.npz", "checkpoint_sha256": "",
            "photo": str(paths.photo)} | changed))
        return TeacherFiles(tmp_path, "open_face_model.npz", face_model.focal, face_model.camera_d)

    return paths, write


def test_a_file_of_coefficients_teaches_its_photo_in_the_crop_of_the_training(prepared):
    paths, write = prepared
    sample = TrainingPhotos([paths], None, 0, write())[1, 0]
    # The middle of the face of the teacher's crop lies at the same place of the photo as in the training's crop.
    assert sample.teacher.to_crop[0, 0] < 1   # the teacher's crop shows the face larger
    assert (sample.teacher.to_crop[:2] @ torch.tensor([111.5, 111.5, 1]) - 111.5).abs().max() < 8
    assert not TrainingPhotos([paths], None, 0)[1, 0].teacher.to_crop.any()
    assert not TrainingPhotos([paths._replace(photo=paths.photo.with_name("01.png"))], None, 0, write()
                              )[1, 0].teacher.to_crop.any()


def test_a_training_with_teachers_alone_draws_nothing(prepared, photos, tmp_path):
    prepared[1](tex=np.ones(80, np.float32))
    (tmp_path / "list.txt").write_text("mask/00.png\n" * 4 * 2)
    options = parse(arguments(
        photos, tmp_path / "runs", "--name=m", f"--flist={tmp_path / 'list.txt'}", "--flist_val=none", "--n_epochs=1",
        f"--teachers={tmp_path}", "--w_color=0", "--w_lm=0", "--use_aug=no", "--print_freq=1",
        "--bfm_model=open_face_model.npz", "--net_recon=dlib_resnet29"))
    assert train(options) == 0
    losses = read_losses(tmp_path / "runs" / "m" / "loss_log.txt", "train")
    assert "color" not in losses[0]
    # The network's first face is the mean face, which only the albedo and the pose of the teacher differ from.
    assert losses[0]["teacher"] > 2
    assert losses[0]["all"] == pytest.approx(0.01 * losses[0]["teacher"] + 5 * losses[0]["reflc"], rel=0.01)


@pytest.mark.parametrize("change, says", [({"face_model": "other.npz"}, "belongs to the face model other.npz"),
                                          ({"focal": 900.0}, "belongs to a camera of focal=900")])
def test_teachers_of_another_face_model_or_camera_are_refused(prepared, change, says):
    with pytest.raises(InputError, match=says):
        prepared[1](**change)


def test_two_teachers_of_a_photo_and_a_folder_without_teachers_are_refused(prepared, tmp_path):
    write = prepared[1]
    write()
    with pytest.raises(InputError, match="both belong to"):
        write("other.npz")
    with pytest.raises(InputError, match="has no teachers"):
        TeacherFiles(tmp_path / "empty", "open_face_model.npz", 1015, 10)
