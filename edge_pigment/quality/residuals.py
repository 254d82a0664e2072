"""How far measurements are from the model fitted to them: volumes against each other, and all against the noise."""

import numpy as np
from numpy.typing import NDArray

from edge_pigment.noise import MAD
from edge_pigment.physics.backend import Array, Outcome
from edge_pigment.physics.tensor import signal

MOST_VOXELS = 4000
"""Gives each volume's median residual to 2 %."""
LEAST_SPARE = 2.0
"""Measurements of a voxel beyond what the tensor takes, in at least half of the brain."""
LEAST_SPREAD = 0.05
"""In σ: volumes that agree better than this must not make a z of rounding."""


def residual_z(y: Array, mode: Array, b: Array, bvecs: Array, sigma: Array) -> NDArray[np.float64]:
    """Score the volumes.

    With as many measurements as unknowns the residuals are small whatever the data, so the scores say little there;
    they are for protocols with directions to spare.

    Args:
        y: (N, V) magnitudes.
        mode: (7, V) latent of each voxel.
        b: (N,) ms/µm².
        bvecs: (N, 3) unit directions.
        sigma: (V,) noise sd, unit of y.

    Returns:
        (N,): median absolute residual in σ, less its median over volumes, over its MAD; NaN of a volume without values.
    """
    step = max(1, y.shape[1] // MOST_VOXELS)
    chosen, s = y[:, ::step].T, sigma[::step, None]
    model = np.sqrt(signal(mode[:, ::step].T, b, bvecs) ** 2 + s**2)
    misfit = np.abs(chosen - model) / s
    size = np.array([np.median(known) if len(known := m[np.isfinite(m)]) else np.nan for m in misfit.T])
    if not np.isfinite(size).any():
        return size
    off = size - np.nanmedian(size)
    spread = max(float(np.nanmedian(np.abs(off))) / MAD, LEAST_SPREAD)
    return np.asarray(off / spread, float)


def misfit_of(y: Array, outcome: Outcome) -> float:
    """Median over voxels of the residual's root mean square, in what noise leaves of it; 0 where nothing is to spare.

    Of N measurements the posterior takes as many degrees of freedom as the data determine coordinates (its share).

    Args:
        y: (N, V) magnitudes.
        outcome: of the V voxels.
    """
    step = max(1, y.shape[1] // MOST_VOXELS)
    known = np.isfinite(y[:, ::step]).sum(0)
    spare = known - outcome.share[0, ::step]
    enough = spare >= LEAST_SPARE
    if 2 * enough.sum() < len(enough):
        return 0.0
    rss = np.square(outcome.residual[::step]) * known
    return float(np.median(np.sqrt(rss[enough] / spare[enough])))
