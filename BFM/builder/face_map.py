"""Describes where things are on the mean face: eyes, folds, regions, hair. The albedo is painted with these fields."""
import numpy as np
from scipy.spatial import cKDTree

from .geometry import smooth_mask
from .mesh import ambient_occlusion, front_view, vertex_normals

FIELD_SCALES = (.45, .2, .12, .07)          # decimetres: correlation lengths of the random fields
FIELDS_EACH = 40                            # symmetric fields per scale, and as many that are not symmetric
IRIS_RAISE = .006                           # decimetres: a resting iris is this far above the middle of the open eye


def ramp(low, high, x):
    """Returns a smooth step of x, 0 up to `low` and 1 from `high` on. With low > high it falls instead."""
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def along(points, line, steps=200):
    """Returns the distance (n,) of points (n, 3) to a polyline (m, 3), and the nearest place along it (n,), 0..1."""
    t = np.linspace(0, len(line) - 1, steps)
    i = np.minimum(t.astype(int), len(line) - 2)
    dense = line[i] + (t - i)[:, None] * (line[i + 1] - line[i])
    distance, nearest = cKDTree(dense).query(points)
    return distance, t[nearest] / (len(line) - 1)


class FaceMap:
    """The fields that painting needs, each an array (N,) over the vertices of the mean face.

    Most fields are weights 0..1 that say how much a vertex belongs to a region. Lengths are decimetres.

    folded: (N, 3) the vertices with |x| in place of x. Symmetric fields are computed from these.
    side: (N,) +1 on the image's right, -1 on its left.
    ax: (N,) |x|.
    key: (68, 3) the keypoints.
    importance: (N,) weight of each vertex in the principal components.
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
        """Returns a Gaussian (N,) round a place (3,) on the image's right, and round its mirror image.

        radius: standard deviation, decimetres, one for all axes or one for each.
        """
        return np.exp(-.5 * (((self.folded - centre) / np.asarray(radius)) ** 2).sum(1)) * self.skin

    def stroke(self, line, width):
        """Returns a Gaussian (N,) round a polyline (m, 3) on the image's right, and round its mirror image."""
        return np.exp(-(along(self.folded, np.asarray(line))[0] / width) ** 2) * self.skin

    def _eyes(self, surface):
        mirror = np.array([-1, 1, 1])
        self.upper_lid, self.along_upper = along(self.folded, self.points[surface.upper_lid] * mirror)
        self.lower_lid, self.along_lower = along(self.folded, self.points[surface.lower_lid] * mirror)
        self.above_lid = ramp(-.01, .01, self.y - self.key[[42, 45], 1].mean()) * self.skin
        # x and y of eyeball vertices relative to the middle of the open eye, x towards the image's right
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
        # Most photos show more of the nostrils than this nose shows from the front.
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
        """Returns smooth random fields (N, 2 * FIELDS_EACH). The second half is not symmetric, and weaker."""
        def field(points):
            frequency, phase = rng.normal(0, 1 / scale, (waves, 3)), rng.uniform(0, 2 * np.pi, waves)
            return np.sqrt(2 / waves) * np.cos(points @ frequency.T + phase).sum(1)
        return np.stack([.85 * field(self.folded) for _ in range(FIELDS_EACH)]
                        + [.5 * field(self.points) for _ in range(FIELDS_EACH)], 1).astype(np.float32)

    def random(self, scale, rng):
        """Returns a smooth random field (N,) with a variance of about 1. scale: one of FIELD_SCALES."""
        bank = self.fields[scale]
        return bank @ (rng.normal(size=bank.shape[1]) / np.sqrt(FIELDS_EACH)).astype(np.float32)

    def _importance(self, surface):
        """Returns the weights (N,) of the vertices: the area seen from the front, more at eyes, brows, lips, nose."""
        seen = front_view(self.points, surface.triangles)[0]
        area = np.bincount(surface.triangles[seen[seen >= 0]].ravel(), minlength=len(self.x)) / 3.
        area = area + .15 * area.mean()
        eye_centre = (self.key[42] + self.key[45]) / 2
        brow = ramp(.07, .03, np.abs(self.y - self.brow_line(self.ax))) * ramp(.68, .6, self.ax) * self.skin
        eyes = np.exp(-(((self.folded - eye_centre) / [.14, .09, .3]) ** 2).sum(1))
        more = 6 * eyes + 5 * self.eye + 2.5 * brow + 3 * np.clip(self.lips, 0, 1) + 3 * self.nose
        return area * (1 + more)

    def brow_line(self, ax):
        """Returns the height of the middle of the mean brow at the distances ax from the face's middle."""
        brow = self.key[22:27]
        return np.interp(ax, brow[:, 0], brow[:, 1] - .015)
