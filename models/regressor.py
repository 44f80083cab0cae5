"""R-Net: a photo's 224 x 224 crop -> 257 coefficients."""
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn
from torchvision.models import mobilenetv3, resnet

from models import dlib_recognition
from models.coefficients import SIZE

# id, exp, tex, angle, gamma, the translation's x and y, its z: one head each
HEADS = (80, 64, 80, 3, 27, 2, 1)


class DlibBackbone(dlib_recognition.Trunk):
    """The trunk of dlib's face recognition network without its last block: crops (B, 3, H, W) -> features (B, 4096).

    Crops are resized to 150 x 150, where faces have the size that the trunk learned to see, at half the work of 224.
    The features are those of 4 x 4 parts of the crop and not their mean, which would lose where things are: trained on
    landmarks, the mean of the last block's features errs half as much again. Their sum is made that of a ResNet's
    features, so that the learning rates of a ResNet serve.
    """

    def __init__(self):
        super().__init__()
        del self.blocks[-1]
        self.fc = nn.Identity()

    def forward(self, crops: torch.Tensor) -> torch.Tensor:
        chips = F.interpolate(crops, [dlib_recognition.CHIP_SIZE] * 2, mode="bilinear", antialias=True)
        return self.fc(super().forward(chips).flatten(1) / 8)


class Backbone(NamedTuple):
    build: Callable[[], nn.Module]
    features: int   # length of the pooled feature
    mark: str   # a weight that tells it from those after it
    last: str = "fc"   # the layer that makes something else of the feature


BACKBONES = {
    "resnet50": Backbone(resnet.resnet50, 2048, "layer1.0.conv3.weight"),
    "resnet34": Backbone(resnet.resnet34, 512, "layer1.2.conv1.weight"),
    "resnet18": Backbone(resnet.resnet18, 512, "layer1.0.conv1.weight"),
    "mobilenet_v3_large": Backbone(mobilenetv3.mobilenet_v3_large, 960, "features.0.0.weight", "classifier"),
    "dlib_resnet29": Backbone(DlibBackbone, 4096, "blocks.0.conv1.weight"),
}


class Regressor(nn.Module):
    """A backbone up to its pooled feature, then seven 1 x 1 convolutions (or, with `use_last_fc`, one fully connected
    layer). These start at zero: an untrained network predicts the mean face.

    Input (B, 3, 224, 224) RGB in 0..1, not normalised; output (B, 257).
    """

    def __init__(self, backbone: str = "resnet50", use_last_fc: bool = False):
        super().__init__()
        if backbone not in BACKBONES:
            raise ValueError(f"unknown network '{backbone}'; choose one of {', '.join(BACKBONES)}")
        build, features, _, last = BACKBONES[backbone]
        self.backbone = build()
        if use_last_fc:
            heads = [nn.Linear(features, SIZE)]
            setattr(self.backbone, last, heads[0])
        else:
            setattr(self.backbone, last, nn.Identity())
            self.final_layers = nn.ModuleList(nn.Conv2d(features, size, 1) for size in HEADS)
            heads = self.final_layers
        for head in heads:
            nn.init.zeros_(head.weight)
            nn.init.zeros_(head.bias)
        self.last = last

    @property
    def heads(self) -> list[nn.Module]:
        """The layers whose outputs, one after the other, are the coefficients."""
        return [*self.final_layers] if hasattr(self, "final_layers") else [self.backbone.get_submodule(self.last)]

    def forward(self, crops: torch.Tensor) -> torch.Tensor:
        features = self.backbone(crops)
        if not hasattr(self, "final_layers"):
            return features
        return torch.cat([head(features[..., None, None]).flatten(1) for head in self.final_layers], 1)


def backbone_of(state: dict) -> str | None:
    """Which of BACKBONES the weights of a regressor are of; None: of none."""
    return next((name for name, backbone in BACKBONES.items() if f"backbone.{backbone.mark}" in state), None)


def init_from_dlib(regressor: Regressor):
    """Start the backbone dlib_resnet29 from dlib's weights. Raises InputError where they are not installed."""
    trunk = dlib_recognition.load_dlib_face().trunk.state_dict()
    regressor.backbone.load_state_dict(trunk, strict=False)   # the last block goes, the last layer stays
