"""Magnitudes with Rician noise: their variance, and σ from it (Koay & Basser 2006, J. Magn. Reson. 179:317)."""

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]

NEARLY_NORMAL = 20.0
"""SNR above which a magnitude's variance is taken as here: 0.1 % less than σ²."""


def rician_variance(snr: Float | float) -> Float:
    """Variance of a Rician magnitude in units of σ²: ξ of Koay & Basser 2006, for true signals S/σ."""
    theta2 = np.minimum(np.asarray(snr, float), NEARLY_NORMAL) ** 2
    # exp(-x) I0(x) and exp(-x) I1(x) at x = θ²/4, by the midpoint rule, exact for smooth periodic functions
    cosine = np.cos((np.arange(64) + 0.5) * np.pi / 64)
    kernel = np.exp(theta2[..., None] / 4 * (cosine - 1))
    i0, i1 = kernel.mean(-1), (kernel * cosine).mean(-1)
    mean = np.sqrt(np.pi / 2) * ((1 + theta2 / 2) * i0 + theta2 / 2 * i1)
    variance: Float = 2 + theta2 - mean**2
    return variance


def sigma_of_magnitudes(sd: float, mean_square: float) -> float:
    """σ from the sd of magnitudes and their mean square, by the fixed point of Koay & Basser 2006."""
    sigma, before = sd, 0.0
    while abs(sigma - before) > 1e-4 * sd:
        before = sigma
        true = np.sqrt(max(mean_square - 2 * sigma**2, 0))
        sigma = sd / float(np.sqrt(rician_variance(min(true / sigma, NEARLY_NORMAL))))
    return sigma
