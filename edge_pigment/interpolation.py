"""Scans whose console doubled the matrix by filling k-space with zeros, and a prior that stays blind on them.

Zero filling makes neighbours' noise alike (correlation 2/π at one voxel's distance, none at two), so what the prior
reads off the neighbours is no longer independent of the voxel's own noise: it takes noise for tissue, and is too sure.
Every second voxel along either axis of the slice is one of the samples that were acquired, whose noise is independent.
So the slice is taken apart into its four such grids, and each gets its prior by itself.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from edge_pigment.acquisition import Acquisition
from edge_pigment.noise import detail_bands
from edge_pigment.physics.adaptation import PACKED
from edge_pigment.physics.backend import Array, Summary
from edge_pigment.physics.tensor import DIMENSION
from edge_pigment.prior.context import Network

DOUBLED = 2
DOUBLED_BELOW = 0.29
"""Noise of the finest diagonal details over that of details of twice the size, in slices. Simulated zero filling by 2
leaves 0.19 to 0.26 at SNR 5 to 60, by 1.5 0.32 to 0.40, where taking the slice apart would lose more than it mends
(benchmarks/interpolation.py); 21 scans of 3 T scanners of three vendors as they were exported have 0.52 to 0.88."""
MOST_SLICES = 16
"""In the middle of the brain: more only take time."""


def interleave_of(acquisition: Acquisition, mask: NDArray[np.bool_]) -> int:
    """Step, in voxels along either axis of the slices, at which noise is independent: 1, or 2 if zero-filled twofold.

    Args:
        acquisition: the scan.
        mask: (X, Y, Z) the brain.
    """
    slices = np.flatnonzero(mask.any(axis=(0, 1)))
    middle = max(len(slices) // 2 - MOST_SLICES // 2, 0)
    part = slice(slices[middle], slices[min(middle + MOST_SLICES, len(slices)) - 1] + 1)
    bands = detail_bands(replace(acquisition, signal=acquisition.signal[:, :, part]), mask[:, :, part])
    if bands is None or not bands.coarse > 0:
        return 1
    return DOUBLED if bands.fine / bands.coarse < DOUBLED_BELOW else 1


def interleaved_prior(
    network: Network,
    summary: Summary,
    mask: NDArray[np.bool_],
    step: int,
    progress: Callable[[float], None] | None = None,
) -> tuple[Array, Array]:
    """`Network.prior` on each of the step² grids of every step-th voxel.

    Args:
        network: that makes priors.
        summary: of the V voxels of the mask, in the mask's C order.
        mask: (Z, Y, X).
        step: 1 leaves the slices whole.
        progress: called with the share that is done.

    Returns:
        mean (7, V) and packed precision factor (28, V).
    """
    if step == 1:
        return network.prior(summary, mask, progress)
    V = summary.theta.shape[1]
    number = np.zeros(mask.shape, np.intp)
    number[mask] = np.arange(V)
    mean, factor = np.empty((DIMENSION, V), np.float32), np.empty((PACKED, V), np.float32)
    starts = [(y, x) for y in range(step) for x in range(step)]
    for done, (y, x) in enumerate(starts, start=1):
        grid = (slice(None), slice(y, None, step), slice(x, None, step))
        inside = np.ascontiguousarray(mask[grid])
        if inside.any():
            voxels = number[grid][inside]
            own = Summary(*(np.ascontiguousarray(part[:, voxels]) for part in summary))
            mean[:, voxels], factor[:, voxels] = network.prior(own, inside)
        if progress:
            progress(done / len(starts))
    return mean, factor
