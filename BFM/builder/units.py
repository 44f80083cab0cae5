"""Expresses ARKit's 52 shapes in the expression basis of the model."""
import numpy as np

from .expression import expression_units

# The names of ARKit's blendshapes
NAMES = (
    'browDownLeft', 'browDownRight', 'browInnerUp', 'browOuterUpLeft', 'browOuterUpRight', 'cheekPuff',
    'cheekSquintLeft', 'cheekSquintRight', 'eyeBlinkLeft', 'eyeBlinkRight', 'eyeLookDownLeft', 'eyeLookDownRight',
    'eyeLookInLeft', 'eyeLookInRight', 'eyeLookOutLeft', 'eyeLookOutRight', 'eyeLookUpLeft', 'eyeLookUpRight',
    'eyeSquintLeft', 'eyeSquintRight', 'eyeWideLeft', 'eyeWideRight', 'jawForward', 'jawLeft', 'jawOpen', 'jawRight',
    'mouthClose', 'mouthDimpleLeft', 'mouthDimpleRight', 'mouthFrownLeft', 'mouthFrownRight', 'mouthFunnel',
    'mouthLeft', 'mouthLowerDownLeft', 'mouthLowerDownRight', 'mouthPressLeft', 'mouthPressRight', 'mouthPucker',
    'mouthRight', 'mouthRollLower', 'mouthRollUpper', 'mouthShrugLower', 'mouthShrugUpper', 'mouthSmileLeft',
    'mouthSmileRight', 'mouthStretchLeft', 'mouthStretchRight', 'mouthUpperUpLeft', 'mouthUpperUpRight',
    'noseSneerLeft', 'noseSneerRight', 'tongueOut')


def pack_units(path, source, surface, identity, expression):
    """Writes the shapes to `path`. Returns the largest distance of a vertex from where its shape moves it, decimetres.

    Shapes that the expressions of the model do not contain move nothing: `tongueOut`, as the model has no tongue, and
    eyeLookIn and eyeLookOut, as its eyeballs stay still.

    Arrays of the file:

    names: (52,) of the shapes.
    coefficients: (52, 64) float32, the expression that comes closest to each shape at its full strength.
    lengths: (64,) float32, the length of each component of the expression basis over all vertices, decimetres, by which
        programs recognise a face model with the same basis.
    """
    units = expression_units(source, surface.control)
    still = np.zeros((len(surface.control), 3))
    moves = np.stack([surface.operator @ (units.get(name, still) @ identity.offsets.T) for name in NAMES])
    basis = (surface.operator @ expression.basis.reshape(len(surface.control), -1)).reshape(moves[0].size, -1)
    moves = moves.reshape(len(NAMES), -1)
    coefficients = np.linalg.lstsq(basis, moves.T, rcond=None)[0].T
    missing = np.linalg.norm(moves - coefficients @ basis.T, axis=1) > np.linalg.norm(moves, axis=1) / 2
    coefficients[missing] = 0
    np.savez_compressed(path, names=NAMES, coefficients=coefficients.astype(np.float32),
                        lengths=np.linalg.norm(basis, axis=0).astype(np.float32))
    return np.linalg.norm((moves - coefficients @ basis.T).reshape(len(NAMES), -1, 3), axis=2).max()
