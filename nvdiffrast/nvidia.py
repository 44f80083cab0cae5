"""Finds NVIDIA's own nvdiffrast if it is installed too. This package has the same name and hides it."""

import importlib
import importlib.util
import sys
from importlib.machinery import PathFinder
from pathlib import Path


def find_nvidia():
    """Returns NVIDIA's module nvdiffrast.torch, or None if it is not installed.

    `sys.modules` is left as it was, so later imports of nvdiffrast give this package. If NVIDIA's package is installed
    but its import fails, its error is raised.
    """
    spec = _spec_behind_ours()
    if spec is None:
        return None
    # The import runs under the real name, because a package may import itself by name.
    ours = {name: sys.modules.pop(name) for name in _own_modules()}
    try:
        package = importlib.util.module_from_spec(spec)
        sys.modules["nvdiffrast"] = package
        spec.loader.exec_module(package)
        return importlib.import_module("nvdiffrast.torch")
    finally:
        for name in _own_modules():
            del sys.modules[name]
        sys.modules.update(ours)


def _spec_behind_ours():
    """Returns the import specification of another package nvdiffrast on the Python path, or None."""
    here = Path(__file__).resolve().parent
    for entry in sys.path:
        spec = PathFinder.find_spec("nvdiffrast", [entry])
        # Without an __init__.py (origin None) it is only a folder of that name.
        if spec is not None and spec.origin is not None and Path(spec.origin).resolve().parent != here:
            return spec
    return None


def _own_modules():
    return [name for name in sys.modules if name == "nvdiffrast" or name.startswith("nvdiffrast.")]
