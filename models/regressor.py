"""R-Net, the network that predicts the 257 coefficients of a face from its crop."""
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from models import dlib_recognition
from models.coefficients import SIZE

# Sizes of the seven heads: id, exp, tex, angle, gamma, x and y of the translation, z of the translation.
HEADS = (80, 64, 80, 3, 27, 2, 1)


class DlibBackbone(dlib_recognition.Trunk):
    """The trunk of dlib's face recognition network without its last block.

    Input: crops (B, 3, H, W) RGB 0..1. Output: features (B, 4096).

    Crops are resized to 150 x 150 px. There faces have the size that the trunk was trained on, and it takes half the
    time of 224 x 224. The features are those of 4 x 4 parts of the crop, not their mean, because the mean loses where
    in the crop something is: in a trial on landmarks, the mean of the last block's features gave 50 % larger errors.
    They are divided by 8, so that they are about as large as those of a ResNet and need the same learning rate.
    """

    def __init__(self):
        super().__init__()
        del self.blocks[-1]
        self.fc = nn.Identity()

    def forward(self, crops: torch.Tensor) -> torch.Tensor:
        chips = F.interpolate(crops, [dlib_recognition.CHIP_SIZE] * 2, mode="bilinear", antialias=True)
        return self.fc(super().forward(chips).flatten(1) / 8)


def torchvision_network(name: str) -> Callable[[], nn.Module]:
    """A function that builds torchvision's network of that name. Only then torchvision is imported, which takes two
    seconds."""
    def build() -> nn.Module:
        from torchvision.models import get_model
        return get_model(name)
    return build


class Backbone(NamedTuple):
    """A network whose last layer is replaced by the heads of the regressor."""
    build: Callable[[], nn.Module]
    features: int      # length of the pooled feature
    key: str           # a name among its weights which no backbone that comes after it in BACKBONES has
    last: str = "fc"   # the name of the layer after the pooled feature, which is replaced


BACKBONES = {
    "resnet50": Backbone(torchvision_network("resnet50"), 2048, "layer1.0.conv3.weight"),
    "resnet34": Backbone(torchvision_network("resnet34"), 512, "layer1.2.conv1.weight"),
    "resnet18": Backbone(torchvision_network("resnet18"), 512, "layer1.0.conv1.weight"),
    "mobilenet_v3_large": Backbone(torchvision_network("mobilenet_v3_large"), 960, "features.0.0.weight", "classifier"),
    "dlib_resnet29": Backbone(DlibBackbone, 4096, "blocks.0.conv1.weight"),
}


class Regressor(nn.Module):
    """A backbone up to its pooled feature, then seven 1 x 1 convolutions, or one fully connected layer.

    Input: crops (B, 3, S, S) RGB 0..1, without normalisation by mean and deviation; S is 224, or the size it was
    trained with. Output: coefficients (B, 257). The weights of the last layer start at zero, so an untrained network
    predicts the mean face.

    backbone: one of BACKBONES. use_last_fc: True takes one fully connected layer instead of seven convolutions.
    Raises ValueError for an unknown backbone.
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
        """The layers that predict the coefficients, in their order."""
        return [*self.final_layers] if hasattr(self, "final_layers") else [self.backbone.get_submodule(self.last)]

    def forward(self, crops: torch.Tensor) -> torch.Tensor:
        features = self.backbone(crops)
        if not hasattr(self, "final_layers"):
            return features
        return torch.cat([head(features[..., None, None]).flatten(1) for head in self.final_layers], 1)


def backbone_of(state: dict) -> str | None:
    """The name in BACKBONES of the backbone that the weights of a regressor belong to, or None."""
    return next((name for name, backbone in BACKBONES.items() if f"backbone.{backbone.key}" in state), None)


def init_from_dlib(regressor: Regressor):
    """Fill the backbone dlib_resnet29 with dlib's weights. Raises InputError if they are not installed."""
    trunk = dlib_recognition.load_dlib_face().trunk.state_dict()
    # Not strict: dlib's last block has no place in the backbone, and dlib has no weights for the last layer.
    regressor.backbone.load_state_dict(trunk, strict=False)
