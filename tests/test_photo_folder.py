import cv2
import numpy as np
import pytest
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


@pytest.mark.parametrize("verbose", [False, True])
def test_an_unexpected_error_leaves_out_the_photo_and_with_verbose_tells_its_trace(verbose):
    folder = PhotoFolder([EXAMPLE], all_faces=True, verbose=verbose)

    def fail(photo):
        raise ZeroDivisionError("by chance")

    folder.detector.detect = fail
    photo = folder[0]
    assert photo.problem == f"{EXAMPLE}: ZeroDivisionError: by chance"
    assert ("in fail" in photo.remark) == verbose
