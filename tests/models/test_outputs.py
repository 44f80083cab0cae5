"""The outputs of a face that is drawn into a photo, whose geometry and light are known."""
import json
import struct
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import trimesh
from PIL import Image

from datasets.face_finder import FacePoints, align_face
from models.coefficients import SIZE, SLICES
from models.coordinates import camera_matrix, crop_pixels_to_photo, project
from models.face_files import FaceWriter, write_face
from models.landmarks import NOSE_TIP, STANDARD_POINTS
from models.outputs.arkit import load_arkit_units
from models.outputs.details import FaceDetails, OutputSettings
from models.outputs.drawing import Drawing, window_around
from models.outputs.pictures import write_overlay
from models.outputs.table import OUTPUTS
from models.outputs.texture import SIZE as TEXTURE_SIZE
from models.outputs.uv_layout import unwrap
from models.reconstruction import Reconstructor
from models.records import AlignedFace, Origin
from models.renderer import MeshRenderer
from tests.helpers import CPU, ROOT

WIDTH, HEIGHT = 560, 640


@pytest.fixture(scope="module")
def reconstructor(face_model):
    return Reconstructor(face_model, MeshRenderer(), None, None, 0, CPU.device)


def face_at(scale: float, x: float, y: float, name: str = "face") -> AlignedFace:
    """A face whose crop has that scale and that centre, px in the photo, y up."""
    return AlignedFace(Path("photo.png"), "photo", name, np.zeros((224, 224, 3), np.uint8),
                       np.array([WIDTH, HEIGHT, scale, x, y]), np.zeros((5, 2)))


@pytest.fixture(scope="module")
def coefficients():
    values = 0.7 * torch.randn(1, SIZE, generator=torch.Generator().manual_seed(3))
    values[:, SLICES["angle"]] = torch.tensor([0.1, 0.35, -0.1])
    values[:, SLICES["gamma"]] *= 0.1
    values[:, SLICES["trans"]] = torch.tensor([0.05, -0.02, 0.1])
    return values


@pytest.fixture(scope="module")
def scene(face_model, reconstructor, coefficients, tmp_path_factory):
    """The details of a face, and its photo: the face model with a pattern of stripes that it cannot express."""
    photo = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        settings = OutputSettings(face_model, Origin("open_face_model.npz"), lambda path: photo,
                                  arkit=load_arkit_units(face_model, ROOT / "BFM"), mirror=True)
        result, = reconstructor.results(coefficients, [face_at(0.5, 290.3, 331.2)])
        details = FaceDetails(result, settings)
        drawing = Drawing(details.vertices, face_model.tri, details.camera_matrix, (WIDTH, HEIGHT))
        stripes = 1 + 0.25 * np.sin(np.arange(WIDTH) / 4)[:, None]
        photo[drawing.mask] = (255 * drawing.interpolate(details.colors) * stripes).clip(0, 255)[drawing.mask]
        yield details, photo, drawing


@pytest.fixture(scope="module")
def files(scene, tmp_path_factory):
    """The folder of all files of the face."""
    folder = tmp_path_factory.mktemp("outputs")
    details, *_ = scene
    with FaceWriter(folder, OUTPUTS, details.settings, threads=1) as writer:
        writer.start([details.result])
        writer.start_photo(details.face.photo)
        assert writer.finish() == []
    return folder


def test_every_output_writes_the_files_that_it_declares(files):
    declared = {files / output.folder / f"{'photo' if output.of_photo else 'face'}{suffix}"
                for output in OUTPUTS.values() for suffix in output.files}
    assert {path for path in files.rglob("*.*") if path.suffix != ".report"} == declared


@pytest.mark.parametrize("name, unit", [("face_textured.obj", 1), ("face.glb", 10)])
def test_a_textured_mesh_gives_the_photo_back(scene, files, name, unit):
    details, photo, _ = scene
    mesh = trimesh.load(files / name, process=False)
    mesh = mesh.to_geometry() if isinstance(mesh, trimesh.Scene) else mesh
    material = mesh.visual.material
    image = getattr(material, "image", None) or material.baseColorTexture
    assert image.size == (TEXTURE_SIZE, TEXTURE_SIZE)
    triangles = torch.from_numpy(np.array(mesh.faces, np.int32))
    drawing = Drawing(unit * mesh.vertices, triangles, details.camera_matrix, (WIDTH, HEIGHT))
    places = (drawing.interpolate(mesh.visual.uv) * (TEXTURE_SIZE, -TEXTURE_SIZE) + (-0.5, TEXTURE_SIZE - 0.5))
    drawn = cv2.remap(np.asarray(image.convert("RGB")), places.astype(np.float32), None, cv2.INTER_LINEAR)
    seen = drawing.mask & (drawing.interpolate(mesh.vertex_normals)[..., 2] > 0.5)

    def distance(picture):
        return np.linalg.norm(picture / 255 - photo / 255, axis=2)[seen].mean()

    colors = 255 * drawing.interpolate(details.colors)
    assert distance(drawn) < 0.03 < 0.06 < distance(colors)


def test_a_glb_file_has_shapes_that_move_the_mesh_as_expressions_do(scene, files, face_model):
    details, *_ = scene
    data = (files / "face.glb").read_bytes()
    magic, version, length, json_length = struct.unpack("<4sIII", data[:16])
    assert (magic, version, length) == (b"glTF", 2, len(data))
    document, binary = json.loads(data[20:20 + json_length]), data[28 + json_length:]

    def values(view, kind):
        view = document["bufferViews"][view]
        return np.frombuffer(binary[view["byteOffset"]:][:view["byteLength"]], kind)

    mesh, = document["meshes"]
    names = mesh["extras"]["targetNames"]
    assert len(names) == len(set(names)) == len(mesh["primitives"][0]["targets"]) == 52
    target = document["accessors"][mesh["primitives"][0]["targets"][names.index("jawOpen")]["POSITION"]]["sparse"]
    moves = np.zeros((len(face_model.skin_mask), 3))
    moves[values(target["indices"]["bufferView"], "<u2")] = values(target["values"]["bufferView"], "<f4").reshape(-1, 3)
    jaw_open = torch.from_numpy(details.settings.arkit.coefficients[names.index("jawOpen")])[None]
    still = torch.zeros(1, 80)
    expected = face_model.shape(still, jaw_open) - face_model.shape(still, 0 * jaw_open)
    assert np.abs(moves - 0.1 * expected[0].numpy()).max() < 0.00011   # metres
    assert moves[:, 1].min() < -0.02


def test_camera_landmarks_overlay_and_maps_agree(scene, files, face_model):
    details, photo, drawing = scene
    matrix = np.load(files / "face.npz")["camera_matrix"]
    mesh = trimesh.load(files / "face.obj", process=False)
    places = project(mesh.vertices, matrix)
    rows, columns = np.nonzero(drawing.mask)
    distance = np.abs(drawing.interpolate(places)[rows, columns] - np.stack([columns, rows], 1))
    assert np.percentile(distance, 99) < 0.05 and distance.max() < 2   # outlines take the nearest point of the mesh
    landmarks = np.loadtxt(files / "face_landmarks.txt")
    assert np.abs(landmarks - places[face_model.keypoints]).max() < 0.02
    dense = json.loads((files / "face_landmarks.json").read_text())
    assert np.abs(np.array(dense["dense"]) - places).max() < 0.02 and dense["landmarks"] == landmarks.tolist()

    def read(name):
        return np.asarray(Image.open(files / name))

    mask = read("face_mask.png") > 0
    assert np.array_equal(mask, drawing.mask)
    assert np.array_equal(read("photo_overlay.png")[~mask], photo[~mask])
    assert np.abs(read("photo_overlay.png") / 255 - drawing.interpolate(details.colors))[mask].max() < 0.003
    tip = np.rint(landmarks[NOSE_TIP]).astype(int)[::-1]
    depth = read("face_depth.png")
    assert depth.dtype == np.uint16
    assert depth[tuple(tip)] == pytest.approx(1000 * drawing.distance[face_model.keypoints[NOSE_TIP]], abs=20)
    normals = read("face_normals.png")[mask] / 127.5 - 1
    assert np.abs(np.linalg.norm(normals, axis=1) - 1).max() < 0.02 and normals[:, 2].mean() > 0.5
    assert read("face_crop_mask.png").shape == (224, 224)


def test_the_albedo_texture_has_no_light(scene, face_model):
    details, photo, _ = scene
    settings = replace(details.settings, lit=False)
    settings.__dict__["_texels"] = details.settings.texels   # is the same
    expected = settings.texels.drawing.interpolate(details.albedo)
    seen = settings.texels.drawing.interpolate(details.normals @ details.rotation)[..., 2] > 0.6
    errors = [np.abs(FaceDetails(details.result, chosen).texture / 255 - expected)[seen].mean()
              for chosen in (settings, details.settings)]
    assert errors[0] < 0.08 < errors[1]


def test_meshes_can_be_frontal_and_neutral(scene, face_model, tmp_path):
    details, *_ = scene
    settings = replace(details.settings, frontal=True, neutral=True)
    settings.__dict__["_layout"] = details.settings.layout
    settings.__dict__["_texels"] = details.settings.texels
    write_face(tmp_path, details.result, ["glb"], settings)
    mesh = trimesh.load(tmp_path / "face.glb", process=False).to_geometry()
    expected = face_model.shape(details.coefficients["id"], torch.zeros(1, 64))[0].numpy()
    assert np.abs(10 * mesh.vertices - expected).max() < 1e-4


def test_an_overlay_shows_all_faces_of_a_photo(scene, reconstructor, coefficients, tmp_path):
    details, photo, _ = scene
    faces = [face_at(0.9, 140, 300, "photo_0"), face_at(0.9, 420, 330, "photo_1")]
    results = reconstructor.results(coefficients.repeat(2, 1), faces)
    with FaceWriter(tmp_path, ["overlay"], details.settings, threads=1) as writer:
        for result in results:   # in two batches
            writer.start([result])
        assert not list(tmp_path.iterdir())
        writer.start_photo(faces[0].photo)
        assert writer.finish() == []
    assert [path.name for path in tmp_path.iterdir()] == ["photo_overlay.png"]
    changed = (np.asarray(Image.open(tmp_path / "photo_overlay.png")) != photo).any(2)
    for result in results:
        middle = project(result.vertices.astype(float), FaceDetails(result, details.settings).camera_matrix).mean(0)
        x, y = middle.astype(int)
        assert changed[y - 20:y + 20, x - 20:x + 20].mean() > 0.9


def test_faces_over_grey_photos_are_grey(scene, reconstructor, coefficients, tmp_path):
    details, *_ = scene
    grey = np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 1), np.uint8).repeat(3, 2)
    face = replace(face_at(0.5, 290, 331), crop=np.ascontiguousarray(grey[:224, :224]))
    result, colored = reconstructor.results(coefficients.repeat(2, 1), [face, face_at(0.5, 290, 331)])
    assert np.ptp(result.overlay.astype(int), axis=2).max() == 0 and (result.overlay != face.crop).any()
    assert np.ptp(colored.overlay.astype(int), axis=2).max() > 20   # black alone is no grey photo
    np.testing.assert_allclose(result.colors, colored.colors, atol=1e-5)   # the mesh has colours
    write_overlay(tmp_path / "grey", [FaceDetails(result, replace(details.settings, read_photo=lambda path: grey))])
    overlay = np.asarray(Image.open(tmp_path / "grey_overlay.png")).astype(int)
    assert np.ptp(overlay, axis=2).max() == 0 and (overlay != grey).any(2).mean() > 0.05


@pytest.mark.parametrize("turns", range(4))
def test_pixels_of_the_crop_lead_back_to_the_photo(turns):
    """In each pixel of this photo, red is x and green is y."""
    width, height = 250, 230
    rows, columns = np.mgrid[:height, :width]
    photo = np.stack([columns, rows, 0 * rows], 2).astype(np.uint8)
    cos, sin = np.cos(turns * np.pi / 2), np.sin(turns * np.pi / 2)
    points = 57.3 * STANDARD_POINTS[:, :2] @ [[cos, sin], [sin, -cos]] + (117.3, 108.9)   # y down
    face = align_face(Path("a.png"), "a", "a", photo, FacePoints(points, given=True), None)
    assert face.turns == turns
    matrix = crop_pixels_to_photo(face.trans_params, face.turns)
    crop_rows, crop_columns = np.mgrid[:224, :224]
    places = np.stack([crop_columns, crop_rows], 2) @ matrix[:2, :2].T + matrix[:2, 2]
    inside = (places > 3).all(2) & (places < (width - 4, height - 4)).all(2)
    assert inside.mean() > 0.5
    difference = (face.crop[..., :2] - places)[inside]
    assert np.abs(difference).max() < 0.8 and np.abs(difference.mean(0)).max() < 0.1   # rounded colours


def test_a_face_partly_or_wholly_outside_the_photo(scene):
    assert window_around(np.array([[-9.0, -9], [-5, -4]]), (10, 10)) is None
    window = window_around(np.array([[-9.0, 3], [4, 30]]), (10, 10), margin=0)
    assert (window.left, window.top, window.width, window.height) == (0, 3, 5, 7)
    details, *_ = scene
    outside = replace(details.result, face=face_at(0.5, 9000, 9000))
    texture = FaceDetails(outside, details.settings).texture   # of the face model alone
    assert texture.std() > 5
    assert camera_matrix(1015, 10, outside.face.trans_params).shape == (3, 4)


# ARKit's shapes

def test_weights_of_arkit_shapes_are_found_again(face_model):
    units = load_arkit_units(face_model, ROOT / "BFM")
    known = {"jawOpen": 0.6, "mouthSmileLeft": 0.4, "eyeBlinkRight": 0.9, "browInnerUp": 0.5}
    expression = sum(weight * units.coefficients[units.names.index(name)] for name, weight in known.items())
    weights = units.weights(expression)
    assert len(weights) == 52
    assert {name: weights[name] for name in known} == pytest.approx(known, abs=0.1)
    assert max(weight for name, weight in weights.items() if name not in known) < 0.15
    assert set(units.weights(np.zeros(64)).values()) == {0.0}
    expressions = np.random.default_rng(0).normal(0, 0.5, (6, 64))   # also those that no weights describe exactly
    each = [list(units.weights(expression).values()) for expression in expressions]
    np.testing.assert_allclose(units.weights_of_clip(expressions), each, atol=0.005)


def test_arkit_shapes_belong_to_one_expression_basis(face_model, tmp_path):
    other = type(face_model).__new__(type(face_model))
    torch.nn.Module.__init__(other)
    other.register_buffer("shape_base", 2 * face_model.shape_base)
    assert load_arkit_units(other, ROOT / "BFM") is None
    assert load_arkit_units(face_model, tmp_path) is None


# The places in the texture

def areas(uv, triangles):
    (x1, y1), (x2, y2) = ((uv[triangles[:, corner]] - uv[triangles[:, 0]]).T for corner in (1, 2))
    return (x1 * y2 - x2 * y1) / 2


def test_no_triangles_of_the_texture_overlap(scene, face_model):
    details, *_ = scene
    layout, texels = details.settings.layout, details.settings.texels
    size = areas(layout.uv.astype(float), face_model.tri.numpy())
    assert (size > 0).all()
    assert size.sum() == pytest.approx(texels.inside.mean(), rel=0.01)   # overlapping parts would count twice
    assert layout.uv.min() > 0 and layout.uv.max() < 1
    assert np.abs(layout.mirror[face_model.keypoints[36]] - layout.uv[face_model.keypoints[45]]).max() < 0.02


def test_other_meshes_are_unwrapped():
    """A closed surface, one with holes, several parts, and a vertex without triangles."""
    ball = trimesh.creation.icosphere(2)
    x, y, z = ball.triangles_center.T
    mask = ball.faces[(z > -0.5) & (np.hypot(np.abs(x) - 0.4, y - 0.3) > 0.2)]   # with two holes for the eyes
    cap = ball.faces[z > 0.6]
    count = len(ball.vertices)
    vertices = np.vstack([ball.vertices, [[9.0, 9, 9]], ball.vertices + 4, ball.vertices - 4])
    triangles = np.vstack([ball.faces, mask + count + 1, cap + 2 * count + 1])
    layout = unwrap(vertices, triangles)
    assert (areas(layout.uv.astype(float), triangles) < 0).sum() == 1   # the one that opens the closed surface
    assert (layout.uv[count] == 0).all() and np.isfinite(layout.uv).all()
