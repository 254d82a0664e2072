"""Voxels wider than the grid: the blur of long echo trains.

The signal decays along the readout of k-space, so that an image of echo-planar or of fast-spin-echo imaging is
convolved, along its phase-encoding axis, with about a Lorentzian (Haacke et al. 1999, Magnetic Resonance Imaging,
ch. 13 and 19), while its noise stays white. What a voxel's tensor is, is then an average over its neighbours', for the
prior as for whoever judges it. Tensors are averaged in place of signals, as they are over thick slices.
"""

import numpy as np
from numpy.typing import NDArray

from edge_pigment.physics.backend import Array

BLURRED = 0.3
"""Part of patches."""
WIDTH = (0.2, 1.5)
"""Full width at half maximum, voxels: echo trains of 20 to 100 ms at T2* or T2 of 40 to 90 ms (a guess)."""
FARTHEST = 4
"""Voxels; a Lorentzian has no end."""


def along_axis(theta: Array, mask: NDArray[np.bool_], axis: int, width: float) -> Array:
    """Average over neighbours of the mask along one axis.

    Args:
        theta: (7, Z, Y, X), 0 outside the mask.
        mask: (Z, Y, X).
        axis: of the mask.
        width: full width at half maximum, voxels, > 0.

    Returns:
        (7, Z, Y, X), 0 outside the mask.
    """
    total, weights = np.zeros_like(theta), np.zeros(mask.shape, np.float32)
    size = mask.shape[axis]
    for offset in range(-FARTHEST, FARTHEST + 1):
        weight = np.float32(1 / (1 + (2 * offset / width) ** 2))
        to, of = [slice(None)] * 3, [slice(None)] * 3
        to[axis] = slice(max(offset, 0), size + min(offset, 0))
        of[axis] = slice(max(-offset, 0), size + min(-offset, 0))
        total[(slice(None), *to)] += weight * theta[(slice(None), *of)]
        weights[tuple(to)] += weight * mask[tuple(of)]
    return np.asarray(total * (mask / np.maximum(weights, np.float32(1e-6))), np.float32)


def blur(theta: Array, mask: NDArray[np.bool_], rng: np.random.Generator) -> Array:
    """Some patches blurred along a random axis of their slices; arguments and result as of `along_axis`."""
    if rng.random() >= BLURRED:
        return theta
    return along_axis(theta * mask, mask, int(rng.integers(1, 3)), rng.uniform(*WIDTH))
