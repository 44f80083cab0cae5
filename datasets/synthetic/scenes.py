"""Chooses what surrounds and covers rendered faces; `datasets.synthetic.painter` paints it.

These are skull, ears, neck, hair, clothes, the inside of the mouth, glasses, face masks, hands, shadows and a
background. A random number per face is a column (B, 1), so that it multiplies colours (B, 3) and places (B, 2). Lengths
on a head are decimetres; `Head` converts them to px. The size of a shape is given by its half-axes.
"""
import numpy as np

from datasets.synthetic.painter import ADD, MULTIPLY, ROUGH, STRANDS, TEXTURES, Scene, Shape
from models.coordinates import CROP_SIZE
from models.landmarks import (
    BROWS,
    CHIN,
    INNER_LIP_MIDDLES,
    INNER_MOUTH_CORNERS,
    JAW_ENDS,
    LEFT_EYE_CORNERS,
    NOSE_FOOT,
    NOSE_ROOT,
    NOSE_TIP,
    OUTER_EYE_CORNERS,
    RIGHT_EYE_CORNERS,
)

# Albedo, RGB 0..1: black, two browns, light brown, blond, red, grey and white.
HAIR_COLORS = np.array([[.03, .025, .02], [.06, .04, .03], [.12, .075, .045], [.22, .14, .08], [.5, .36, .2],
                        [.33, .13, .06], [.4, .39, .38], [.7, .68, .65]])
HAIR_SHARES = [.25, .2, .2, .12, .08, .04, .07, .04]
MOUTH_COLOR, TONGUE_COLOR, TEETH_COLOR = [.12, .04, .04], [.45, .18, .17], [.75, .7, .6]


class Head:
    """Finds places on posed heads in their crops.

    points: (B, 68, 3) landmarks of the unposed faces, decimetres, x right, y up, z towards the viewer.
    rotation: (B, 3, 3), applied to row vectors. trans: (B, 3). focal: px. camera_d: decimetres.
    """

    def __init__(self, points: np.ndarray, rotation: np.ndarray, trans: np.ndarray, focal: float, camera_d: float):
        self.points, self.rotation, self.trans = points, rotation, trans
        self.focal, self.camera_d = focal, camera_d
        left, right = points[:, JAW_ENDS[0]], points[:, JAW_ENDS[1]]
        self.width = (right[:, :1] - left[:, :1]) / 2                    # half of the face's
        self.brows = points[:, BROWS].mean(1)
        self.height = self.brows[:, 1:2] - points[:, CHIN, 1:2]          # from chin to brows
        self.middle = (left + right) / 2                                 # between the ears
        self.scale = focal / (camera_d - trans[:, 2:])                   # px per decimetre
        # (B, 2) px of one decimetre: down and right along the head's axes in the picture, and along the face's x axis,
        # which is shorter when the head is turned
        down = self.pixels(self.middle) - self.pixels(self.middle, up=.1)
        self.down = down / np.linalg.norm(down, axis=1, keepdims=True) * self.scale
        self.right = np.stack([self.down[:, 1], -self.down[:, 0]], 1)
        self.across = (self.pixels(self.middle, right=.1) - self.pixels(self.middle)) / .1

    def pixels(self, points: np.ndarray, right=0., up=0., front=0.) -> np.ndarray:
        """Returns the places (B, 2) in the crop, px, y down, of points (B, 3) of the unposed face.

        right, up, front: decimetres by which the points are moved first, along the axes of the unposed face.
        """
        shift = np.concatenate([np.broadcast_to(value, (len(points), 1)) for value in (right, up, front)], 1)
        x, y, z = (np.einsum("bi,bij->bj", points + shift, self.rotation) + self.trans).T
        scale = self.focal / (self.camera_d - z)
        return np.stack([CROP_SIZE / 2 + scale * x, CROP_SIZE / 2 - scale * y], 1)

    def shows(self, side: int) -> np.ndarray:
        """Returns (B, 1) bool: whether the camera sees the left (-1) or right (1) side of the face in the picture."""
        return side * self.rotation[:, 0, 2:] > -.3

    def between(self, *numbers: int) -> np.ndarray:
        """Returns the middle (B, 3) of some landmarks, which are counted from 0."""
        return self.points[:, list(numbers)].mean(1)


class Shapes:
    """Collects the shapes of a batch, from back to front. Each call of `add` gives some of the faces one shape."""

    def __init__(self, rng: np.random.Generator, count: int):
        self.rng, self.count, self.layers, self.behind = rng, count, [], 0

    def chance(self, share: float) -> np.ndarray:
        return self.rng.random((self.count, 1)) < share

    def uniform(self, low: float, high: float) -> np.ndarray:
        return self.rng.uniform(low, high, (self.count, 1))

    def normal(self, spread: float) -> np.ndarray:
        return self.rng.normal(0, spread, (self.count, 1))

    def either(self, *values: int) -> np.ndarray:
        return self.rng.choice(values, (self.count, 1))

    def directions(self, angle: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns two unit vectors (B, 2): to the right and down, both turned by an angle (B, 1), radian."""
        return np.hstack([np.cos(angle), np.sin(angle)]), np.hstack([-np.sin(angle), np.cos(angle)])

    def material(self) -> dict:
        """Returns a random colour and texture as arguments of `add`."""
        return {"color": colors(self.rng, self.count), "texture": self.rng.integers(TEXTURES, size=(self.count, 1)),
                "contrast": self.uniform(0, .8)}

    def hair(self, color: np.ndarray) -> dict:
        """Returns the look of hair of a colour as arguments of `add`."""
        return {"color": color, "texture": self.either(*STRANDS), "contrast": self.uniform(.3, 1.2), "relief": .8,
                "tiles": np.hstack([self.uniform(.3, 1), self.uniform(.1, .35)]), "squarings": self.either(1, 2),
                "softness": self.uniform(.02, .25), "wobble": self.uniform(.02, .3)}

    def add(self, present, center, right, down, color, **fields):
        """Adds a shape in front of those that are there.

        present: (B, 1) bool, which faces have it.
        center: (B, 2) px.
        right, down: (1 or B, 2) px, its half-axes.
        color: (1 or B, 3) RGB 0..1.
        fields: other fields of Shape; by default it is a plain ellipse.
        """
        layer = np.zeros(self.count, Shape.numpy_dtype())
        layer["inverse"] = np.linalg.inv(np.stack([right, down], 2)).reshape(-1, *layer["inverse"].shape[1:])
        fields = {"texture": self.either(*ROUGH), "tiles": .3, "alpha": 1., "squarings": 1, "softness": .1} | fields
        for name, value in (fields | {"center": center, "color": color}).items():
            layer[name] = value if layer[name].ndim == 2 else np.broadcast_to(value, (self.count, 1)).ravel()
        layer["alpha"] *= present.ravel()
        self.layers.append(layer)

    def start_front(self):
        """Puts all shapes that are added from now on before the face."""
        self.behind = len(self.layers)

    def packed(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Returns the shapes (B, K), first the present ones; the number of present shapes behind the face (B,); and the
        number of all present shapes (B,)."""
        layers = np.stack(self.layers, 1)
        present = layers["alpha"] > 0
        order = np.argsort(~present, axis=1, kind="stable")[:, :max(present.sum(1).max(), 1)]
        return np.take_along_axis(layers, order, 1), present[:, :self.behind].sum(1), present.sum(1)


def colors(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Returns random albedos (..., 3), RGB 0..1, most of them nearly grey."""
    grey = rng.beta(1.1, 1.3, (*shape, 1))
    saturation = .9 * rng.random((*shape, 1)) ** 2
    return np.clip(grey * (1 + saturation * rng.uniform(-1, 1, (*shape, 3))), .01, 1)


def random_scene(rng: np.random.Generator, head: Head, skin: np.ndarray, light: np.ndarray
                 ) -> tuple[np.ndarray, np.ndarray]:
    """Returns random scenes for heads: arrays (B,) of Scene and (B, K) of Shape.

    skin: (B, 3) mean albedo of the heads, RGB 0..1. light: (B, 3) light on a surface that faces the camera.
    """
    shapes = Shapes(rng, len(skin))
    color = HAIR_COLORS[rng.choice(len(HAIR_COLORS), len(skin), p=HAIR_SHARES)] * rng.uniform(.9, 1.1, skin.shape)
    color *= shapes.uniform(.6, 1.5)
    haired = shapes.chance(.93)
    long = haired & shapes.chance(.4)
    add_surroundings(shapes)
    add_body(shapes, head, skin, color, haired, long)
    add_mouth(shapes, head)
    shapes.start_front()
    add_light_effects(shapes, head)
    add_fringe(shapes, head, color, haired, long)
    add_glasses(shapes, head)
    add_covers(shapes, head, skin)
    add_borders(shapes)
    packed, behind, total = shapes.packed()
    scene = background(rng, light)
    scene["behind"], scene["shapes"] = behind, total
    return scene, packed


def background(rng: np.random.Generator, light: np.ndarray) -> np.ndarray:
    """Returns an array (B,) of Scene with random backgrounds, without shapes. light: (B, 3), see `random_scene`."""
    count = len(light)
    scene = np.zeros(count, Scene.numpy_dtype())
    palette = colors(rng, count, 4)
    # Many backgrounds are plain: their colours are pulled towards the first one.
    palette = palette[:, :1] + (palette - palette[:, :1]) * rng.beta(.8, .8, (count, 1, 1))
    scene["colors"] = palette.reshape(scene["colors"].shape)
    for name in "abc":
        scene[f"texture_{name}"] = rng.integers(TEXTURES, size=count)
        scale = np.exp(rng.uniform(np.log(.001), np.log(.012), count))
        turn = rng.uniform(0, 2 * np.pi, count) * (rng.random(count) < .5)
        rows = [scale * np.cos(turn), scale * np.sin(turn), rng.random(count),
                -scale * np.sin(turn), scale * np.cos(turn), rng.random(count),
                rng.uniform(.6, 3, count), rng.uniform(-.4, .4, count), 0 * scale]
        scene[f"map_{name}"] = np.stack(rows, 1).reshape(scene[f"map_{name}"].shape)
    scene["light"] = light * np.exp(rng.normal(.2, .5, (count, 1)))
    scene["grain"] = rng.choice(ROUGH, count)
    scene["pores"] = np.stack([rng.uniform(.01, .03, count), rng.uniform(0, .15, count), rng.random(count)], 1)
    highlight = rng.normal(0, .35, (count, 3)) + [0, .35, 1]
    highlight /= np.linalg.norm(highlight, axis=1, keepdims=True)
    scene["shine"] = np.hstack([highlight, .35 * rng.random((count, 1)) ** 2])
    scene["gloss"] = rng.uniform(5, 40, count)
    scene["vignette"] = .5 * rng.random(count) ** 2
    return scene


def add_surroundings(shapes: Shapes):
    """Adds things at random places behind the head."""
    u = shapes.uniform
    for _ in range(3):
        right, down = shapes.directions(shapes.normal(.3))
        shapes.add(shapes.chance(.35), shapes.rng.uniform(-20, 244, (shapes.count, 2)), right * u(15, 120),
                   down * u(15, 120), **shapes.material(), squarings=shapes.either(1, 2, 3), softness=u(.02, .4),
                   wobble=u(0, .4), relief=u(0, 1))


def add_body(shapes: Shapes, head: Head, skin: np.ndarray, color: np.ndarray, haired: np.ndarray, long: np.ndarray):
    """Adds long hair, neck, shoulders, hair round the skull, ears, and the skull.

    skin: (B, 3) albedo. color: (B, 3) of the hair. haired, long: (B, 1) bool.
    """
    u = shapes.uniform
    skull = head.pixels(head.middle, up=.35 * head.height)
    right, down = head.right * head.width, head.down * head.height
    tone = skin * u(.88, 1.05)
    neck = head.pixels(np.hstack([head.points[:, CHIN, :2], head.middle[:, 2:]]))
    shapes.add(long, skull + down * u(.2, .7), right * u(1.15, 1.6), down * u(1.1, 1.8), **shapes.hair(color))
    shapes.add(shapes.chance(.95), neck + down * u(.15, .35), right * u(.55, .85), down * u(.5, .8), tone * u(.55, .95),
               squarings=2, relief=.95)
    shapes.add(shapes.chance(.85), neck + down * u(1, 1.45), right * u(1.9, 2.9), down * u(.55, .95),
               **shapes.material(), squarings=shapes.either(1, 2), relief=.5, softness=.04)
    shapes.add(haired, skull - down * u(0, .3), right * u(1.1, 1.35), down * u(.85, 1.15), **shapes.hair(color))
    for ear in JAW_ENDS:
        shapes.add(shapes.chance(.75), head.pixels(head.points[:, ear], up=.05, front=-.1), head.right * .16,
                   head.down * u(.26, .36), tone, relief=.6, softness=.2, contrast=.5)
    shapes.add(shapes.chance(1), skull + down * .05, right * u(.98, 1.06), down * u(.75, .95), tone,
               relief=u(.5, .9), softness=.05)


def add_mouth(shapes: Shapes, head: Head):
    """Adds the inside of the mouth with teeth and tongue. It is seen through the hole between the model's lips."""
    u = shapes.uniform
    (left_corner, right_corner), (upper_lip, lower_lip) = INNER_MOUTH_CORNERS, INNER_LIP_MIDDLES
    center = head.pixels(head.between(left_corner, upper_lip, right_corner, lower_lip))
    right = (head.pixels(head.points[:, right_corner]) - head.pixels(head.points[:, left_corner])) / 2
    down = head.down * np.maximum(head.points[:, upper_lip, 1:2] - head.points[:, lower_lip, 1:2], .05) / 2
    shapes.add(shapes.chance(1), center, right, down * 1.3 + head.down * .05, MOUTH_COLOR * u(.2, 1.5), squarings=2)
    shapes.add(shapes.chance(.6), center + down * u(.3, .9), right * .7, down * u(.4, .8), TONGUE_COLOR * u(.5, 1.2),
               softness=.4, relief=.7)
    teeth = TEETH_COLOR * u(.5, 1.2)
    gaps = {"texture": shapes.either(*STRANDS), "tiles": np.hstack([u(.02, .05), u(0, .02)]), "contrast": .5}
    for share, lip, upper in ((.75, upper_lip, 1), (.3, lower_lip, -1)):
        size = u(.04, .09)
        place = head.pixels(head.points[:, lip], up=-upper * size * u(0, .8))
        shapes.add(shapes.chance(share), place, right * u(.75, 1.05), head.down * size, teeth, squarings=2,
                   softness=.15, relief=.8, bend=upper * u(-.2, .4), **gaps)


def add_light_effects(shapes: Shapes, head: Head):
    """Adds glints in the eyes, and cast shadows."""
    u = shapes.uniform
    glint, shift = shapes.chance(.5), shapes.rng.normal(0, .02, (shapes.count, 2)) * head.scale
    for corners in (LEFT_EYE_CORNERS, RIGHT_EYE_CORNERS):
        size = u(.01, .025)
        shapes.add(glint, head.pixels(head.between(*corners), up=.02) + shift, head.right * size, head.down * size,
                   [[1, 1, 1]], softness=.5, alpha=u(.2, .9), mode=ADD)
    right, down = shapes.directions(u(0, 2 * np.pi))
    size = u(40, 160)
    shapes.add(shapes.chance(.25), head.pixels(head.points[:, NOSE_TIP]) + down * size * u(.6, 1.4), right * size * 2,
               down * size, np.repeat(u(.25, .8), 3, 1), squarings=shapes.either(1, 3), softness=u(.02, .5),
               wobble=u(0, .4), mode=MULTIPLY)


def add_fringe(shapes: Shapes, head: Head, color: np.ndarray, haired: np.ndarray, long: np.ndarray):
    """Adds hair over the forehead and beside the face, or a hat. Arguments as those of `add_body`."""
    u = shapes.uniform
    hat, tall = shapes.chance(.08), u(.45, .7)
    top = head.pixels(head.brows, up=u(.1, .55)) - head.down * tall     # centre above the lower edge of the hair
    shapes.add(haired & ~hat, top + head.right * head.width * shapes.normal(.3),
               head.right * head.width * u(1.05, 1.35) + head.down * shapes.normal(.1), head.down * tall,
               **shapes.hair(color), bend=u(-.6, .1))
    for side, temple in zip((-1, 1), JAW_ENDS, strict=True):
        shapes.add(haired & head.shows(side) & shapes.chance(.5) & (long | shapes.chance(.4)),
                   head.pixels(head.points[:, temple], up=u(-.3, .5)) + head.right * side * .1,
                   head.right * u(.1, .3), head.down * u(.7, 1.5), **shapes.hair(color), bend=u(-.3, .3))
    shapes.add(hat, top - head.down * .1, head.right * head.width * u(1.1, 1.5), head.down * u(.5, .7),
               **shapes.material(), squarings=shapes.either(1, 3), softness=.04, relief=.8, bend=u(-.2, .3))
    # a single strand of hair
    shapes.add(shapes.chance(.06), head.pixels(head.brows) + head.right * shapes.normal(.5),
               head.right * u(.02, .06) + head.down * shapes.normal(.03), head.down * u(.4, .9), color, softness=.5,
               alpha=u(.4, 1), bend=shapes.normal(.1))


def add_glasses(shapes: Shapes, head: Head):
    u = shapes.uniform
    worn = shapes.chance(.22)
    dark, mirroring = worn & shapes.chance(.2), worn & shapes.chance(.3)
    wide, tall, squarings, thickness = u(.26, .36), u(.17, .3), shapes.either(1, 2), u(.03, .12)
    color = colors(shapes.rng, shapes.count) * u(.05, 1)
    for corners in (LEFT_EYE_CORNERS, RIGHT_EYE_CORNERS):
        lens = {"center": head.pixels(head.between(*corners), up=-.04, front=.1), "right": head.across * wide,
                "down": head.down * tall, "squarings": squarings, "softness": .06}
        shapes.add(dark, **lens, color=color * .2, alpha=u(.7, 1), contrast=u(0, 1))
        shapes.add(mirroring, **lens, color=[[1, 1, 1]], alpha=u(.02, .35), mode=ADD, contrast=1.9)
        shapes.add(worn, **lens, color=color, ring=thickness)
    shapes.add(worn, head.pixels(head.points[:, NOSE_ROOT], up=-.03, front=.12), head.across * .12, head.down * .02,
               color, softness=.4, squarings=2)
    for side, corner, ear in zip((-1, 1), OUTER_EYE_CORNERS, JAW_ENDS, strict=True):
        hinge = head.pixels(head.points[:, corner], right=side * .15, front=.05)
        half = (head.pixels(head.points[:, ear]) - hinge) / 2 + head.right * .001
        shapes.add(worn & head.shows(side), hinge + half, half, head.down * .025, color, squarings=3, softness=.3)


def add_covers(shapes: Shapes, head: Head, skin: np.ndarray):
    """Adds face masks, hands, and other things before the face."""
    u = shapes.uniform
    shapes.add(shapes.chance(.05), head.pixels(head.between(CHIN, NOSE_FOOT)), head.across * head.width * u(.8, .95),
               head.down * head.height * u(.36, .5), **shapes.material(), squarings=shapes.either(1, 2), softness=.04,
               relief=.8)
    hand, tone = shapes.chance(.06), skin * u(.7, 1.2)
    place = head.pixels(head.points[:, NOSE_TIP], up=u(-1.1, .4)) + head.right * shapes.normal(.6)
    side, along = (axis * head.scale for axis in shapes.directions(u(-1.2, 1.2)))
    for finger in (-1.5, -.5, .5, 1.5):
        shapes.add(hand, place + side * .19 * finger - along * u(-.02, .06), side * .105, along * .38, tone,
                   squarings=2, relief=.95, contrast=.3)
    shapes.add(hand, place + along * .65, side * .42, along * .45, tone, squarings=2, softness=.05, relief=.6,
               contrast=.3)
    for _ in range(2):
        right, down = shapes.directions(u(0, np.pi))
        shapes.add(shapes.chance(.1), shapes.rng.uniform(10, CROP_SIZE - 10, (shapes.count, 2)), right * u(4, 40),
                   down * u(4, 40), **shapes.material(), squarings=shapes.either(1, 2, 3), softness=u(.02, .3),
                   relief=u(0, 1), wobble=u(0, .4))


def add_borders(shapes: Shapes):
    """Adds black borders, as crops have them that reach beyond their photo."""
    far = 1000.
    for x, y in ((-1, 0), (1, 0), (0, -1), (0, 1)):
        center = CROP_SIZE / 2 + (CROP_SIZE / 2 + far - shapes.uniform(0, 40)) * [x, y]
        shapes.add(shapes.chance(.06), center, [[far, 0]], [[0, far]], [[0, 0, 0]], squarings=3, softness=.001)
