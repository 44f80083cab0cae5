"""Following faces through clips that are made of the example photos."""
import cv2
import numpy as np
import pytest

from datasets.face_detection import face_detector
from datasets.face_tracks import CutDetector, Embedder, FaceFollower, TrackedFace
from datasets.photos import read_photo
from models.recognition import load_recognition
from tests.helpers import EXAMPLES

WIDTH, HEIGHT = 640, 360


@pytest.fixture(scope="module")
def embed():
    return Embedder(load_recognition("dlib", None))


@pytest.fixture(scope="module")
def heads() -> list[np.ndarray]:
    """Two persons, each (260, 200, 3) uint8 RGB with the face about 110 px wide in the middle."""
    woman, man = read_photo(EXAMPLES / "astronaut.png"), read_photo(EXAMPLES / "grace_hopper.jpg")
    return [cv2.resize(woman[0:260, 120:320], (200, 260)), cv2.resize(man[20:540, 60:460], (200, 260))]


def scene(*places: tuple[np.ndarray, int, int]) -> np.ndarray:
    """A frame with heads at places x, y of their left upper corners; the last one is in front."""
    frame = np.full((HEIGHT, WIDTH, 3), 110, np.uint8)
    for head, x, y in places:
        frame[y:y + 260, x:x + 200] = head
    return frame


def follow(follower: FaceFollower, frames: list[np.ndarray]) -> list[list[TrackedFace]]:
    return [follower(frame) for frame in frames]


def test_a_moving_face_is_followed_through_an_occlusion_and_a_cut(heads, embed):
    woman, man = heads
    places = [60 + 6 * i for i in range(34)]
    frames = [scene((woman, x, 40 + x // 10)) for x in places]
    for hidden in range(8, 18):
        frames[hidden] = scene()
    frames[24:29] = [scene((man, 400, 80))] * 5
    found = follow(FaceFollower(False, embed), frames)

    numbers = [[face.track for face in faces] for faces in found]
    assert numbers == [[0]] * 8 + [[]] * 10 + [[0]] * 6 + [[1]] * 5 + [[0]] * 5
    assert [frame for frame, faces in enumerate(found) if faces and faces[0].starts] == [0, 18, 24, 29]
    middles = {frame: faces[0].landmarks.mean(0) for frame, faces in enumerate(found) if numbers[frame] == [0]}
    offsets = np.array([middle - (places[frame], 40 + places[frame] // 10) for frame, middle in middles.items()])
    assert offsets.std(0).max() < 1
    expected = face_detector("mediapipe").detect(frames[5])[0].landmarks
    assert np.abs(found[5][0].landmarks - expected).max() < 1.5


def test_another_person_in_the_same_place_is_noticed(heads, embed):
    """After a cut that changes too little of the frame to be seen by its pixels alone."""
    woman, man = ([scene((head, 250, 60))] * 4 for head in heads)
    follower = FaceFollower(False, embed)
    found = follow(follower, woman + man + woman)
    assert follower.cuts.last == -1
    assert [[(face.track, face.starts) for face in faces] for faces in found] == [
        [(number, start)] for number in (0, 1, 0) for start in (True, False, False, False)]


def test_two_people_who_cross_keep_their_names(heads, embed):
    woman, man = heads
    steps = np.linspace(0, 1, 24)
    frames = [scene((man, int(420 - 400 * step), 60), (woman, int(20 + 400 * step), 50)) for step in steps]
    found = follow(FaceFollower(True, embed), frames)

    assert len(found[0]) == 2
    first = {face.track: face.landmarks[:, 0].mean() for face in found[0]}
    left, right = sorted(first, key=first.get)
    last = {face.track: face.landmarks[:, 0].mean() for face in found[-1]}
    assert last[left] > WIDTH / 2 > last[right]
    assert sum(left in [face.track for face in faces] for faces in found) >= 23   # the woman is always in front


def test_a_follower_that_continues_does_what_the_first_one_would_have_done(heads, embed):
    frames = [scene((heads[0], 60 + 8 * i, 50)) for i in range(6)] + [scene()] * 2 + [scene((heads[0], 140, 50))] * 2
    whole = follow(FaceFollower(False, embed), frames)
    for done in (4, 7):
        before, after = FaceFollower(False, embed), FaceFollower(False, embed)
        follow(before, frames[:done])
        after.restore(before.state())
        for faces, expected in zip(follow(after, frames[done:]), whole[done:], strict=True):
            assert [(face.track, face.starts) for face in faces] == [(face.track, face.starts) for face in expected]
            for face, same in zip(faces, expected, strict=True):
                np.testing.assert_array_equal(face.landmarks, same.landmarks)


def test_cuts_are_told_from_motion(heads):
    cuts = CutDetector()
    moving = [scene((heads[0], 60 + 30 * i, 50)) for i in range(5)]
    dark = [moving[-1] // 5, moving[-2] // 5]
    assert [cuts(frame) for frame in moving + dark] == [False] * 5 + [True, False]
