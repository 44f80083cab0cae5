"""Finding NVIDIA's own nvdiffrast where both packages are installed: ours hides it by name."""

import importlib
import importlib.util
import sys
from importlib.machinery import PathFinder
from pathlib import Path


def find_nvidia():
    """NVIDIA's nvdiffrast.torch module, or None where it is not installed.

    `sys.modules` and later imports of nvdiffrast are as before. An installed package that cannot be
    imported raises its own error.
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
    here = Path(__file__).resolve().parent
    for entry in sys.path:
        spec = PathFinder.find_spec("nvdiffrast", [entry])
        # A package without an __init__.py (origin None) is a left-over folder.
        if spec is not None and spec.origin is not None and Path(spec.origin).resolve().parent != here:
            return spec
    return None


def _own_modules():
    return [name for name in sys.modules if name == "nvdiffrast" or name.startswith("nvdiffrast.")]
