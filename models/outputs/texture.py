"""Makes the texture of a face: the photo where it shows the face, and a guess elsewhere.

What the photo adds to the face model is the logarithm of photo / render, for each texel: the detail. Where the face is
not seen, the detail is that of the mirrored place, and where that is not seen either, it fades smoothly. The texture is
the render of the face model times the detail, so where the face is seen it is the photo.
"""
from dataclasses import dataclass

import cv2
import numpy as np
import torch

from models.coordinates import project
from models.outputs.drawing import Drawing, Window, window_around
from models.outputs.uv_layout import UvLayout

SIZE = 1024             # px, width and height of a texture
COARSE = 256            # px, of what is smooth
FACING = 0.2, 0.5       # cosine between normal and camera, from which and up to which a place counts more
BEHIND = 0.015          # decimetres by which a point may lie behind the nearest surface and still be seen
EDGE = 4                # texels next to what is hidden that do not count
SOFT = 21               # texels over which the weights change
EPSILON = 0.05          # added to colours, so that dark ones do not make the detail large
LARGEST_DETAIL = 2.5    # of the logarithm
FINEST = 1.2            # px of the photo for one texel; a finer photo is made smaller first
# From which and up to which value a side of the face counts less, where both sides are seen:
DIFFERENT = 0.3, 0.6    # difference of the details of both sides
UNLIKE = 0.3, 0.6       # how much larger the detail is than that of the other side
TURNED = 0.4, 0.6       # how much smaller the cosine between normal and camera is than on the other side


@dataclass(frozen=True)
class TextureMap:
    """Which place of the face each texel shows. It is the same for all faces of a face model.

    inside: (SIZE, SIZE) bool, whether the texel shows any. drawing: the mesh, drawn into the texture. places: (N, 2) of
    the vertices, px in the texture, y down. mirror: (SIZE, SIZE, 2) float32, px of the place that shows the mirror
    image. coarse_mirror: the same for a texture of COARSE px.
    """
    inside: np.ndarray
    drawing: Drawing
    places: np.ndarray
    mirror: np.ndarray
    coarse_mirror: np.ndarray


def texture_map(layout: UvLayout, triangles: torch.Tensor) -> TextureMap:
    """The TextureMap of a face model. triangles: (F, 3) int32."""
    flat = np.column_stack([layout.uv, np.ones(len(layout.uv))])
    drawing = Drawing(flat, triangles, UV_TO_TEXELS, (SIZE, SIZE))
    places, mirror = (uv * (SIZE, -SIZE) + (-0.5, SIZE - 0.5) for uv in (layout.uv, layout.mirror))
    mirror = drawing.interpolate(mirror)
    return TextureMap(drawing.mask, drawing, places, mirror, (shrunk(mirror) + 0.5) * (COARSE / SIZE) - 0.5)


# From (u, v, 1) to px of the texture, y down
UV_TO_TEXELS = np.array([[SIZE, 0, -0.5, 0], [0, -SIZE, SIZE - 0.5, 0], [0, 0, 1, 0]])


@dataclass(frozen=True)
class SeenFace:
    """A face as a photo shows it, for N vertices."""
    photo: np.ndarray       # (H, W, 3) uint8 RGB
    vertices: np.ndarray    # (N, 3) world coordinates, decimetres
    normals: np.ndarray     # (N, 3) of unit length, in the same axes
    albedo: np.ndarray      # (N, 3) RGB, about 0..1, by the face model
    light: np.ndarray       # (N, 3) per colour channel
    matrix: np.ndarray      # (3, 4) from world coordinates to homogeneous px of the photo, y down
    eye: np.ndarray         # (3,) place of the camera, world coordinates


def make_texture(face: SeenFace, texels: TextureMap, lit: bool) -> np.ndarray:
    """Returns the texture (SIZE, SIZE, 3) uint8 RGB of a face. lit: under the photo's light; or else the albedo."""
    rendered = texels.drawing.interpolate((face.albedo * face.light).clip(0))
    rendered += EPSILON
    colors, facing, seen = sample_photo(face, texels)
    detail = detail_of(colors, rendered)
    # The light on the side that the photo does not show is not known, so the mirror image keeps that of its own side.
    mirrored = detail_of(mirror_image(colors, texels), rendered) if lit else mirror_image(detail, texels)
    detail = complete(detail, mirrored, facing, seen, texels)
    base = rendered if lit else texels.drawing.interpolate(face.albedo.clip(0)) + np.float32(EPSILON)
    texture = cv2.exp(detail, detail)
    texture *= base
    texture -= EPSILON
    inside = texels.inside.astype(np.uint8)
    surroundings = enlarged(spread(shrunk(cv2.copyTo(texture, inside)), shrunk(texels.inside)))
    return cv2.convertScaleAbs(cv2.copyTo(texture, inside, surroundings).clip(0, 1), alpha=255)


def sample_photo(face: SeenFace, texels: TextureMap) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What the photo shows of each texel: its colour (SIZE, SIZE, 3) RGB 0..1, the cosine (SIZE, SIZE) of the angle
    between the surface's normal and the camera, and how well it is seen (SIZE, SIZE), 0..1."""
    height, width = face.photo.shape[:2]
    points = project(face.vertices.astype(float), face.matrix)
    window = window_around(points, (width, height), margin=8)
    if window is None:
        nothing = np.zeros((SIZE, SIZE), np.float32)
        return np.zeros((SIZE, SIZE, 3), np.float32), nothing, nothing
    to_eye = face.eye - face.vertices
    facing = (face.normals * to_eye).sum(1) / np.linalg.norm(to_eye, axis=1)
    window = Window(window.left, window.top, window.width, window.height, min(1.0, FINEST / photo_pixels_per_texel(
        points, facing, texels)))
    picture = np.ascontiguousarray(face.photo[window.slices])
    if window.size != (window.width, window.height):
        picture = cv2.resize(picture, window.size, interpolation=cv2.INTER_AREA)
    matrix = window.from_photo() @ face.matrix
    drawing = Drawing(face.vertices, texels.drawing.triangles, matrix, window.size)
    nearest = drawing.interpolate(drawing.distance[:, None])[..., 0]
    nearest[nearest == 0] = np.inf

    values = np.column_stack([project(face.vertices.astype(float), matrix), drawing.distance, facing])
    x, y, distance, facing = cv2.split(texels.drawing.interpolate(values))
    colors = cv2.remap(picture, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE) * np.float32(1 / 255)
    surface = cv2.remap(nearest, x, y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT, borderValue=np.inf)
    visible = (distance < surface + BEHIND) & (facing > 0)
    for place, length in zip((x, y), window.size, strict=True):
        visible &= (place >= 0) & (place <= length - 1)
    visible |= ~texels.inside
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * EDGE + 1,) * 2)
    visible = cv2.erode(visible.astype(np.uint8), kernel, borderType=cv2.BORDER_CONSTANT, borderValue=1)
    seen = visible * ramp(facing, *FACING) * texels.inside
    return colors, facing, soften(seen.astype(np.float32), texels.inside)


def photo_pixels_per_texel(points: np.ndarray, facing: np.ndarray, texels: TextureMap) -> float:
    """How many px of the photo lie side by side in a texel that faces the camera, on average.

    points: (N, 2) places of the vertices, px in the photo. facing: (N,) cosine of the angle to the camera.
    """
    triangles = texels.drawing.triangles.numpy()
    triangles = triangles[(facing[triangles] > FACING[1]).all(1)]
    if not len(triangles):
        return 1.0
    return float(np.sqrt(np.median(areas(points[triangles]) / areas(texels.places[triangles]))))


def areas(corners: np.ndarray) -> np.ndarray:
    """The areas (F,) of flat triangles with the corners (F, 3, 2)."""
    (x1, y1), (x2, y2) = ((corners[:, corner] - corners[:, 0]).T for corner in (1, 2))
    return np.maximum(np.abs(x1 * y2 - x2 * y1) / 2, 1e-9)


def soften(weights: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Weights (SIZE, SIZE), 0..1, that change over some texels. They only become smaller, so that what is hidden keeps
    the weight 0. What is not inside does not count."""
    blurred = cv2.blur(weights, (SOFT, SOFT)) / np.maximum(cv2.blur(inside.astype(np.float32), (SOFT, SOFT)), 1e-3)
    return weights * (2 * blurred - 1).clip(0, 1)


def detail_of(colors: np.ndarray, rendered: np.ndarray) -> np.ndarray:
    """The logarithm (SIZE, SIZE, 3) of how much brighter colours are than those of the face model.

    colors: RGB 0..1. rendered: those of the face model plus EPSILON.
    """
    ratio = colors + np.float32(EPSILON)
    ratio /= rendered
    return cv2.log(np.clip(ratio, np.exp(-LARGEST_DETAIL), np.exp(LARGEST_DETAIL), out=ratio), ratio)


def mirror_image(values: np.ndarray, texels: TextureMap) -> np.ndarray:
    """The values (S, S, ...) at the mirrored place of each texel, of a texture of SIZE or COARSE px."""
    places = texels.mirror if len(values) == SIZE else texels.coarse_mirror
    return cv2.remap(values, places, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def complete(detail: np.ndarray, mirrored_detail: np.ndarray, facing: np.ndarray, seen: np.ndarray,
             texels: TextureMap) -> np.ndarray:
    """The detail (SIZE, SIZE, 3) of all texels.

    detail: (SIZE, SIZE, 3), of those that are seen. mirrored_detail: that of the mirror image. facing: (SIZE, SIZE),
    see `sample_photo`. seen: (SIZE, SIZE) weights 0..1 of `detail`.
    """
    mirrored_seen = mirror_image(seen, texels) * texels.inside
    coarse, coarse_facing = shrunk(detail), shrunk(facing)
    turned = mirror_image(coarse_facing, texels) - coarse_facing
    shares = unlikely(coarse, shrunk(mirrored_detail), mirror_image(coarse, texels), turned)
    ours, theirs = (enlarged(share) for share in shares)
    seen, mirrored_seen = seen * (1 - ours * mirrored_seen), mirrored_seen * (1 - theirs * seen)

    # Both sides may differ in light that the model does not explain. Where both are seen, the difference is known.
    both = np.minimum(seen, mirrored_seen)
    difference = spread(shrunk(scaled(detail - mirrored_detail, both)), shrunk(both))
    mirrored_share = (1 - seen) * mirrored_seen
    known = scaled(detail, seen)
    known += scaled(mirrored_detail + enlarged(difference), mirrored_share)
    weight = seen + mirrored_share
    known += scaled(enlarged(spread(shrunk(known), shrunk(weight))), 1 - weight)
    return known


def unlikely(detail: np.ndarray, mirrored_detail: np.ndarray, mirror_image: np.ndarray, turned: np.ndarray
             ) -> list[np.ndarray]:
    """How much less each side of the face should count where both are seen: two arrays (S, S), 0..1, of the side itself
    and of its mirror image.

    Where both sides differ much, one of them shows hair, a hand, or what is behind the face: probably the side that is
    less like the face model, or that faces the camera much less.

    detail, mirrored_detail: (S, S, 3), see `complete`. mirror_image: (S, S, 3) of `detail`. turned: (S, S) how much
    smaller the cosine between normal and camera is than on the other side.
    """
    def size(values: np.ndarray) -> np.ndarray:
        return np.linalg.norm(values, axis=-1)

    unlike, different = size(detail) - size(mirror_image), ramp(size(detail - mirror_image), *DIFFERENT)
    turned_and_different = ramp(size(detail - mirrored_detail), *DIFFERENT)
    shares = [np.maximum(different * ramp(sign * unlike, *UNLIKE), turned_and_different * ramp(sign * turned, *TURNED))
              for sign in (1, -1)]
    return [cv2.blur(share.astype(np.float32), (3, 3)) for share in shares]


def scaled(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The values (S, S, 3) times weights (S, S). NumPy takes several times as long."""
    return cv2.multiply(values, cv2.merge([weights] * 3))


def ramp(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Rises from 0 at `low` to 1 at `high`."""
    return ((values - low) / (high - low)).clip(0, 1)


def shrunk(values: np.ndarray) -> np.ndarray:
    """The means (COARSE, COARSE, ...) of values (SIZE, SIZE, ...)."""
    return cv2.resize(values.astype(np.float32), (COARSE, COARSE), interpolation=cv2.INTER_AREA)


def enlarged(values: np.ndarray) -> np.ndarray:
    """Values (COARSE, COARSE, ...) at the resolution of the texture."""
    return cv2.resize(values, (SIZE, SIZE), interpolation=cv2.INTER_LINEAR)


def spread(weighted: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """A smooth field (S, S, C) that continues values to where the weight is 0, by "pull and push" through a pyramid. It
    is the local mean where the weight is 1, and 0 if there is no weight at all.

    weighted: (S, S, C) values, multiplied by their weights (S, S). S: a power of two.
    """
    levels = [(weighted, weights[..., None])]
    while len(weighted) > 1:
        half = (len(weighted) // 2,) * 2
        weighted, weights = (cv2.resize(x, half, interpolation=cv2.INTER_AREA).reshape(*half, -1) for x in levels[-1])
        levels.append((weighted, weights))
    field = weighted / np.maximum(weights, 1e-6)
    for weighted, weights in levels[-2::-1]:
        field = cv2.resize(field, weighted.shape[1::-1], interpolation=cv2.INTER_LINEAR)
        field = cv2.GaussianBlur(field, (5, 5), 1).reshape(weighted.shape)
        field += np.minimum(4 * weights, 1) * (weighted / np.maximum(weights, 1e-6) - field)
    return field
