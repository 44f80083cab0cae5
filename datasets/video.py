"""Reads the frames of videos: of files, by FFmpeg's libraries (PyAV), and of folders of numbered frames."""
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np

from datasets.photo_choice import (
    LIST_SUFFIX,
    ChosenPhotos,
    absolute,
    folders_in,
    read_photo_list,
)
from datasets.photos import VIDEO_SUFFIXES, list_photos, photos_in, read_photo
from util.files import InputError

GIF = ".gif"   # a photo in a folder of photos, but a video if it is named alone or in a list of videos
MOST_RATE = 1000   # frames a second


@dataclass(frozen=True)
class Frame:
    """A frame of a video."""
    number: int           # from 0
    time: float           # seconds from the first frame
    pixels: np.ndarray    # (H, W, 3) uint8 RGB, upright


class VideoFile:
    """The frames of a video file. Raises InputError if the file cannot be opened or shows no pictures."""

    def __init__(self, path: Path):
        self.path = path
        with self._open() as container:
            if not container.streams.video:
                raise InputError(f"{path} has no pictures: it is not a video, or has sound only")
            stream = container.streams.video[0]
            rate = stream.average_rate or stream.base_rate
            if not rate or rate > MOST_RATE:
                raise InputError(f"{path} has no frame rate that can be right ({float(rate or 0):g} frames a second): "
                                 "convert it, for example to mp4")
            self.rate = float(rate)        # frames a second, on average
            self.has_sound = bool(container.streams.audio)
            duration = (stream.duration * stream.time_base if stream.duration
                        else (container.duration or 0) / av.time_base)
            # The number of frames, which may be an estimate; 0 if it is not known.
            self.count = stream.frames or round(float(duration) * self.rate)

    def frames(self, start: int = 0) -> Iterator[Frame]:
        """Yields the frames one by one, from the one with the number `start`.

        Those before are decoded too, which is much faster than searching them for faces. All frames have the size of
        the first one. Raises InputError if the file is broken so that no frame can be read.
        """
        number, last, size, first_time = 0, -1 / self.rate, None, None
        with self._open() as container:
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            for frame in _decode(container, stream):
                first_time = (frame.time or 0) if first_time is None else first_time
                time = frame.time - first_time if frame.time is not None else 0
                if time <= last:   # frames without a time, or with a wrong one, follow at the average rate
                    time = last + 1 / self.rate
                size = size or (frame.width, frame.height)
                if number >= start:
                    pixels = frame.to_ndarray(format="rgb24", width=size[0], height=size[1])
                    turns = round(frame.rotation / 90)
                    yield Frame(number, time, np.ascontiguousarray(np.rot90(pixels, turns)) if turns else pixels)
                number, last = number + 1, time
        if not number:
            raise InputError(f"{self.path} is broken: none of its frames can be read")

    def remark(self, count: int) -> str:
        """Returns a remark for the user if the file has fewer frames than it says, or "". count: that were read."""
        if count >= 0.95 * self.count - 2:
            return ""
        return f"{self.path}: the end of the file is missing, or broken: {count} of about {self.count} frames are read"

    def _open(self) -> av.container.InputContainer:
        try:
            return av.open(str(self.path))
        except FileNotFoundError as error:
            raise InputError(f"the video {self.path} does not exist") from error
        except (av.FFmpegError, OSError) as error:
            empty = self.path.is_file() and not self.path.stat().st_size
            raise InputError(f"{self.path} is not a video that can be read: "
                             f"{'it is empty' if empty else error.strerror}") from error


class FrameFolder:
    """The photos of a folder as the frames of a video, in the order of the numbers in their names.

    rate: frames a second. Raises InputError if the folder has no photos.
    """
    has_sound = False

    def __init__(self, path: Path, rate: float):
        self.path, self.rate = path, rate
        self.files = sorted(list_photos(path), key=_by_numbers)
        self.count = len(self.files)

    def frames(self, start: int = 0) -> Iterator[Frame]:
        """Yields the frames one by one, from the one with the number `start`. Raises InputError if a photo cannot be
        read, or if they differ in size."""
        shape = read_photo(self.files[0]).shape
        for number, file in enumerate(self.files[start:], start):
            pixels = read_photo(file)
            if pixels.shape != shape:
                raise InputError(f"{file} has {pixels.shape[1]} x {pixels.shape[0]} pixels, and the first frame has "
                                 f"{shape[1]} x {shape[0]}: all frames of a video must have one size")
            yield Frame(number, number / self.rate, pixels)

    def remark(self, count: int) -> str:
        """Returns "": every photo is read."""
        return ""


Video = VideoFile | FrameFolder


def open_video(path: Path, frame_rate: float | None) -> Video:
    """Returns the video of a file, or of a folder of numbered frames. Raises InputError.

    frame_rate: frames a second, for a folder.
    """
    return VideoFile(path) if path.is_file() or not frame_rate else FrameFolder(path, frame_rate)


def frames_of(path: Path, frame_rate: float | None) -> Iterator[tuple[float, np.ndarray]]:
    """Yields the time in seconds and the pixels of each frame of a video, see `open_video`. Raises InputError."""
    for frame in open_video(path, frame_rate).frames():
        yield frame.time, frame.pixels


def choose_videos(place: Path, recursive: bool, frame_rate: float | None) -> ChosenPhotos | None:
    """Returns the videos that a path names; None if it names photos.

    With a frame rate, it is a folder of numbered frames, which are one video. Otherwise it is a video file, a list of
    video files, or a folder that has videos, but no photos.

    recursive: take the videos in the folders inside the folder too.
    Raises InputError if a list names both videos and photos.
    """
    if frame_rate:
        if not place.is_dir():
            raise InputError(f"{place} is not a folder, and --frame_rate is for a folder of numbered frames: leave it "
                             "out")
        return ChosenPhotos([place], place.parent, absolute(place), [])
    if place.is_file() and _is_video(place):
        return ChosenPhotos([place], place.parent, absolute(place.parent), [])
    if place.is_file() and place.suffix.lower() == LIST_SUFFIX:
        paths = read_photo_list(place)
        videos = [path for path in paths if path.suffix.lower() in VIDEO_SUFFIXES]
        if videos and not all(map(_is_video, paths)):
            raise InputError(f"the list {place} names both videos and photos: give each kind a list of its own")
        return ChosenPhotos.of_list(paths, place) if videos else None
    if place.is_dir():
        folders = list(folders_in(place)) if recursive else [place]
        if not any(map(photos_in, folders)):
            paths = [path for folder in folders for path in sorted(folder.iterdir())
                     if path.suffix.lower() in VIDEO_SUFFIXES and not path.name.startswith(".")]
            return ChosenPhotos(paths, place, absolute(place), []) if paths else None
    return None


def _is_video(path: Path) -> bool:
    """Whether a path is that of a video. A GIF file is one if it has several frames."""
    if path.suffix.lower() != GIF:
        return path.suffix.lower() in VIDEO_SUFFIXES
    try:
        return VideoFile(path).count > 1
    except InputError:
        return False


def _by_numbers(path: Path) -> list:
    """A key that sorts frame_2 before frame_10."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", path.name)]


def _decode(container: av.container.InputContainer, stream: av.VideoStream) -> Iterator[av.VideoFrame]:
    """Yields the frames of a stream. Broken parts of it are left out."""
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets)
        except (StopIteration, av.FFmpegError):
            break
        try:
            yield from packet.decode()
        except av.FFmpegError:
            continue
