"""The references' own error in the loss: a target is the truth and the noise of its fit.

A prior that is learned from noisy targets as if they were the truth takes their noise for variety of tissue, and is as
much wider. Here the target is expected to differ from the truth by an error of known covariance C, so that what is
learned is the truth's distribution. The sum of a Student's t and a Gaussian is taken for a Student's t whose scale
matrix is the sum of both: exact where the degrees of freedom are many.

How well a reference is known is one number, `Reference.sd`: its covariance is taken to be alike in all voxels of a
patch and in all directions (Var(Dxx) = sd², Var(Dxy) = sd²/2, which rotations leave as it is), and log S0 to be known.
Blur and simulated lesions change it; that is left out.
"""

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from edge_pigment.physics.loosening import mean_diffusivity
from edge_pigment.physics.tensor import DIMENSION

ROWS, COLUMNS = torch.tril_indices(DIMENSION, DIMENSION)


def averaging(new: ArrayLike, old: ArrayLike, points: int) -> float:
    """How much the variance of white noise shrinks where voxels are interpolated at points of larger ones and averaged.

    Along an axis, two points anywhere in a voxel of r old ones, linearly interpolated, have a covariance of the squared
    integral of the kernel box * triangle: 2/3 for r = 0, 11/20 for 1 and nearly 1/r for many; 1/√(9/4 + r²) is within
    2 % of it. A point by itself has (2/3)³. Few points, which are spread and not anywhere, have the mean of what they
    have by themselves and about half of what two have: within 30 % of the noise of resampled noise.

    Args:
        new: (3,) size of the new voxels along their axes, mm.
        old: (3,) of the old ones along these axes.
        points: averaged in each new voxel.
    """
    r = np.asarray(new, float) / np.asarray(old, float)
    return float((2 / 3) ** 3 / points + 0.5 * np.prod(1 / np.sqrt(2.25 + r**2)))


def latent_variance(z: Tensor, sd: Tensor) -> Tensor:
    """Error variance of latents whose tensors are known to an sd.

    D = Q² gives dD = Q dQ + dQ Q, so an error of D moves Q by about 1/(2√MD) of it, whatever its direction.

    Args:
        z: (M, 7) log S0 and Q.
        sd: (M,) of a diagonal element of D, µm²/ms.

    Returns:
        (M, 7): 0 of log S0; diagonal elements; off-diagonal ones.
    """
    diagonal = sd.square() / (4 * mean_diffusivity(z.unbind(1)))
    return torch.stack([torch.zeros_like(diagonal), *[diagonal] * 3, *[diagonal / 2] * 3], dim=1)


def noisy_nll(mean: Tensor, factor: Tensor, z: Tensor, nu: float, variance: Tensor) -> Tensor:
    """Negative log density, up to a constant, of targets that err: `network.student_nll` with Λ⁻¹ + C for Λ⁻¹.

    With M = I + Lᵀ C L, (Λ⁻¹ + C)⁻¹ = L M⁻¹ Lᵀ (Woodbury).

    Args:
        mean: (B, 7).
        factor: (B, 28) packed lower L of the precision Λ.
        z: (B, 7) reference latents.
        nu: degrees of freedom.
        variance: (B, 7) diagonal of C.

    Returns:
        (B,).
    """
    L = torch.zeros(len(z), DIMENSION, DIMENSION, dtype=z.dtype, device=z.device)
    L[:, ROWS, COLUMNS] = factor
    M = torch.eye(DIMENSION, dtype=z.dtype, device=z.device) + L.mT @ (variance[:, :, None] * L)
    R = torch.linalg.cholesky(M)
    projected = torch.linalg.solve_triangular(R, L.mT @ (z - mean)[:, :, None], upper=False)[:, :, 0]
    of_factor = torch.log(torch.diagonal(L, dim1=1, dim2=2)).sum(1)
    of_error = torch.log(torch.diagonal(R, dim1=1, dim2=2)).sum(1)
    return 0.5 * (nu + DIMENSION) * torch.log1p(projected.square().sum(1) / nu) - of_factor + of_error
