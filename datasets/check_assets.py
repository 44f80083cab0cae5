"""Lists the optional files that users of the original method have: which exist, and whether they are valid.

    python -m datasets.check_assets [--bfm_folder=BFM] [--checkpoints_dir=checkpoints]

It prints for each file whether it was found, its purpose, its contents or what is wrong with it, and where to get a
missing one.
"""
import argparse
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from datasets.frozen_landmarks import FrozenLandmarkDetector, read_box_network, read_mean_face
from models import arcface, basel
from models.checkpoints import load_imagenet_init, load_regressor, load_weights
from models.face_model_files import load_face_model_data
from models.recognition import load_recognition
from models.regressor import Regressor, backbone_of
from util import assets
from util.command import safe_output
from util.files import InputError
from util.mat_files import read_mat


def survey(bfm_folder: Path, checkpoints_dir: Path) -> Iterator[tuple[str, Path, assets.Asset, str]]:
    """Check all assets. Yields for each file: "found", "unusable" or "missing"; its path; the asset; and its contents,
    or what is wrong with it, "" for a missing file.

    bfm_folder, checkpoints_dir: the folders of the options with these names.
    """
    for folder, checks in ((bfm_folder, _face_model_checks()), (checkpoints_dir, _network_checks())):
        for asset, check in checks.items():
            paths = sorted(folder.glob(asset.pattern or asset.name))
            for path in paths:
                try:
                    yield "found", path, asset, check(path)
                except InputError as error:
                    yield "unusable", path, asset, str(error)
            if not paths:
                yield "missing", folder / asset.name, asset, ""


def _face_model_checks() -> dict[assets.Asset, Callable[[Path], str]]:
    """Functions that describe the contents of a file in the folder of face models, or raise InputError."""
    def shapes(values: dict) -> str:
        return ", ".join(f"{name} {' x '.join(map(str, array.shape))}" for name, array in values.items())

    def face_model(path: Path) -> str:
        data = load_face_model_data(path.parent, path.name)
        components = " + ".join(str(data[base].shape[1]) for base in ("idBase", "exBase", "texBase"))
        return f"{len(data['point_buf'])} vertices, {len(data['tri'])} triangles, {components} components"

    return {
        assets.MORPHABLE_MODEL: lambda path: shapes(read_mat(path, basel.MORPHABLE_SHAPES)),
        assets.EXPRESSIONS: lambda path: f"{len(basel.read_expressions(path))} components",
        assets.EXPRESSION_SPREAD: lambda path: f"{len(basel.read_expression_spread(path))} numbers",
        assets.FRONT_CHOICE: lambda path: f"{len(basel.read_front_choice(path))} vertices",
        assets.EXPRESSION_CHOICE: lambda path: f"{len(basel.read_expression_choice(path))} vertices",
        assets.TOPOLOGY: lambda path: shapes(read_mat(path, basel.TOPOLOGY_SHAPES)),
        assets.BASEL_FRONT: face_model,
        assets.PHOTO_MODEL: face_model,
        assets.OPEN_MODEL: face_model,
        assets.STANDARD_LANDMARKS: lambda path: shapes(read_mat(path, {"lm": (68, 3)}))}


def _network_checks() -> dict[assets.Asset, Callable[[Path], str]]:
    """Functions that describe the contents of a file in the folder of checkpoints, or raise InputError."""
    def checkpoint(path: Path) -> str:
        network = load_regressor(path)
        kind = "seven heads" if hasattr(network, "final_layers") else "one last layer"
        return f"{backbone_of(network.state_dict())}, {kind}"

    def imagenet(path: Path) -> str:
        state = load_weights(path, "ImageNet weights")
        found = backbone_of({f"backbone.{key}": value for key, value in state.items()}) or "resnet50"
        load_imagenet_init(Regressor(found), path)
        return found

    def recognition(path: Path) -> str:
        found = arcface.name_of(load_weights(path, "recognition network")) or "r50"
        load_recognition(found, path)
        return f"IResNet {found}"

    def landmarks(path: Path) -> str:
        FrozenLandmarkDetector(path.parent).in_crop(np.zeros((224, 224, 3), np.float32))
        return "a graph that finds 68 points"

    def mean_face(path: Path) -> str:
        return f"{len(read_mean_face(path))} points"

    return {
        assets.CHECKPOINT: checkpoint, assets.IMAGENET: imagenet, assets.RECOGNITION: recognition,
        assets.LANDMARK_DETECTOR: landmarks,
        assets.LANDMARK_DETECTOR_BOX: lambda path: f"{sum(array.size for array in read_box_network(path))} weights",
        assets.LANDMARK_DETECTOR_MEAN: mean_face}


def main():
    parser = argparse.ArgumentParser(prog="python -m datasets.check_assets", description=__doc__.splitlines()[0])
    parser.add_argument("--bfm_folder", type=Path, default=Path("BFM"))
    parser.add_argument("--checkpoints_dir", type=Path, default=Path("checkpoints"))
    options = parser.parse_args()
    print("All these files are optional: without them, the open face model and the built-in detectors are used.")
    for state, path, asset, contents in survey(options.bfm_folder, options.checkpoints_dir):
        print(f"{state:8} {path}")
        remarks = [asset.purpose] + [contents] * bool(contents) + [f"from {asset.source}"] * (state != "found")
        for remark in remarks:
            print(textwrap.fill(remark, 110, initial_indent=" " * 9, subsequent_indent=" " * 11,
                                break_long_words=False, break_on_hyphens=False))


if __name__ == "__main__":
    with safe_output():
        main()
