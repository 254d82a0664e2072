"""Whether a scan's noise was filtered before it came here: denoised data look far less noisy than they are.

Denoising by components (MP-PCA) takes out the noise in which volumes differ and leaves that which they share with the
signal; averaging of like patches (non-local means) takes noise out where there is little structure. What is left is
alike over several voxels, smoothly so, unlike the noise of interpolated scans, and by no means as small as residuals
say.
"""

from typing import NamedTuple

import numpy as np

from edge_pigment.acquisition import Acquisition
from edge_pigment.noise.angular import column_space, even_polynomials
from edge_pigment.noise.correlation import details_between, middle_slices
from edge_pigment.noise.details import LEAST_BLOCKS, MAD, Float, Mask, chosen_volumes, diagonal, diagonal_inside

LEAST_SPARE = 5
"""Volumes beyond a smooth function of direction: in fewer, edges are not told from noise."""
MOST_VOLUMES = 24
QUIET_SHARE = 0.3
"""Of the blocks, those where the mean weighted image is flattest."""
COMMON, COMMON_SMOOTH = 1.8, 1.10
"""Noise of single volumes in quiet blocks over that of residuals at the same distance, and smoothness of the residuals
(below), from which together volumes are taken to share noise that residuals do not hold. Real scans that are so smooth
have up to 1.6 of the first, scans of high SNR, where it is edges, up to 1.06 of the second (29 scans of five vendors);
MP-PCA leaves 4.3 to 9.0, and 1.15 and more."""
SMOOTH = 1.29
"""Details of residuals over three to five voxels against two, times those of independent noise against two: noise that
is alike over all of these distances. Real scans have up to 1.27 (one person's, the next 1.10), interpolated ones 1.05;
non-local means leave 1.31 to 1.49."""
SMOOTH_IN_FEW, STEADY = 1.17, 0.81
"""For protocols without directions to spare: details, of what varies least between volumes, three voxels apart over
those two apart, and that over the same of two and one. Real scans have up to 1.04 of the first but for one person's of
1.15 to 1.22, with 0.71 to 0.79 of the second; images free of noise have up to 1.16 of the first. Non-local means leave
1.20 to 1.39 and 0.84 to 0.91."""


class Filtered(NamedTuple):
    """is_filtered: whether noise was taken out. factor: what σ from residuals must be multiplied by to be that of what
    is left, as far as it can be told."""

    is_filtered: bool = False
    factor: float = 1.0


def find_filter(acquisition: Acquisition, mask: Mask) -> Filtered:
    """Ask whether the scan was denoised; to be asked of scans that were not interpolated.

    Args:
        acquisition: the scan.
        mask: (X, Y, Z) the brain.
    """
    shells = acquisition.gradients.shells
    if not shells or not mask.any():
        return Filtered()
    indices = max(shells, key=lambda shell: len(shell.indices)).indices[:MOST_VOLUMES]
    basis = _basis(acquisition.gradients.bvecs[indices])
    spare = len(indices) - basis.shape[1]
    part = middle_slices(mask)
    if spare < LEAST_SPARE:
        return Filtered(_is_smooth(acquisition, mask, part))
    y = np.nan_to_num(acquisition.signal[:, :, part][..., indices])
    residual, inside = y - (y @ basis) @ basis.T, mask[:, :, part]
    whole = _median_rms(residual[inside], spare)
    profile = [_blocks(residual, inside, lag) for lag in range(1, 6)]
    if not whole > 0 or any(len(blocks) < LEAST_BLOCKS for blocks in profile):
        return Filtered()
    near, two, *far = (_median_rms(blocks, spare) for blocks in profile)
    if not min(near, two) > 0:
        return Filtered()
    common = _single_volumes(y, inside) / near
    smooth = float(np.mean(far)) / two * whole / two
    if smooth > SMOOTH or (common > COMMON and smooth > COMMON_SMOOTH):
        return Filtered(True, max(common, 1.0))
    return Filtered()


def _is_smooth(acquisition: Acquisition, mask: Mask, part: slice) -> bool:
    volumes = np.nan_to_num(acquisition.signal[:, :, part][..., chosen_volumes(acquisition.gradients)])
    inside = mask[:, :, part]
    one, two, three = (details_between(volumes, inside, (0, 1), (lag, lag)) or 0.0 for lag in (1, 2, 3))
    return one > 0 and three > SMOOTH_IN_FEW * two and three * one > STEADY * two**2


def _basis(bvecs: Float) -> Float:
    return column_space(even_polynomials(bvecs, 4 if len(bvecs) >= 20 else 2)).astype(np.float32)


def _blocks(images: np.ndarray, inside: Mask, lag: int) -> np.ndarray:
    """Diagonal details (blocks, N) of slices between voxels `lag` apart."""
    return 0.5 * diagonal(images, lag)[diagonal_inside(inside, lag)]


def _median_rms(residual: np.ndarray, spare: int) -> float:
    return float(np.sqrt(np.median(np.sum(residual.astype(float) ** 2, axis=1)) / spare))


def _single_volumes(y: np.ndarray, inside: Mask) -> float:
    """Median over volumes of the details' sd where the mean image is flat."""
    mean = y.mean(axis=-1)
    slope = np.abs(np.diff(mean, axis=0))[:, :-1] + np.abs(np.diff(mean, axis=1))[:-1]
    slope = slope[diagonal_inside(inside, 1)]
    quiet = slope <= np.quantile(slope, QUIET_SHARE)
    return float(np.median(np.median(np.abs(_blocks(y, inside, 1)[quiet]), axis=0)) / MAD)
