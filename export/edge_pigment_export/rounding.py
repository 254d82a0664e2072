"""Rounding a convolution's weights to 8 bits so that its output, not its weights, changes least.

Rounding each weight to the nearest step makes errors that add up over hundreds of products. Here the columns are
rounded one after the other, and what each loses is made good by those not yet rounded, as far as the layer's own inputs
are alike (Frantar et al. 2023, GPTQ, arXiv:2210.17323, after Hassibi & Stork 1993). Before that, least squares on
the layer's inputs as they are once quantised takes out what earlier layers' rounding did to them.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

LARGEST = 127
PAIR = 128
"""CPUs without VNNI add two neighbouring products u8 x s8 in 16 bits: 255 * 128 is the most that fits. Two neighbours
of one sign may reach no more together, so that a file gives the same maps on every CPU; single weights keep 8 bits."""
RIDGE = 0.01
"""Of the mean variance of the inputs: what they say of a weight below that is noise."""


class Rounded(NamedTuple):
    """weight (O, K) int8; scale (O,): weight times scale is what the layer computes with; bias (O,)."""

    weight: NDArray[np.int8]
    scale: Floats
    bias: Floats


def fit(inputs: Floats, wanted: Floats, weight: Floats) -> Floats:
    """Weights (O, K) near the given ones that map inputs (M, K) to the outputs wanted (M, O), offsets aside."""
    x, y = inputs - inputs.mean(0), wanted - wanted.mean(0)
    H = _spread(inputs)
    return weight + np.linalg.solve(H, x.T @ (y - x @ weight.T) / len(x)).T


def round_weights(inputs: Floats, wanted: Floats, weight: Floats, pairs: bool) -> Rounded:
    """Round a layer.

    Args:
        inputs: (M, K) as the quantised layer sees them.
        wanted: (M, O) outputs that it should give.
        weight: (O, K).
        pairs: keep neighbours within what 16 bits hold; K is then even, and neighbours lie in order.
    """
    weight = fit(inputs, wanted, weight)
    scale = _scales(weight, pairs)
    inverse = np.linalg.cholesky(np.linalg.inv(_spread(inputs))).T
    left = weight / scale[:, None]
    q = np.zeros_like(left)
    for k in range(left.shape[1]):
        low, high = np.full(len(left), -float(LARGEST)), np.full(len(left), float(LARGEST))
        if pairs and k % 2:
            low = np.maximum(low, -PAIR - np.minimum(q[:, k - 1], 0))
            high = np.minimum(high, PAIR - np.maximum(q[:, k - 1], 0))
        q[:, k] = np.clip(np.round(left[:, k]), low, high)
        lost = (left[:, k] - q[:, k]) / inverse[k, k]
        left[:, k + 1 :] -= lost[:, None] * inverse[k, k + 1 :]
    bias = wanted.mean(0) - (q * scale[:, None]) @ inputs.mean(0)
    return Rounded(q.astype(np.int8), scale, bias)


def _spread(inputs: Floats) -> Floats:
    x = inputs - inputs.mean(0)
    H = x.T @ x / len(x)
    return H + RIDGE * max(np.trace(H) / len(H), 1e-12) * np.eye(len(H))


def _scales(weight: Floats, pairs: bool) -> Floats:
    """The smallest step of each output channel with which its weights fit."""
    largest = np.abs(weight).max(1) / LARGEST
    if pairs:
        for part in (np.maximum(weight, 0), np.maximum(-weight, 0)):
            # half a step for the rounding of each
            largest = np.maximum(largest, (part[:, ::2] + part[:, 1::2]).max(1) / (PAIR - 1))
    return np.maximum(largest, 1e-12)
