"""NVIDIA's package is found, and importing it does not disturb this one."""

import sys

import pytest

import nvdiffrast.torch as ours
from nvdiffrast.nvidia import find_nvidia
from tests.helpers import install_nvidia_stub


@pytest.mark.parametrize("place", ["before", "behind"])
def test_found(tmp_path, monkeypatch, place):
    install_nvidia_stub(tmp_path)
    path = [str(tmp_path), *sys.path] if place == "before" else [*sys.path, str(tmp_path)]
    monkeypatch.setattr(sys, "path", path)
    modules = dict(sys.modules)
    theirs = find_nvidia()
    assert theirs.rasterize() == "theirs" and theirs.version == "theirs"
    assert {k: v for k, v in sys.modules.items() if "nvdiffrast" in k} == {
        k: v for k, v in modules.items() if "nvdiffrast" in k
    }
    import nvdiffrast.torch as again

    assert again is ours


def test_absent(tmp_path, monkeypatch):
    (tmp_path / "nvdiffrast").mkdir()
    own = [entry for entry in sys.path if "site-packages" not in entry]
    monkeypatch.setattr(sys, "path", [*own, str(tmp_path)])
    assert find_nvidia() is None


def test_broken_installation_says_why(tmp_path, monkeypatch):
    install_nvidia_stub(tmp_path, "raise ImportError('no compiler')\n")
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    with pytest.raises(ImportError, match="no compiler"):
        find_nvidia()
    assert sys.modules["nvdiffrast.torch"] is ours
