"""σ from what directions leave: on a shell the signal is a smooth even function of direction, the rest is noise."""

import numpy as np
from numpy.typing import NDArray

from edge_pigment.acquisition import Acquisition
from edge_pigment.noise.rician import sigma_of_magnitudes

Float = NDArray[np.float64]
Mask = NDArray[np.bool_]

LEAST_SPARE = 3
"""Degrees of freedom of a voxel's residual; below, the median of χ² hangs on its lower tail, where Rician
noise and rounding to integers show."""
LEAST_SPARE_FOR_DEGREE_4 = 5
"""With fewer to spare degree 2 is taken; what that misses at b = 1000 is 1 % of S0."""
MOST_VOXELS = 40_000
"""For the residuals: gives σ to 0.3 %; more only takes time."""
LEAST_VOXELS = 200
"""With fewer the median says little."""


def even_polynomials(bvecs: Float, degree: int) -> Float:
    """(N, 6) or (N, 15): monomials of degree 2 or 4; on the sphere they span the even harmonics up to it."""
    x, y, z = bvecs.T
    powers = [(i, j, degree - i - j) for i in range(degree + 1) for j in range(degree + 1 - i)]
    return np.stack([x**i * y**j * z**k for i, j, k in powers], axis=1)


def column_space(matrix: Float) -> Float:
    """Orthonormal columns (N, rank) that span those of a matrix (N, K)."""
    basis, values, _ = np.linalg.svd(matrix, full_matrices=False)
    space: Float = basis[:, values > 1e-6 * values[0]]
    return space


def angular_sigma(acquisition: Acquisition, mask: Mask) -> float | None:
    """σ by the residuals on the shells; None where no shell has enough to spare."""
    plans = []
    for shell in acquisition.gradients.shells:
        for degree in (4, 2):
            harmonics = even_polynomials(acquisition.gradients.bvecs[shell.indices], degree)
            harmonics[acquisition.gradients.is_trace[shell.indices]] = 1  # repeats of one image
            basis = column_space(harmonics)
            spare = len(basis) - basis.shape[1]
            if spare >= (LEAST_SPARE_FOR_DEGREE_4 if degree == 4 else LEAST_SPARE):
                plans.append((degree, spare, shell.indices, basis))
                break
    # crossing fibres at high b are beyond degree 2
    plans = [plan for plan in plans if plan[0] == max(p[0] for p in plans)]
    voxels = np.flatnonzero(mask.ravel("F"))
    voxels = voxels[:: max(1, len(voxels) // MOST_VOXELS)]
    total, weight = 0.0, 0
    for _, spare, indices, basis in plans:
        y = np.stack([acquisition.signal[..., n].ravel("F")[voxels] for n in indices], axis=1).astype(float)
        y = y[np.isfinite(y).all(1)]
        if len(y) < LEAST_VOXELS:
            continue
        square = np.sum((y - (y @ basis) @ basis.T) ** 2, axis=1)
        # median of χ² by Wilson & Hilferty 1931
        variance = float(np.median(square)) / (spare * (1 - 2 / (9 * spare)) ** 3)
        total += spare * sigma_of_magnitudes(np.sqrt(variance), float(np.median(np.mean(y**2, axis=1)))) ** 2
        weight += spare
    if not weight:
        return None
    return float(np.sqrt(total / weight))
