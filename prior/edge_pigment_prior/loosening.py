"""What the prior must not claim to know: MD, where a lesion may have changed it.

A prior that tells MD well takes from a lesion of a few voxels what the surroundings do not show. So its precision is
lowered along log MD, to a floor under the standard deviation, where that helps: where the voxel's own data tell MD
well enough to keep a lesion by themselves, but not so well that the prior does not matter.
"""

import torch
from torch import Tensor
from torch.nn import functional

from edge_pigment.physics.tensor import DIMENSION
from edge_pigment.prior.features import SD_SCALE, VOXEL_CHANNELS

LEAST_KNOWN = 1e-6
"""Precision of log MD below which it is not known at all; keeps what divides by it finite."""
SD_OF_MD = 0.55
"""sd of MD over the geometric mean of the diagonal elements' sd, as summaries have it: 0.51 to 0.56 with six directions
and a b=0, 0.62 to 0.64 with 30 and 3 (simulated scans of three heads, SNR 5 to 20)."""
SHAPE = 2 / 3
"""Variance that a summary's own prior gives a diagonal element apart from MD: what trace images alone leave of it."""
LEAST_MD = 0.1
"""µm²/ms; keeps what divides by an MD finite."""
WELL_MEASURED = 0.13
"""sd of log MD below which the floor shrinks in proportion. A floor of 0.27 is twice that: the data keep four fifths of
a lesion then by themselves, and nine tenths with what its surroundings show of it (measured)."""
BADLY_MEASURED = (0.25, 0.32)
"""sd of log MD between which the floor goes to 0: data as vague as the floor cannot keep a lesion with it, and healthy
tissue would pay (6+1 at SNR 10 measures MD to 0.18, at SNR 5 to 0.31)."""


def floor(features: Tensor, mean: Tensor, highest: float) -> Tensor:
    """The least sd of log MD that a prior may claim, by how well MD is measured about the voxel.

    The voxel itself is left out, as it is everywhere in the network.

    Args:
        features: (B, 45, H, W) input of the network.
        mean: (B, 7, H, W) of the prior.
        highest: where MD is measured neither too well nor too badly.

    Returns:
        (B, H, W).
    """
    own = features[:, VOXEL_CHANNELS : 2 * VOXEL_CHANNELS]
    log_sd = own[:, DIMENSION + 1 : DIMENSION + 4].sum(1) / (3 * SD_SCALE)  # 0 outside the mask, as the next one is
    around = _around(torch.stack([log_sd, own[:, -1]], dim=1))
    variance = torch.exp(2 * around[:, 0] / around[:, 1].clamp(min=1))
    of_md, rest = SD_OF_MD**2 * variance, variance - SHAPE
    sd = torch.sqrt(torch.where(rest > 0, torch.minimum(of_md, rest), of_md))
    measured = sd / mean_diffusivity(mean.detach())  # the mean is not to be learned by what the floor makes of it
    low, high = BADLY_MEASURED
    enough = (measured / WELL_MEASURED).clamp(max=1)
    return highest * enough * ((high - measured) / (high - low)).clamp(0, 1)


def mean_diffusivity(z: Tensor) -> Tensor:
    """(B, 7, ...) latents -> (B, ...) MD in µm²/ms, at least `LEAST_MD`: a third of the trace of Q²."""
    Q = z[:, 1:]
    return ((Q[:, :3].square().sum(1) + 2 * Q[:, 3:].square().sum(1)) / 3).clamp(min=LEAST_MD)


def _around(x: Tensor) -> Tensor:
    """Sums over the eight neighbours in plane of (B, C, H, W)."""
    wide = functional.pad(x, (1, 1, 1, 1))
    parts = (slice(None, -2), slice(1, -1), slice(2, None))
    total = torch.zeros_like(x)
    for j, rows in enumerate(parts):
        for i, columns in enumerate(parts):
            if (j, i) != (1, 1):
                total = total + wide[:, :, rows, columns]
    return total


def loosen(mean: Tensor, factor: Tensor, sd: Tensor) -> Tensor:
    """Precision factors that claim to know the logarithm of MD no better than by an sd, and all else as before.

    With v the change of z by a unit of log MD (Q grows by half of itself, so that D keeps its shape) and p = vᵀΛv, the
    precision is lowered along v to 1/sd² where p is more: Λ' = Λ - β Λv vᵀΛ with β = (1 - 1/(sd² p))/p. With w = Lᵀv
    that is L (I - β w wᵀ) Lᵀ, and the Cholesky factor of I - β w wᵀ is known (Gill, Golub, Murray & Saunders 1974,
    Math. Comput. 28:505): with t_j = 1 - β Σ_{k≤j} w_k², its diagonal is √(t_j/t_{j-1}), and what is below it
    -β w_i w_j / √(t_{j-1} t_j).

    Args:
        mean: (B, 7, H, W).
        factor: (B, 28, H, W) packed lower L of the precision Λ.
        sd: (B, H, W) of log MD, >= 0; 0 changes nothing.

    Returns:
        (B, 28, H, W) packed lower L' of Λ'.
    """
    parts, Q = factor.unbind(1), mean.unbind(1)
    L = {(row, column): parts[row * (row + 1) // 2 + column] for row in range(DIMENSION) for column in range(row + 1)}
    w = []
    for column in range(DIMENSION):
        first = max(column, 1)  # log S0 does not change with MD
        total = L[first, column] * Q[first]
        for row in range(first + 1, DIMENSION):
            total = total + L[row, column] * Q[row]
        w.append(0.5 * total)
    after = [torch.zeros_like(w[0])]  # Σ_{k>j} w_k², from the last column back
    for part in reversed(w):
        after.append(after[-1] + part * part)
    p = after[-1].clamp(min=LEAST_KNOWN)
    left = 1 / (sd * sd * p).clamp(min=1)
    beta = (1 - left) / p
    t = [left + beta * rest for rest in reversed(after)]  # as a sum of what is positive: 1 - β Σ would cancel
    behind: dict[int, Tensor] = {}
    out: dict[tuple[int, int], Tensor] = {}
    for column in reversed(range(DIMENSION)):
        diagonal = torch.sqrt(t[column + 1] / t[column])
        below = beta * w[column] / torch.sqrt(t[column] * t[column + 1])
        for row in range(column, DIMENSION):
            out[row, column] = diagonal * L[row, column]
            added = w[column] * L[row, column]
            if row in behind:  # Σ w L of the row's later columns
                out[row, column] = out[row, column] - below * behind[row]
                added = behind[row] + added
            behind[row] = added
    return torch.stack([out[row, column] for row in range(DIMENSION) for column in range(row + 1)], dim=1)
