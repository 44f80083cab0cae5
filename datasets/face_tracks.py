"""Follows the faces of persons from frame to frame of a video."""
import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import cv2
import numpy as np
import torch
from scipy.optimize import linear_sum_assignment

from datasets.face_detection import FaceDetector
from datasets.mediapipe_detection import MediapipeDetector
from models.coordinates import flip_y
from models.landmarks import five_points
from models.recognition import Recognition
from models.records import FoundFace
from util.files import InputError

# Returns a unit vector (D,) that tells whose face it is, from a photo (H, W, 3) uint8 RGB and landmarks (68, 2) px, y
# down.
Embed = Callable[[np.ndarray, np.ndarray], np.ndarray]

_LEAST_PRESENCE = 0.5   # of a face that is followed, by the score of its mesh
_MOST_MOVED = 0.6       # distance from where a face was expected, in sizes of the face
_MOST_RESIZED = 1.4     # change of its size, a factor
_OVERLAP = 0.5          # distance of two faces, in sizes of the smaller one, below which they are one and the same
# 1 - cosine of embeddings: below the first, two faces are of one person; below the second, they may be, if the place
# agrees too; above the third, they are certainly not.
_SAME, _MAYBE_SAME, _OTHER = 0.09, 0.13, 0.16
_EMBED_EVERY = 15       # frames between two embeddings of a face that is followed
_SEARCH_EVERY = 12      # frames between two searches for further faces
_SEARCH_THOROUGHLY_EVERY = 60   # the same for searches that also find small and turned faces, which take longer
# For so many frames after a face is lost, every frame is searched for it, and then, for so many, every third one.
_SEARCH_LOST, _SEARCH_LOST_LONG = 5, 100
# A cut changes the small grey copy of the frame at once by so much on average, of 255, and by this factor more than the
# frames before have changed. A smaller sudden change may be a cut, too: the faces that are followed are then looked at.
_COPY, _CUT, _PERHAPS_CUT, _CUT_FACTOR = (32, 18), 24, 8, 4


@dataclass(frozen=True)
class TrackedFace:
    """The face of a person in a frame."""
    track: int            # the number of the person, from 0
    landmarks: np.ndarray  # (68, 2) px, y down
    score: float          # how sure it is that there is a face, 0..1
    starts: bool          # whether it does not continue the face of the frame before


@dataclass
class _Track:
    """What is known of a person whose face is followed."""
    number: int
    center: np.ndarray                 # (2,) px, y down, in the frame in which it was last seen
    size: float                        # px
    five: np.ndarray                   # (5, 2) px, y down
    seen: int                          # the frame in which it was last seen
    appearance: np.ndarray             # (D,) mean embedding, of unit length
    velocity: np.ndarray = field(default_factory=lambda: np.zeros(2))   # px for each frame
    embedded: int = -1000              # the frame of the last embedding
    count: int = 0                     # the number of frames in which it was seen
    active: bool = True                # whether it was seen in the last frame
    doubtful: bool = False             # whether it has met another face since its last certain embedding


class FaceFollower:
    """Follows faces. It is called with the frames of a video one after the other.

    The landmarks of a face in one frame tell where it is in the next one. The whole frame is searched at the start,
    after a cut, when a face is lost and, with all_faces, from time to time. A face that is found again belongs to the
    person whose embeddings it resembles most.

    all_faces: follow every face, otherwise one at a time: the largest when the search begins. embed: see `Embed`.
    landmark_detector: finds the landmarks of each face instead of MediaPipe's mesh; None: the mesh does.
    """

    def __init__(self, all_faces: bool, embed: Embed, landmark_detector: FaceDetector | None = None):
        self.all_faces, self.embed, self.landmark_detector = all_faces, embed, landmark_detector
        self.detector = MediapipeDetector()
        self.tracks: list[_Track] = []
        self.frame = -1
        self.last_thorough = 0
        self.cuts = CutDetector()

    def __call__(self, photo: np.ndarray) -> list[TrackedFace]:
        """Returns the faces in the next frame (H, W, 3) uint8 RGB, by the number of the person."""
        self.frame += 1
        cut = self.cuts(photo)
        was_active = {track.number for track in self.tracks if track.active and not cut}
        faces: dict[int, FoundFace] = {}   # by the number of the track
        for track in self.tracks:
            if track.active:
                face = None if cut else self._follow(photo, track)
                track.active = face is not None
                if face:
                    faces[track.number] = face
        self._separate(photo, faces)
        if self._search_is_due(cut):
            swapped = self._search(photo, faces, cut)
            was_active -= swapped
        for number, face in faces.items():
            self._update(photo, self.tracks[number], face, number in was_active)
        return [TrackedFace(number, self._landmarks(photo, face), face.score, number not in was_active)
                for number, face in sorted(faces.items())]

    def state(self) -> dict[str, np.ndarray]:
        """Returns everything that is known of the frames so far, as arrays by name, see `restore`."""
        tracks = [vars(track) for track in self.tracks]
        arrays = {f"track_{name}": np.array([track[name] for track in tracks]) for name in (tracks or [{}])[0]}
        cuts = self.cuts
        return arrays | {"frame": np.array([self.frame, self.last_thorough, cuts.frame, cuts.last]),
                         "copy": cuts.copy, "changes": np.array(cuts.changes)}

    def restore(self, state: dict[str, np.ndarray]):
        """Continue after the frames that another follower has seen. state: what its `state` returned."""
        columns = {name.removeprefix("track_"): values for name, values in state.items() if name.startswith("track_")}
        self.tracks = [_Track(**dict(zip(columns, row, strict=True))) for row in zip(*columns.values(), strict=True)]
        self.frame, self.last_thorough, self.cuts.frame, self.cuts.last = state["frame"].tolist()
        self.cuts.copy = state["copy"]
        self.cuts.changes.extend(state["changes"].tolist())

    def _follow(self, photo: np.ndarray, track: _Track) -> FoundFace | None:
        """Returns the face of a track that was seen in the frame before. None if it is lost, or if there is the face of
        another person now, as after a cut."""
        try:
            face = self.detector.face_at(photo, track.five + track.velocity)
        except InputError:   # it has left the frame
            return None
        center, size = _place(face)
        moved = math.dist(center, track.center + track.velocity) / track.size
        resized = max(size / track.size, track.size / size)
        if face.score < _LEAST_PRESENCE or moved >= _MOST_MOVED or resized >= _MOST_RESIZED:
            return None
        if self.cuts.perhaps and _difference(track, self.embed(photo, face.landmarks)) > _SAME:
            return None
        return face

    def _separate(self, photo: np.ndarray, faces: dict[int, FoundFace]):
        """Leave only one of two tracks that have come to follow the same face: the one that resembles it more."""
        for number in sorted(faces):
            for other in sorted(faces):
                if number < other and number in faces and other in faces and _is_same(faces[number], faces[other]):
                    embedding = self.embed(photo, faces[number].landmarks)
                    first, second = self.tracks[number], self.tracks[other]
                    lost = first if _difference(first, embedding) > _difference(second, embedding) else second
                    del faces[lost.number]
                    lost.active = False
                    first.doubtful = second.doubtful = True

    def _search_is_due(self, cut: bool) -> bool:
        """Whether the frame is searched for faces."""
        missing = [track for track in self.tracks if not track.active]
        since = self.frame - max((track.seen for track in missing), default=-1)   # the last face was lost, frames
        if cut or self.frame == 0:
            return True
        if len(missing) == len(self.tracks) or self.all_faces and missing:
            every = 1 if since <= _SEARCH_LOST else 3 if since <= _SEARCH_LOST_LONG else _SEARCH_EVERY
            return self.frame % (min(every, 3) if len(missing) == len(self.tracks) else every) == 0
        main = max(self.tracks, key=lambda track: track.count)
        return (self.all_faces or not main.active) and self.frame % _SEARCH_EVERY == 0

    def _search(self, photo: np.ndarray, faces: dict[int, FoundFace], cut: bool) -> set[int]:
        """Search a frame for further faces, and add them to `faces`. Returns the tracks that now follow another face
        than before."""
        if cut or self.frame == 0 or self.frame - self.last_thorough >= _SEARCH_THOROUGHLY_EVERY:
            self.last_thorough = self.frame
            found = self.detector.detect(photo, self.all_faces)
        else:
            found = self.detector.detect_quickly(photo)
        found = [face for face in found if not any(_is_same(face, other) for other in faces.values())]
        if not found:
            return set()
        doubtful = [number for number in faces if self.tracks[number].doubtful]
        candidates = found + [faces[number] for number in doubtful]
        waiting = [track for track in self.tracks if track.number not in faces or track.number in doubtful]
        embeddings = [self.embed(photo, face.landmarks) for face in candidates]
        owners = self._match(candidates, embeddings, waiting)
        if not self.all_faces:   # only the person seen most replaces another one; else a known person, or the largest
            best = max(owners, default=0, key=lambda i: owners[i].count)
            if faces and not (owners and owners[best].count > max(self.tracks[number].count for number in faces)):
                return set()
            self._drop(faces)
            candidates, embeddings = [candidates[best]], [embeddings[best]]
            owners = {0: owners[best]} if best in owners else {}
        changed = set()
        before = [(number, faces.pop(number)) for number in doubtful if number in faces]
        for i, (face, embedding) in enumerate(zip(candidates, embeddings, strict=True)):
            track = owners.get(i)
            if track is None and i < len(found):
                track = _Track(len(self.tracks), *_place(face), five_points(face.landmarks), self.frame, embedding)
                self.tracks.append(track)
            if track is not None:
                track.active, track.doubtful = True, False
                faces[track.number] = face
                changed.add(track.number)
        for number, face in before:   # a face that resembles nobody stays with its track
            if number not in faces and not any(face is other for other in faces.values()):
                faces[number] = face
            if faces.get(number) is face:
                changed.discard(number)
            self.tracks[number].active = number in faces
        return changed

    def _drop(self, faces: dict[int, FoundFace]):
        """Follow no face any more."""
        for number in faces:
            self.tracks[number].active = False
        faces.clear()

    def _match(self, faces: list[FoundFace], embeddings: list[np.ndarray], tracks: list[_Track]) -> dict[int, _Track]:
        """Returns the tracks to which faces belong, by the number of the face in the list."""
        if not tracks:
            return {}
        costs = np.array([[_difference(track, embedding) + self._discount_for_place(face, track) for track in tracks]
                          for face, embedding in zip(faces, embeddings, strict=True)])
        pairs = zip(*linear_sum_assignment(costs.clip(max=_OTHER)), strict=True)
        return {face: tracks[track] for face, track in pairs if costs[face, track] < _SAME}

    def _discount_for_place(self, face: FoundFace, track: _Track) -> float:
        """Returns what is added to the difference of a face and a track: a number below 0 if the face is where the
        track was a moment ago, which makes it likelier that they belong together, or else 0."""
        center, size = _place(face)
        frames = self.frame - track.seen
        moved = math.dist(center, track.center + min(frames, 5) * track.velocity) / track.size
        near = frames <= 30 and not self.cuts.perhaps and self.cuts.last < track.seen and moved < 1 + 0.05 * frames
        return _SAME - _MAYBE_SAME if near else 0

    def _update(self, photo: np.ndarray, track: _Track, face: FoundFace, continues: bool):
        center, size = _place(face)
        velocity = center - track.center if continues else np.zeros(2)
        track.count += 1
        track.velocity = (track.velocity + velocity) / 2
        track.center, track.size, track.five, track.seen = center, size, five_points(face.landmarks), self.frame
        if self.frame - track.embedded >= _EMBED_EVERY and not track.doubtful:
            mean = 0.9 * track.appearance + 0.1 * self.embed(photo, face.landmarks)
            track.appearance, track.embedded = mean / np.linalg.norm(mean), self.frame

    def _landmarks(self, photo: np.ndarray, face: FoundFace) -> np.ndarray:
        if self.landmark_detector is None:
            return face.landmarks
        return self.landmark_detector.face_at(photo, five_points(face.landmarks)).landmarks


class CutDetector:
    """Tells whether a frame starts a new scene. It is called with the frames one after the other."""

    def __init__(self):
        self.copy: np.ndarray | None = None   # of the frame before
        self.changes = deque([0.0], maxlen=5)
        self.frame = self.last = -1   # the number of the frame, and of the last one that has started a scene
        self.perhaps = False          # whether the frame may start a scene

    def __call__(self, photo: np.ndarray) -> bool:
        """Returns whether a frame (H, W, 3) uint8 RGB shows another scene than the one before."""
        self.frame += 1
        copy = cv2.resize(photo, _COPY, interpolation=cv2.INTER_AREA).mean(2)
        change = 0.0 if self.copy is None else float(np.abs(copy - self.copy).mean())
        sudden = _CUT_FACTOR * float(np.median(self.changes))
        self.perhaps, is_cut = change > max(_PERHAPS_CUT, sudden), change > max(_CUT, sudden)
        self.changes.append(change)
        self.copy = copy
        if is_cut:
            self.last = self.frame
        return is_cut


def _place(face: FoundFace) -> tuple[np.ndarray, float]:
    """The centre (2,) and the size of a face, px: the distance of its farthest landmarks along the axes."""
    low, high = face.landmarks.min(0), face.landmarks.max(0)
    return (low + high) / 2, max(float((high - low).max()), 1.0)


def _is_same(face: FoundFace, other: FoundFace) -> bool:
    """Whether two faces found in a frame lie at the same place, so that they are one."""
    (center, size), (other_center, other_size) = _place(face), _place(other)
    return math.dist(center, other_center) < _OVERLAP * min(size, other_size)


def _difference(track: _Track, embedding: np.ndarray) -> float:
    """1 - cosine of the embeddings of a person and of a face."""
    return float(1 - track.appearance @ embedding)


class Embedder:
    """Computes the `Embed` of faces. recognition: the network, on the CPU."""

    def __init__(self, recognition: Recognition):
        self.recognition = recognition

    def __call__(self, photo: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
        """Returns a unit vector (D,), see `Embed`."""
        margin = np.ptp(landmarks, axis=0) / 2
        low = np.floor(landmarks.min(0) - margin).astype(int).clip(0, np.array(photo.shape[1::-1]) - 1)
        high = np.ceil(landmarks.max(0) + margin).astype(int)
        part = photo[low[1]:max(high[1], low[1] + 1), low[0]:max(high[0], low[0] + 1)]
        pixels = torch.from_numpy(np.ascontiguousarray(part)).permute(2, 0, 1)[None].float() / 255
        points = torch.from_numpy(flip_y(landmarks - low, len(part)))[None].float()
        with torch.inference_mode():
            return self.recognition(pixels, points)[0].numpy()
