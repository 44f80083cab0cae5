"""Adds to rendered pictures what cameras and files do to photos: blur, tone curves, noise, JPEG compression."""
import math

import numpy as np
import torch
from torch.nn.functional import avg_pool2d, interpolate, pad

from models.coordinates import CROP_SIZE

# From RGB to brightness and the two colour channels of JPEG files (JFIF).
LUMA_CHROMA = torch.tensor([[.299, .587, .114], [-.1687, -.3313, .5], [.5, -.4187, -.0813]])


class Camera:
    """Random cameras for photos on a device.

    rng: draws one long row of noise. Each photo uses a part of it that starts at a random place.
    """

    def __init__(self, rng: np.random.Generator, device: torch.device):
        self.noise = torch.from_numpy(rng.standard_normal(1 << 22, dtype=np.float32)).to(device)
        k, n = np.mgrid[:8, :8]
        cosines = np.cos(np.pi * k * (2 * n + 1) / 16) * np.where(k == 0, math.sqrt(1 / 8), .5)
        self.cosines = torch.from_numpy(cosines.astype(np.float32)).to(device)   # (frequency, place), orthonormal
        self.luma_chroma = LUMA_CHROMA.to(device)

    def __call__(self, photo: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
        """Returns the photos (B, 3, S, S), RGB 0..1, each as a random camera takes it. Changes the input too."""
        # A small picture is treated as a large one made smaller: blur, noise and compression are weaker.
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
        """Returns values (B,) as a float32 tensor (B, 1, 1, 1) on the device of `like`."""
        return torch.from_numpy(np.asarray(values, np.float32)).to(like.device).view(-1, 1, 1, 1)

    def blurred(self, photo: torch.Tensor, levels: np.ndarray) -> torch.Tensor:
        """Blurs each photo to a level (B,) of its image pyramid.

        Level 0 leaves the photo as it is, level 1 halves the resolution, and so on. Values between mix two levels.
        """
        for number in range(math.ceil(levels.max())):
            chosen = np.flatnonzero(levels > number)
            finer = photo[chosen]
            coarser = interpolate(avg_pool2d(finer, 2 ** (number + 1)), photo.shape[2:], mode="bilinear")
            photo[chosen] = torch.lerp(finer, coarser, self.numbers(levels[chosen] - number, photo).clamp(max=1))
        return photo

    def tone(self, photo: torch.Tensor, rng: np.random.Generator):
        """Changes, in place, the contrast of half of the photos, and makes a few of them grey.

        Brightness and tint do not change: the light coefficients describe them.
        """
        chosen = np.flatnonzero(rng.random(len(photo)) < .5)
        exponent = np.exp(rng.normal(0, .12, len(chosen)))
        photo[chosen] = photo[chosen].pow_(self.numbers(exponent, photo))
        grey = np.flatnonzero(rng.random(len(photo)) < .02)
        photo[grey] = photo[grey].mean(1, keepdim=True).expand(-1, 3, -1, -1)

    def jpeg(self, photo: torch.Tensor, step: torch.Tensor) -> torch.Tensor:
        """Returns the photos (B, 3, S, S) after JPEG's rounding of frequencies in blocks of 8 x 8 pixels.

        step: (B, 1, 1, 1) rounding step of the lowest frequency, whose value is 8 times the block's mean. The step
        grows with the frequency, and is twice as large for colour as for brightness.
        """
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
