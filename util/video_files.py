"""Writes video files with FFmpeg's libraries (PyAV)."""
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from util.files import atomic_write

_CLOCK = Fraction(1, 90_000)   # seconds: the unit of the time stamps of pictures


def write_video(path: Path, size: tuple[int, int], frames: Iterable[tuple[float, np.ndarray]], rate: float,
                sound: Path | None = None):
    """Write an .mp4 file, whole or not at all: H.264 pictures, and the sound of another video as AAC.

    size: width and height of the pictures, px, both even. frames: the time of each picture, seconds from the first one,
    and its pixels (H, W, 3) uint8 RGB. rate: of the frames, on average. sound: the video that has the sound, which is
    copied from its first picture on; None: no sound.
    """
    with atomic_write(path) as temporary, av.open(str(temporary), "w") as container:
        pictures = container.add_stream("libx264", rate=Fraction(rate).limit_denominator(1001), options={"crf": "20"})
        (pictures.width, pictures.height), pictures.pix_fmt = size, "yuv420p"
        pictures.codec_context.time_base = _CLOCK
        with _Sound(sound, container) as wave:
            time = 0.0
            for time, pixels in frames:
                frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
                frame.pts, frame.time_base = round(time / _CLOCK), _CLOCK
                container.mux(pictures.encode(frame))
                wave.write_until(time)   # by turns, since the container keeps in memory what is far ahead
            container.mux(pictures.encode())
            wave.finish(time + 1 / rate)


class _Sound:
    """Copies the sound of a video to a container. source: the video; None: there is no sound."""

    def __init__(self, source: Path | None, container: av.container.OutputContainer):
        self.container, self.source = container, av.open(str(source)) if source else None
        self.waiting: av.AudioFrame | None = None
        if self.source and self.source.streams.audio:
            stream = self.source.streams.audio[0]
            self.stream = container.add_stream("aac", rate=stream.rate, layout=_layout(stream))
            self.frames = self._decode()
        else:
            self.stream, self.frames = None, iter(())

    def __enter__(self) -> "_Sound":
        return self

    def __exit__(self, *_):
        if self.source:
            self.source.close()

    def write_until(self, time: float):
        """Copy the sound up to a time, seconds from the first picture."""
        while True:
            self.waiting = self.waiting or next(self.frames, None)
            if self.waiting is None or self.waiting.time > time:
                return
            self.container.mux(self.stream.encode(self.waiting))
            self.waiting = None

    def finish(self, time: float):
        """Copy the sound up to a time and complete the stream."""
        self.write_until(time)
        if self.stream:
            self.container.mux(self.stream.encode())

    def _decode(self) -> Iterator[av.AudioFrame]:
        """Yields the sound from the first picture on. It ends where the file is broken."""
        start = _first_time(self.source)
        try:
            for frame in self.source.decode(audio=0):
                if frame.time is None or frame.time < start:
                    continue
                frame.pts -= round(start / frame.time_base)
                yield frame
        except av.FFmpegError:
            return


def _layout(stream: av.AudioStream) -> str:
    return "mono" if stream.channels == 1 else "stereo"


def _first_time(container: av.container.InputContainer) -> float:
    """The time of the first picture of a video, seconds."""
    stream = container.streams.video[0]
    return float((stream.start_time or 0) * stream.time_base)
