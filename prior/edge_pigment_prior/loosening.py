"""What the prior must not claim to know: MD, where a lesion may have changed it.

A prior that tells MD well takes from a lesion of a few voxels what the surroundings do not show. So its precision is
lowered along log MD, to a floor under the standard deviation, where that helps: where the voxel's own data tell MD
well enough to keep a lesion by themselves, but not so well that the prior does not matter.
"""

import torch
from torch import Tensor
from torch.nn import functional

from edge_pigment.innovation import SD_OF_MD, SHAPE
from edge_pigment.physics.loosening import loosened, mean_diffusivity
from edge_pigment.physics.tensor import DIMENSION
from edge_pigment.prior.features import SD_SCALE, VOXEL_CHANNELS

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
    # detached: the mean is not to be learned by what the floor makes of it
    measured = sd / mean_diffusivity(mean.detach().unbind(1))
    low, high = BADLY_MEASURED
    enough = (measured / WELL_MEASURED).clamp(max=1)
    return highest * enough * ((high - measured) / (high - low)).clamp(0, 1)


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
    """See `edge_pigment.physics.loosening.loosened`.

    Args:
        mean: (B, 7, H, W).
        factor: (B, 28, H, W) packed lower L of the precision Λ.
        sd: (B, H, W) of log MD, >= 0; 0 changes nothing.

    Returns:
        (B, 28, H, W) packed lower L' of Λ'.
    """
    return torch.stack(loosened(mean.unbind(1), factor.unbind(1), sd), dim=1)
