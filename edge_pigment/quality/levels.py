"""Signal levels: volumes and slices that are darker or brighter than their like.

The mean log level of a slice is compared with that of the same slice in the other volumes of the shell. The brain as a
whole is nearly isotropic, so volumes of one shell have nearly the same level; what is left of anisotropy grows with
b. No tensor is fitted, so that with as many measurements as unknowns a bad volume cannot bend what it is judged by.
Where b-values go on in small steps, a volume's level is compared with a smooth decay.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_pigment.gradients import GradientTable
from edge_pigment.physics.backend import Array

Float = NDArray[np.float64]

GAIN = 0.25
"""Log level (a factor 0.78 or 1.28) by which a volume stands out at b=0. Receivers drift by a few per cent."""
GAIN_PER_B = 0.08
"""Added per ms/µm²: the brain's mean tensor is anisotropic, its ADC varies by up to this (in µm²/ms)."""
DROPOUT = 0.30
"""Log level by which a slice is darker (a loss of 26 %) or brighter than its neighbours in the same volume: partial
voluming and anisotropy vary smoothly over slices, by less than 0.15 between neighbours."""
DROPOUT_ALONE = 1.0
"""The same, darker only, for a volume without two others of its b: b=0 and weighted volumes differ at the vertex and
in the ventricles, by up to 0.85 where it is bright and 0.4 where it is dark."""
LEAST_SLICE_VOXELS, LEAST_SLICE_SHARE = 60, 0.15
"""Of the mask, and of its largest slice; the level of fewer voxels is not that of a slice."""
LEAST_LIKE = 3
"""Volumes of a shell among which one can be told apart."""
LEAST_ALONG_B = 8
"""Weighted volumes whose levels show how the signal falls with b, where b-values are too many for shells."""
NEIGHBOURS = 2
"""Slices on either side that a slice is compared with."""
LOWEST_ADC, HIGHEST_ADC = 0.50, 1.60
"""µm²/ms, of the brain with its fluid at the lowest b: adults have 0.7 (b = 2000) to 1.1 (b = 1000, large
ventricles); outside of these the b=0 and the weighted volumes do not belong together. A b=0 of half or twice its level
moves it by 0.69/b."""
LARGEST_B_OF_ADC = 2.5
"""ms/µm²: above, the noise floor and kurtosis take the bounds' meaning away."""
LEAST_B_OF_ADC = 0.5
"""ms/µm²: below, a volume that is 10 % brighter, or the blood's part of the signal, moves the ADC by 0.2 and more.
Where no shell lies between the two, wider bounds are asked of the one that is nearest."""
LOWEST_AT_ALL, HIGHEST_AT_ALL = 0.15, 3.2
"""µm²/ms, of any brain at any b: the noise floor leaves 0.2 at b = 8000, and nothing diffuses faster than warm
water."""
_TINY = 1e-3
"""Of the median b=0 signal; keeps the log of a blank slice finite."""


class Levels(NamedTuple):
    """gain (N,) log level of each volume against its like, NaN where it has none; slices (Z, N) the same of slices
    against their neighbours, NaN where the slice is too small; adc µm²/ms of the brain at the lowest b, or NaN."""

    gain: Float
    slices: Float
    adc: float
    adc_bounds: tuple[float, float]
    outliers: tuple[int, ...]
    dropped: tuple[tuple[int, int], ...]
    """(volume, slice)."""

    @property
    def adc_is_plausible(self) -> bool:
        """Whether b=0 and weighted volumes can belong together; true where it cannot be told."""
        return not (self.adc < self.adc_bounds[0] or self.adc > self.adc_bounds[1])


def measure_levels(y: Array, mask: NDArray[np.bool_], table: GradientTable, sigma: float) -> Levels:
    """Compare the levels of volumes and of slices.

    Args:
        y: (N, V) magnitudes, b=0 about 1.
        mask: (Z, Y, X), of the V voxels.
        table: of the N volumes.
        sigma: noise sd in the unit of y.
    """
    counts = mask.sum((1, 2))
    full = np.flatnonzero(counts)
    starts = np.concatenate([[0], np.cumsum(counts[full])[:-1]])
    total = np.zeros((len(counts), len(y)))
    for n, volume in enumerate(y):
        total[full, n] = np.add.reduceat(np.nan_to_num(volume), starts, dtype=np.float64)
    mean = total / np.maximum(counts, 1)[:, None]
    # the floor of magnitudes: E y is about √(S² + σ²)
    log = np.log(np.sqrt(np.maximum(mean**2 - sigma**2, (0.5 * sigma) ** 2) + _TINY**2))
    large = counts >= max(LEAST_SLICE_VOXELS, LEAST_SLICE_SHARE * counts.max())
    if not large.any():
        large = counts == counts.max()
    gain = np.full(len(y), np.nan)
    common = np.median(log - np.median(log[large], axis=0), axis=1)
    shape = np.empty_like(log)
    lowest, highest = np.full(len(y), -DROPOUT_ALONE), np.full(len(y), np.inf)
    for group in table.alike:
        reference = np.median(log[:, group], axis=1) if len(group) >= LEAST_LIKE else common
        shape[:, group] = log[:, group] - reference[:, None]
        if len(group) >= LEAST_LIKE:
            lowest[group], highest[group] = -DROPOUT, DROPOUT
        if len(group) > 1:
            like = np.median(log[:, group], axis=1)
            gain[group] = np.median((log[:, group] - like[:, None])[large], axis=0)
    slices = _against_neighbours(shape, large)
    b = table.bvals * 1e-3
    few = [n for group in table.alike if len(group) < LEAST_LIKE for n in group if not table.is_b0[n]]
    weighted = np.flatnonzero(~table.is_b0)
    along_b = bool(few) and len(weighted) >= LEAST_ALONG_B
    if along_b:
        gain[few] = _against_decay(np.median(log[large], axis=0)[weighted], b[weighted])[np.isin(weighted, few)]
    outliers = np.flatnonzero(np.abs(gain) > GAIN + GAIN_PER_B * b)
    # two volumes that differ are both half as far from their mean
    for group in table.alike:
        if along_b and not table.is_b0[group[0]]:
            continue
        if len(group) == 2 and np.ptp(gain[group]) > GAIN + GAIN_PER_B * b[group[0]]:
            outliers = np.union1d(outliers, group)
    dropped = [(int(n), int(z)) for z, n in np.argwhere((slices < lowest) | (slices > highest))]
    adc, bounds = _adc(log[large], table)
    return Levels(gain, slices, adc, bounds, tuple(int(n) for n in outliers), tuple(sorted(dropped)))


def _against_decay(level: Float, b: Float) -> Float:
    """(N,) log levels less a parabola in b, fitted so that a few outlying ones do not bend it.

    Least absolute deviations, by reweighting (Schlossmacher 1973, J. Am. Stat. Assoc. 68:857).
    """
    powers = np.vander(b, 3)
    weight = np.ones(len(b))
    for _ in range(20):
        root = np.sqrt(weight)
        off = level - powers @ np.linalg.lstsq(powers * root[:, None], level * root, rcond=None)[0]
        weight = 1 / np.maximum(np.abs(off), 0.01)
    return np.asarray(off)


def _against_neighbours(shape: Float, large: NDArray[np.bool_]) -> Float:
    """Each slice's log level against the median of its neighbours', per volume; NaN where there are none."""
    found = np.full(shape.shape, np.nan)
    where = np.flatnonzero(large)
    for z in where:
        near = where[(np.abs(where - z) <= NEIGHBOURS) & (where != z)]
        if len(near):
            found[z] = shape[z] - np.median(shape[near], axis=0)
    return found


def _adc(log: Float, table: GradientTable) -> tuple[float, tuple[float, float]]:
    """ADC of the brain, or NaN, and the bounds that it should lie in."""
    bounds = LOWEST_ADC, HIGHEST_ADC
    shells = [shell for shell in table.shells if 1e3 * LEAST_B_OF_ADC <= shell.bval <= 1e3 * LARGEST_B_OF_ADC]
    if not shells:
        bounds = LOWEST_AT_ALL, HIGHEST_AT_ALL
        low = [shell for shell in table.shells if shell.bval < 1e3 * LEAST_B_OF_ADC]
        shells = low[-1:] or list(table.shells[:1])
    if not table.is_b0.any() or not shells:
        return float("nan"), bounds
    lost = np.median(log[:, table.is_b0], axis=1) - np.median(log[:, shells[0].indices], axis=1)
    apart = shells[0].bval - float(np.median(table.model_bvals[table.is_b0]))
    return float(np.median(lost)) / (apart * 1e-3), bounds
