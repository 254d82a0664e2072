"""The feature contract between summaries and the context network: shared by training and run time.

Per voxel 15 channels: θ minus the summary's own prior mean (7), log(sd / prior sd) (7), and 1 inside the mask; all
are 0 outside the mask. A slice's input is its own features between those of the slices below and above (zeros
beyond the volume), so 45 channels; the network sees axial stacks (Z, 45, Y, X) as they lie in a NIfTI's memory.
"""

import numpy as np
from numpy.typing import NDArray

from edge_pigment.physics.backend import Array, Summary
from edge_pigment.physics.summarise import PRIOR_MEAN, PRIOR_PRECISION
from edge_pigment.physics.tensor import DIMENSION

CONTRACT = "tensor-summary-1"
"""Name of this contract; a bundle made for another one is refused."""
VOXEL_CHANNELS = 2 * DIMENSION + 1
SLICES = 3
CHANNELS = SLICES * VOXEL_CHANNELS
SD_SCALE = 0.5
"""log(sd / prior sd) spans about -5 to 0; θ about ±1: this brings both to one scale."""


def voxel_features(summary: Summary) -> Array:
    """Features of V voxels of the mask: (15, V)."""
    V = summary.theta.shape[1]
    features = np.empty((VOXEL_CHANNELS, V), np.float32)
    features[:DIMENSION] = summary.theta - PRIOR_MEAN[:, None].astype(np.float32)
    log_prior_sd = -0.5 * np.log(PRIOR_PRECISION)
    features[DIMENSION:-1] = SD_SCALE * (np.log(summary.sd) - log_prior_sd[:, None].astype(np.float32))
    features[-1] = 1
    return features


def to_stack(features: Array, mask: NDArray[np.bool_]) -> Array:
    """Scatter (C, V) features of the mask's voxels, in the mask's C order, into slices.

    Args:
        features: (C, V).
        mask: (Z, Y, X) with V true voxels.

    Returns:
        (Z, C, Y, X), 0 outside the mask.
    """
    Z, Y, X = mask.shape
    stack = np.zeros((Z, len(features), Y, X), np.float32)
    for channel, values in enumerate(features):
        stack[:, channel][mask] = values
    return stack


def with_neighbours(stack: Array, first: int = 0, last: int | None = None) -> Array:
    """Input of slices first..last-1 of a stack (Z, 15, Y, X): (B, 45, Y, X), slice below, own, above."""
    Z, C, Y, X = stack.shape
    last = Z if last is None else last
    out = np.zeros((last - first, SLICES * C, Y, X), np.float32)
    for place, offset in enumerate((-1, 0, 1)):
        low, high = max(first + offset, 0), min(last + offset, Z)
        out[low - offset - first : high - offset - first, place * C : (place + 1) * C] = stack[low:high]
    return out
