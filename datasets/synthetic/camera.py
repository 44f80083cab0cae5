"""What a camera and a file format do to a picture: blur, tone, noise, JPEG."""
import math

import numpy as np
import torch
from torch.nn.functional import avg_pool2d, interpolate, pad

from models.coordinates import CROP_SIZE

LUMA_CHROMA = torch.tensor([[.299, .587, .114], [-.1687, -.3313, .5], [.5, -.4187, -.0813]])   # JFIF


class Camera:
    """A camera for photos on a device. rng: for the noise, which is drawn once and reused from random places on."""

    def __init__(self, rng: np.random.Generator, device: torch.device):
        self.noise = torch.from_numpy(rng.standard_normal(1 << 22, dtype=np.float32)).to(device)
        k, n = np.mgrid[:8, :8]
        cosines = np.cos(np.pi * k * (2 * n + 1) / 16) * np.where(k == 0, math.sqrt(1 / 8), .5)
        self.cosines = torch.from_numpy(cosines.astype(np.float32)).to(device)   # (frequency, place), orthonormal
        self.luma_chroma = LUMA_CHROMA.to(device)

    def __call__(self, photo: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
        """Photos (B, 3, S, S) RGB 0..1 as a random camera each takes them."""
        # As if the picture were a larger one made smaller: less of all.
        count, zoom = len(photo), photo.shape[-1] / CROP_SIZE
        levels = 2.2 * rng.random(count) ** 2 * (rng.random(count) < .6) + math.log2(zoom)
        photo = self.blurred(photo, levels)
        self.tone(photo, rng)
        sigma = zoom * rng.exponential(.012, count) * (rng.random(count) < .8)
        offsets = rng.integers(len(self.noise) - photo[0].numel(), size=count)
        for picture, start, deviation in zip(photo, offsets, sigma, strict=True):
            picture.add_(self.noise[start:start + picture.numel()].view_as(picture), alpha=deviation)
        photo.clamp_(0, 1)
        chosen = np.flatnonzero(rng.random(count) < .5)
        if len(chosen):
            step = np.exp(rng.uniform(np.log(.008), np.log(.1), len(chosen))) * zoom
            photo[chosen] = self.jpeg(photo[chosen], self.numbers(step, photo)).clamp_(0, 1)
        return photo

    @staticmethod
    def numbers(values: np.ndarray, like: torch.Tensor) -> torch.Tensor:
        """(B,) -> (B, 1, 1, 1) on the device of `like`."""
        return torch.from_numpy(np.asarray(values, np.float32)).to(like.device).view(-1, 1, 1, 1)

    def blurred(self, photo: torch.Tensor, levels: np.ndarray) -> torch.Tensor:
        """Each photo at its level of an image pyramid, 0: as it is, 1: half the resolution, between: a mixture."""
        for number in range(math.ceil(levels.max())):
            chosen = np.flatnonzero(levels > number)
            finer = photo[chosen]
            coarser = interpolate(avg_pool2d(finer, 2 ** (number + 1)), photo.shape[2:], mode="bilinear")
            photo[chosen] = torch.lerp(finer, coarser, self.numbers(levels[chosen] - number, photo).clamp(max=1))
        return photo

    def tone(self, photo: torch.Tensor, rng: np.random.Generator):
        """In place: exponents of the tone curve, and a few photos without colour. Brightness and colour casts are the
        light's business: the coefficients can tell them."""
        chosen = np.flatnonzero(rng.random(len(photo)) < .5)
        exponent = np.exp(rng.normal(0, .12, len(chosen)))
        photo[chosen] = photo[chosen].pow_(self.numbers(exponent, photo))
        grey = np.flatnonzero(rng.random(len(photo)) < .02)
        photo[grey] = photo[grey].mean(1, keepdim=True).expand(-1, 3, -1, -1)

    def jpeg(self, photo: torch.Tensor, step: torch.Tensor) -> torch.Tensor:
        """Photos (B, 3, S, S) after the transform coding of JPEG. step (B, 1, 1, 1): to which the lowest frequency of a
        block of 8 x 8 pixels is rounded, 8 times its mean; it grows with the frequency, and is double in chroma."""
        count, size = len(photo), photo.shape[-1]
        whole = math.ceil(size / 8) * 8
        padded = pad(photo, (0, whole - size, 0, whole - size), mode="replicate")
        planes = torch.einsum("dc,bchw->bdhw", self.luma_chroma, padded)
        blocks = planes.view(count, 3, whole // 8, 8, whole // 8, 8).transpose(3, 4)
        frequency = torch.arange(8, device=photo.device)
        steps = step[..., None, None] * (1 + frequency[:, None] + frequency)
        steps = steps * torch.tensor([1, 2, 2], device=photo.device).view(3, 1, 1, 1, 1)
        coded = torch.round(self.cosines @ blocks @ self.cosines.T / steps) * steps
        planes = (self.cosines.T @ coded @ self.cosines).transpose(3, 4).reshape(count, 3, whole, whole)
        return torch.einsum("dc,bchw->bdhw", torch.linalg.inv(self.luma_chroma), planes)[..., :size, :size]
