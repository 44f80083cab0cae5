import sys

import pytest
import torch

import nvdiffrast.torch as portable
from models.coefficients import SIZE, SLICES
from models.coordinates import flip_y
from models.renderer import MeshRenderer, choose_rasteriser
from tests.helpers import install_nvidia_stub
from util.files import InputError


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


def test_each_face_of_a_batch_has_its_own_depth():
    triangle = torch.tensor([[[-0.6, 0.6, 9.0], [0.6, 0.6, 9], [0, -0.6, 9]]])
    farther = triangle + torch.tensor([0, 0, 2.0])
    _, depth, _ = MeshRenderer()(torch.cat([triangle, farther]), torch.tensor([[0, 1, 2]], dtype=torch.int32))
    assert torch.allclose(depth[:, 0, 100, 112], torch.tensor([9.0, 11.0]), atol=1e-3)


def test_another_image_size_shows_the_same_picture(face_model):
    with torch.no_grad():
        face = face_model(torch.zeros(1, SIZE))
        _, _, full = MeshRenderer()(face.vertices, face_model.tri, face.color)
        _, _, half = MeshRenderer()(face.vertices, face_model.tri, face.color, size=112)
    assert (torch.nn.functional.avg_pool2d(full, 2) - half).abs().mean() < 0.01


def square(half):
    """A square of two triangles 10 dm from the eye: vertices (1, 4, 3), tri (2, 3)."""
    corner = torch.tensor([[-1.0, -1], [1, -1], [1, 1], [-1, 1]]) * half
    vertices = torch.cat([corner, torch.full((4, 1), 10.0)], 1)[None]
    return vertices, torch.tensor([[0, 1, 2], [0, 2, 3]], dtype=torch.int32)


def test_landmarks_project_half_a_pixel_right_of_and_above_their_pixels(face_model):
    vertices, tri = square(0.2)
    vertices = vertices + torch.tensor([0.123, 0.345, 0])
    mask, _, _ = MeshRenderer(antialias=True)(vertices, tri)   # the share of each pixel that the square covers
    pixels = torch.arange(224.0)
    column, row = ((mask[0, 0].sum(axis) @ pixels / mask.sum()).item() for axis in (0, 1))
    x, y = face_model.project(vertices)[0].mean(0).tolist()
    assert column == pytest.approx(x - 0.5, abs=0.05)
    assert 223 - row == pytest.approx(y - 0.5, abs=0.05)


def test_antialiasing_is_the_covered_share_and_moves_outlines():
    half = 0.4
    vertices, tri = square(half)
    color = torch.full((1, 4, 3), 0.5)
    plain = MeshRenderer()(vertices, tri, color)
    leaf = vertices.clone().requires_grad_()
    mask, depth, image = MeshRenderer(antialias=True)(leaf, tri, color)
    side = 2 * half * 1015 / 10   # px
    assert abs(plain[0].sum() - side**2) > 20
    assert mask.sum().item() == pytest.approx(side**2, abs=4)
    assert torch.allclose(image, 0.5 * mask.expand(-1, 3, -1, -1), atol=1e-5)
    assert torch.equal(depth, plain[1])
    between = (mask > 0) & (mask < 1)
    assert between.any() and ((mask == plain[0]) | between).all()
    # The area grows by one side's length for each pixel that a side moves outwards.
    (grad,) = torch.autograd.grad(mask.sum(), leaf)
    outwards = (grad * vertices.sign())[..., :2].sum() * 10 / 1015   # all four sides by one pixel
    assert outwards.item() == pytest.approx(4 * side, rel=0.02)


def test_antialiasing_leaves_the_inside_of_a_face_as_it_is(face_model):
    with torch.no_grad():
        face = face_model(torch.zeros(2, SIZE))
        plain_mask, _, plain = MeshRenderer()(face.vertices, face_model.tri, face.color)
        mask, _, image = MeshRenderer(antialias=True)(face.vertices, face_model.tri, face.color)
    changed = (image != plain).any(1)
    assert changed.any() and changed.float().mean() < 0.03
    over_white = image + 1 - mask
    assert (over_white[mask.expand_as(image) < 1] > plain[mask.expand_as(image) < 1]).all()
    assert ((mask == plain_mask) | changed[:, None]).all()


def test_the_topology_is_found_once_for_each_list_of_triangles(face_model):
    renderer = MeshRenderer(antialias=True)
    with torch.no_grad():
        vertices = face_model(torch.zeros(1, SIZE)).vertices
        for tri in (face_model.tri, face_model.inner_tri, face_model.tri):
            renderer(vertices, tri)
    assert len(renderer.topologies) == 2


def test_a_renderer_is_chosen(tmp_path, monkeypatch):
    gpu, cpu = torch.device("cuda"), torch.device("cpu")
    own = [entry for entry in sys.path if "site-packages" not in entry]
    monkeypatch.setattr(sys, "path", own)
    assert choose_rasteriser("auto", gpu)[0] is portable
    with pytest.raises(InputError, match="is not installed here"):
        choose_rasteriser("nvidia", gpu)
    install_nvidia_stub(tmp_path)
    monkeypatch.setattr(sys, "path", [*own, str(tmp_path)])
    for renderer in ("auto", "nvidia"):
        module, context = choose_rasteriser(renderer, gpu)
        assert module.rasterize() == "theirs" and context == ("their context", gpu)
    for renderer, device in (("portable", gpu), ("auto", cpu), ("portable", cpu)):
        module, context = choose_rasteriser(renderer, device)
        assert module is portable and isinstance(context, portable.RasterizeGLContext)
    with pytest.raises(InputError, match="needs a GPU, and this run computes on cpu"):
        choose_rasteriser("nvidia", cpu)


def test_a_broken_installation_of_nvidias(tmp_path, monkeypatch):
    install_nvidia_stub(tmp_path, "raise RuntimeError('no compiler')\n")
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    with pytest.raises(InputError, match="cannot be imported: no compiler; reinstall"):
        choose_rasteriser("nvidia", torch.device("cuda"))
    with pytest.warns(UserWarning, match="no compiler; the portable rasteriser is used instead"):
        assert choose_rasteriser("auto", torch.device("cuda"))[0] is portable


def test_renderer_option_of_the_script(run_here):
    done = run_here("test.py", "--epoch=0", "--fit_iters=1", "--gpu_ids=-1", "--renderer=nvidia")
    assert done.returncode == 2
    assert done.stderr.startswith("test.py: --renderer=nvidia: NVIDIA's nvdiffrast needs a GPU")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU")
def test_a_gpu_renders_what_the_cpu_renders(face_model):
    with torch.no_grad():
        face = face_model(torch.zeros(2, SIZE))
        on_cpu = MeshRenderer()(face.vertices, face_model.tri, face.color)
        on_gpu = MeshRenderer()(face.vertices.cuda(), face_model.tri.cuda(), face.color.cuda())
    assert (on_cpu[0] != on_gpu[0].cpu()).float().mean() < 1e-3
    assert (on_cpu[2] - on_gpu[2].cpu()).abs().mean() < 1e-3
