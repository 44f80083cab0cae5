import numpy as np
import pytest
import torch
import torch.nn.functional as F
from kornia.geometry.transform import warp_affine

from models.arcface import IResNet, name_of
from models.recognition import identity_matrix, load_recognition
from tests.helpers import GOLDEN, ROOT, filled
from util.files import InputError

SHARED = ROOT.parent / "shared" / "golden"


@pytest.fixture(scope="module")
def golden():
    return dict(np.load(GOLDEN / "recognition.npz"))


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "backbone.pth"
    torch.save(filled(IResNet("r18")).state_dict(), path)
    return path


@pytest.fixture
def landmarks(golden):
    return torch.from_numpy(golden["matrix_landmarks"][:2])


@pytest.mark.parametrize("name", ["r18", "r34", "r50"])
def test_names_embeddings_and_gradients_are_those_of_arcface(golden, name):
    network = filled(IResNet(name))
    assert list(network.state_dict()) == golden[f"keys_{name}"].tolist()
    crops = torch.from_numpy(np.random.default_rng(2025).random((2, 3, 112, 112))).float().requires_grad_()
    embeddings = network(crops)
    unit = F.normalize(embeddings)
    assert np.abs(embeddings.detach().numpy() - golden[f"arcface_{name}_out"]).max() < 1e-5
    assert np.abs(unit.detach().numpy() - golden[f"arcface_{name}_out_normalised"]).max() < 1e-5
    (unit * torch.arange(512).cos()).sum().backward()
    gradient = crops.grad / 2   # the golden one is that of crops in -1..1
    expected = golden[f"arcface_{name}_gradx_every7"]
    assert np.abs(gradient[:, :, ::7, ::7].numpy() - expected).max() < 1e-3 * np.abs(expected).max()
    assert gradient.double().norm() == pytest.approx(golden[f"arcface_{name}_gradx_sum"][1], rel=1e-3)


@pytest.mark.parametrize("name", ["r18", "r34", "r50", "r100"])
def test_the_kind_of_network_is_read_from_the_weights(name):
    with torch.device("meta"):
        assert name_of(IResNet(name).state_dict()) == name


def test_identity_matrix(golden):
    matrix = identity_matrix(torch.from_numpy(golden["matrix_landmarks"]))
    assert np.abs(matrix[:-1].numpy() - golden["matrix_out"]).max() < 1e-5
    assert matrix[-1].isnan().all()   # all its points are equal


def test_identity_matrix_follows_the_height_of_the_image(landmarks):
    higher = landmarks + torch.tensor([0.0, 100.0])   # the same points seen from the top
    assert torch.allclose(identity_matrix(higher, 324), identity_matrix(landmarks, 224))


def test_warp(golden):
    image, matrix = (torch.from_numpy(golden[f"warp_{name}"]) for name in ("in", "M"))
    assert np.abs(warp_affine(image, matrix, (16, 16)).numpy() - golden["warp_out"]).max() < 1e-5


def test_embeddings_have_unit_length_and_a_gradient_to_the_image_alone(weights, landmarks):
    recognition = load_recognition("r18", weights)
    images = torch.rand(2, 3, 224, 224, requires_grad=True)
    landmarks = landmarks.clone().requires_grad_()
    embeddings = recognition(images, landmarks)
    assert torch.allclose(embeddings.norm(dim=1), torch.ones(2))
    embeddings[0, :9].sum().backward()
    assert images.grad[0].any() and not images.grad[1].any()
    assert landmarks.grad is None and all(p.grad is None for p in recognition.parameters())


def test_the_face_and_not_its_surroundings_counts(weights, landmarks):
    recognition = load_recognition("r18", weights)
    images = torch.rand(2, 3, 224, 224)
    moved = F.pad(images, (30, 0, 20, 0))   # 30 px to the right, 20 px down
    assert torch.allclose(recognition(images, landmarks), recognition(moved, landmarks + torch.tensor([30.0, 0])),
                          atol=1e-4)


def test_the_network_obeys_autocast_and_stays_frozen(weights, landmarks):
    recognition = load_recognition("r18", weights)
    images = torch.rand(2, 3, 224, 224)
    exact = recognition(images, landmarks)
    assert torch.nn.ModuleList([recognition]).train() and torch.equal(recognition(images, landmarks), exact)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = recognition(images, landmarks)
    assert rounded.dtype == torch.float32
    assert 1e-4 < (rounded - exact).norm(dim=1).max() < 0.1


def test_missing_weights_are_named_with_a_way_out(tmp_path):
    with pytest.raises(InputError, match=r"backbone\.pth.*--net_recog=dlib.*--w_feat=0"):
        load_recognition("r50", tmp_path / "backbone.pth")


def test_weights_of_another_network_are_refused(weights, tmp_path):
    with pytest.raises(InputError, match=r"--net_recog=r50, but .*backbone\.pth holds an r18"):
        load_recognition("r50", weights)
    path = tmp_path / "other.pth"
    torch.save({"fc.weight": torch.zeros(1)}, path)
    with pytest.raises(InputError, match=r"other\.pth holds no IResNet"):
        load_recognition("r50", path)
    state = torch.load(weights, weights_only=True)
    state["fc.weight"] = state["fc.weight"][:, :100]
    torch.save(state, path)
    with pytest.raises(InputError, match=r"other\.pth does not fit.*fc\.weight"):
        load_recognition("r18", path)
    path.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(InputError, match=r"recognition network .*other\.pth cannot be read"):
        load_recognition("r18", path)


@pytest.mark.skipif(not SHARED.exists(), reason="needs photos that may not be part of the repository")
def test_embeddings_of_photos(tmp_path):
    crop, expected = np.load(SHARED / "warp112.npz"), np.load(SHARED / "nets.npz")["recogwrapper_r18_out"]
    photos = np.load(SHARED / "align5_crops.npz")["crop"][crop["crop_index"]]
    crops = warp_affine(torch.from_numpy(photos).permute(0, 3, 1, 2) / 255, torch.from_numpy(crop["M"]), (112, 112))
    assert np.abs(crops.numpy()[:, :, ::8, ::8] - crop["out_every8"]).max() < 1e-5
    assert np.abs(F.normalize(filled(IResNet("r18"))(crops)).detach().numpy() - expected).max() < 1e-5
