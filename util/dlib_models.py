"""Finds the trained models for dlib, which are installed with the package face_recognition_models."""
import importlib.util
from pathlib import Path

from util.files import InputError

PACKAGE = "face_recognition_models"


def dlib_model_file(name: str) -> Path:
    """The path of one of the package's model files. It is not imported, because that would need an old setuptools.

    Raises InputError if the package is not installed or lacks the file.
    """
    spec = importlib.util.find_spec(PACKAGE)
    path = Path(spec.origin).parent / "models" / name if spec else None
    if path is None or not path.is_file():
        raise InputError(f"dlib's model {name} is not installed: pip install {PACKAGE}")
    return path
