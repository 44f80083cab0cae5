"""R-Net: a photo's 224 x 224 crop -> 257 coefficients."""
import torch
from torch import nn
from torchvision.models import resnet

from models.coefficients import SIZE

# id, exp, tex, angle, gamma, the translation's x and y, its z: one head each
HEADS = (80, 64, 80, 3, 27, 2, 1)
BACKBONES = {"resnet18": resnet.resnet18, "resnet34": resnet.resnet34, "resnet50": resnet.resnet50}


class Regressor(nn.Module):
    """torchvision's ResNet up to its pooled feature, then seven 1 x 1 convolutions (or, with `use_last_fc`, one fully
    connected layer). The heads start at zero: an untrained network predicts the mean face.

    Input (B, 3, 224, 224) RGB in 0..1, not normalised; output (B, 257).
    """

    def __init__(self, backbone: str = "resnet50", use_last_fc: bool = False):
        super().__init__()
        if backbone not in BACKBONES:
            raise ValueError(f"unknown network '{backbone}'; choose one of {', '.join(BACKBONES)}")
        self.backbone = BACKBONES[backbone]()
        features = self.backbone.fc.in_features
        if use_last_fc:
            self.backbone.fc = nn.Linear(features, SIZE)
            heads = [self.backbone.fc]
        else:
            self.backbone.fc = nn.Identity()
            self.final_layers = nn.ModuleList(nn.Conv2d(features, size, 1) for size in HEADS)
            heads = self.final_layers
        for head in heads:
            nn.init.zeros_(head.weight)
            nn.init.zeros_(head.bias)

    def forward(self, crops: torch.Tensor) -> torch.Tensor:
        features = self.backbone(crops)
        if not hasattr(self, "final_layers"):
            return features
        return torch.cat([head(features[..., None, None]).flatten(1) for head in self.final_layers], 1)


def backbone_of(state: dict) -> str | None:
    """Which of BACKBONES the weights of a regressor are of; None: of none."""
    if "backbone.layer1.0.conv1.weight" not in state:
        return None
    if "backbone.layer1.0.conv3.weight" in state:
        return "resnet50"
    return "resnet34" if "backbone.layer1.2.conv1.weight" in state else "resnet18"
