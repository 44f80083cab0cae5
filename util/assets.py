"""The optional files that users of the original method have: what each is for and where it comes from.

`python -m datasets.check_assets` tells which of them are there, and whether their contents are valid.
"""
from dataclasses import dataclass
from pathlib import Path

ORIGINAL = "https://github.com/sicxu/Deep3DFaceRecon_pytorch"
WHERE = "python -m datasets.check_assets tells where"   # ends messages about missing or broken files
_BESIDE = f"{ORIGINAL}, folder BFM (terms as stated there)"


@dataclass(frozen=True)
class Asset:
    """An optional file."""
    name: str           # its path in --bfm_folder or --checkpoints_dir
    purpose: str
    source: str         # web page, name of the file there, licence
    pattern: str = ""   # glob pattern of the paths that it may have, if there are several

    def missing(self, path: Path) -> str:
        """The message for a user who needs it at that path, where it is not."""
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
    "the six files above: it is derived from them on first use and saved")
STANDARD_LANDMARKS = Asset(
    "similarity_Lm3D_all.mat", "the standard landmarks; they are built in, so this file is not read", _BESIDE)
PHOTO_MODEL = Asset(
    "photo_face_model.npz", "the open face model with an albedo learned from photos, used if there is no Basel model",
    "this repository, folder BFM (learned from photos for research, see BFM/README.md)")
OPEN_MODEL = Asset(
    "open_face_model.npz", "the open face model, used if there is none of the others",
    "this repository, folder BFM (CC0)")

CHECKPOINT = Asset(
    "<name>/epoch_20.pth", "a trained network (--name, --epoch)",
    f"{ORIGINAL}, the pre-trained model of its README (for the Basel model; terms as stated there), or train one",
    "*/epoch_*.pth")
IMAGENET = Asset(
    "init_model/resnet50-0676ba61.pth", "the weights that training starts from (--init_path)",
    "torchvision, weights IMAGENET1K_V1 of the network (--net_recon). For ResNet50, this prints the address: python -c "
    "\"from torchvision.models import ResNet50_Weights as w; print(w.IMAGENET1K_V1.url)\" (trained on ImageNet, for "
    "research)",
    "init_model/*.pth")
RECOGNITION = Asset(
    "recog_model/ms1mv3_arcface_r50_fp16/backbone.pth",
    "a recognition network for training and for fits (--net_recog_path)",
    "https://github.com/deepinsight/insightface/tree/master/recognition/arcface_torch, model zoo, "
    "ms1mv3_arcface_r50_fp16 (for research, not for commerce)",
    "recog_model/*/*.pth")
LANDMARK_DETECTOR = Asset(
    "lm_model/68lm_detector.pb", "the original's detector of 68 landmarks, used instead of the built-in one",
    f"{ORIGINAL}, the landmark detector of its README (terms as stated there)")
LANDMARK_DETECTOR_BOX = Asset("lm_model/BBRegressorParam_r.mat", "the network that places the crop of that detector",
                      f"{ORIGINAL} (terms as stated there)")
LANDMARK_DETECTOR_MEAN = Asset("lm_model/test_mean_face.txt", "the mean face of that detector",
                       f"{ORIGINAL} (terms as stated there)")
