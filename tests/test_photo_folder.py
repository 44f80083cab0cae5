import cv2
import numpy as np
from conftest import ROOT

from datasets.photo_folder import PhotoFolder
from util.face_detection import Face

EXAMPLE = ROOT / "datasets" / "examples" / "grace_hopper.jpg"


def test_a_face_that_cannot_be_aligned_does_not_take_the_others_along():
    folder = PhotoFolder([EXAMPLE], all_faces=True)
    face, = folder.detector.detect(cv2.imread(EXAMPLE)[..., ::-1])
    point = Face(face.box, np.full((68, 2), 100.0))
    folder.detector.detect = lambda photo: [face, point, face]
    photo = folder[0]
    assert [each.name for each in photo.faces] == ["grace_hopper_0", "grace_hopper_2"]
    assert "face 1: the five points" in photo.problem
