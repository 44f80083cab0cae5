"""Reconstructs the faces in videos: follows them, computes their coefficients, and makes a clip of each person."""
import itertools
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from datasets.face_detection import FaceDetector, face_detector
from datasets.face_finder import FacePoints, align_face
from datasets.face_tracks import Embedder, FaceFollower, TrackedFace
from datasets.frozen_landmarks import FrozenLandmarkDetector, landmark_detector
from datasets.recording import Recording
from datasets.video import Frame, Video
from models.clips import Track, confidence, make_clip, mean_identity
from models.coefficients import IDENTITY
from models.coordinates import crop_to_projection, flip_y, photo_to_crop
from models.landmark_fit import move_onto_landmarks
from models.recognition import load_recognition
from models.reconstruction import Reconstructor
from models.records import AlignedFace, Clip
from util.files import InputError, atomic_write
from util.readers import read_ahead

FRAMES_AT_ONCE = 8       # that are read ahead
UNFINISHED = ".unfinished"   # the folder in that of the results that has the work of a run that was interrupted
SAVE_EVERY = 30          # seconds between two times that the work is saved
LEAST_FRAMES = 5         # in which a person must be found; in a video that is shorter, half of its frames
IDENTITY_FACES = 16      # that are fitted to find the identity of a person


@dataclass(frozen=True)
class ClipSettings:
    """How the faces in videos are reconstructed.

    follower: returns what follows the faces of a video from its first frame on. landmark_detector: finds what the fit
    needs, see `align_face`; None without a fit. all_faces: make a clip of every person, otherwise of the one that is
    found in the most frames. smooth: strength of the smoothing, see `models.clips.smooth`. batch_size: faces that are
    computed at once. unfinished: the folder for the work on videos that are not finished. text: what the numbers depend
    on, besides the video.
    """
    follower: Callable[[], FaceFollower]
    landmark_detector: FaceDetector | FrozenLandmarkDetector | None
    all_faces: bool
    smooth: float
    batch_size: int
    unfinished: Path
    text: str


def choose_clip_settings(detector: str, lm_model: Path, for_fit: bool, all_faces: bool, smooth: float, batch_size: int,
                         unfinished: Path, text: str) -> ClipSettings:
    """Returns the settings with a follower of faces, whose landmarks are those of a detector, of DETECTORS.

    lm_model: folder that may hold a TensorFlow landmark detector. for_fit: whether the coefficients are fitted. The
    other arguments are those of `ClipSettings`. Raises InputError if a network is missing.
    """
    detects = face_detector(detector)
    follower = partial(FaceFollower, all_faces, Embedder(load_recognition("dlib", Path())),
                       None if detector == "mediapipe" else detects)
    return ClipSettings(follower, landmark_detector(lm_model, detects) if for_fit else None, all_faces, smooth,
                        batch_size, unfinished, text)


class ClipReconstructor:
    """Makes the clips of videos. advance: is told how many frames are done."""

    def __init__(self, reconstructor: Reconstructor, settings: ClipSettings, advance: Callable[[int], None]):
        self.reconstructor, self.settings, self.advance = reconstructor, settings, advance

    def __call__(self, video: Video, name: str) -> tuple[list[Clip], str]:
        """Returns the clip of each person in a video, and a remark for the user or "".

        name: of the result files. The work is saved from time to time, and when it is interrupted; the next call with
        the same video and settings continues there. Raises InputError if the video cannot be read or shows no face.
        """
        place = self.settings.unfinished / f"{name}.npz"
        text = self.describe(video)
        recording = Recording.load(place, text) or Recording()
        with _Saver(lambda: recording.save(place, text)) as saver:
            self.find_faces(video, recording, saver)
            if self.reconstructor.fitter:
                self.fit(video, recording, saver)
        return self.make_clips(video, name, recording), video.remark(len(recording.times))

    def is_finished(self, video: Video, name: str) -> bool:
        """Whether `finish` was called for this video, with the same settings, in a run that was interrupted later."""
        mark = self.settings.unfinished / f"{name}.finished"
        return mark.is_file() and mark.read_text(encoding="utf-8") == self.describe(video)

    def finish(self, video: Video, name: str):
        """Note that the results of a video are written, so that the next run does not compute them again if this one is
        interrupted."""
        with atomic_write(self.settings.unfinished / f"{name}.finished") as temporary:
            temporary.write_text(self.describe(video), encoding="utf-8")
        (self.settings.unfinished / f"{name}.npz").unlink()

    def find_faces(self, video: Video, recording: Recording, saver: "_Saver"):
        """Follow the faces in the frames of a video after those of the recording, and add them to it."""
        follower = self.settings.follower()
        done, _, state = recording.complete
        if done:
            follower.restore(state)
        self.advance(done)
        for chunk in read_ahead(_follow(video, done, follower), 1):
            faces = [face for faces in chunk.aligned for face in faces]
            coefficients = self.compute(faces, partial(self.reconstructor.estimate, fit=False))
            for frame_time, frame, tracked, aligned in zip(chunk.times, chunk.numbers, chunk.tracked, chunk.aligned,
                                                           strict=True):
                recording.times.append(frame_time)
                for found, face in zip(tracked, aligned, strict=True):
                    values = next(coefficients)
                    sure = found.score * confidence(values[None], face.trans_params[None])[0]
                    recording.add(frame=frame, track=found.track, starts=found.starts, confidence=sure,
                                  landmarks=found.landmarks, trans_params=face.trans_params, turns=face.turns,
                                  coefficients=values)
            recording.commit(chunk.state)
            saver.save_if_due()
            self.advance(len(chunk.times))

    def fit(self, video: Video, recording: Recording, saver: "_Saver"):
        """Fit the coefficients of the recording. All faces of a person share identity and albedo, which are the means
        of those fitted to some of the faces."""
        persons = recording["track"]
        rows = np.sort(np.concatenate([_most_telling(recording["confidence"][rows], rows)
                                       for rows in recording.tracks(1)] or [[]])).astype(int)
        fitted = np.array(list(self.compute([face for _, face in self.read_again(video, recording, rows)],
                                            self.reconstructor.estimate)))
        identities = {person: mean_identity(fitted[persons[rows] == person],
                                            recording["confidence"][rows[persons[rows] == person]])
                      for person in np.unique(persons[rows]).tolist()}
        done = 0
        for batch in _batched(self.read_again(video, recording, range(recording.fitted, recording.count)),
                              self.settings.batch_size):
            for person in {int(persons[row]) for row, _ in batch}:
                mine = {row: face for row, face in batch if persons[row] == person}
                recording["coefficients"][list(mine)] = self.reconstructor.estimate(list(mine.values()),
                                                                                    identities[person])
            recording.fitted = batch[-1][0] + 1
            saver.save_if_due()
            frames = int(recording["frame"][batch[-1][0]]) + 1
            self.advance(frames - done)
            done = frames
        self.advance(len(recording.times) - done)

    def read_again(self, video: Video, recording: Recording, rows: Iterable[int]) -> Iterator[tuple[int, AlignedFace]]:
        """Yields the rows of a recording, in rising order, with their faces cropped for a fit."""
        rows = list(rows)
        frames, frame = video.frames(int(recording["frame"][rows[0]])) if rows else iter(()), None
        for row in rows:
            while frame is None or frame.number < recording["frame"][row]:
                frame = next(frames)
            face = align_face(video.path, "", "", frame.pixels, FacePoints(recording["landmarks"][row].astype(float),
                                                                          given=False), self.settings.landmark_detector)
            yield row, face

    def make_clips(self, video: Video, name: str, recording: Recording) -> list[Clip]:
        """Returns the clip of each person in a recording that is complete. Raises InputError if there is no face."""
        if not recording.count:
            raise InputError(f"{video.path}: no face found in its {len(recording.times)} frames")
        tracks = recording.tracks(min(LEAST_FRAMES, max(len(recording.times) // 2, 1))) or recording.tracks(1)
        if not self.settings.all_faces:
            tracks = [max(tracks, key=len)]
        model, times = self.reconstructor.face_model, np.array(recording.times)
        sound = video.path if video.has_sound else None
        return [make_clip(video.path, f"{name}_{number}" if self.settings.all_faces else name, video.rate, sound, times,
                          self.track(recording, rows), model.focal, model.camera_d, self.settings.smooth)
                for number, rows in enumerate(tracks)]

    def track(self, recording: Recording, rows: np.ndarray) -> Track:
        """Returns the track of these rows. If expression and pose are those of the network alone, they are brought
        nearer to the landmarks of the frames, on a face with the identity of the person."""
        track = recording.track(rows)
        if self.reconstructor.fitter:
            return track
        coefficients = track.coefficients.copy()
        coefficients[:, IDENTITY] = mean_identity(coefficients, track.confidence)
        landmarks = [crop_to_projection(photo_to_crop(flip_y(points, place[1]), place), place)
                     for points, place in zip(recording["landmarks"][rows], track.trans_params, strict=True)]
        return replace(track, coefficients=move_onto_landmarks(self.reconstructor.face_model, coefficients,
                                                               np.stack(landmarks)))

    def compute(self, faces: list[AlignedFace], estimate: Callable[[list[AlignedFace]], np.ndarray]
                ) -> Iterator[np.ndarray]:
        """Yields the coefficients (257,) of faces, which are computed in batches."""
        for batch in _batched(faces, self.settings.batch_size):
            yield from estimate(batch)

    def describe(self, video: Video) -> str:
        """What the numbers of a recording depend on."""
        stat = video.path.stat()
        return f"{video.path.resolve()!r} {stat.st_size} {stat.st_mtime_ns} {video.rate} {self.settings.text}"


class _Chunk(NamedTuple):
    """Some frames, one after the other, and the faces in each of them."""
    numbers: list[int]
    times: list[float]
    tracked: list[list[TrackedFace]]
    aligned: list[list[AlignedFace]]
    state: dict[str, np.ndarray]   # of the follower after these frames


def _follow(video: Video, start: int, follower: FaceFollower) -> Iterator[_Chunk]:
    """Yields the frames of a video from the one with the number `start`, with the faces in them."""
    for frames in _batched(video.frames(start), FRAMES_AT_ONCE):
        faces = [_align_tracked(video, frame, follower(frame.pixels)) for frame in frames]
        yield _Chunk([frame.number for frame in frames], [frame.time for frame in frames],
                     [[tracked for tracked, _ in found] for found in faces],
                     [[aligned for _, aligned in found] for found in faces], follower.state())


def _align_tracked(video: Video, frame: Frame, found: list[TrackedFace]) -> list[tuple[TrackedFace, AlignedFace]]:
    """Returns the faces in a frame with their crops, without those whose landmarks cannot be those of a face."""
    faces = []
    for tracked in found:
        try:
            faces.append((tracked, align_face(video.path, "", "", frame.pixels,
                                              FacePoints(tracked.landmarks, given=False), None)))
        except InputError:
            continue
    return faces


def _most_telling(confidence: np.ndarray, rows: np.ndarray) -> list[int]:
    """Returns some of the rows (M,) of a person, spread over the video: the most confident one of each part of it."""
    parts = np.array_split(np.arange(len(rows)), min(IDENTITY_FACES, len(rows)))
    return [int(rows[part[confidence[part].argmax()]]) for part in parts]


def _batched(items: Iterable, size: int) -> Iterator[list]:
    items = iter(items)
    while batch := list(itertools.islice(items, size)):
        yield batch


class _Saver:
    """Calls a function that saves the work: from time to time, and when the block ends, also by an interruption."""

    def __init__(self, save: Callable[[], None]):
        self.save, self.last = save, time.monotonic()

    def __enter__(self) -> "_Saver":
        return self

    def __exit__(self, *_):
        self.save()

    def save_if_due(self):
        if time.monotonic() - self.last > SAVE_EVERY:
            self.save()
            self.last = time.monotonic()
