#!/usr/bin/env python
"""Draws random faces of a face model into one picture, to be looked at before a model is shipped.

    python BFM/contact_sheet.py sheet.png                   # the open face model
    python BFM/contact_sheet.py sheet.png --model BFM/BFM_model_front.mat --seed 3

The rows of the picture vary the identity, the expression, the albedo, and everything at once with pose and light.
"""
import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from models.coefficients import SIZE, SLICES  # noqa: E402
from models.face_model import FaceModel  # noqa: E402
from models.face_model_files import load_face_model_data  # noqa: E402
from models.renderer import MeshRenderer  # noqa: E402

# The parts of the coefficients that vary in each row, and the standard deviation of their random values.
ROWS = ({'id': 1.}, {'exp': .8}, {'tex': 1.}, {'id': 1., 'exp': .6, 'tex': 1., 'angle': .25, 'gamma': .06})


def sample(rng, columns):
    """Random coefficients (rows * columns, 257), float32, row by row.

    The light is brighter and comes more from the front than with light coefficients of zero.
    """
    coeffs = np.zeros((len(ROWS), columns, SIZE), np.float32)
    coeffs[..., SLICES['gamma']].reshape(len(ROWS), columns, 3, 9)[..., [0, 2]] += (.15, .2)
    for row, parts in zip(coeffs, ROWS, strict=True):
        for name, spread in parts.items():
            values = rng.normal(0, spread, row[:, SLICES[name]].shape)
            if name == 'gamma':                             # most light is white: the three channels share the values
                values = np.tile(values[:, :9], 3)
            row[:, SLICES[name]] += values
    coeffs[-1][:, SLICES['angle'].start + 2] *= .3          # heads roll less than they turn and nod
    return torch.from_numpy(coeffs.reshape(-1, SIZE))


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('out', type=Path, help='the picture to write')
    parser.add_argument('--model', type=Path, default=ROOT / 'BFM' / 'open_face_model.npz',
                        help='the face model to draw: a .npz of the open model, or a .mat like BFM_model_front.mat')
    parser.add_argument('--columns', type=int, default=8, help='faces in a row')
    parser.add_argument('--seed', type=int, default=0, help='seed of the random faces')
    options = parser.parse_args()
    model = FaceModel(load_face_model_data(options.model.parent, options.model.name))
    renderer = MeshRenderer()
    tiles = []
    with torch.no_grad():
        for coeffs in sample(np.random.default_rng(options.seed), options.columns).split(4):
            face = model(coeffs)
            mask, _, image = renderer(face.vertices, model.tri, face.color)
            tiles.append((image + 1 - mask).clamp(0, 1))
    tiles = torch.cat(tiles).unflatten(0, (len(ROWS), -1))                # (rows, columns, 3, H, W)
    sheet = tiles.permute(0, 3, 1, 4, 2).flatten(0, 1).flatten(1, 2)      # (rows * H, columns * W, 3)
    Image.fromarray((sheet * 255).round().byte().numpy()).save(options.out)


if __name__ == '__main__':
    main()
