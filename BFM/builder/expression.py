"""Builds the expression basis: samples activations of face units and keeps 64 principal components.

A face unit is one movement, such as `jawOpen` or `mouthSmileLeft`. The components are offsets from the neutral face.
"""
from dataclasses import dataclass

import numpy as np

from .identity import principal_components
from .makehuman import BODY_VERTICES

SAMPLES, COMPONENTS = 8000, 64
FLOOR = .04                                 # added in quadrature to a component's standard deviation
RACES = ('caucasian', 'african', 'asian')

# (unit, how often it is active, spread of its strength). The left and right unit of PAIRED get slightly different
# strengths. Of SIDEWAYS, one side is active at a time.
PAIRED = (('mouthSmile', .5, .5), ('mouthDimple', .25, .4), ('mouthStretch', .25, .4),
          ('mouthPress', .25, .35), ('mouthFrown', .3, .45), ('mouthUpperUp', .3, .4),
          ('mouthLowerDown', .3, .4), ('noseSneer', .3, .5), ('cheekSquint', .2, .4),
          ('eyeSquint', .3, .5), ('eyeWide', .2, .4), ('browDown', .35, .5), ('browOuterUp', .3, .5))
SINGLE = (('jawOpen', .5, .38), ('mouthPucker', .25, .45), ('mouthFunnel', .25, .4),
          ('mouthRollLower', .2, .4), ('mouthRollUpper', .2, .4), ('mouthShrugLower', .25, .4),
          ('mouthShrugUpper', .2, .4), ('cheekPuff', .15, .5), ('browInnerUp', .35, .5),
          ('jawForward', .2, .3))
SIDEWAYS = (('jaw', .3, .22), ('mouth', .3, .3))


def expression_units(source, control):
    """Returns {unit: (C, 3) displacement of the control vertices}, decimetres, MakeHuman axes.

    The eyeballs stay still.

    control: (C,) MakeHuman vertex numbers.
    """
    lookup = np.full(len(source.vertices), -1)
    lookup[control] = np.arange(len(control))
    lookup[BODY_VERTICES:] = -1
    units = {}
    for key in source.targets:
        if key.startswith('unit/') and 'tongue' not in key:
            units[key[5:]] = source.targets[key].dense(lookup, len(control))
        elif key.startswith('expression/units/'):
            units[key[17:]] = source.targets[key].dense(lookup, len(control))
    return units


def sample_activations(names, rng, count=SAMPLES):
    """Returns {unit: (count,) activation, mostly 0..1} of random expressions. Few units are active at a time."""
    active = {name: np.zeros(count) for name in names}

    def on(chance):
        return rng.random(count) < chance

    def strength(spread, top=1.):
        return np.minimum(np.abs(rng.normal(0, spread, count)), top)

    for name, chance, spread in SINGLE:
        active[name] += on(chance) * strength(spread)
    active['mouthClose'] += on(.1) * active['jawOpen'] * rng.uniform(0, .8, count)
    for name, chance, spread in SIDEWAYS:
        value = rng.normal(0, spread, count) * on(chance)
        active[name + 'Left'] += np.clip(value, 0, 1)
        active[name + 'Right'] += np.clip(-value, 0, 1)
    for name, chance, spread in PAIRED:
        value = on(chance) * strength(spread)
        balance = np.clip(1 + rng.normal(0, .175, count), 0, 1.6)
        one_sided, left = on(.25), on(.5)
        for side, share, weak in (('Left', balance, ~left), ('Right', 2 - balance, left)):
            part = np.where(one_sided & weak, .15, 1) * share.clip(0, 1.6)
            active[name + side] += np.clip(value * part, 0, 1)
        if name == 'mouthSmile':
            for side in ('Left', 'Right'):
                active['cheekSquint' + side] += value * .5 * rng.random(count)
    # Blinks stay rare. They determine the standard deviation of a component, and minus one standard deviation
    # of it, which opens the eyes wide, must be a small movement.
    blink = on(.22) * np.where(on(.5), rng.uniform(.85, 1.05, count), rng.uniform(0, .7, count))
    wink, left = on(.4), on(.5)
    for side, open_eye in (('Left', ~left), ('Right', left)):
        active['eyeBlink' + side] += blink * np.where(wink & open_eye, .05, 1)
    down = on(.25) * (blink < .3) * rng.uniform(0, 1, count)
    up = on(.2) * (blink < .3) * (down == 0) * rng.uniform(0, 1, count)
    for side in ('Left', 'Right'):
        active['eyeLookDown' + side] += down
        active['eyeLookUp' + side] += up
    share = rng.dirichlet([.6] * 3, count)
    for name in sorted(n.split('/')[1] for n in names if n.startswith('caucasian/')):
        value = on(.06 if 'open' in name or 'closure' in name else .10) * strength(.35, .8)
        for race, part in zip(RACES, share.T, strict=True):
            active[f'{race}/{name}'] += value * part
    return active


@dataclass
class Expression:
    """The expression basis of the model."""
    basis: np.ndarray                       # (C, 3, 64) decimetres at the control vertices, for one standard deviation
    explained: float                        # share of the weighted variance, 0..1
    reach: dict                             # unit -> (relative residual, largest |coefficient|, coefficients) of the
                                            # best fit to the fully active unit


def build_expression(source, surface, identity, rng):
    """Returns the Expression of sampled activations. The identity gives the frame of the offsets."""
    units = expression_units(source, surface.control)
    names = list(units)
    moves = (np.stack([units[n] for n in names]) @ identity.offsets.T).astype(np.float32)
    active = sample_activations(names, rng)
    data = np.stack([active[n] for n in names], 1).astype(np.float32) @ moves.reshape(len(names), -1)
    # eyelids and lips weigh more, so that the components keep their small but visible movements
    importance = 1 + 3 * surface.masks['lips'] + 4 * surface.masks['eyelids']
    mass = np.asarray(abs(surface.operator).T @ importance).ravel()
    metric = np.repeat(np.sqrt(mass / mass.mean()), 3).astype(np.float32)
    data *= metric
    u, s, v = principal_components(data, COMPONENTS, rng)
    deviation = s / np.sqrt(len(data))
    explained = (deviation ** 2).sum() / ((data.astype(float) ** 2).sum() / len(data))
    # With the floor, weak movements (one-sided sneers, raised brows) need coefficients of at most about 4.
    scale = np.sqrt(deviation ** 2 + FLOOR ** 2) * np.sign(u.sum(0))      # mean coefficients are positive
    weighted = v * scale[:, None]
    reach = {}
    for parts in (('jawOpen',), ('eyeBlinkLeft', 'eyeBlinkRight'), ('eyeBlinkLeft',), ('browInnerUp',),
                  ('mouthSmileLeft', 'mouthSmileRight'), ('mouthPucker',), ('browDownLeft', 'browDownRight')):
        goal = sum(moves[names.index(p)] for p in parts).ravel() * metric
        c = np.linalg.lstsq(weighted.T, goal, rcond=None)[0]
        reach['+'.join(parts)] = (float(np.linalg.norm(goal - weighted.T @ c) / np.linalg.norm(goal)),
                                  float(np.abs(c).max()), c)
    basis = (weighted / metric).reshape(COMPONENTS, -1, 3).transpose(1, 2, 0)
    return Expression(basis, float(explained), reach)
