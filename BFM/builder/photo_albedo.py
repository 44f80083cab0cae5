"""Albedo of people from fitted photos, and the basis that describes it best.

`sample_albedo` reads the colour of each vertex of a fitted face from the photo and divides it by the fitted light.
`learn_albedo` finds the mean and the principal components of many such faces and their mirror images. A photo shows
only a part of a face. So the rest is filled by the components found so far, again and again (expectation maximisation).
What no component explains, such as hands, hair, glasses and highlights, counts less each time.
"""
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from scipy.spatial import cKDTree
from torch.nn.functional import grid_sample

from models.coefficients import split
from models.coordinates import CROP_SIZE, crop_pixels_to_photo
from models.face_model import FaceModel, light, rotation
from models.landmarks import NOSE_TIP
from models.renderer import MeshRenderer

LEAST_COSINE = 0.25     # of normal and line of sight: steeper vertices show their colour badly
LEAST_LIGHT = 0.15      # darker vertices lie in shadow
HIDDEN_BEHIND = 0.03    # decimetres behind the visible surface
FULL_WEIGHT = 0.3       # a sample of this weight is taken as it is, a lighter one only in part
BRIGHTEST = 1.2         # albedo; more is a highlight
FITTED_VERTICES = 600   # at which components are fitted to a face's seen part
RIDGE = 0.02            # of that fit: components of small effect stay near 0 unless much is seen
MOST_SHARE = 4          # of a face of a rare skin tone or age; 1 is the mean
WORST_ERROR = 2.5       # times the median distance of a photo's colours from the fit: the fit has failed
TONE_SPREAD = 0.2       # standard deviation of the logarithm of the skin's brightness
TONE_FACTORS = 0.6, 1.5   # smallest and largest factor by which a face is made lighter
WARM_UP = 2             # rounds before the components are used
DEPTH_SIZE = 448        # px of the depth image that tells what is hidden


@dataclass
class AlbedoSamples:
    """Albedo of n faces at the N vertices of a face model."""
    colors: np.ndarray    # (n, N, 3) float16 RGB about 0..1
    weights: np.ndarray   # (n, N) uint8: how well the vertex is seen, 255 fully
    shares: np.ndarray    # (n,) float: how much each face counts


@torch.no_grad()
def sample_albedo(face_model: FaceModel, renderer: MeshRenderer, coeffs: torch.Tensor, photos: list[np.ndarray],
                  trans_params: np.ndarray, attention: torch.Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Albedo that photos show of fitted faces.

    coeffs: (B, 257). photos: B arrays (H, W, 3) uint8 RGB at their own resolution. trans_params: (B, 5), see
    models/coordinates.py. attention: (B, 1, 224, 224) 0..1 in the crop.
    Returns colours (B, N, 3) float32, the median brightness of the seen part being that of the fit's albedo; weights
    (B, N) 0..1; and the mean distance (B,) of these colours to the fit's albedo, which is large where a fit has failed.
    """
    c = split(coeffs)
    shape = face_model.shape(c["id"], c["exp"])
    vertices = face_model.to_camera(shape, c["angle"], c["trans"])
    depth = renderer(vertices, face_model.tri, size=DEPTH_SIZE)[1]
    normals = face_model.normals(shape) @ rotation(c["angle"])
    shading = light(normals, c["gamma"])
    place = 2 * face_model.focal / CROP_SIZE * vertices[..., :2] / vertices[..., 2:]       # -1..1, y up
    grid = (place * place.new_tensor([1, -1]))[:, :, None]

    def at_vertices(image: torch.Tensor, mode: str) -> torch.Tensor:
        return grid_sample(image, grid, mode=mode, align_corners=False)[:, 0, :, 0]

    seen = vertices[..., 2] < at_vertices(depth, "nearest") + HIDDEN_BEHIND
    weights = (normals[..., 2] - LEAST_COSINE).clamp(min=0) * at_vertices(attention, "bilinear")
    weights = weights * seen * (shading.mean(-1) > LEAST_LIGHT)
    pixels = CROP_SIZE / 2 * (grid[:, :, 0].numpy() + 1) - 0.5                            # crop, y down
    matrices = [crop_pixels_to_photo(params) for params in trans_params]
    colors = np.stack([sample_photo(photo, points @ matrix[:2, :2].T + matrix[:2, 2], params[2])
                       for photo, points, matrix, params in zip(photos, pixels, matrices, trans_params, strict=True)])
    colors = colors / shading.clamp(min=0.1).numpy()
    albedo = face_model.albedo(c["tex"]).numpy()
    weights = (weights.numpy() / FULL_WEIGHT).clip(0, 1) * (colors.max(2) < BRIGHTEST)
    errors = np.full(len(colors), np.inf)
    for i, seen in enumerate(weights > 0.2):
        if seen.sum() > 2000:
            # How bright a face is and how much light falls on it cannot be told apart: the fit's answer is kept.
            colors[i] *= np.median(albedo[i][seen], 0) / np.maximum(np.median(colors[i][seen], 0), 1e-3)
            errors[i] = np.abs(colors[i] - albedo[i])[seen].mean()
    return colors, weights, errors


def sample_photo(photo: np.ndarray, points: np.ndarray, scale: float) -> np.ndarray:
    """Colours (P, 3) RGB 0..1 of a photo (H, W, 3) uint8 at points (P, 2) px, y down, bilinear.

    scale: from photo to crop. A large photo is made smaller first, as vertices are half a pixel of the crop apart.
    """
    factor = max(int(0.6 / scale), 1)
    if factor > 1:
        photo = cv2.resize(photo, None, fx=1 / factor, fy=1 / factor, interpolation=cv2.INTER_AREA)
    picture = torch.from_numpy(photo).permute(2, 0, 1)[None].float() / 255
    size = np.array(photo.shape[1::-1])
    grid = torch.from_numpy((2 * (points + 0.5) / factor / size - 1).astype(np.float32))[None, :, None]
    return grid_sample(picture, grid, padding_mode="border", align_corners=False)[0, :, :, 0].T.numpy()


def mirror_vertices(face_model: FaceModel) -> np.ndarray:
    """The vertex (N,) at the mirrored place of each vertex of the mean face."""
    mean = face_model.mean_shape.view(-1, 3).numpy()
    return cKDTree(mean).query(mean * [-1, 1, 1])[1]


def balance(colors: np.ndarray, weights: np.ndarray, errors: np.ndarray, ages: np.ndarray) -> np.ndarray:
    """How much each of n faces counts (n,), so that skin tones and ages count about equally; the mean is 1.

    Faces are counted in six groups of skin tone, of equal steps in brightness, and in four groups of age. A face of a
    rare group counts up to MOST_SHARE times as much as the mean. A face whose fit is far off counts nothing.

    colors: (n, N, 3), weights: (n, N) uint8, errors: (n,), see `sample_albedo`. ages: (n,) years, -1: unknown.
    """
    brightness = np.array([skin_tone(*sample).mean() for sample in zip(colors, weights, strict=True)])
    low, high = np.log(np.quantile(brightness, (0.02, 0.98)))
    tone = ((np.log(brightness) - low) / (high - low) * 6).astype(int).clip(0, 5)
    age = np.where(ages < 0, 4, np.digitize(ages, (20, 40, 60)))
    shares = np.ones(len(colors))
    for groups in (tone, age):
        count = np.bincount(groups)[groups]
        shares *= len(groups) / len(np.unique(groups)) / count
    shares = shares.clip(max=MOST_SHARE)
    shares[errors > WORST_ERROR * np.median(errors)] = 0
    return shares / shares.mean()


def restore_tones(samples: AlbedoSamples):
    """Make faces darker or lighter, so that the brightness of their skin differs as much as TONE_SPREAD says.

    How bright skin is and how much light falls on it cannot be told apart in a photo. So each fit draws the skin nearer
    to the mean and takes the rest for light, and the albedo of many fits differs too little.
    """
    tones = np.array([skin_tone(*sample).mean() for sample in zip(samples.colors, samples.weights, strict=True)])
    tones = np.log(tones.clip(min=0.02))
    factors = np.exp((TONE_SPREAD / tones.std() - 1) * (tones - tones.mean())).clip(*TONE_FACTORS)
    for colors, factor in zip(samples.colors, factors, strict=True):
        colors *= np.float16(factor)


def weigh_down_strangers(samples: AlbedoSamples, face_model: FaceModel, rows: int = 1500):
    """Lower the weights of what does not belong to a face: glasses, hair on the forehead, highlights, shadows.

    Each colour is compared with the usual ratio of that vertex to the face's own skin colour. Above the nose tip, where
    there is no beard, a colour that differs by over 3.5 times the usual deviation loses its weight.
    """
    mean = face_model.mean_shape.view(-1, 3).numpy()
    upper = np.flatnonzero(mean[:, 1] > mean[face_model.keypoints[NOSE_TIP], 1])
    some = np.linspace(0, len(samples.colors) - 1, min(rows, len(samples.colors))).astype(int)
    tones = np.stack([skin_tone(samples.colors[i], samples.weights[i]) for i in range(len(samples.colors))])
    ratios = np.log((samples.colors[some][:, upper].astype(np.float32) + 0.02) / (tones[some, None] + 0.02))
    ratios[samples.weights[some][:, upper] < 128] = np.nan
    ratios[:, np.isnan(ratios).all((0, 2))] = 0             # vertices that no photo shows
    usual = np.nanmedian(ratios, 0)
    deviation = 1.48 * np.nanmedian(np.abs(ratios - usual), 0) + 0.03
    for i in range(len(samples.colors)):
        ratio = np.log((samples.colors[i, upper].astype(np.float32) + 0.02) / (tones[i] + 0.02))
        strange = (np.abs(ratio - usual) / deviation).max(1)
        samples.weights[i, upper] = (samples.weights[i, upper] * (4.5 - strange).clip(0, 1)).astype(np.uint8)


def skin_tone(colors: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The median colour (3,) of well-seen vertices, from colours (N, 3) and weights (N,) uint8."""
    seen = weights >= 128
    return np.median(colors[seen if seen.sum() > 100 else slice(None)].astype(np.float32), 0)


def learn_albedo(samples: AlbedoSamples, mirror: np.ndarray, start_mean: np.ndarray, components: int = 80,
                rounds: int = 7, residual_scale: float = 0.3, say=print) -> tuple[np.ndarray, np.ndarray]:
    """Mean (N, 3) and basis (components, N, 3) of the albedo, RGB 0..1; coefficients of people are about N(0, 1).

    mirror: (N,), see `mirror_vertices`. start_mean: (N, 3), what fills unseen parts at first. residual_scale: a colour
    that is that far from what the components explain counts half.
    """
    count, vertices = samples.weights.shape
    generator = torch.Generator().manual_seed(0)
    mirrored = torch.from_numpy(mirror)
    shares = torch.from_numpy(samples.shares.astype(np.float32))
    shares = shares / (2 * shares.sum())                                       # each face counts twice: mirrored too
    chosen = torch.randperm(vertices, generator=generator)[:FITTED_VERTICES]
    mean, basis = torch.from_numpy(start_mean.astype(np.float32)), torch.zeros(0, vertices, 3)
    block = torch.linalg.qr(torch.randn(3 * vertices, components + 16, generator=generator))[0]
    for number in range(rounds):
        # Block power iteration: the covariance of the filled faces, times the block, without ever forming it.
        product, total, variance = torch.zeros_like(block), torch.zeros_like(mean), 0.0
        for start in range(0, count, 64):
            rows = slice(start, start + 64)
            colors = torch.from_numpy(samples.colors[rows].astype(np.float32))
            weights = torch.from_numpy(samples.weights[rows].astype(np.float32)) / 255
            for seen_colors, seen_weights in ((colors, weights), (colors[:, mirrored], weights[:, mirrored])):
                filled = fill_unseen(seen_colors, seen_weights, mean, basis, chosen, residual_scale)
                total += (shares[rows, None, None] * filled).sum(0)
                offsets = shares[rows, None].sqrt() * (filled - mean).flatten(1)
                product += offsets.T @ (offsets @ block)
                variance += offsets.square().sum().item()
        values, vectors = torch.linalg.eigh(block.T @ product)
        values, vectors = values.flip(0)[:components], vectors.flip(1)[:, :components]
        if number >= WARM_UP:
            basis = ((block @ vectors) * values.clamp(min=0).sqrt()).T.reshape(components, vertices, 3)
        block, mean = torch.linalg.qr(product)[0], total
        say(f"round {number + 1} of {rounds}: {components} components explain {values.sum().item() / variance:.1%} of "
            "the variance")
    return mean.numpy(), basis.numpy()


def fill_unseen(colors: torch.Tensor, weights: torch.Tensor, mean: torch.Tensor, basis: torch.Tensor,
                chosen: torch.Tensor, residual_scale: float) -> torch.Tensor:
    """Colours (B, N, 3) whose unseen parts come from the components that explain the seen ones best.

    colors: (B, N, 3), weights: (B, N) 0..1, mean: (N, 3), basis: (k, N, 3). chosen: vertices at which the components
    are fitted. residual_scale: see `learn_albedo`.
    """
    if not len(basis):
        return weights[..., None] * colors + (1 - weights[..., None]) * mean
    rows = basis[:, chosen].flatten(1)                                         # (k, 3c)
    offsets = (colors[:, chosen] - mean[chosen]).flatten(1)
    robust = torch.ones_like(weights[:, chosen])
    for _ in range(2):                                                         # again without what was not explained
        weight = (weights[:, chosen] * robust).repeat_interleave(3, 1)
        weighted = rows * weight[:, None]
        coeffs = torch.linalg.solve(weighted @ rows.T + RIDGE * torch.eye(len(rows)),
                                    (weighted @ offsets[..., None])[..., 0])
        distance = (offsets - coeffs @ rows).view(len(colors), -1, 3).norm(dim=2)
        robust = 1 / (1 + (distance / residual_scale).square())
    explained = mean + (coeffs @ basis.flatten(1)).view_as(colors)
    distance = (colors - explained).norm(dim=2)
    trust = (weights / (1 + (distance / residual_scale).square()))[..., None]
    return explained + trust * (colors - explained)
