"""A prior that stays blind on interpolated scans.

Zero filling and other interpolation make neighbours' noise alike (`noise.correlation`), so what the prior reads off the
neighbours is no longer independent of the voxel's own noise: it takes noise for tissue, and is too sure. Voxels some
steps apart have independent noise. So the image is taken apart into the grids of every such voxel, and each gets its
prior by itself.
"""

from collections.abc import Callable
from itertools import product

import numpy as np
from numpy.typing import NDArray

from edge_pigment.physics.adaptation import PACKED
from edge_pigment.physics.backend import Array, Summary
from edge_pigment.physics.tensor import DIMENSION
from edge_pigment.prior.context import Network

WHOLE = (1, 1, 1)
"""Steps of an image whose voxels' noise is independent."""


def interleaved_prior(
    network: Network,
    summary: Summary,
    mask: NDArray[np.bool_],
    steps: tuple[int, int, int],
    progress: Callable[[float], None] | None = None,
) -> tuple[Array, Array]:
    """`Network.prior` on each grid of voxels that are some steps apart.

    Args:
        network: that makes priors.
        summary: of the V voxels of the mask, in the mask's C order.
        mask: (Z, Y, X).
        steps: along x, y and z; 1, 1, 1 leaves the image whole.
        progress: called with the share that is done.

    Returns:
        mean (7, V) and packed precision factor (28, V).
    """
    if steps == WHOLE:
        return network.prior(summary, mask, progress)
    V = summary.theta.shape[1]
    number = np.zeros(mask.shape, np.intp)
    number[mask] = np.arange(V)
    mean, factor = np.empty((DIMENSION, V), np.float32), np.empty((PACKED, V), np.float32)
    x, y, z = steps
    starts = list(product(range(z), range(y), range(x)))
    for done, start in enumerate(starts, start=1):
        grid = tuple(slice(first, None, step) for first, step in zip(start, (z, y, x), strict=True))
        inside = np.ascontiguousarray(mask[grid])
        if inside.any():
            voxels = number[grid][inside]
            own = Summary(*(np.ascontiguousarray(part[:, voxels]) for part in summary))
            mean[:, voxels], factor[:, voxels] = network.prior(own, inside)
        if progress:
            progress(done / len(starts))
    return mean, factor
