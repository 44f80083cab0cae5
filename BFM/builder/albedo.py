"""Builds the albedo basis: paints random faces on the mesh and keeps their mean and 80 principal components.

Colours are painted as logarithms. Shades, make-up, hair and blotches therefore scale the colour below them, and lips,
brows and lashes keep their contrast to the skin. Each `paint_*` function adds one part of a face and draws its own
random numbers.
"""
from dataclasses import dataclass

import numpy as np

from .face_map import FaceMap, ramp
from .skin_colour import SkinTable

SAMPLES, COMPONENTS = 800, 80

HAIR = np.array([[28, 24, 22], [58, 42, 32], [92, 68, 48],
                 [150, 120, 82], [125, 72, 42], [150, 147, 143]], float)
IRIS = np.array([[48, 32, 22], [88, 58, 34], [112, 96, 58],
                 [98, 112, 88], [104, 132, 156], [130, 142, 150]], float)
# Skin types: share of people, mean and spread of log melanin, probabilities of the HAIR and of the IRIS colours.
SKIN_TYPES = ((.66, np.log(.016), .45, (.15, .30, .28, .14, .06, .07), (.10, .30, .15, .10, .25, .10)),
              (.20, np.log(.045), .35, (.45, .38, .12, .01, .01, .03), (.50, .44, .05, .01, .00, .00)),
              (.14, np.log(.160), .45, (.84, .13, .01, .00, .00, .02), (.80, .20, .00, .00, .00, .00)))


class Canvas:
    """The colours of one face while it is painted.

    log: (N, 3) float32, natural logarithm of RGB 1..255.
    """

    def __init__(self, colour):
        self.log = np.log(np.maximum(colour, 1)).astype(np.float32)

    def shade(self, amount, tint=(1, 1, 1)):
        """Multiplies the colours by exp(-amount). amount: (N,). tint: factor on the amount in each channel."""
        self.log -= np.asarray(amount, np.float32)[:, None] * np.asarray(tint, np.float32)

    def cover(self, alpha, colour):
        """Blends in a colour (3,) or (N, 3), RGB 0..255, in logarithms. alpha: (N,) opacity, clipped to 0..1."""
        alpha = np.clip(alpha, 0, 1).astype(np.float32)[:, None]
        self.log += alpha * (np.log(np.maximum(colour, 1)).astype(np.float32) - self.log)

    def lighten(self, alpha, colour=(255, 250, 245)):
        """Blends in a gloss, linearly rather than in logarithms. alpha: (N,) opacity, clipped to 0..1."""
        alpha = np.clip(alpha, 0, 1)[:, None]
        value = np.exp(self.log)
        self.log = np.log(value + alpha * (np.asarray(colour) - value)).astype(np.float32)

    @property
    def colour(self):
        return np.clip(np.exp(self.log), 0, 255)


@dataclass
class Person:
    """Properties of one random person that several paint functions use."""
    melanin: float                          # natural logarithm of the volume fraction, see skin_colour.py
    blood: float                            # the same
    male: bool
    age: float                              # 0 young .. 1 old
    hair: np.ndarray                        # (3,) RGB 0..255
    iris: np.ndarray                        # (3,) RGB 0..255
    tone: np.ndarray                        # (3,) RGB 0..255 of plain skin


def sample_person(rng, skin):
    types = np.array([t[0] for t in SKIN_TYPES])
    _, mean, spread, hairs, irises = SKIN_TYPES[rng.choice(len(types), p=types / types.sum())]
    melanin, blood = rng.normal(mean, spread), rng.normal(np.log(.032), .32)
    tone = skin(np.full(1, melanin), np.full(1, blood))[0]
    male, age = rng.random() < .55, rng.beta(1.2, 2)
    hair = HAIR[rng.choice(len(HAIR), p=hairs)] * rng.uniform(.75, 1.15)
    # Even light brows and beards are darker than the skin on which they grow.
    hair = hair * min(1, .72 * tone.mean() / hair.mean())
    iris = IRIS[rng.choice(len(IRIS), p=irises)] * rng.uniform(.8, 1.15)
    return Person(melanin, blood, male, age, hair, iris, tone)


def paint_skin(face, person, rng, skin):
    """Returns a Canvas with the skin: its tone, blush and blotches."""
    def some(mean, spread):
        return mean + spread * rng.normal()

    melanin = (person.melanin + .14 * face.random(.45, rng) + .08 * face.random(.2, rng)
               + .07 * face.random(.12, rng) + .05 * face.random(.07, rng)
               + abs(some(.05, .15)) * face.under_eye + some(.04, .12) * face.socket
               + some(0, .07) * face.forehead + some(0, .08) * face.chin + some(0, .06) * face.cheek)
    blood = (person.blood + .16 * face.random(.45, rng) + .10 * face.random(.2, rng)
             + .08 * face.random(.12, rng) + .06 * face.random(.07, rng)
             + some(.22, .3) * face.cheek + some(.2, .25) * face.nose
             + some(.10, .15) * face.chin - some(.10, .12) * face.forehead + some(.15, .2) * face.under_eye
             + some(.1, .15) * face.socket)
    canvas = Canvas(skin(melanin, blood))
    # errors of exposure and white balance that remain in photos
    canvas.log += (rng.normal(0, .06) + rng.normal(0, [.035, .02, .05])).astype(np.float32)
    return canvas


def paint_relief(face, person, rng, canvas):
    """Paints shades that the smooth light of the face model cannot produce: hollows, cast shadows, folds, gloss."""
    def positive(spread, mean=0.):
        return max(0, rng.normal(mean, spread))

    def sided(field, spread, mean=0.):
        """Returns a random shade (N,) of a field, whose strength differs between left and right."""
        left, right = (positive(spread, mean) for _ in range(2))
        both = positive(spread, mean)
        return field * np.where(face.side < 0, .5 * left + both, .5 * right + both)

    hollow = 1 - np.clip(face.occlusion / .85, 0, 1)
    canvas.shade(rng.uniform(.15, .7) * hollow ** 1.3 * face.skin, (.85, 1, 1.05))
    canvas.shade(sided(face.socket, .16, .05) + sided(face.inner_socket, .18, .12), (.9, 1, 1))
    canvas.shade(sided(face.trough, .10, .03 + .10 * person.age) + sided(face.bag, .06, .03), (.85, 1, 1))
    canvas.shade(sided(face.nasolabial, .10, .04 + .16 * person.age), (.9, 1, 1))
    canvas.shade(sided(face.marionette, .05, .10 * person.age) + sided(face.crow, .05, .08 * person.age))
    canvas.shade(positive(.02, .06 * person.age - .02) * face.brow_lines
                 + positive(.01, .05 * person.age) * face.frown)
    canvas.shade(sided(face.nose_side, .16) + sided(face.wing_crease, .12, .12))
    canvas.shade(positive(.18, .08) * face.below_nose + positive(.15, .08) * face.below_lip, (.85, 1, 1))
    canvas.shade(positive(.25, .10) * face.below_jaw + rng.uniform(.2, 1.2) * face.nostril, (.8, 1, 1))
    # uneven light: one side, the rim, the top or the bottom is darker
    canvas.shade(rng.normal(0, .09) * face.x / .7 + rng.normal(0, .07) * (face.y + .05) / .7)
    canvas.shade(sided(ramp(.45, .76, face.ax), .10) + rng.normal(0, .06) * face.forehead)
    gloss = positive(.09, .04) * (1 - .5 * rng.random())
    for field, strength in ((face.brow_centre, 1), (face.bridge, 1), (face.nose_tip, 1.2),
                            (face.cheekbone, 1), (face.chin, .5)):
        canvas.lighten(gloss * strength * rng.uniform(.2, 1.6) * field)


def paint_brows(face, person, rng, canvas):
    height, tilt = rng.normal(0, .016), rng.normal(0, .012)
    arch, gap, length = rng.normal(0, .010), rng.normal(0, .022), rng.normal(0, .025)
    thickness = np.exp(rng.normal(.12 if person.male else -.08, .22))
    density = np.clip(rng.normal(1.05 if person.male else .9, .32), .1, 1.7)
    soft = rng.uniform(.8, 1.3)
    head, tail = rng.uniform(.45, 1), rng.uniform(.5, 1)
    for side in (-1, 1):
        start = face.key[22, 0] - .02 + gap + rng.normal(0, .008)
        end = face.key[26, 0] + .01 + length
        u = (face.ax - start) / (end - start)
        middle = (face.brow_line(face.ax) + height + rng.normal(0, .007)
                  + (tilt + rng.normal(0, .004)) * (u - .5) + arch * (1 - (2 * u - 1.25) ** 2))
        width = thickness * np.interp(u, [0, .15, .5, .8, 1], [.024, .032, .030, .022, .010])
        body = np.exp(-1.2 * np.abs((face.y - middle) / width) ** (2 * soft))
        along_it = np.interp(u, [-.09, .08, .22, .55, .88, 1.08], [0, head, 1, 1, tail, 0])
        hairs = np.clip(body * along_it * density * (1 + .15 * face.random(.07, rng)), 0, .93)
        canvas.cover(hairs * face.skin * (face.side == side), person.hair * .8)
    if person.male:
        canvas.cover(np.clip(rng.normal(-.05, .12), 0, .4) * np.exp(-((face.y - face.key[22, 1]) / .03) ** 2)
                     * ramp(.16, .02, face.ax) * face.skin, person.hair)


def paint_eyes(face, person, rng, canvas):
    """Paints lid creases, make-up, lashes, and the eyeballs, which look in a random direction."""
    makeup = 0. if person.male or rng.random() < .5 else rng.uniform(.2, 1)
    offset = rng.uniform(.035, .075)
    crease = np.exp(-((face.upper_lid - offset) / .014) ** 2) * face.above_lid
    canvas.shade(max(0, rng.normal(.22, .16)) * crease
                 * np.interp(face.along_upper, [0, .1, .9, 1], [.6, 1, 1, .6]))
    lid = face.above_lid * ramp(offset, .01, face.upper_lid)
    canvas.shade(rng.normal(.05, .12) * lid)
    if makeup:
        canvas.shade(makeup * abs(rng.normal(0, .35)) * lid, rng.uniform(.6, 1.1, 3))
    width = .014 + .010 * makeup + abs(rng.normal(0, .004))
    upper = np.exp(-(face.upper_lid / width) ** 2) * np.interp(face.along_upper, [0, .9, 1], [1, 1, .45])
    lower = np.exp(-(face.lower_lid / (.010 + .004 * makeup)) ** 2)
    dark = np.minimum(person.hair * .4 + 8, 45)
    canvas.cover(upper * np.clip(rng.normal(.62 + .25 * makeup, .2), 0, .95) * face.skin, dark)
    canvas.cover(lower * np.clip(rng.normal(.28 + .3 * makeup, .16), 0, .9) * face.skin, dark)

    e = face.eye
    gaze = np.array([rng.normal(0, .022), rng.normal(0, .010)])
    vergence = rng.normal(0, .004) * face.side[e]
    place = face.ball[e] - gaze - np.stack([vergence, np.zeros(e.sum())], 1)
    radius = np.hypot(*place.T)
    size = rng.normal(.060, .003)
    white = np.array([205, 192, 184]) * rng.uniform(.75, 1.08) - np.array([0, 8, 12]) * rng.random()
    white = white * min(1, 1.25 * person.tone.mean() / white.mean() + .25)
    pupil = rng.uniform(.020, .032)
    rim = ramp(size * .55, size, radius)
    iris = person.iris * (1.1 - .5 * rim[:, None])
    ball = Canvas(np.repeat(white[None], e.sum(), 0))
    ball.cover(ramp(size + .010, size - .008, radius), iris)
    ball.cover(ramp(pupil + .010, pupil - .008, radius), np.array([12, 11, 11.]))
    lid_shadow = rng.uniform(.3, .9) * np.exp(-(face.upper_lid[e] / .032) ** 2)
    ball.shade(lid_shadow + .2 * np.exp(-(face.lower_lid[e] / .015) ** 2)
               + rng.uniform(.1, .5) * ramp(.075, .15, np.abs(face.ball[e, 0])))
    if rng.random() < .5:
        glint = np.array([rng.normal(0, .02), rng.uniform(.0, .035)])
        ball.lighten(rng.uniform(.2, .8) * np.exp(-(((face.ball[e] - glint) / .012) ** 2).sum(1)))
    canvas.log[e] = ball.log


def paint_lips(face, person, rng, canvas, skin):
    """Paints lips that match the skin's tone, sometimes lipstick, and the line between the lips."""
    melanin, blood = person.melanin + rng.normal(-.15, .25), person.blood + np.log(4.2) + rng.normal(0, .28)
    bare = skin(np.full(1, melanin), np.full(1, blood))[0]
    bare *= min(1, .78 * person.tone.mean() / bare.mean())
    edge = rng.uniform(.30, .62)
    shape = ramp(edge - .25, edge + .25, face.lips)
    upper = np.divide(face.upper_lip, face.lips, out=np.zeros_like(face.lips), where=face.lips > 1e-3)
    strength = rng.uniform(.55, 1)
    canvas.cover(shape * strength * (1 + .06 * face.random(.12, rng)), bare)
    if not person.male and rng.random() < .22:
        stick = np.array([rng.uniform(110, 190), rng.uniform(25, 85), rng.uniform(40, 95)])
        stick *= min(1, .8 * person.tone.mean() / stick.mean())
        canvas.cover(shape * rng.uniform(.2, .75), stick)
    canvas.shade(shape * (upper * rng.normal(.12, .09) + (1 - upper) * rng.normal(0, .07)))
    canvas.lighten(np.clip(rng.normal(.03, .05), 0, .2) * shape * (1 - upper)
                   * np.exp(-((face.y - face.key[57, 1] - .045) / .02) ** 2))
    line = np.exp(-(face.mouth_line / rng.uniform(.008, .016)) ** 2)
    canvas.cover(np.clip(rng.normal(.55, .22), 0, .95) * line * face.skin, bare * .28)
    canvas.shade(max(0, rng.normal(.15, .15)) * face.mouth_corner)
    canvas.cover(face.inside, np.array([62, 28, 26.]) * rng.uniform(.6, 1.2))


def paint_beard(face, person, rng, canvas):
    if not person.male:
        canvas.shade(abs(rng.normal(0, .04)) * face.moustache)
        return
    general = np.clip(rng.exponential(.15), 0, 1) if rng.random() < .8 else rng.uniform(.25, .9)
    parts = ((face.moustache, 1.), (face.goatee, 1.), (face.soul_patch, .7), (face.jaw_beard, .8),
             (face.sideburn, .7))
    alpha = sum(np.clip(general * weight * np.exp(rng.normal(0, .5)), 0, 1.1) * field
                for field, weight in parts)
    alpha = np.clip(alpha * np.clip(1 + .2 * face.random(.12, rng), .4, 1.6), 0, .88)
    canvas.cover(alpha, np.minimum(person.hair * .75 + [12, 14, 17], person.tone * .6))


def paint_hair(face, person, rng, canvas):
    """Paints hair that covers skin: fringe, temples, strands along the cheeks."""
    hair = np.minimum(person.hair * rng.uniform(.6, 1.3), person.tone * .9)
    wave = .03 * face.random(.2, rng) + .02 * face.random(.12, rng)
    if rng.random() < .38:
        hairline = (rng.uniform(.52, .86) + rng.normal(0, .10) * face.x / .5
                    - rng.uniform(0, .35) * (face.ax / .7) ** 2)
        canvas.cover(rng.uniform(.5, .95) * ramp(-.05, .05, face.y - hairline - wave) * face.skin, hair)
    for side in (-1, 1):
        if rng.random() < .28:
            edge = rng.uniform(.52, .74) - rng.uniform(-.05, .2) * ramp(.1, .6, face.y)
            low = rng.uniform(-1, .35)
            strand = ramp(-.05, .05, face.ax - edge - wave) * ramp(low - .12, low + .12, face.y)
            canvas.cover(rng.uniform(.4, .95) * strand * face.skin * (face.side == side), hair)


def paint_face(face, rng, skin):
    """Returns the colours (N, 3), RGB 0..255, of one random person."""
    person = sample_person(rng, skin)
    canvas = paint_skin(face, person, rng, skin)
    paint_lips(face, person, rng, canvas, skin)
    paint_beard(face, person, rng, canvas)
    paint_relief(face, person, rng, canvas)
    paint_brows(face, person, rng, canvas)
    paint_hair(face, person, rng, canvas)
    paint_eyes(face, person, rng, canvas)
    return canvas.colour


@dataclass
class Albedo:
    """The mean albedo and the albedo basis of the model."""
    mean: np.ndarray                        # (N, 3) RGB 0..255
    basis: np.ndarray                       # (N, 3, 80) grey levels, for one standard deviation
    explained: float                        # share of the weighted variance, 0..1
    face: FaceMap


def build_albedo(points, surface, rng, samples=SAMPLES):
    """Returns the Albedo of random faces painted on the mean face. points: (N, 3) its vertices."""
    face, skin = FaceMap(points, surface, rng), SkinTable()
    faces = np.stack([paint_face(face, rng, skin).ravel() for _ in range(samples)]).astype(np.float32)
    mean = faces.mean(0)
    faces -= mean
    weight = np.repeat(face.importance / face.importance.mean(), 3).astype(np.float32)
    gram = np.zeros((samples, samples))
    for part in np.array_split(np.arange(faces.shape[1]), 16):
        block = faces[:, part]
        gram += (block * weight[part]) @ block.T
    values, vectors = np.linalg.eigh(gram)
    order = np.argsort(-values)[:COMPONENTS]
    # the sum over the samples divided by sqrt(samples) is the pattern of one standard deviation
    basis = faces.T @ vectors[:, order].astype(np.float32) / np.sqrt(samples)
    basis *= np.sign(basis.sum(0))
    explained = float(values[order].sum() / values.sum())
    return Albedo(mean.reshape(-1, 3), basis.reshape(-1, 3, COMPONENTS), explained, face)
