import pytest
import torch

from models.coefficients import SIZE, SLICES
from util.coordinates import flip_y
from util.renderer import MeshRenderer


def test_row_0_is_the_top_and_column_0_the_left():
    high_left = torch.tensor([[[-0.6, 0.6, 10.0], [-0.2, 0.6, 10], [-0.6, 0.2, 10]]])
    mask, depth, _ = MeshRenderer()(high_left, torch.tensor([[0, 1, 2]], dtype=torch.int32))
    rows, columns = mask[0, 0].nonzero().unbind(1)
    assert rows.max() < 112 and columns.max() < 112
    assert torch.allclose(depth[mask > 0], torch.tensor(10.0), atol=1e-3)
    assert (depth[mask == 0] == 0).all()


def test_the_picture_lies_where_the_landmarks_project(face_model):
    """Vertices painted white round one landmark appear at its projection."""
    coeffs = torch.zeros(1, SIZE)
    coeffs[0, SLICES["angle"]] = torch.tensor([0.1, 0.2, 0.05])
    coeffs[0, SLICES["trans"]] = torch.tensor([0.1, 0.05, 0.3])
    with torch.no_grad():
        face = face_model(coeffs)
        nose = face.vertices[:, face_model.keypoints[30]]
        near = ((face.vertices - nose[:, None]).norm(dim=-1, keepdim=True) < 0.05).float()
        mask, _, image = MeshRenderer()(face.vertices, face_model.tri, near.expand(-1, -1, 3))
    rows, columns = (image[0, 0] > 0.5).nonzero().unbind(1)
    expected = flip_y(face.landmarks[0, 30], 224)
    assert rows.float().mean() == pytest.approx(expected[1].item(), abs=2)
    assert columns.float().mean() == pytest.approx(expected[0].item(), abs=2)
    assert 0.1 < mask.mean() < 0.9


def test_another_image_size_shows_the_same_picture(face_model):
    with torch.no_grad():
        face = face_model(torch.zeros(1, SIZE))
        _, _, full = MeshRenderer()(face.vertices, face_model.tri, face.color)
        _, _, half = MeshRenderer()(face.vertices, face_model.tri, face.color, size=112)
    assert (torch.nn.functional.avg_pool2d(full, 2) - half).abs().mean() < 0.01


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU")
def test_a_gpu_renders_what_the_cpu_renders(face_model):
    with torch.no_grad():
        face = face_model(torch.zeros(2, SIZE))
        on_cpu = MeshRenderer()(face.vertices, face_model.tri, face.color)
        on_gpu = MeshRenderer()(face.vertices.cuda(), face_model.tri.cuda(), face.color.cuda())
    assert (on_cpu[0] != on_gpu[0].cpu()).float().mean() < 1e-3
    assert (on_cpu[2] - on_gpu[2].cpu()).abs().mean() < 1e-3
