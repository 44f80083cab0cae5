"""Builds the identity basis: samples MakeHuman heads and keeps their mean and 80 principal components."""
from dataclasses import dataclass

import numpy as np

from models.landmarks import five_points

from .geometry import align
from .mesh import front_view

SAMPLES, COMPONENTS = 12000, 80
MOUTH_CLOSE = -.03                          # activation of 'jawOpen' in every head, so that the lips touch
EYE_RECESS = .008                           # decimetres that the eyeballs move back, so that they stay behind the lids

# Standard deviation of the weights of the local targets, by folder. With these values the widths and heights of the
# faces vary by 4 to 7 %, as surveys of people report.
SPREAD = dict(head=.15, eyes=.19, nose=.19, mouth=.20, cheek=.24, chin=.19, eyebrows=.20, forehead=.20,
              neck=.2, asym=.25)
OPPOSITE = dict(incr='decr', up='down', out='in', convex='concave', forward='backward', uncompress='compress')
HEAD_SHAPES = {f'head/head-{s}' for s in ('oval', 'round', 'rectangular', 'square', 'triangular', 'diamond',
                                          'invertedtriangular')} | {'chin/chin-triangle'}


@dataclass
class LocalVariation:
    """A random weight that changes one part of the head, through one target or through a pair of opposite ones."""
    spread: float                           # standard deviation of the weight
    sides: list                             # (target for positive weights, target for negative ones or None), once
                                            # for the whole face, or for its left and its right side
    symmetric: bool = True                  # False: the two sides differ a little
    rare: bool = False                      # True: only every second head has it


def spread_of(folder, name):
    """Returns the standard deviation of the weight of a target."""
    value = SPREAD[folder]
    if name.startswith('head-scale'):
        return .14
    if name.startswith(('head-age', 'head-fat')):
        return .2
    if '-trans-' in name and folder not in ('eyebrows', 'cheek', 'forehead'):
        value *= .6
    if 'eye-push' in name or 'eye-trans' in name:
        value *= .5
    return value


def local_variations(targets):
    """Returns a LocalVariation for every local target that is used. targets: names of all targets."""
    found = []
    for key in sorted(targets):
        folder, _, name = key.rpartition('/')
        if folder not in SPREAD or (folder == 'neck' and 'double' not in name):
            continue
        if key in HEAD_SHAPES:
            found.append(LocalVariation(.3, [(key, None)], rare=True))
            continue
        if folder == 'asym':
            if name.endswith('-l') and not any(part in name for part in ('ear', 'asymm', 'top')):
                found.append(LocalVariation(SPREAD[folder], [(key, key[:-1] + 'r')]))
            continue
        if name.startswith(('head-trans', 'r-')) or 'head-back' in name or 'head-angle' in name:
            continue
        ending = name.rsplit('-', 1)[-1]
        opposite = key[:-len(ending)] + OPPOSITE.get(ending, '?')
        if opposite not in targets:
            continue
        if name.startswith('l-'):
            right = tuple(k.replace('/l-', '/r-') for k in (key, opposite))
            found.append(LocalVariation(spread_of(folder, name), [(key, opposite), right], symmetric=False))
        else:
            found.append(LocalVariation(spread_of(folder, name), [(key, opposite)]))
    return found


def sample_heads(targets, rng, count=SAMPLES):
    """Returns {target: (count,) weight} of random people, who differ in gender, age, weight, ancestry and details."""
    weights = {}

    def add(key, value):
        weights[key] = weights.get(key, 0) + value

    for variation in local_variations(targets):
        common = rng.normal(0, variation.spread, count)
        for up, down in variation.sides:
            value = common + (0 if variation.symmetric else rng.normal(0, .38 * variation.spread, count))
            value = np.clip(value, -1, 1) * ((rng.random(count) < .5) if variation.rare else 1)
            add(up, np.maximum(value, 0))
            if down:
                add(down, np.maximum(-value, 0))

    male = rng.beta(.7, .7, count)
    races = ('african', 'asian', 'caucasian')
    ancestry = dict(zip(races, rng.dirichlet([.55, .45, .8], count).T, strict=True))
    age = .5 + .5 * rng.beta(1., 2.2, count)                 # MakeHuman's scale: 0.5 is 25 years, 1 is 90
    teen = rng.random(count) < .12
    age[teen] = rng.uniform(.36, .5, teen.sum())
    child, old = np.clip((.5 - age) / .3125, 0, 1), np.clip((age - .5) / .5, 0, 1)
    ages = dict(child=child, young=1 - child - old, old=old)

    def three_way(value):
        """Splits a value 0..1 into shares of MakeHuman's minimum, average and maximum, which sum to 1."""
        return dict(min=np.clip(1 - 2 * value, 0, 1), average=1 - np.abs(2 * value - 1),
                    max=np.clip(2 * value - 1, 0, 1))

    muscle = three_way(np.clip(rng.normal(.5, .18, count), 0, 1))
    fat = three_way(np.clip(rng.normal(.52, .17, count), 0, 1))
    for gender, share in (('male', male), ('female', 1 - male)):
        for age_name, age_share in ages.items():
            for race, race_share in ancestry.items():
                add(f'macrodetails/{race}-{gender}-{age_name}', race_share * share * age_share)
            for m, m_share in muscle.items():
                for w, w_share in fat.items():
                    add(f'macrodetails/universal-{gender}-{age_name}-{m}muscle-{w}weight',
                        share * age_share * m_share * w_share)
    return weights


def principal_components(data, count, rng, rounds=4):
    """Computes the first `count` singular vectors of a matrix by a randomised method.

    data: (n, d). rounds: power iterations.
    Returns u (n, count), singular values (count,) in falling order, v (count, d).
    """
    sketch = data @ rng.normal(size=(data.shape[1], count + 20)).astype(data.dtype)
    for _ in range(rounds):
        sketch = np.linalg.qr(sketch)[0]
        sketch = data @ np.linalg.qr(data.T @ sketch)[0]
    basis = np.linalg.qr(sketch)[0]
    u, s, v = np.linalg.svd(basis.T @ data, full_matrices=False)
    return (basis @ u)[:, :count], s[:count], v[:count]


def rigid_align(heads, weight):
    """Moves and rotates heads onto their common mean, in place (generalised Procrustes analysis without scale).

    heads: (n, c, 3). weight: (c,) weights of the vertices, with sum 1.
    Returns the mean of the aligned heads (c, 3).
    """
    mean = heads.mean(0)
    for _ in range(3):
        target = mean - weight @ mean
        heads -= np.einsum('v,nvc->nc', weight, heads)[:, None]
        u, _, v = np.linalg.svd(np.einsum('nvi,v,vj->nij', heads, weight, target, optimize=True))
        u[:, :, 2] *= np.sign(np.linalg.det(u @ v))[:, None]
        heads[:] = np.einsum('nvi,nij->nvj', heads, (u @ v).astype(heads.dtype))
        mean = heads.mean(0)
    return mean


def close_lips(points, surface, rounds=3):
    """Returns the mean face (N, 3) with closed lips.

    Measures the slit between the lips in a front view and moves the vertices near it up or down.
    """
    points, inside = points.copy(), surface.masks['inside-mouth']
    grid = np.linspace(-.35, .35, 141)
    kernel = np.exp(-np.linspace(-2, 2, 13) ** 2)
    kernel /= kernel.sum()
    for _ in range(rounds):
        seen, _, scale = front_view(points, surface.triangles)
        dark = inside[surface.triangles].mean(1) > .5
        rows, columns = np.nonzero((seen < 0) | dark[np.maximum(seen, 0)])
        x, y = (columns + .5 - seen.shape[1] / 2) / scale, (seen.shape[0] / 2 - rows - .5) / scale
        corner, lip = points[surface.keypoints[54], 0], points[surface.keypoints[62], 1]
        slit = (np.abs(x) < corner + .02) & (np.abs(y - lip) < .12)
        if not slit.any():
            break
        x, y = np.round(x[slit] * scale).astype(int), y[slit]
        places = np.unique(x)
        high, low = (np.array([pick(y[x == p]) for p in places]) for pick in (np.max, np.min))
        gap = np.interp(grid, places / scale, high - low + 1 / scale, 0, 0)
        gap = np.convolve(np.maximum(gap, gap[::-1]), kernel, 'same') * 1.15 + .004 * (np.abs(grid) < corner)
        line = np.interp(grid, places / scale, (high + low) / 2)
        line = (line + line[::-1]) / 2
        away = points[:, 1] - np.interp(points[:, 0], grid, line)
        near = np.exp(-(away / .05) ** 2) * (points[:, 2] > 0) * ~surface.is_eye
        points[:, 1] -= np.sign(away) * np.interp(points[:, 0], grid, gap) / 2 * near
    return points


@dataclass
class Identity:
    """The mean face and the identity basis of the model."""
    mean: np.ndarray                        # (N, 3) decimetres, model frame
    basis: np.ndarray                       # (C, 3, 80) decimetres at the control vertices, for one standard deviation
    offsets: np.ndarray                     # (3, 3) matrix from MakeHuman displacements (columns) to the model frame
    explained: float                        # share of the weighted variance, 0..1


def build_identity(source, surface, rng):
    """Returns the Identity of sampled heads."""
    weights = sample_heads(source.targets, rng)
    names = [name for name in weights if np.any(weights[name])]
    count = len(surface.control)
    lookup = np.full(len(source.vertices), -1)
    lookup[surface.control] = np.arange(count)
    moves = np.stack([source.targets[n].dense(lookup, count) for n in names]).astype(np.float32)
    base = source.vertices[surface.control]
    base = base + MOUTH_CLOSE * source.targets['unit/jawOpen'].dense(lookup, count)
    mixing = np.stack([weights[n] for n in names], 1).astype(np.float32)
    heads = (mixing @ moves.reshape(len(names), -1)).reshape(-1, count, 3) + base.astype(np.float32)
    heads = surface.frame.points(heads).astype(np.float32)

    skin = np.asarray(abs(surface.operator[~surface.is_eye]).sum(0)).ravel()
    mean = rigid_align(heads, (skin / skin.sum()).astype(np.float32))
    mass = np.asarray(abs(surface.operator).sum(0)).ravel()     # how many vertices a control vertex moves
    metric = np.repeat(np.sqrt(mass / mass.mean()), 3).astype(np.float32)
    data = (heads - mean).reshape(len(heads), -1) * metric
    _, s, v = principal_components(data, COMPONENTS, rng)
    deviation = s / np.sqrt(len(heads))
    basis = (v / metric * deviation[:, None]).reshape(COMPONENTS, count, 3).transpose(1, 2, 0)

    # The mean of the aligned heads no longer lies exactly in the model frame: its five points place it there.
    fine = surface.operator @ mean.astype(float)
    frame = align(five_points(fine[surface.keypoints]))
    fine = frame.points(fine)
    fine[:, 0] -= (fine[:, 0].min() + fine[:, 0].max()) / 2
    fine = close_lips(fine, surface)
    fine[surface.is_eye, 2] -= EYE_RECESS
    turn = frame.scale * frame.matrix
    explained = (deviation ** 2).sum() / ((data.astype(float) ** 2).sum() / len(data))
    return Identity(fine, np.einsum('ij,vjk->vik', turn, basis),
                    turn @ (surface.frame.scale * surface.frame.matrix), float(explained))
