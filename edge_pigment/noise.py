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
from numpy.typing import NDArray

from edge_pigment.acquisition import Acquisition

Float = NDArray[np.float64]
Mask = NDArray[np.bool_]
Volumes = NDArray[np.float32]

LEAST_SPARE = 3
"""Degrees of freedom of a voxel's residual; below, the median of χ² hangs on its lower tail, where Rician
noise and rounding to integers show."""
LEAST_SPARE_FOR_DEGREE_4 = 5
"""With fewer to spare degree 2 is taken; what that misses at b = 1000 is 1 % of S0."""
MOST_VOXELS = 40_000
"""For the residuals: gives σ to 0.3 %; more only takes time."""
MOST_VOLUMES = 8
"""For the details: enough for one combination without edges; of more the least eigenvalue is biased low."""
LEAST_BLOCKS = 200
"""Of 2x2 voxels: σ to 5 %. With fewer the whole image is used."""
CALM_SHARE = 0.5
"""Of the blocks, those with least energy in the other components, which tells nothing of the noise."""
EDGES_FINE, EDGES_COARSE = 2.2e-4, 8.8e-4
"""Variance that edges leave in the finest and in the next diagonal details, in units of S0²:
from simulated scans of real heads of 1.8 to 3 mm, at SNR 40."""
COLOURED = 0.85
"""The finest details are taken as cut off where their ratio to the next is below this share of what white
noise and edges make it. White scans up to SNR 40 have 0.95 or more, zero-filling by 4/3 leaves 0.6."""
CLEANEST_SNR = 1000.0
"""σ is at least S0 over this: a simulated scan without noise must not make the likelihood infinite."""
NEARLY_NORMAL = 20.0
"""SNR above which a magnitude's variance is taken as here: 0.1 % less than σ²."""
WIDEST_SPREAD = 0.03
"""Of the square root of eigenvalues taken as noise: in a single slice noise spreads more, but edges come in."""
MAD = 0.6745
"""Median absolute deviation of the unit normal distribution."""


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
        found = NoiseEstimate(sigma, found.method, 0, f"No noise was found; SNR {CLEANEST_SNR:g} is assumed.")
    return found._replace(snr_b0=float(np.sqrt(max(S0**2 - found.sigma**2, 0)) / found.sigma))


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


def even_polynomials(bvecs: Float, degree: int) -> Float:
    """(N, 6) or (N, 15): monomials of degree 2 or 4; on the sphere they span the even harmonics up to it."""
    x, y, z = bvecs.T
    powers = [(i, j, degree - i - j) for i in range(degree + 1) for j in range(degree + 1 - i)]
    return np.stack([x**i * y**j * z**k for i, j, k in powers], axis=1)


def _angular(acquisition: Acquisition, mask: Mask) -> NoiseEstimate | None:
    """Residuals on the shells; None where no shell has enough to spare."""
    plans = []
    for shell in acquisition.gradients.shells:
        for degree in (4, 2):
            harmonics = even_polynomials(acquisition.gradients.bvecs[shell.indices], degree)
            harmonics[acquisition.gradients.is_trace[shell.indices]] = 1  # repeats of one image
            basis, values, _ = np.linalg.svd(harmonics, full_matrices=False)
            basis = basis[:, values > 1e-6 * values[0]]
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
        if len(y) < LEAST_BLOCKS:
            continue
        square = np.sum((y - (y @ basis) @ basis.T) ** 2, axis=1)
        # median of χ² by Wilson & Hilferty 1931
        variance = float(np.median(square)) / (spare * (1 - 2 / (9 * spare)) ** 3)
        total += spare * sigma_of_magnitudes(np.sqrt(variance), float(np.median(np.mean(y**2, axis=1)))) ** 2
        weight += spare
    if not weight:
        return None
    return NoiseEstimate(float(np.sqrt(total / weight)), "angular residuals", 0)


class DetailBands(NamedTuple):
    """σ found in the Haar details of slices: finest along i, along j and diagonal; diagonal of twice the size."""

    first: float
    second: float
    fine: float
    coarse: float


def detail_bands(acquisition: Acquisition, mask: Mask) -> DetailBands | None:
    """σ by bands, which are alike where noise is white; None where the image is too small for two levels.

    Args:
        acquisition: the scan.
        mask: (X, Y, Z) the brain.
    """
    weighted = np.flatnonzero(~acquisition.gradients.is_b0)[:MOST_VOLUMES]
    b0 = np.flatnonzero(acquisition.gradients.is_b0)[: max(MOST_VOLUMES - len(weighted), 0)]
    chosen = np.concatenate([b0, weighted])
    inside = mask & np.isfinite(acquisition.signal[..., chosen]).all(-1)
    if _blocks(inside).sum() < LEAST_BLOCKS:
        inside = np.isfinite(acquisition.signal[..., chosen]).all(-1) & (acquisition.mean_b0 > 0)
    volumes = np.nan_to_num(acquisition.signal[..., chosen])
    bands: list[float] = []
    for level in range(2):
        volumes, *details = _haar(volumes)
        inside = _blocks(inside)
        if not inside.any():
            return None
        size = 4 ** (level + 1)
        square_of_mean = np.median(volumes[inside].astype(float) ** 2, axis=0) / size
        for detail in details if level == 0 else details[-1:]:
            bands.append(_least_component(detail[inside].astype(float), square_of_mean, size))
    return DetailBands(*bands)


def _spatial(acquisition: Acquisition, mask: Mask, S0: float) -> NoiseEstimate:
    """The component of least variance between volumes of the Haar details."""
    method = "spatial details"
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


def _least_component(details: Float, square_of_mean: Float, size: int) -> float:
    """σ of the combinations of volumes that vary least, where the other combinations are calm.

    Args:
        details: (blocks, N) of each volume.
        square_of_mean: (N,) square of a block's mean magnitude.
        size: voxels of a block.
    """
    if len(details) < 2:
        return 0.0
    energy = np.sum(details**2, axis=1)
    # a few blocks at the brain's edge hold most of the variance and would turn the components to themselves
    calm = details[energy <= np.quantile(energy, 0.8)]
    variances, directions = np.linalg.eigh(calm.T @ calm / len(calm))
    # the least eigenvalue alone is biased low: as many go with it as pure noise spreads (Marchenko & Pastur 1967)
    spread = min(np.sqrt(len(variances) / len(calm)), WIDEST_SPREAD)
    noise = variances <= variances[0] * ((1 + spread) / (1 - spread)) ** 2
    components = details @ directions
    others = np.sum(components[:, ~noise] ** 2 / np.maximum(variances[~noise], 1e-30), axis=1)
    calm = components[others <= np.quantile(others, CALM_SHARE)][:, noise]
    variance = float(np.mean((np.median(np.abs(calm), axis=0) / MAD) ** 2))
    mean_square = float(np.mean(directions[:, noise].T ** 2 @ square_of_mean)) + variance * (1 - 1 / size)
    return sigma_of_magnitudes(np.sqrt(variance), mean_square)


def _haar(volumes: Volumes) -> tuple[Volumes, Volumes, Volumes, Volumes]:
    """One level of the orthonormal Haar transform within slices: sum, details along i, along j, diagonal."""
    x, y = (n // 2 * 2 for n in volumes.shape[:2])
    a, b, c, d = (volumes[i:x:2, j:y:2] for i, j in ((0, 0), (1, 0), (0, 1), (1, 1)))
    half = np.float32(0.5)
    return half * (a + b + c + d), half * (a - b + c - d), half * (a + b - c - d), half * (a - b - c + d)


def _blocks(mask: Mask) -> Mask:
    """Blocks of 2x2 voxels that lie in the mask as a whole."""
    x, y = (n // 2 * 2 for n in mask.shape[:2])
    inside: Mask = mask[0:x:2, 0:y:2] & mask[1:x:2, 0:y:2] & mask[0:x:2, 1:y:2] & mask[1:x:2, 1:y:2]
    return inside
