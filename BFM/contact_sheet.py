#!/usr/bin/env python
"""A picture of random faces of a face model, to look at before shipping it.

    python BFM/contact_sheet.py sheet.png                   # the open face model
    python BFM/contact_sheet.py sheet.png --model BFM/BFM_model_front.mat --seed 3

Rows: identities, expressions, albedos, and everything at once with head turns and lights.
"""
import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from models.checkpoints import load_face_model_data  # noqa: E402
from models.coefficients import SIZE, SLICES  # noqa: E402
from models.face_model import FaceModel  # noqa: E402
from models.renderer import MeshRenderer  # noqa: E402

# The parts of the coefficients that vary in each row, and how many standard deviations.
ROWS = ({'id': 1.}, {'exp': .8}, {'tex': 1.}, {'id': 1., 'exp': .6, 'tex': 1., 'angle': .25, 'gamma': .06})


def sample(rng, columns):
    """(rows * columns, 257) coefficients; brighter and more frontal light than the method's own zero."""
    coeffs = np.zeros((len(ROWS), columns, SIZE), np.float32)
    coeffs[..., SLICES['gamma']].reshape(len(ROWS), columns, 3, 9)[..., [0, 2]] += (.15, .2)
    for row, parts in zip(coeffs, ROWS, strict=True):
        for name, spread in parts.items():
            values = rng.normal(0, spread, row[:, SLICES[name]].shape)
            if name == 'gamma':                             # a coloured light is rare: the channels share it
                values = np.tile(values[:, :9], 3)
            row[:, SLICES[name]] += values
    coeffs[-1][:, SLICES['angle'].start + 2] *= .3          # heads turn and nod more than they tilt
    return torch.from_numpy(coeffs.reshape(-1, SIZE))


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('out', type=Path, help='the picture to write')
    parser.add_argument('--model', type=Path, default=ROOT / 'BFM' / 'open_face_model.npz',
                        help='a face model')
    parser.add_argument('--columns', type=int, default=8)
    parser.add_argument('--seed', type=int, default=0)
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
