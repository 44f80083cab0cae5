"""Expressions as weights of ARKit's 52 shapes (blendshapes), which animation programs know."""
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from models.coefficients import SLICES
from models.face_model import FaceModel
from util.files import InputError
from util.gltf_files import Shape

FILE = "arkit_units.npz"   # in the folder of face models
STILL = 0.001              # decimetres: smaller movements are left out of a shape
DAMPING = 0.05             # of weights, in sizes of a mean shape: hardly visible movements get no large weights
MOST_STEPS, STILL_WEIGHT = 3000, 1e-6   # of the computation of a clip's weights: it ends when they hardly change


@dataclass(frozen=True)
class ArkitUnits:
    """ARKit's shapes in the expression basis of a face model.

    names: (52,). coefficients: (52, 64), the expression of a face on which one shape has the weight 1.
    basis: (64, N, 3) the expression basis, decimetres.
    """
    names: list[str]
    coefficients: np.ndarray
    basis: np.ndarray

    @cached_property
    def shapes(self) -> list[Shape]:
        """The movements of the vertices, metres."""
        shapes = []
        for name, coefficients in zip(self.names, self.coefficients, strict=True):
            moves = np.tensordot(coefficients, self.basis, 1)
            moved = np.flatnonzero(np.linalg.norm(moves, axis=1) > STILL)
            if not len(moved):   # glTF wants one vertex at least
                moved = np.array([0])
            shapes.append(Shape(name, moved, (0.1 * moves[moved]).astype(np.float32)))
        return shapes

    @cached_property
    def _system(self) -> tuple[np.ndarray, np.ndarray]:
        """A matrix (64, 64) whose product with expression coefficients is as long as the displacement of the vertices,
        and the damping of the weights."""
        flat = self.basis.reshape(len(self.basis), -1)
        values, vectors = np.linalg.eigh((flat @ flat.T).astype(float))
        root = np.sqrt(values.clip(0))[:, None] * vectors.T
        size = np.linalg.norm(root @ self.coefficients.T) / np.sqrt(len(self.names))
        return root, DAMPING * size * np.eye(len(self.names))

    def weights(self, expression: np.ndarray) -> dict[str, float]:
        """The weights 0..1 by name with which the shapes move the vertices most as an expression (64,) does."""
        root, damping = self._system
        matrix = np.vstack([root @ self.coefficients.T, damping])
        goal = np.concatenate([root @ expression, np.zeros(len(damping))])
        from scipy.optimize import lsq_linear  # the import takes half a second
        weights = lsq_linear(matrix, goal, bounds=(0, 1)).x
        return {name: round(float(weight), 4) for name, weight in zip(self.names, weights, strict=True)}

    def weights_of_clip(self, expressions: np.ndarray) -> np.ndarray:
        """The same weights (N, 52) as `weights` has, to about 0.005, for many expressions (N, 64) at once."""
        root, damping = self._system
        matrix = np.vstack([root @ self.coefficients.T, damping])
        hessian, slopes = matrix.T @ matrix, (expressions @ root.T) @ matrix[:len(root)]
        # Projected gradient with momentum (Beck and Teboulle 2009)
        step = 1 / np.linalg.eigvalsh(hessian)[-1]
        weights = ahead = np.zeros_like(slopes)
        momentum = 1.0
        for _ in range(MOST_STEPS):
            before, weights = weights, (ahead - step * (ahead @ hessian - slopes)).clip(0, 1)
            momentum, last = (1 + np.sqrt(1 + 4 * momentum ** 2)) / 2, momentum
            ahead = weights + (last - 1) / momentum * (weights - before)
            if np.abs(weights - before).max(initial=0) < STILL_WEIGHT:
                break
        return weights


def load_arkit_units(face_model: FaceModel, folder: Path) -> ArkitUnits | None:
    """The shapes of a face model, from the file in the folder of face models. None if there is no such file, or if it
    belongs to other expressions. Raises InputError if the file is broken."""
    path = folder / FILE
    if not path.exists():
        return None
    try:
        with np.load(path, allow_pickle=False) as file:
            names, coefficients, lengths = (file[name] for name in ("names", "coefficients", "lengths"))
        basis = face_model.shape_base[SLICES["exp"]].reshape(64, -1, 3).numpy()
        same = np.allclose(np.linalg.norm(basis.reshape(64, -1), axis=1), lengths, rtol=1e-3, atol=1e-6)
        return ArkitUnits(names.tolist(), coefficients, basis) if same else None
    except Exception as error:   # for a broken file the reader raises exceptions of many kinds
        raise InputError(f"{path} cannot be read: it is broken ({error}); get it anew from the repository") from error

