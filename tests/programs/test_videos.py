"""test.py with videos, which are made of the example photos."""
import csv
import json
import struct
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from datasets.clips import UNFINISHED, ClipReconstructor
from datasets.photos import read_photo
from models.coefficients import IDENTITY, SLICES
from models.face_model import FaceModel
from models.face_model_files import load_face_model_data
from models.outputs.arkit import load_arkit_units
from models.outputs.clip_numbers import read_clip_numbers
from models.reconstruction import Reconstructor
from models.renderer import MeshRenderer
from options.testing import parse
from test import reconstruct_folder
from tests.helpers import EXAMPLES, ROOT
from util.files import InputError
from util.video_files import write_video

WIDTH, HEIGHT, RATE, COUNT, HIDDEN = 480, 270, 25, 14, (5, 6)   # HIDDEN: frames that do not show the face


def frames(steps: int = COUNT, shift: float = 4) -> list[np.ndarray]:
    head = cv2.resize(read_photo(EXAMPLES / "astronaut.png")[0:260, 120:320], (180, 234))
    pictures = []
    for step in range(steps):
        picture = np.full((HEIGHT, WIDTH, 3), 110, np.uint8)
        if step not in HIDDEN:
            left = 40 + round(shift * step)
            picture[20:254, left:left + 180] = head
        pictures.append(picture)
    return pictures


def write_clip(path: Path, pictures: list[np.ndarray]):
    size = pictures[0].shape[1::-1]
    write_video(path, size, ((number / RATE, picture) for number, picture in enumerate(pictures)), RATE)


def run(*arguments: object) -> int:
    return reconstruct_folder(parse(["--name=open_face", "--epoch=20", "--gpu_ids=-1", *map(str, arguments)]))


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("video") / "clip.mp4"
    write_clip(path, frames())
    return path


@pytest.fixture(scope="module")
def results(clip) -> Path:
    """The folder of all results of the clip."""
    folder = clip.parent / "results"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(clip.parent / "cache"))
        assert run(f"--img_folder={clip}", f"--results_dir={folder}", "--save=all") == 0
    return folder


def test_the_numbers_of_every_frame(results):
    assert {path.name for path in results.iterdir() if not path.name.startswith(".")} == {
        f"clip{end}" for end in (".npz", ".mat", "_landmarks.txt", "_arkit.csv", ".glb", "_overlay.mp4")}
    numbers = read_clip_numbers(results / "clip.npz")
    assert np.flatnonzero(~numbers.found).tolist() == list(HIDDEN)
    np.testing.assert_allclose(numbers.time, np.arange(COUNT) / RATE, atol=1e-3)
    assert (numbers.landmarks[list(HIDDEN)] == -1).all()
    moves = numbers.landmarks[numbers.found].mean(1) - 4 * np.outer(np.flatnonzero(numbers.found), (1, 0))
    assert np.ptp(moves, axis=0).max() < 2   # the landmarks move as the face does
    assert np.ptp(numbers.coeff[:, IDENTITY], axis=0).max() == 0
    assert np.isfinite(numbers.coeff).all() and len(numbers.checkpoint_sha256) == 64
    assert not (results / UNFINISHED).exists()


def test_weights_and_animation_agree(results):
    with (results / "clip_arkit.csv").open(newline="") as file:
        names, *rows = csv.reader(file)
    weights = np.array(rows, float)
    assert weights.shape == (COUNT, 53) and names[0] == "time" and "jawOpen" in names
    assert weights[:, 1:].min() >= 0 and weights[:, 1:].max() <= 1

    content = (results / "clip.glb").read_bytes()
    length, = struct.unpack_from("<I", content, 12)
    document, binary = json.loads(content[20:20 + length]), content[28 + length:]

    def numbers(accessor: int) -> np.ndarray:
        view = document["bufferViews"][document["accessors"][accessor]["bufferView"]]
        return np.frombuffer(binary, "<f4", view["byteLength"] // 4, view["byteOffset"])

    animation, = document["animations"]
    moves = {channel["target"]["path"]: animation["samplers"][channel["sampler"]] for channel in animation["channels"]}
    np.testing.assert_allclose(numbers(moves["weights"]["input"]), weights[:, 0], atol=1e-4)
    np.testing.assert_allclose(numbers(moves["weights"]["output"]).reshape(COUNT, 52), weights[:, 1:], atol=1e-4)
    assert document["meshes"][0]["extras"]["targetNames"] == names[1:]
    coefficients = read_clip_numbers(results / "clip.npz").coeff
    np.testing.assert_allclose(numbers(moves["translation"]["output"]).reshape(COUNT, 3),
                               0.1 * coefficients[:, SLICES["trans"]], atol=1e-6)


def test_the_video_shows_frame_face_and_mesh_side_by_side(results):
    with av.open(str(results / "clip_overlay.mp4")) as container:
        pictures = [frame.to_ndarray(format="rgb24").astype(int) for frame in container.decode(video=0)]
    assert len(pictures) == COUNT and pictures[0].shape == (HEIGHT, 3 * WIDTH, 3)
    for number, picture in enumerate(pictures):
        frame, overlay, mesh = np.split(picture, 3, axis=1)
        drawn = (mesh > 60).all(2)
        assert (drawn.mean() > 0.03) == (number not in HIDDEN)
        if drawn.any():   # the mesh lies on the face, whose colours the render has
            assert np.abs(frame - overlay)[drawn].mean() > 2 * np.abs(frame - overlay)[~drawn].mean()
            assert np.abs(frame - overlay)[drawn].mean() < 40


def test_numbered_frames_give_the_numbers_of_the_video(results, tmp_path):
    (tmp_path / "walk").mkdir()
    for number, picture in enumerate(frames()):
        Image.fromarray(picture).save(tmp_path / "walk" / f"{number}.png")
    assert run(f"--img_folder={tmp_path / 'walk'}", f"--frame_rate={RATE}", f"--results_dir={tmp_path / 'out'}") == 0
    numbers, expected = read_clip_numbers(tmp_path / "out" / "walk.npz"), read_clip_numbers(results / "clip.npz")
    assert numbers.found.tolist() == expected.found.tolist()
    assert np.abs(numbers.landmarks - expected.landmarks).max() < 3   # H.264 changes the pixels a little


def test_every_person_gets_a_clip(tmp_path):
    woman = cv2.resize(read_photo(EXAMPLES / "astronaut.png")[0:260, 120:320], (180, 234))
    man = cv2.resize(read_photo(EXAMPLES / "grace_hopper.jpg")[20:540, 60:460], (180, 234))
    pictures = []
    for step in range(6):
        picture = np.full((HEIGHT, WIDTH, 3), 110, np.uint8)
        picture[20:254, 10 + 5 * step:190 + 5 * step] = woman
        if step != 2:   # he is away for a moment
            picture[20:254, 290:470] = man
        pictures.append(picture)
    write_clip(tmp_path / "pair.mp4", pictures)
    assert run(f"--img_folder={tmp_path / 'pair.mp4'}", f"--results_dir={tmp_path / 'out'}", "--all_faces",
               "--fit_color") == 0
    first, second = (read_clip_numbers(tmp_path / "out" / f"pair_{number}.npz") for number in (0, 1))
    assert first.found.all() and first.landmarks[..., 0].mean() < WIDTH / 2
    assert second.found.tolist() == [True, True, False, True, True, True]
    assert second.landmarks[second.found][..., 0].mean() > WIDTH / 2
    identities = [np.load(tmp_path / "out" / f"pair_{number}.npz")["coeff_raw"][0, IDENTITY] for number in (0, 1)]
    assert np.abs(identities[0] - identities[1]).max() > 0.5


@pytest.mark.parametrize("turns", [0, 1])
def test_the_motion_of_a_rendered_head_is_found(tmp_path, turns):
    """Its yaw within 1.5 degrees, and how far its jaw is open within 0.05, in a second of motion, also on its side."""
    model = FaceModel(load_face_model_data(ROOT / "BFM", "photo_face_model.npz"))
    units = load_arkit_units(model, ROOT / "BFM")
    phase = 2 * np.pi * np.arange(20) / 20
    yaw, jaw = 0.3 * np.sin(phase), 0.4 - 0.4 * np.cos(phase)
    coefficients = torch.zeros(len(phase), 257)
    coefficients[:, SLICES["id"]] = 0.5 * torch.randn(80, generator=torch.Generator().manual_seed(0))
    coefficients[:, SLICES["angle"].start + 1] = torch.from_numpy(yaw)
    jaw_open = units.coefficients[units.names.index("jawOpen")]
    coefficients[:, SLICES["exp"]] = torch.from_numpy(np.outer(jaw, jaw_open)).float()
    with torch.no_grad():
        face = model(coefficients)
        mask, _, image = MeshRenderer()(face.vertices, model.tri, face.color)
    heads = (255 * (image + 0.55 * (1 - mask))).clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()
    pictures = [np.pad(head, ((23, 23), (128, 128), (0, 0)), constant_values=140) for head in heads]
    write_clip(tmp_path / "head.mp4", [np.ascontiguousarray(np.rot90(picture, turns)) for picture in pictures])
    assert run("--name=photo_face", f"--img_folder={tmp_path / 'head.mp4'}", f"--results_dir={tmp_path / 'out'}",
               "--save=coeffs,arkit") == 0
    numbers = read_clip_numbers(tmp_path / "out" / "head.npz")
    assert numbers.found.all()
    assert np.abs(numbers.coeff[:, SLICES["angle"].start + 1] - yaw).mean() < np.radians(1.5)
    found = np.genfromtxt(tmp_path / "out" / "head_arkit.csv", delimiter=",", names=True)["jawOpen"]
    assert np.corrcoef(found, jaw)[0, 1] > 0.95 and np.abs(found - jaw).mean() < 0.05


def test_broken_videos_are_named_and_the_others_done(clip, tmp_path, capsys):
    folder = tmp_path / "videos"
    folder.mkdir()
    (folder / "good.mp4").write_bytes(clip.read_bytes())
    (folder / "empty.mp4").touch()
    (folder / "text.avi").write_text("no video")
    write_clip(folder / "nobody.mp4", [np.full((HEIGHT, WIDTH, 3), 90, np.uint8)] * 3)
    assert run(f"--img_folder={folder}", f"--results_dir={tmp_path / 'out'}", "--save=landmarks") == 1
    assert {path.name for path in (tmp_path / "out").glob("*.*")} == {"good_landmarks.txt", "skipped.txt"} | {
        path.name for path in (tmp_path / "out").glob(".*")}
    skipped = (tmp_path / "out" / "skipped.txt").read_text()
    for name, reason in (("empty.mp4", "it is empty"), ("text.avi", "not a video"), ("nobody.mp4", "no face found")):
        assert reason in next(line for line in skipped.splitlines() if line.startswith(name))
    assert "1 of 4 videos done" in capsys.readouterr().out
    with pytest.raises(InputError, match="for photos: for videos, list some of coeffs"):
        run(f"--img_folder={folder}", f"--results_dir={tmp_path / 'out'}", "--save=obj")


def test_an_interrupted_run_continues(clip, results, tmp_path, monkeypatch):
    """The first video is finished and the second one half done when the run is interrupted."""
    folder = tmp_path / "videos"
    folder.mkdir()
    for name in ("a", "b"):
        (folder / f"{name}.mp4").write_bytes(clip.read_bytes())
    monkeypatch.setattr("datasets.clips.FRAMES_AT_ONCE", 4)
    searched: list[str] = []
    find_faces = ClipReconstructor.find_faces

    def count_frames(self, video, recording, saver):
        def advance(count):
            searched.append(f"{video.path.stem} {len(recording.times)}")
            if stop and searched[-1] == "b 8":
                raise KeyboardInterrupt
        self.advance = advance
        find_faces(self, video, recording, saver)

    monkeypatch.setattr(ClipReconstructor, "find_faces", count_frames)
    arguments = (f"--img_folder={folder}", f"--results_dir={tmp_path / 'out'}")
    stop = True
    with pytest.raises(KeyboardInterrupt):
        run(*arguments)
    assert not (tmp_path / "out" / "b.npz").exists()
    stop = False
    searched.clear()
    (tmp_path / "out" / "a.npz").unlink()   # would be written again if the first video was computed again
    assert run(*arguments) == 0
    assert searched == ["b 8", "b 12", "b 14"]
    assert not (tmp_path / "out" / "a.npz").exists() and not (tmp_path / "out" / UNFINISHED).exists()
    numbers, expected = np.load(tmp_path / "out" / "b.npz"), np.load(results / "clip.npz")
    np.testing.assert_allclose(numbers["coeff"], expected["coeff"], atol=1e-4)
    np.testing.assert_allclose(numbers["landmarks"], expected["landmarks"], atol=1e-2)


def test_an_interrupted_fit_continues(tmp_path, monkeypatch):
    write_clip(tmp_path / "clip.mp4", frames(5))
    estimate, fits = Reconstructor.estimate, []

    def count_fits(self, faces, identity=None, fit=True):
        if identity is not None:
            fits.append(len(faces))
            if len(fits) == 2:
                raise KeyboardInterrupt
        return estimate(self, faces, identity, fit)

    monkeypatch.setattr(Reconstructor, "estimate", count_fits)
    arguments = (f"--img_folder={tmp_path / 'clip.mp4'}", f"--results_dir={tmp_path / 'out'}", "--fit_color",
                 "--batch_size=2")
    with pytest.raises(KeyboardInterrupt):
        run(*arguments)
    assert run(*arguments) == 0
    assert fits == [2, 2, 2, 1]   # the second batch was not complete
    numbers = np.load(tmp_path / "out" / "clip.npz")
    assert np.ptp(numbers["coeff_raw"][:, IDENTITY], axis=0).max() == 0   # the fit holds what the frames share
    light = numbers["coeff_raw"][:, SLICES["gamma"]]
    assert np.isfinite(light).all() and np.ptp(light, axis=0).max() < 0.1
