"""The files that users of the original method have: what each is for and where it comes from. None is needed.

    python -m util.assets [--bfm_folder=BFM] [--checkpoints_dir=checkpoints]

lists which of them are there and whether what they hold is sound.
"""
import argparse
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from util.files import InputError

ORIGINAL = "https://github.com/sicxu/Deep3DFaceRecon_pytorch"
WHERE = "python -m util.assets tells where"
_BESIDE = f"{ORIGINAL}, folder BFM (terms as stated there)"


@dataclass(frozen=True)
class Asset:
    name: str           # its place in --bfm_folder or --checkpoints_dir
    purpose: str
    source: str         # page, name of the file there, licence
    pattern: str = ""   # of its place, where it may have other names

    def missing(self, path: Path) -> str:
        """What to say when it is not at that place."""
        return f"{path} is missing, {self.purpose}: get it from {self.source}"


MORPHABLE_MODEL = Asset(
    "01_MorphableModel.mat", "shape and albedo of the Basel Face Model 2009",
    "https://faces.dmi.unibas.ch/bfm/, the 2009 model, by its form (free for research, not for commerce)")
EXPRESSIONS = Asset(
    "Exp_Pca.bin", "the expressions of Guo et al. for that model",
    "https://github.com/Juyong/3DFace, the archive CoarseData, file Exp_Pca.bin (for research)")
EXPRESSION_SPREAD = Asset("std_exp.txt", "the standard deviations of these expressions", _BESIDE)
FRONT_CHOICE = Asset("BFM_front_idx.mat", "which of the Basel model's vertices make the face", _BESIDE)
EXPRESSION_CHOICE = Asset("BFM_exp_idx.mat", "which of the Basel model's vertices have expressions", _BESIDE)
TOPOLOGY = Asset("facemodel_info.mat", "triangles, landmarks and skin of the Basel model's face", _BESIDE)
BASEL = (MORPHABLE_MODEL, EXPRESSIONS, EXPRESSION_SPREAD, FRONT_CHOICE, EXPRESSION_CHOICE, TOPOLOGY)

BASEL_FRONT = Asset(
    "BFM_model_front.mat", "the Basel model's face, which published networks predict",
    "the six files above: it is derived on first use and kept")
STANDARD_LANDMARKS = Asset(
    "similarity_Lm3D_all.mat", "the standard landmarks, which are also built in: this file is not read", _BESIDE)
OPEN_MODEL = Asset(
    "open_face_model.npz", "the open face model, taken where there is no Basel model",
    "this repository, folder BFM (CC0)")

CHECKPOINT = Asset(
    "<name>/epoch_20.pth", "a trained network (--name, --epoch)",
    f"{ORIGINAL}, the pre-trained model of its README (for the Basel model; terms as stated there), or train one",
    "*/epoch_*.pth")
IMAGENET = Asset(
    "init_model/resnet50-0676ba61.pth", "what training starts from (--init_path)",
    "torchvision, weights IMAGENET1K_V1 of the network (--net_recon); the address of ResNet50's python -c \"from "
    "torchvision.models import ResNet50_Weights as w; print(w.IMAGENET1K_V1.url)\" prints (trained on ImageNet, for "
    "research)",
    "init_model/*.pth")
RECOGNITION = Asset(
    "recog_model/ms1mv3_arcface_r50_fp16/backbone.pth", "whose face it is, in training (--net_recog_path)",
    "https://github.com/deepinsight/insightface/tree/master/recognition/arcface_torch, model zoo, "
    "ms1mv3_arcface_r50_fp16 (for research, not for commerce)",
    "recog_model/*/*.pth")
LANDMARKS = Asset(
    "lm_model/68lm_detector.pb", "the original's detector of 68 landmarks; without it dlib finds them",
    f"{ORIGINAL}, the landmark detector of its README (terms as stated there)")
LANDMARKS_BOX = Asset("lm_model/BBRegressorParam_r.mat", "the crop of that detector",
                      f"{ORIGINAL} (terms as stated there)")
LANDMARKS_MEAN = Asset("lm_model/test_mean_face.txt", "the mean face of that detector",
                       f"{ORIGINAL} (terms as stated there)")


def survey(bfm_folder: Path, checkpoints_dir: Path) -> Iterator[tuple[str, Path, Asset, str]]:
    """Of every asset: found, unusable or missing; its file; itself; what the file holds, or what is wrong with it."""
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


# What reads an asset and tells what it holds. Imported here: the readers take their words from this module.

def _face_model_checks() -> dict[Asset, Callable[[Path], str]]:
    from models import basel
    from models.files import load_face_model_data
    from util.mat_files import read_mat

    def shapes(values: dict) -> str:
        return ", ".join(f"{name} {' x '.join(map(str, array.shape))}" for name, array in values.items())

    def face_model(path: Path) -> str:
        data = load_face_model_data(path.parent, path.name)
        components = " + ".join(str(data[base].shape[1]) for base in ("idBase", "exBase", "texBase"))
        return f"{len(data['point_buf'])} vertices, {len(data['tri'])} triangles, {components} components"

    return {
        MORPHABLE_MODEL: lambda path: shapes(read_mat(path, basel.MORPHABLE_SHAPES)),
        EXPRESSIONS: lambda path: f"{len(basel.read_expressions(path))} components",
        EXPRESSION_SPREAD: lambda path: f"{len(basel.read_expression_spread(path))} numbers",
        FRONT_CHOICE: lambda path: f"{len(basel.read_front_choice(path))} vertices",
        EXPRESSION_CHOICE: lambda path: f"{len(basel.read_expression_choice(path))} vertices",
        TOPOLOGY: lambda path: shapes(read_mat(path, basel.TOPOLOGY_SHAPES)),
        BASEL_FRONT: face_model,
        OPEN_MODEL: face_model,
        STANDARD_LANDMARKS: lambda path: shapes(read_mat(path, {"lm": (68, 3)}))}


def _network_checks() -> dict[Asset, Callable[[Path], str]]:
    from models import arcface
    from models.files import load_imagenet_init, load_regressor, load_weights
    from models.recognition import load_recognition
    from models.regressor import Regressor, backbone_of
    from util.frozen_landmarks import FrozenLandmarkDetector, read_box_network, read_mean_face

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
        CHECKPOINT: checkpoint, IMAGENET: imagenet, RECOGNITION: recognition, LANDMARKS: landmarks,
        LANDMARKS_BOX: lambda path: f"{sum(array.size for array in read_box_network(path))} weights",
        LANDMARKS_MEAN: mean_face}


def main():
    parser = argparse.ArgumentParser(prog="python -m util.assets", description=__doc__.splitlines()[0])
    parser.add_argument("--bfm_folder", type=Path, default=Path("BFM"))
    parser.add_argument("--checkpoints_dir", type=Path, default=Path("checkpoints"))
    options = parser.parse_args()
    print("No file is needed: the open face model and dlib do what the missing ones would.")
    for state, path, asset, contents in survey(options.bfm_folder, options.checkpoints_dir):
        print(f"{state:8} {path}")
        remarks = [asset.purpose] + [contents] * bool(contents) + [f"from {asset.source}"] * (state != "found")
        for remark in remarks:
            print(textwrap.fill(remark, 110, initial_indent=" " * 9, subsequent_indent=" " * 11,
                                break_long_words=False, break_on_hyphens=False))


if __name__ == "__main__":
    main()
