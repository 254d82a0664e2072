"""How far each volume is from the model fitted to all, as a robust z-score among the volumes of its shell."""

import numpy as np
from numpy.typing import NDArray

from edge_pigment.noise import MAD
from edge_pigment.physics.backend import Array
from edge_pigment.physics.tensor import signal

MOST_VOXELS = 4000
"""Gives each volume's median residual to 2 %."""
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
        (N,): median absolute residual in σ, less its median over volumes, over its MAD.
    """
    step = max(1, y.shape[1] // MOST_VOXELS)
    chosen, s = np.nan_to_num(y[:, ::step].T), sigma[::step, None]
    model = np.sqrt(signal(mode[:, ::step].T, b, bvecs) ** 2 + s**2)
    size = np.median(np.abs(chosen - model) / s, axis=0)
    off = size - np.median(size)
    spread = max(float(np.median(np.abs(off))) / MAD, LEAST_SPREAD)
    return np.asarray(off / spread, float)
