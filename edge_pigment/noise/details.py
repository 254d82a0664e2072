"""σ from spatial details that volumes do not share: edges are common to them, noise is not.

The diagonal Haar details of each volume (the MAD estimate of Donoho & Johnstone 1994, Biometrika 81:425, for MRI: Coupé
et al. 2010, Med. Image Anal. 14:483) hold noise and edges. Of their covariance between volumes, the components of least
variance are noise (the principle of Veraart et al. 2016, NeuroImage 142:394), taken where the other components are
calm.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_pigment.acquisition import Acquisition
from edge_pigment.gradients import GradientTable
from edge_pigment.noise.rician import sigma_of_magnitudes

Float = NDArray[np.float64]
Mask = NDArray[np.bool_]
Volumes = NDArray[np.float32]

MOST_VOLUMES = 8
"""For the details: enough for one combination without edges; of more the least eigenvalue is biased low."""
LEAST_BLOCKS = 200
"""Of 2x2 voxels: σ to 5 %. With fewer the whole image is used."""
CALM_SHARE = 0.5
"""Of the blocks, those with least energy in the other components, which tells nothing of the noise."""
WIDEST_SPREAD = 0.03
"""Of the square root of eigenvalues taken as noise: in a single slice noise spreads more, but edges come in."""
MAD = 0.6745
"""Median absolute deviation of the unit normal distribution."""


class DetailBands(NamedTuple):
    """σ found in the Haar details of slices: finest along i, along j and diagonal; diagonal of twice the size."""

    first: float
    second: float
    fine: float
    coarse: float


def chosen_volumes(table: GradientTable) -> NDArray[np.intp]:
    """Numbers of the volumes whose details are looked at."""
    weighted = np.flatnonzero(~table.is_b0)[:MOST_VOLUMES]
    b0 = np.flatnonzero(table.is_b0)[: max(MOST_VOLUMES - len(weighted), 0)]
    return np.concatenate([b0, weighted])


def detail_bands(acquisition: Acquisition, mask: Mask) -> DetailBands | None:
    """σ by bands, which are alike where noise is white; None where the image is too small for two levels.

    Args:
        acquisition: the scan.
        mask: (X, Y, Z) the brain.
    """
    chosen = chosen_volumes(acquisition.gradients)
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
            bands.append(least_component(detail[inside].astype(float), square_of_mean, size))
    return DetailBands(*bands)


def least_component(details: Float, square_of_mean: Float, size: int) -> float:
    """σ of the combinations of volumes that vary least, where the other combinations are calm.

    Args:
        details: (blocks, N) of each volume.
        square_of_mean: (N,) square of a block's mean magnitude.
        size: voxels of a block.
    """
    if len(details) < 2:
        return 0.0
    directions, variances, noise = noise_directions(details)
    components = details @ directions
    others = np.sum(components[:, ~noise] ** 2 / np.maximum(variances[~noise], 1e-30), axis=1)
    calm = components[others <= np.quantile(others, CALM_SHARE)][:, noise]
    variance = float(np.mean((np.median(np.abs(calm), axis=0) / MAD) ** 2))
    mean_square = float(np.mean(directions[:, noise].T ** 2 @ square_of_mean)) + variance * (1 - 1 / size)
    return sigma_of_magnitudes(np.sqrt(variance), mean_square)


def diagonal(images: Volumes, lag: int) -> Volumes:
    """Differences of differences between voxels `lag` apart along both axes of the slices, (X - lag, Y - lag, ...)."""
    near, far = slice(None, -lag), slice(lag, None)
    return images[near, near] - images[far, near] - images[near, far] + images[far, far]


def diagonal_inside(mask: Mask, lag: int) -> Mask:
    """Where all four voxels of `diagonal` lie in the mask."""
    near, far = slice(None, -lag), slice(lag, None)
    inside: Mask = mask[near, near] & mask[far, near] & mask[near, far] & mask[far, far]
    return inside


def noise_directions(details: Float) -> tuple[Float, Float, Mask]:
    """Independent combinations of volumes (N, N), a column each; their variances; which of them vary least: noise.

    Args:
        details: (blocks, N) of each volume.
    """
    energy = np.sum(details**2, axis=1)
    # a few blocks at the brain's edge hold most of the variance and would turn the components to themselves
    calm = details[energy <= np.quantile(energy, 0.8)]
    variances, directions = np.linalg.eigh(calm.T @ calm / len(calm))
    variances = np.maximum(variances, 0)  # of a scan without noise, rounding leaves less
    # the least eigenvalue alone is biased low: as many go with it as pure noise spreads (Marchenko & Pastur 1967)
    spread = min(np.sqrt(len(variances) / len(calm)), WIDEST_SPREAD)
    noise: Mask = variances <= variances[0] * ((1 + spread) / (1 - spread)) ** 2
    return directions, variances, noise


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
