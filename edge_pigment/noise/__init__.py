"""The noise's sd σ, from the scan itself: one number, in the unit of the signal.

Two methods, by what the protocol offers; neither needs the background, which scanners often mask.

1. Angular residuals, where a shell has measurements to spare (averages, or more directions than the model
   needs). On a shell the signal is a smooth even function of direction, so it is fitted by an even
   polynomial of degree 4 (spherical harmonics up to order 4, Descoteaux et al. 2007, MRM 58:497) or, with
   few directions, 2; what is left is noise, whatever the decay with b and however an image was
   interpolated. The median over the brain of the residual sum of squares is set against that of χ² with as
   many degrees of freedom, so that motion and pulsation count little.

2. Spatial details, for the rest (6 directions and one b=0). The diagonal Haar details of each volume (the MAD
   estimate of Donoho & Johnstone 1994, Biometrika 81:425, for MRI: Coupé et al. 2010, Med. Image Anal.
   14:483) hold noise and edges. Edges are common to the volumes, noise is not: of the details' covariance
   between volumes, the component of least variance is noise (the principle of Veraart et al. 2016,
   NeuroImage 142:394), taken where the other components are calm. Zero-filling and partial Fourier take the
   finest details away; then they are clearly below those of twice the size, and σ² is summed over four
   bands instead.

Both measure the sd of magnitudes, which is smaller than σ at low SNR; Koay & Basser 2006 (J. Magn. Reson.
179:317) put that right.
"""

from typing import NamedTuple

import numpy as np

from edge_pigment.acquisition import Acquisition
from edge_pigment.noise.angular import angular_sigma, even_polynomials
from edge_pigment.noise.details import MAD, DetailBands, Mask, detail_bands
from edge_pigment.noise.rician import rician_variance, sigma_of_magnitudes

__all__ = [
    "ANGULAR",
    "CLEANEST_SNR",
    "MAD",
    "NO_NOISE",
    "SPATIAL",
    "DetailBands",
    "NoiseEstimate",
    "detail_bands",
    "estimate_sigma",
    "even_polynomials",
    "rician_variance",
    "sigma_of_magnitudes",
]

EDGES_FINE, EDGES_COARSE = 2.2e-4, 8.8e-4
"""Variance that edges leave in the finest and in the next diagonal details, in units of S0²:
from simulated scans of real heads of 1.8 to 3 mm, at SNR 40."""
COLOURED = 0.85
"""The finest details are taken as cut off where their ratio to the next is below this share of what white
noise and edges make it. White scans up to SNR 40 have 0.95 or more, zero-filling by 4/3 leaves 0.6."""
CLEANEST_SNR = 1000.0
"""σ is at least S0 over this: a simulated scan without noise must not make the likelihood infinite."""

ANGULAR, SPATIAL = "angular residuals", "spatial details"
NO_NOISE = "No noise was found."


class NoiseEstimate(NamedTuple):
    """σ in the unit of the signal, how it was found, the SNR of b=0 in the brain, and what is special."""

    sigma: float
    method: str
    snr_b0: float
    note: str = ""


def estimate_sigma(acquisition: Acquisition, mask: Mask) -> NoiseEstimate:
    """Estimate σ; never fails on a scan that `read_acquisition` accepts.

    Args:
        acquisition: the scan.
        mask: (X, Y, Z) the brain.

    Returns:
        The estimate, σ > 0.
    """
    b0 = np.nan_to_num(acquisition.mean_b0[mask])
    S0 = float(np.median(b0)) if b0.size else 0.0
    if S0 <= 0:
        S0 = float(np.nanmax(acquisition.signal, initial=1.0)) or 1.0
    found = _angular(acquisition, mask) or _spatial(acquisition, mask, S0)
    if not found.sigma > S0 / CLEANEST_SNR:
        sigma = S0 / CLEANEST_SNR
        found = NoiseEstimate(sigma, found.method, 0, NO_NOISE)
    return found._replace(snr_b0=float(np.sqrt(max(S0**2 - found.sigma**2, 0)) / found.sigma))


def _angular(acquisition: Acquisition, mask: Mask) -> NoiseEstimate | None:
    sigma = angular_sigma(acquisition, mask)
    return None if sigma is None else NoiseEstimate(sigma, ANGULAR, 0)


def _spatial(acquisition: Acquisition, mask: Mask, S0: float) -> NoiseEstimate:
    """The component of least variance between volumes of the Haar details."""
    method = SPATIAL
    bands = detail_bands(acquisition, mask)
    if bands is None:
        return NoiseEstimate(0.0, method, 0)
    if not bands.fine > 0:
        return NoiseEstimate(float(np.sqrt(np.mean(np.square(bands)))), method, 0)
    snr2 = (S0 / bands.fine) ** 2
    white = np.sqrt((1 + EDGES_FINE * snr2) / (1 + EDGES_COARSE * snr2))
    if bands.coarse > 0 and bands.fine / bands.coarse < COLOURED * white:
        note = "The image lacks its finest details (interpolated or partial Fourier); σ is summed over bands."
        return NoiseEstimate(float(np.sqrt(np.mean(np.square(bands)))), method, 0, note)
    return NoiseEstimate(bands.fine, method, 0)
