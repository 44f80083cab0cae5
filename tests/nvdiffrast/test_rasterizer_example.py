"""The example finds the pose, and does not without antialiasing."""

import pytest
import torch
from PIL import Image

import nvdiffrast.torch as dr
from nvdiffrast.examples import pose


def test_the_pose_is_recovered(tmp_path, capsys):
    pose.main(["--size=64", "--steps=100", f"--picture={tmp_path / 'steps.png'}"])
    distances = [float(line.split()[3]) for line in capsys.readouterr().out.splitlines()]
    assert distances[0] > 1
    assert distances[-1] < 0.01
    assert Image.open(tmp_path / "steps.png").size == (6 * 64, 64)


def test_without_antialiasing_a_picture_of_flat_sides_has_no_gradient(monkeypatch):
    def gradient():
        start = torch.tensor(pose.START, requires_grad=True)
        return torch.autograd.grad((pose.draw(start, 32) - target).square().sum(), start)[0]

    target = pose.draw(torch.tensor(pose.TARGET), 32)
    assert gradient().abs().min() > 0.1
    monkeypatch.setattr(dr, "antialias", lambda image, *_: image)
    assert gradient().abs().max() == pytest.approx(0, abs=1e-3)
