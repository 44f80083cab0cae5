"""Paints scenes: a rendered face, shapes in front of it and behind it, and a background.

One kernel paints a scene. Each pixel goes from front to back: shapes before the face, the face, shapes behind it, the
background. It stops where something opaque hides the rest. A shape is a superellipse with soft edges and a texture.
Shapes with relief are lit like the face. Coordinates are px of the 224 x 224 crop, y down, at any size of the picture.
"""
import math

import numpy as np
import torch
import warp as wp

from models.coordinates import CROP_SIZE
from models.face_model import A0, A1, A2, C0, C1, C2
from nvdiffrast.torch import runtime

wp.set_module_options({"enable_backward": False})

TEXTURES, TEXTURE_SIZE = 64, wp.constant(256)
KINDS = np.resize(["smooth", "rough", "patches", "strands", "tiles", "rough"], TEXTURES)
STRANDS, ROUGH = np.flatnonzero(KINDS == "strands"), np.flatnonzero(KINDS == "rough")
PICTURE = wp.constant(float(CROP_SIZE))
# How a shape changes what lies behind it: it covers it, multiplies it by a colour, or adds a colour to it.
PAINT, MULTIPLY, ADD = wp.constant(0), wp.constant(1), wp.constant(2)
OPAQUE = wp.constant(0.004)   # a smaller share of a pixel does not change a picture of 256 levels
# Factors of the spherical harmonics, as in models.face_model.light_basis.
BAND_0, BAND_1, BAND_2 = wp.constant(A0 * C0), wp.constant(A1 * C1), wp.constant(A2 * C2)
BAND_2_Z, BAND_2_XY = wp.constant(A2 * C2 / (2 * math.sqrt(3))), wp.constant(A2 * C2 / 2)


@wp.struct
class Shape:
    """A superellipse. Lengths along its two axes are in units of its half-axes."""
    center: wp.vec2        # px
    inverse: wp.mat22      # from px relative to the centre to half-axes
    squarings: int         # 1: an ellipse, 2: a superellipse of power 4, 3: of power 8, nearly a rectangle
    ring: float            # half the thickness of an outline; 0: the shape is filled
    softness: float        # width of the soft edge
    wobble: float          # how far the texture moves the edge
    bend: float            # shift along the second axis at distance 1 on the first; grows with the square of that
    color: wp.vec3         # RGB 0..1
    texture: int           # number in the texture bank
    tiles: wp.vec2         # repetitions of the texture per half-axis
    contrast: float        # of the texture
    alpha: float           # opacity 0..1; 0: the shape is absent
    mode: int              # PAINT, MULTIPLY or ADD
    relief: float          # 0: flat and lit evenly, up to 1: lit as an ellipsoid


@wp.struct
class Scene:
    """The background of a face, the details of its skin, and how many shapes there are."""
    behind: int            # number of shapes behind the face; they come first
    shapes: int            # number of all shapes
    # Background: texture a mixes the first two colours, texture b the other two, and texture c mixes both results.
    colors: wp.types.matrix(shape=(4, 3), dtype=float)
    texture_a: int
    texture_b: int
    texture_c: int
    # First two rows: from px to the place in the texture. Third row: contrast and brightness of the texture, unused.
    map_a: wp.mat33
    map_b: wp.mat33
    map_c: wp.mat33
    light: wp.vec3         # RGB factor on the background and on highlights
    grain: int             # number of the skin's texture
    pores: wp.vec3         # repetitions of that texture per px, its contrast and its shift
    shine: wp.vec4         # direction of the highlight on the skin, and its strength
    gloss: float           # how concentrated the highlight is
    vignette: float        # darkening of the corners, 0..1


def texture_bank(rng: np.random.Generator) -> np.ndarray:
    """Returns random periodic patterns (TEXTURES, TEXTURE_SIZE, TEXTURE_SIZE), uint8.

    KINDS names the kind of each: smooth or rough noise, patches with sharp edges, strands, tiles.
    """
    size = TEXTURE_SIZE
    fy, fx = np.fft.fftfreq(size)[:, None] * size, np.fft.rfftfreq(size)[None] * size
    bank = np.empty((TEXTURES, size, size), np.uint8)
    for number, kind in enumerate(KINDS):
        stretch = rng.uniform(.06, .25) if kind == "strands" else 1
        radius = np.sqrt((fy * stretch) ** 2 + fx ** 2)
        falloff = {"smooth": rng.uniform(2, 3), "rough": rng.uniform(.6, 1.6), "strands": rng.uniform(.4, 1.2)}
        spectrum = np.fft.rfft2(rng.standard_normal((size, size))) / np.maximum(radius, 1) ** falloff.get(kind, 1.8)
        spectrum[0, 0] = 0
        field = np.fft.irfft2(spectrum, (size, size))
        field /= field.std()
        if kind == "patches":
            levels = np.sort(rng.uniform(-1, 1, rng.integers(1, 5)))
            field = rng.standard_normal(len(levels) + 1)[np.digitize(field, levels)] + .1 * field
        elif kind == "tiles":
            x, y = np.meshgrid(*[np.arange(size) / size] * 2)
            columns, rows = rng.integers(1, 12, 2)
            edge = rng.uniform(.02, .5)
            brick = ((x * columns + (np.floor(y * rows) % 2) * rng.choice([0, .5])) % 1 < edge) | (y * rows % 1 < edge)
            field = brick * rng.choice([-2, 2]) + .3 * field
        low, high = np.percentile(field, [1, 99])
        bank[number] = np.clip((field - low) / max(high - low, 1e-6) * 255, 0, 255)
    return bank


@wp.func
def _sample(bank: wp.array3d(dtype=wp.uint8), texture: int, x: float, y: float):
    """Returns the value 0..1 of a texture at x, y in repetitions of it, with bilinear interpolation."""
    fx, fy = x * float(TEXTURE_SIZE), y * float(TEXTURE_SIZE)
    x0, y0 = int(wp.floor(fx)), int(wp.floor(fy))
    ax, ay = fx - float(x0), fy - float(y0)
    last = TEXTURE_SIZE - 1
    x1, y1 = (x0 + 1) & last, (y0 + 1) & last
    x0, y0 = x0 & last, y0 & last
    top = float(bank[texture, y0, x0]) * (1.0 - ax) + float(bank[texture, y0, x1]) * ax
    low = float(bank[texture, y1, x0]) * (1.0 - ax) + float(bank[texture, y1, x1]) * ax
    return (top * (1.0 - ay) + low * ay) / 255.0


@wp.func
def _mapped(bank: wp.array3d(dtype=wp.uint8), texture: int, m: wp.mat33, x: float, y: float):
    """Returns the value 0..1 of a background texture at x, y in px. m: its map, see Scene."""
    value = _sample(bank, texture, m[0, 0] * x + m[0, 1] * y + m[0, 2], m[1, 0] * x + m[1, 1] * y + m[1, 2])
    return wp.clamp((value - 0.5) * m[2, 0] + 0.5 + m[2, 1], 0.0, 1.0)


@wp.func
def _light(bands: wp.array3d(dtype=wp.float32), item: int, n: wp.vec3):
    """Returns the light (RGB) on a surface with unit normal n, as models.face_model computes it."""
    x, y, z = n[0], n[1], n[2]
    result = wp.vec3(0.0, 0.0, 0.0)
    for c in range(3):
        result[c] = wp.max(0.0, (
            BAND_0 * bands[item, c, 0]
            + BAND_1 * (z * bands[item, c, 2] - y * bands[item, c, 1] - x * bands[item, c, 3])
            + BAND_2 * (x * y * bands[item, c, 4] - y * z * bands[item, c, 5] - x * z * bands[item, c, 7])
            + BAND_2_Z * (3.0 * z * z - 1.0) * bands[item, c, 6] + BAND_2_XY * (x * x - y * y) * bands[item, c, 8]))
    return result


@wp.func
def _background(scene: Scene, bank: wp.array3d(dtype=wp.uint8), x: float, y: float):
    """Returns the colour (RGB) of the background at x, y in px."""
    a = _mapped(bank, scene.texture_a, scene.map_a, x, y)
    b = _mapped(bank, scene.texture_b, scene.map_b, x, y)
    c = _mapped(bank, scene.texture_c, scene.map_c, x, y)
    first = wp.lerp(scene.colors[0], scene.colors[1], a)
    second = wp.lerp(scene.colors[2], scene.colors[3], b)
    return wp.cw_mul(wp.lerp(first, second, c), scene.light)


@wp.func
def _length(q: wp.vec2, squarings: int):
    """Returns the 2-norm, 4-norm or 8-norm of q, for 1, 2 or 3 squarings."""
    length = wp.dot(q, q)
    if squarings > 1:
        q = wp.cw_mul(q, q)
        length = wp.sqrt(wp.dot(q, q))
    if squarings > 2:
        q = wp.cw_mul(q, q)
        length = wp.sqrt(wp.sqrt(wp.dot(q, q)))
    return wp.sqrt(length)


@wp.struct
class Ray:
    """The state of a pixel on its way from front to back."""
    color: wp.vec3         # RGB collected so far
    passed: wp.vec3        # factor (RGB) on the colours of what lies further back
    open: float            # share of the pixel that nothing covers yet, 0..1


@wp.func
def _inside(box: wp.vec4, x: float, y: float):
    return x > box[0] and y > box[1] and x < box[2] and y < box[3]


@wp.func
def _through(ray: Ray, shape: Shape, bank: wp.array3d(dtype=wp.uint8), bands: wp.array3d(dtype=wp.float32),
             item: int, x: float, y: float):
    """Returns the ray after it passed a shape at x, y in px."""
    q = shape.inverse * (wp.vec2(x, y) - shape.center)
    q = wp.vec2(q[0], q[1] + shape.bend * q[0] * q[0])
    distance = _length(q, shape.squarings) - 1.0
    margin = 0.5 * (shape.softness + shape.wobble)
    if distance > margin or distance < -2.0 * shape.ring - margin and shape.ring > 0.0:
        return ray
    texture = _sample(bank, shape.texture, q[0] * shape.tiles[0], q[1] * shape.tiles[1]) - 0.5
    distance += shape.wobble * texture
    if shape.ring > 0.0:
        distance = wp.abs(distance + shape.ring) - shape.ring
    alpha = shape.alpha * wp.clamp(0.5 - distance / shape.softness, 0.0, 1.0)
    color = shape.color * (1.0 + shape.contrast * texture)
    if shape.mode == PAINT:
        # the normal of an ellipsoid that is flattened by the relief
        slope = wp.normalize(wp.transpose(shape.inverse) * q) * wp.min(wp.length(q), 1.0) * shape.relief
        normal = wp.vec3(slope[0], -slope[1], wp.sqrt(1.0 - wp.min(wp.length_sq(slope), 1.0)))
        ray.color += alpha * wp.cw_mul(ray.passed, wp.cw_mul(color, _light(bands, item, normal)))
        ray.passed *= 1.0 - alpha
        ray.open *= 1.0 - alpha
    elif shape.mode == MULTIPLY:
        ray.passed = wp.cw_mul(ray.passed, wp.lerp(wp.vec3(1.0, 1.0, 1.0), color, alpha))
    else:
        ray.color += alpha * wp.cw_mul(ray.passed, color)
    return ray


@wp.kernel
def _paint(
    photo: wp.array4d(dtype=wp.float32),      # (B, 3, S, S) to write
    visible: wp.array3d(dtype=wp.float32),    # (B, S, S) to write: how much of each pixel shows the face
    face: wp.array4d(dtype=wp.float32),       # (B, S, S, 7) colour, normal and opacity of the face
    mask: wp.array3d(dtype=wp.float32),       # (B, S, S) 0 or 1
    bands: wp.array3d(dtype=wp.float32),      # (B, 3, 9) light
    scenes: wp.array1d(dtype=Scene),
    shapes: wp.array2d(dtype=Shape),
    boxes: wp.array2d(dtype=wp.vec4),         # (B, K) left, top, right, bottom of the shapes, px
    bank: wp.array3d(dtype=wp.uint8),
    start: int,                               # first item of the batch that this launch paints
):
    item, row, column = wp.tid()
    item += start
    size = photo.shape[2]
    scale = PICTURE / float(size)
    x, y = (float(column) + 0.5) * scale, (float(row) + 0.5) * scale
    scene = scenes[item]
    ray = Ray()
    ray.passed = wp.vec3(1.0, 1.0, 1.0)
    ray.open = 1.0
    for k in range(scene.shapes - scene.behind):
        number = scene.shapes - 1 - k
        if ray.open > OPAQUE and _inside(boxes[item, number], x, y):
            ray = _through(ray, shapes[item, number], bank, bands, item, x, y)
    seen = wp.float32(0.0)   # Warp would make a constant of `seen = 0.0`
    if mask[item, row, column] > 0.0:
        # The outline is soft: the opacity is multiplied by the share of the 3 x 3 pixels that show the face.
        inside = wp.float32(0.0)
        for down in range(-1, 2):
            for right in range(-1, 2):
                inside += mask[item, wp.clamp(row + down, 0, size - 1), wp.clamp(column + right, 0, size - 1)]
        inside *= face[item, row, column, 6] / 9.0
        seen = ray.open * inside
        skin = wp.vec3(face[item, row, column, 0], face[item, row, column, 1], face[item, row, column, 2])
        normal = wp.vec3(face[item, row, column, 3], face[item, row, column, 4], face[item, row, column, 5])
        grain = _sample(bank, scene.grain, x * scene.pores[0] + scene.pores[2], y * scene.pores[0]) - 0.5
        shine = wp.dot(wp.normalize(normal), wp.vec3(scene.shine[0], scene.shine[1], scene.shine[2])) - 1.0
        skin = skin * (1.0 + scene.pores[1] * grain) + scene.light * (scene.shine[3] * wp.exp(scene.gloss * shine))
        ray.color += inside * wp.cw_mul(ray.passed, skin)
        ray.passed *= 1.0 - inside
        ray.open *= 1.0 - inside
    for k in range(scene.behind):
        number = scene.behind - 1 - k
        if ray.open > OPAQUE and _inside(boxes[item, number], x, y):
            ray = _through(ray, shapes[item, number], bank, bands, item, x, y)
    if ray.open > OPAQUE:
        ray.color += wp.cw_mul(ray.passed, _background(scene, bank, x, y))
    dx, dy = 2.0 * x / PICTURE - 1.0, 2.0 * y / PICTURE - 1.0
    vignette = 1.0 - scene.vignette * 0.5 * (dx * dx + dy * dy)
    for c in range(3):
        photo[item, c, row, column] = wp.clamp(ray.color[c] * vignette, 0.0, 1.0)
    visible[item, row, column] = seen


def paint(face: torch.Tensor, mask: torch.Tensor, bands: torch.Tensor, scenes: np.ndarray, shapes: np.ndarray,
          bank: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Paints rendered faces in their scenes.

    face: (B, 7, S, S) colour, RGB about 0..1; normal, x right, y up, z towards the viewer; opacity, 0..1.
    mask: (B, 1, S, S) 1 where the face was rendered, otherwise 0.
    bands: (B, 3, 9) the light, ambient light included.
    scenes: (B,) array of Scene.
    shapes: (B, K) array of Shape, from back to front.
    bank: the textures, see `texture_bank`.
    Returns photos (B, 3, S, S), RGB 0..1, and how much of each pixel shows the face (B, 1, S, S), 0..1.
    """
    device, size = face.device, face.shape[-1]
    photo, visible = face.new_empty((len(face), 3, size, size)), face.new_empty((len(face), size, size))
    # torch copies the arrays to the device, so that the copies and the kernel run on the same stream.
    uploads = [torch.from_numpy(values).to(device) for values in (_bytes(scenes), _bytes(shapes), _boxes(shapes))]
    pointers = [upload.data_ptr() for upload in uploads]
    wp_device = wp.device_from_torch(device)
    arrays = [photo, visible, face.permute(0, 2, 3, 1), mask[:, 0], bands,
              wp.array(ptr=pointers[0], dtype=Scene, shape=scenes.shape, device=wp_device),
              wp.array(ptr=pointers[1], dtype=Shape, shape=shapes.shape, device=wp_device),
              runtime.vectors(uploads[2]), bank]
    runtime.launch(_paint, [((part.stop - part.start, size, size), [*arrays, part.start])
                            for part in runtime.parts(len(face), device)], device)
    return photo, visible[:, None]


def _boxes(shapes: np.ndarray) -> np.ndarray:
    """Returns left, top, right and bottom (B, K, 4), px, of shapes (B, K), with their soft edges."""
    reach = 1 + (shapes["softness"] + shapes["wobble"]) / 2
    axes = np.linalg.inv(shapes["inverse"])                                          # columns: half-axes
    half = np.abs(axes) @ np.stack([reach, reach + np.abs(shapes["bend"]) * reach ** 2], -1)[..., None]
    return np.concatenate([shapes["center"] - half[..., 0], shapes["center"] + half[..., 0]], -1).astype(np.float32)


def _bytes(structs: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(structs).view(np.uint8)
