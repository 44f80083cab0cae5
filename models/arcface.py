"""ArcFace's recognition network: an IResNet with the weight names of insightface's arcface_torch.

Deng et al., ArcFace: Additive Angular Margin Loss for Deep Face Recognition (CVPR 2019).
"""
import torch
from torch import nn

IDENTITY_CROP_SIZE = 112   # px, width and height of the crops that the network sees
# Number of blocks in each of the four stages, by the name of the network
STAGES = {"r18": (2, 2, 2, 2), "r34": (3, 4, 6, 3), "r50": (3, 4, 14, 3), "r100": (3, 13, 30, 3)}
CHANNELS = (64, 64, 128, 256, 512)


class IResNetBlock(nn.Module):
    """Residual block of two convolutions: (B, inputs, H, W) -> (B, outputs, H / stride, W / stride)."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.prelu = nn.PReLU(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, stride, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        if stride > 1:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.bn3(self.conv2(self.prelu(self.bn2(self.conv1(self.bn1(x))))))
        return y + (self.downsample(x) if hasattr(self, "downsample") else x)


class IResNet(nn.Module):
    """Maps face crops (B, 3, 112, 112) RGB 0..1 to embeddings (B, 512), which do not have unit length.

    name: one of STAGES. Raises KeyError for another name.
    """

    def __init__(self, name: str):
        super().__init__()
        self.conv1 = nn.Conv2d(3, CHANNELS[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(CHANNELS[0])
        self.prelu = nn.PReLU(CHANNELS[0])
        for stage, blocks in enumerate(STAGES[name], start=1):
            inputs, outputs = CHANNELS[stage - 1:stage + 1]
            self.add_module(f"layer{stage}", nn.Sequential(
                IResNetBlock(inputs, outputs, stride=2),
                *(IResNetBlock(outputs, outputs, stride=1) for _ in range(blocks - 1))))
        self.bn2 = nn.BatchNorm2d(CHANNELS[-1])
        self.fc = nn.Linear(CHANNELS[-1] * (IDENTITY_CROP_SIZE // 16) ** 2, 512)
        self.features = nn.BatchNorm1d(512)

    def forward(self, crops: torch.Tensor) -> torch.Tensor:
        x = self.prelu(self.bn1(self.conv1(2 * crops - 1)))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.features(self.fc(self.bn2(x).flatten(1)))


def name_of(state: dict) -> str | None:
    """The name, one of STAGES, of the network whose weights these are, by the numbers of its blocks.

    state: weights by name. Returns None if they are those of no IResNet in STAGES.
    """
    blocks = tuple(sum(key.startswith(f"layer{stage}.") and key.endswith(".conv1.weight") for key in state)
                   for stage in range(1, 5))
    return next((name for name, stages in STAGES.items() if stages == blocks), None)
