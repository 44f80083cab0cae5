"""Reading videos: made files of every kind, and broken ones."""
import struct
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from datasets.video import FrameFolder, VideoFile, choose_videos
from util.files import InputError
from util.video_files import write_video

SIZE, RATE, COUNT = (96, 64), 25, 12   # width and height; frames a second


def picture(number: int) -> np.ndarray:
    """A grey picture whose brightness tells its number, red in the upper left quarter."""
    pixels = np.full((SIZE[1], SIZE[0], 3), 40 + 15 * number, np.uint8)
    pixels[:SIZE[1] // 2, :SIZE[0] // 2] = (250, 0, 0)
    return pixels


def number_of(pixels: np.ndarray) -> int:
    return round((float(pixels[-8:, -8:].mean()) - 40) / 15)


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("videos") / "clip.mp4"
    write_video(path, SIZE, ((number / RATE, picture(number)) for number in range(COUNT)), RATE)
    return path


def encode(path: Path, codec: str, pixel_format: str, frames: int = COUNT, sound: bool = False, pictures: bool = True):
    with av.open(str(path), "w") as container:
        video = container.add_stream(codec, rate=RATE) if pictures else None
        audio = container.add_stream("aac", rate=8000, layout="mono") if sound else None
        if video:
            video.width, video.height, video.pix_fmt = *SIZE, pixel_format
            for number in range(frames):
                container.mux(video.encode(av.VideoFrame.from_ndarray(picture(number % 12), format="rgb24")))
            container.mux(video.encode())
        if audio:
            wave = np.sin(np.arange(8000 * frames // RATE) / 5).astype(np.float32)[None]
            frame = av.AudioFrame.from_ndarray(wave, format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 8000, 0
            container.mux(audio.encode(frame))
            container.mux(audio.encode())


def test_the_frames_of_a_file_have_their_number_time_and_colours(clip):
    video = VideoFile(clip)
    frames = list(video.frames())
    assert [frame.number for frame in frames] == [number_of(frame.pixels) for frame in frames] == list(range(COUNT))
    np.testing.assert_allclose([frame.time for frame in frames], np.arange(COUNT) / RATE, atol=1e-3)
    assert frames[0].pixels.shape == (SIZE[1], SIZE[0], 3)
    assert np.abs(frames[0].pixels[:20, :20].mean((0, 1)) - (250, 0, 0)).max() < 12
    assert video.count == COUNT and video.rate == RATE and not video.has_sound and not video.remark(COUNT)
    assert [frame.number for frame in video.frames(9)] == [9, 10, 11]


@pytest.mark.parametrize("suffix, codec, pixel_format", [
    (".mov", "mpeg4", "yuv420p"), (".avi", "mjpeg", "yuvj420p"), (".webm", "libvpx", "yuv420p"),
    (".gif", "gif", "rgb8")])
def test_other_containers(tmp_path, suffix, codec, pixel_format):
    path = tmp_path / f"clip{suffix}"
    encode(path, codec, pixel_format)
    video = VideoFile(path)
    assert [number_of(frame.pixels) for frame in video.frames()] == list(range(COUNT))
    assert choose_videos(path, False, None).paths == [path]


def test_variable_frame_rate(tmp_path):
    times = [0, 0.04, 0.2, 0.24, 0.6]
    write_video(tmp_path / "clip.mp4", SIZE, zip(times, map(picture, range(5)), strict=True), RATE)
    found = [frame.time for frame in VideoFile(tmp_path / "clip.mp4").frames()]
    np.testing.assert_allclose(found, times, atol=1e-3)


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_clip_of_a_turned_camera_is_upright(clip, tmp_path, turns):
    """The matrix of the track in an mp4 file, as telephones write it, turns the pictures clockwise."""
    content = bytearray(clip.read_bytes())
    matrix = content.index(b"tkhd") + 44
    cos, sin = [(1, 0), (0, 1), (-1, 0), (0, -1)][turns]
    struct.pack_into(">4i", content, matrix, cos << 16, sin << 16, 0, -sin << 16)
    struct.pack_into(">i", content, matrix + 16, cos << 16)
    (tmp_path / "turned.mp4").write_bytes(content)
    frame = next(VideoFile(tmp_path / "turned.mp4").frames())
    expected = np.rot90(next(VideoFile(clip).frames()).pixels, -turns)
    np.testing.assert_array_equal(frame.pixels, expected)


def test_files_without_pictures_are_named(clip, tmp_path):
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "header_lost.mp4").write_bytes(clip.read_bytes()[:200])
    encode(tmp_path / "sound.mp4", "mpeg4", "yuv420p", sound=True, pictures=False)
    for name, message in (("empty", "it is empty"), ("text", "is not a video"), ("header_lost", "is not a video"),
                          ("sound", "has sound only"), ("missing", "does not exist")):
        with pytest.raises(InputError, match=message) as error:
            list(VideoFile(tmp_path / f"{name}.mp4").frames())
        assert f"{name}.mp4" in str(error.value) and "\n" not in str(error.value)


def test_a_file_with_an_impossible_frame_rate_is_named(tmp_path):
    with av.open(str(tmp_path / "fast.mkv"), "w") as container:
        video = container.add_stream("mpeg4", rate=60_000)
        video.width, video.height, video.pix_fmt = *SIZE, "yuv420p"
        for number in range(3):
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture(number), format="rgb24")))
        container.mux(video.encode())
    with pytest.raises(InputError, match="fast.mkv has no frame rate that can be right"):
        VideoFile(tmp_path / "fast.mkv")


def test_a_truncated_file_gives_its_first_frames_and_a_remark(tmp_path):
    path = tmp_path / "clip.avi"
    encode(path, "mjpeg", "yuvj420p")
    content = path.read_bytes()
    path.write_bytes(content[:content.index(b"movi") + (content.index(b"idx1") - content.index(b"movi")) // 2])
    video = VideoFile(path)
    count = len(list(video.frames()))
    assert 3 < count < 9
    assert f"{count} of about 12 frames" in video.remark(count)


def test_numbered_frames_are_in_the_order_of_their_numbers(tmp_path):
    for number in range(12):
        Image.fromarray(picture(number)).save(tmp_path / f"frame_{number}.png")
    frames = list(FrameFolder(tmp_path, 10).frames(2))
    assert [number_of(frame.pixels) for frame in frames] == list(range(2, 12))
    assert frames[0].time == 0.2
    Image.new("RGB", (10, 10)).save(tmp_path / "frame_12.png")
    with pytest.raises(InputError, match="frame_12.png has 10 x 10 pixels"):
        list(FrameFolder(tmp_path, 10).frames())


def test_which_videos_a_path_names(tmp_path, clip):
    assert choose_videos(clip, False, None).paths == [clip]
    assert choose_videos(clip.parent, False, None).paths == [clip]
    folder = tmp_path / "videos"
    (folder / "inside").mkdir(parents=True)
    for name in ("b.MP4", "a.mov", "inside/c.webm"):
        (folder / name).touch()
    assert [path.name for path in choose_videos(folder, False, None).paths] == ["a.mov", "b.MP4"]
    assert [path.name for path in choose_videos(folder, True, None).paths] == ["a.mov", "b.MP4", "c.webm"]
    videos = folder / "list.txt"
    videos.write_text("a.mov\ninside/c.webm\n")
    assert choose_videos(videos, False, None).paths == [folder / "a.mov", folder / "inside" / "c.webm"]
    (folder / "photo.png").touch()
    videos.write_text("a.mov\nphoto.png\n")
    with pytest.raises(InputError, match="both videos and photos"):
        choose_videos(videos, False, None)
    assert choose_videos(folder, False, None) is None   # beside photos, they are not read
    assert choose_videos(folder, False, 25).paths == [folder]
    with pytest.raises(InputError, match="not a folder"):
        choose_videos(clip, False, 25)


def test_the_sound_of_another_video_is_written_with_the_pictures(tmp_path):
    encode(tmp_path / "loud.mp4", "mpeg4", "yuv420p", frames=50, sound=True)
    write_video(tmp_path / "clip.mp4", SIZE, ((number / RATE, picture(number % 12)) for number in range(50)), RATE,
                tmp_path / "loud.mp4")
    with av.open(str(tmp_path / "clip.mp4")) as container:
        wave = np.concatenate([frame.to_ndarray().ravel() for frame in container.decode(audio=0)])
        rate = container.streams.audio[0].rate
    assert len(wave) / rate == pytest.approx(2, abs=0.2)
    assert np.std(wave) == pytest.approx(np.sqrt(0.5), abs=0.1)
