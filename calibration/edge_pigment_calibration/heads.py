"""Slabs of digital heads: what calibration and verification simulate, small enough to be quick."""

from dataclasses import replace
from functools import cache

import numpy as np

from edge_pigment.phantom import make_phantom
from edge_pigment.simulate import Compartment, Subject


@cache
def head(seed: int, voxel: float) -> Subject:
    """A digital head by the seed of its folds, on an isotropic grid of this edge, mm."""
    return make_phantom(voxel, seed=seed).subject


def slab(subject: Subject, centre: float, thickness: float) -> Subject:
    """An axial slab of a subject.

    Args:
        subject: whose third axis is foot-head.
        centre: of the slab, mm, along the third axis of the affine's world.
        thickness: mm.
    """
    X, Y, Z = subject.shape
    height = float(subject.affine[2, 2])
    z = subject.affine[2, 3] + height * np.arange(Z)
    inside = np.flatnonzero(np.abs(z - centre) <= thickness / 2)
    low, count = int(inside[0]), len(inside)
    affine = subject.affine.copy()
    affine[2, 3] += height * low
    parts = []
    for c in subject.compartments:
        x, y, k = np.unravel_index(c.voxels, (X, Y, Z))
        kept = (k >= low) & (k < low + count)
        flat = np.ravel_multi_index((x[kept], y[kept], k[kept] - low), (X, Y, count))
        parts.append(Compartment(flat, c.weight[kept], c.D[kept] if len(c.D) > 1 else c.D))
    brain = subject.brain[:, :, low : low + count]
    return replace(subject, shape=(X, Y, count), affine=affine, compartments=tuple(parts), brain=brain)
