"""Albedo: faces painted on the mesh by sampled recipes -> mean and 80 principal components.

Paint goes on in the logarithm of colour: shades, make-up, hair and blotches scale what lies below,
so that lips, brows and lashes keep their place relative to the skin's tone. Each `paint_*` function
draws its own random numbers; together they make one face.
"""
from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from .geometry import smooth_mask
from .mesh import ambient_occlusion, front_view, vertex_normals
from .skin_colour import SkinTable

SAMPLES, COMPONENTS = 800, 80
FIELD_SCALES = (.45, .2, .12, .07)          # decimetres: correlation lengths of the random fields
IRIS_RAISE = .006                          # of an iris at rest above the middle of the open eye
FIELDS_EACH = 40                            # symmetric ones, and as many free ones

HAIR = np.array([[28, 24, 22], [58, 42, 32], [92, 68, 48],
                 [150, 120, 82], [125, 72, 42], [150, 147, 143]], float)
IRIS = np.array([[48, 32, 22], [88, 58, 34], [112, 96, 58],
                 [98, 112, 88], [104, 132, 156], [130, 142, 150]], float)
# Skin types: share, log melanin (mean, spread), chances of the HAIR and IRIS colours.
SKIN_TYPES = ((.66, np.log(.016), .45, (.15, .30, .28, .14, .06, .07), (.10, .30, .15, .10, .25, .10)),
              (.20, np.log(.045), .35, (.45, .38, .12, .01, .01, .03), (.50, .44, .05, .01, .00, .00)),
              (.14, np.log(.160), .45, (.84, .13, .01, .00, .00, .02), (.80, .20, .00, .00, .00, .00)))


def ramp(low, high, x):
    """Smooth step from 0 at `low` to 1 at `high` (which may be smaller)."""
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def along(points, line, steps=200):
    """Distance of points (n, 3) to a polyline (m, 3), and where along it (0..1) the nearest place is."""
    t = np.linspace(0, len(line) - 1, steps)
    i = np.minimum(t.astype(int), len(line) - 2)
    dense = line[i] + (t - i)[:, None] * (line[i + 1] - line[i])
    distance, nearest = cKDTree(dense).query(points)
    return distance, t[nearest] / (len(line) - 1)


class FaceMap:
    """Where things are on the mean face: all the fields that painting needs. (N,) float32 arrays.

    `folded` are the vertices with x replaced by |x|: symmetric fields are made from it. `side` is +1
    on the image's right.
    """

    def __init__(self, points, surface, rng):
        key = points[surface.keypoints]
        self.key, self.eye, self.points = key, surface.is_eye, points
        self.skin = ~surface.is_eye
        self.x, self.y, self.z = points.T
        self.ax, self.side = np.abs(self.x), np.sign(self.x)
        self.folded = np.c_[self.ax, points[:, 1:]]
        self.normal = vertex_normals(points, surface.triangles)
        self.lips = smooth_mask(surface.masks['lips'], surface.triangles, 6)
        self.inside = ramp(.3, .7, surface.masks['inside-mouth'])
        self.occlusion = ambient_occlusion(points, surface.triangles)
        self._eyes(surface)
        self._folds()
        self._regions()
        self._mouth()
        self.fields = {scale: self._random_fields(scale, rng) for scale in FIELD_SCALES}
        self.importance = self._importance(surface)

    def blob(self, centre, radius):
        """Gaussian about a place on the image's right and its mirror image."""
        return np.exp(-.5 * (((self.folded - centre) / np.asarray(radius)) ** 2).sum(1)) * self.skin

    def stroke(self, line, width):
        """Gaussian about a polyline on the image's right and its mirror image."""
        return np.exp(-(along(self.folded, np.asarray(line))[0] / width) ** 2) * self.skin

    def _eyes(self, surface):
        mirror = np.array([-1, 1, 1])
        self.upper_lid, self.along_upper = along(self.folded, self.points[surface.upper_lid] * mirror)
        self.lower_lid, self.along_lower = along(self.folded, self.points[surface.lower_lid] * mirror)
        self.above_lid = ramp(-.01, .01, self.y - self.key[[42, 45], 1].mean()) * self.skin
        # place on the eyeball relative to the middle of the open eye, x towards the image's right
        upper, lower = self.points[surface.upper_lid], self.points[surface.lower_lid]
        middle = np.array([(upper[[0, -1], 0].mean() + lower[[0, -1], 0].mean()) / 2,
                           (upper[15:26, 1].mean() + lower[15:26, 1].mean()) / 2 + IRIS_RAISE])
        centre = middle * np.c_[-self.side, np.ones(len(self.x))]
        self.ball = np.where(self.eye[:, None], self.points[:, :2] - centre, 0)

    def _folds(self):
        k = self.key
        wing, corner = k[35], k[54]
        self.nasolabial = self.stroke([wing + [.035, .03, 0], (wing + corner) / 2 + [.075, .02, 0],
                                       corner + [.09, .02, 0], corner + [.08, -.08, 0]], .035)
        self.marionette = self.stroke([corner + [.02, -.02, 0], corner + [.05, -.16, -.02]], .03)
        inner, outer = k[42], k[45]
        self.trough = self.stroke([inner + [.0, -.035, 0], (inner + outer) / 2 + [-.02, -.115, .01],
                                   outer + [.0, -.09, 0]], .03)
        self.bag = self.stroke([inner + [.03, -.03, 0], (inner + outer) / 2 + [0, -.07, 0],
                                outer + [-.01, -.04, 0]], .025)
        self.crow = self.stroke([outer + [.05, .0, -.03], outer + [.13, -.03, -.10]], .035)
        self.frown = self.stroke([[.055, k[27, 1] + .05, k[27, 2]], [.05, k[27, 1] + .16, k[27, 2]]], .03)
        self.wing_crease = self.stroke([wing + [.02, .09, -.03], wing + [.045, .04, -.03],
                                        wing + [.03, -.01, 0]], .018)
        self.brow_lines = sum(np.exp(-((self.y - y) / .018) ** 2) for y in (.61, .68))
        self.brow_lines *= ramp(.45, .15, self.ax) * self.skin

    def _regions(self):
        k, y, ax = self.key, self.y, self.ax
        self.cheek = self.blob((k[46] + k[54]) / 2 + [.08, 0, 0], .16)
        self.cheekbone = self.blob(k[45] + [.04, -.14, 0], [.09, .05, .1])
        self.nose_tip, self.nose = self.blob(k[30], .05), self.blob(k[30], .12)
        self.bridge = (ramp(.06, .0, ax) * ramp(k[30, 1] - .02, k[30, 1] + .05, y)
                       * ramp(k[27, 1] + .1, k[27, 1], y))
        self.chin = self.blob(k[8] + [0, .12, .1], .12)
        self.forehead = ramp(.45, .62, y) * self.skin
        self.brow_centre = self.blob([0, .62, .3], .16)
        self.socket = self.blob((k[42] + k[45]) / 2 + [-.01, .05, 0], [.11, .045, .12])
        self.inner_socket = self.blob(k[42] + [-.035, .03, 0], [.035, .06, .08])
        self.under_eye = self.blob((k[46] + k[47]) / 2 + [-.02, -.06, 0], .065)
        self.nose_side = self.blob((k[27] + k[35]) / 2 + [.07, -.02, -.1], [.05, .13, .1])
        self.below_nose = self.blob((k[33] + k[51]) / 2 + [0, .01, 0], [.10, .04, .1])
        self.below_lip = self.blob(k[57] + [0, -.045, 0], [.10, .03, .1])
        self.below_jaw = ramp(-.05, -.6, self.normal[:, 1]) * ramp(-.55, -.72, y) * self.skin
        nostril = ramp(.40, .12, self.occlusion) * (self.lips < .2) * (self.inside < .3) * self.skin
        nostril *= (y < k[30, 1] + .03) * (y > k[51, 1]) * (ax < .2)
        # most photos see more of the nostrils than this nose shows from the front
        self.nostril = np.maximum(nostril, .9 * self.blob(k[34] + [.008, .002, 0], [.026, .012, .05]))
        hairy = self.skin * (1 - self.inside) * (1 - ramp(.15, .6, self.lips))
        rim = np.interp(ax, [0, .2, .3, .42, .56, .66, .8], [-.20, -.27, -.36, -.34, -.14, .12, .2])
        lower = ramp(-.09, .10, rim - y) * hairy
        mouth_low, subnasal = k[57, 1], k[33, 1]
        self.moustache = (ramp(subnasal + .01, subnasal - .06, y + .15 * ax)
                          * ramp(mouth_low, k[54, 1] + .02, y) * ramp(.31, .14, ax) * hairy)
        self.goatee = lower * ramp(.30, .16, ax) * ramp(k[54, 1], mouth_low - .02, y)
        self.soul_patch = self.blob(k[57] + [0, -.04, 0], [.05, .04, .1]) * hairy
        self.jaw_beard = lower * ramp(.18, .32, ax) * ramp(.64, .55, ax)
        self.sideburn = ramp(.54, .63, ax) * ramp(.32, .15, y) * ramp(-.5, -.3, y) * self.skin

    def _mouth(self):
        k = self.key
        line = np.array([k[54] + [.015, 0, 0], k[64], k[63], k[62]])
        self.mouth_line, _ = along(self.folded, line)
        split = np.interp(self.ax, np.abs(line[::-1, 0]), line[::-1, 1])
        self.upper_lip = self.lips * ramp(-.008, .008, self.y - split)
        self.lower_lip = self.lips - self.upper_lip
        self.mouth_corner = self.blob(k[54] + [.02, 0, 0], .03)

    def _random_fields(self, scale, rng, waves=40):
        """(N, 2 * FIELDS_EACH) smooth unit-variance fields; the second half is not symmetric, and weaker."""
        def field(points):
            frequency, phase = rng.normal(0, 1 / scale, (waves, 3)), rng.uniform(0, 2 * np.pi, waves)
            return np.sqrt(2 / waves) * np.cos(points @ frequency.T + phase).sum(1)
        return np.stack([.85 * field(self.folded) for _ in range(FIELDS_EACH)]
                        + [.5 * field(self.points) for _ in range(FIELDS_EACH)], 1).astype(np.float32)

    def random(self, scale, rng):
        """A random smooth field of about unit variance."""
        bank = self.fields[scale]
        return bank @ (rng.normal(size=bank.shape[1]) / np.sqrt(FIELDS_EACH)).astype(np.float32)

    def _importance(self, surface):
        """What a vertex weighs in the components: its frontal area, more at eyes, brows, lips, nose."""
        seen = front_view(self.points, surface.triangles)[0]
        area = np.bincount(surface.triangles[seen[seen >= 0]].ravel(), minlength=len(self.x)) / 3.
        area = area + .15 * area.mean()
        eye_centre = (self.key[42] + self.key[45]) / 2
        brow = ramp(.07, .03, np.abs(self.y - self.brow_line(self.ax))) * ramp(.68, .6, self.ax) * self.skin
        eyes = np.exp(-(((self.folded - eye_centre) / [.14, .09, .3]) ** 2).sum(1))
        more = 6 * eyes + 5 * self.eye + 2.5 * brow + 3 * np.clip(self.lips, 0, 1) + 3 * self.nose
        return area * (1 + more)

    def brow_line(self, ax):
        """Height of the mean brow's middle over |x|."""
        brow = self.key[22:27]
        return np.interp(ax, brow[:, 0], brow[:, 1] - .015)


class Canvas:
    """The colours of one face while it is painted: (N, 3) logarithms of 0..255."""

    def __init__(self, colour):
        self.log = np.log(np.maximum(colour, 1)).astype(np.float32)

    def shade(self, amount, tint=(1, 1, 1)):
        """Darkens by exp(-amount) (N,); `tint` weighs the channels."""
        self.log -= np.asarray(amount, np.float32)[:, None] * np.asarray(tint, np.float32)

    def cover(self, alpha, colour):
        """Covers with colour (3,) or (N, 3); alpha (N,) 0..1."""
        alpha = np.clip(alpha, 0, 1).astype(np.float32)[:, None]
        self.log += alpha * (np.log(np.maximum(colour, 1)).astype(np.float32) - self.log)

    def lighten(self, alpha, colour=(255, 250, 245)):
        """Adds a gloss: alpha of white over the colour, in light rather than in its logarithm."""
        alpha = np.clip(alpha, 0, 1)[:, None]
        value = np.exp(self.log)
        self.log = np.log(value + alpha * (np.asarray(colour) - value)).astype(np.float32)

    @property
    def colour(self):
        return np.clip(np.exp(self.log), 0, 255)


@dataclass
class Person:
    """What several paints of one face share."""
    melanin: float                          # logarithms of the volume fractions
    blood: float
    male: bool
    age: float                              # 0 young .. 1 old
    hair: np.ndarray                        # (3,) 0..255
    iris: np.ndarray
    tone: np.ndarray                        # (3,) plain skin colour


def sample_person(rng, skin):
    types = np.array([t[0] for t in SKIN_TYPES])
    _, mean, spread, hairs, irises = SKIN_TYPES[rng.choice(len(types), p=types / types.sum())]
    melanin, blood = rng.normal(mean, spread), rng.normal(np.log(.032), .32)
    tone = skin(np.full(1, melanin), np.full(1, blood))[0]
    male, age = rng.random() < .55, rng.beta(1.2, 2)
    hair = HAIR[rng.choice(len(HAIR), p=hairs)] * rng.uniform(.75, 1.15)
    # brows and beards of light hair are still darker than the skin they grow on
    hair = hair * min(1, .72 * tone.mean() / hair.mean())
    iris = IRIS[rng.choice(len(IRIS), p=irises)] * rng.uniform(.8, 1.15)
    return Person(melanin, blood, male, age, hair, iris, tone)


def paint_skin(face, person, rng, skin):
    """Pigments: tone, blush, blotches; returns the canvas."""
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
    # camera and exposure: what white balance leaves over
    canvas.log += (rng.normal(0, .06) + rng.normal(0, [.035, .02, .05])).astype(np.float32)
    return canvas


def paint_relief(face, person, rng, canvas):
    """Shades that smooth light cannot make: hollows, cast shadows, folds, gloss."""
    def positive(spread, mean=0.):
        return max(0, rng.normal(mean, spread))

    def sided(field, spread, mean=0.):
        """A shade whose two sides differ."""
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
    # light that smooth shading misses: one darker side, darker rim, darker top or bottom
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
    """Lid crease, lashes, make-up, and the eyeball with its gaze."""
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
    """Tone-bound lips: more blood, less or more melanin; sometimes lipstick; the line between them."""
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
    """Hair that falls on the face: hairline and fringe, temples, strands along the cheeks."""
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
    """(N, 3) colour 0..255 of one random person."""
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
    mean: np.ndarray                        # (N, 3) 0..255
    basis: np.ndarray                       # (N, 3, 80) one standard deviation each
    explained: float                        # share of the weighted variance
    face: FaceMap


def build_albedo(points, surface, rng, samples=SAMPLES):
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
    # sum over samples / sqrt(n): the component's pattern, scaled to one standard deviation
    basis = faces.T @ vectors[:, order].astype(np.float32) / np.sqrt(samples)
    basis *= np.sign(basis.sum(0))
    explained = float(values[order].sum() / values.sum())
    return Albedo(mean.reshape(-1, 3), basis.reshape(-1, 3, COMPONENTS), explained, face)
