import copy

import numpy as np

from models.face_files import write_face


def test_writing_changes_nothing_and_the_second_time_is_as_the_first(tmp_path):
    random = np.random.default_rng(0)
    result = {
        "crop": random.integers(0, 256, (224, 224, 3), np.uint8),
        "overlay": random.integers(0, 256, (224, 224, 3), np.uint8),
        "landmarks": random.random((68, 2)) * 224, "given": random.random((5, 2)) * 224,
        "vertices": random.random((20, 3)), "color": random.random((20, 3)),
        "coeffs": {"id": random.random(80)}, "trans_params": random.random(5)}
    before, tri = copy.deepcopy(result), random.integers(0, 20, (30, 3))
    for name in ("first", "second"):
        write_face(tmp_path, name, result, tri)
    for kind in ("png", "obj"):
        assert (tmp_path / f"first.{kind}").read_bytes() == (tmp_path / f"second.{kind}").read_bytes()
    np.testing.assert_equal(result, before)
