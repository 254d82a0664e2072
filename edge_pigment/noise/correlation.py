"""How far the noise of a voxel is that of its neighbours: interpolated images, by whatever kernel and along any axis.

Noise at two voxels k apart has the correlation ρ(k), and differences between such voxels have 1 - ρ(k) of the variance
that independent noise would give them. So details with growing distance between the voxels are compared: for white
noise they are alike but for edges; zero filling and other interpolation leave little in the nearest, and the distance
from which they grow no more is the distance of independent samples.

What edges add to details grows with distance, too, so only noise that is strongly alike is told here: twice what the
filters of scanners leave (thresholds below).
"""

from typing import NamedTuple

import numpy as np

from edge_pigment.acquisition import Acquisition
from edge_pigment.noise.details import LEAST_BLOCKS, Float, Mask, Volumes, chosen_volumes, detail_bands, least_component

ALIKE_IN_SLICES = 0.42
"""Noise of the finest diagonal details over that of details of twice the size, below which the slices are taken for
interpolated. Real scans as exported have 0.48 to 0.91 (29 scans of five vendors), images free of noise 0.45 to 0.53;
zero filling by 1.5 leaves 0.35 to 0.40, by 2 0.25. Zero filling by 1.25 leaves 0.46 to 0.57, which does not show in
deviations (benchmarks/honesty.py)."""
ALIKE_IN_ALL = 0.60
"""The same where neighbouring slices are alike, too: volumes that were registered have 0.34 to 0.44 with linear
kernels, 0.56 to 0.59 with splines."""
ALIKE_ON_ONE_AXIS = 0.62
"""The same for one axis of the slices: the finest details along it over those along the other. Zero filling of one axis
by 2 leaves 0.5 to 0.6; real scans have 0.69 and more."""
ALIKE_ACROSS = 0.80
"""Noise of details between neighbouring slices over that of slices two apart. Real scans have 0.88 and more, images
free of noise 0.86; slices interpolated by 2 leave 0.5, volumes registered in three dimensions 0.66 to 0.77."""
GROWTH = 1.17
"""Details that grow by less with one more voxel of distance are taken as grown up."""
FURTHEST, FURTHEST_ACROSS = 6, 4
"""Voxels, in slices and across: consoles interpolate by up to 4."""
MOST_VOXELS, LEAST_SLICES = 60_000, 8
"""Of the brain's middle slices: more only take time, and distances across slices need some."""


class Correlation(NamedTuple):
    """steps: along x, y and z, voxels at which noise is independent. excess: for how many independent voxels a voxel of
    that grid still counts where it should count for one (1: independent). sigma: noise's sd over all bands, of
    magnitudes' details; 0 where it was not measured here, the noise being white enough."""

    steps: tuple[int, int, int] = (1, 1, 1)
    excess: float = 1.0
    sigma: float = 0.0

    @property
    def is_white(self) -> bool:
        """Whether every voxel's noise is its own."""
        return self.steps == (1, 1, 1)


def noise_correlation(acquisition: Acquisition, mask: Mask) -> Correlation:
    """Measure how far noise is alike.

    Args:
        acquisition: the scan.
        mask: (X, Y, Z) the brain.
    """
    if not mask.any():
        return Correlation()
    part = middle_slices(mask)
    volumes = np.nan_to_num(acquisition.signal[:, :, part][..., chosen_volumes(acquisition.gradients)])
    inside = mask[:, :, part]
    bands = detail_bands(acquisition.subset_of_slices(part), inside)
    across = _profile(volumes, inside, 2, (1, 2))
    along_z = len(across) == 2 and across[1] > 0 and across[0] / across[1] < ALIKE_ACROSS
    least = ALIKE_IN_ALL if along_z else ALIKE_IN_SLICES
    in_slices = bands is not None and bands.coarse > 0 and bands.fine / bands.coarse < least
    if bands is not None and not in_slices:
        low, high = sorted((bands.first, bands.second))
        in_slices = high > 0 and low / high < ALIKE_ON_ONE_AXIS
    steps, excess = [1, 1, 1], 1.0
    for axis in (0, 1, 2):
        if not (along_z if axis == 2 else in_slices):
            continue
        lags = range(1, 1 + (FURTHEST_ACROSS if axis == 2 else FURTHEST))
        steps[axis], left = _independent(_profile(volumes, inside, axis, lags))
        excess *= left if steps[axis] > 1 else 1.0
    sigma = _plateau(volumes, inside, max(steps[:2])) if max(steps[:2]) > 1 else 0.0
    return Correlation((steps[0], steps[1], steps[2]), float(excess), sigma)


def middle_slices(mask: Mask) -> slice:
    """Slices in the middle of the brain that hold enough of it to measure noise in."""
    area = mask.sum(axis=(0, 1))
    slices = np.flatnonzero(area)
    count = max(int(MOST_VOXELS / np.median(area[slices])), LEAST_SLICES)
    first = max(len(slices) // 2 - count // 2, 0)
    return slice(int(slices[first]), int(slices[min(first + count, len(slices)) - 1]) + 1)


def _independent(profile: Float) -> tuple[int, float]:
    """(step, excess) of one axis, by the sd of details at distances of 1, 2, 3 ... voxels."""
    if len(profile) < 3 or not profile.min() > 0:
        return 1, 1.0
    grows = profile[1:] / profile[:-1] > GROWTH
    step = 1 + (int(np.argmin(grows)) if not grows.all() else len(grows))
    level = np.median(profile[step - 1 :])
    rho = 1 - np.minimum(profile / level, 1.3) ** 2
    return step, float(1 + 2 * np.sum(rho[step - 1 :: step] ** 2))


def _plateau(volumes: Volumes, inside: Mask, step: int) -> float:
    """sd of diagonal details of slices, of the distance from which they grow no more; interpolation by sinc overshoots
    there, so that the least of three distances counts."""
    found = [details_between(volumes, inside, (0, 1), (lag, lag)) for lag in range(step, step + 3)]
    known = [value for value in found if value is not None]
    return min(known, default=0.0)


def _profile(volumes: Volumes, inside: Mask, axis: int, lags: "range | tuple[int, ...]") -> Float:
    """sd of details between voxels that lie `lag` apart along the axis, and side by side along another one."""
    # across slices where there are enough: in slices, another axis may be interpolated as well
    other = 0 if axis == 2 else 2 if inside.shape[2] >= 2 else 1 - axis
    found = []
    for lag in lags:
        value = details_between(volumes, inside, (axis, other), (lag, 1))
        if value is None:
            break
        found.append(value)
    return np.array(found)


def details_between(volumes: Volumes, inside: Mask, axes: tuple[int, int], lags: tuple[int, int]) -> float | None:
    """σ by `least_component` of differences of differences along two axes.

    Args:
        volumes: (X, Y, Z, N).
        inside: (X, Y, Z) the brain.
        axes: two of the image's.
        lags: distance between the voxels along each, voxels.

    Returns:
        σ of white noise that would make such details; None for too few voxels.
    """
    if any(inside.shape[axis] <= lag for axis, lag in zip(axes, lags, strict=True)):
        return None

    def corners(image: np.ndarray) -> list[np.ndarray]:
        found = []
        for near in ((0, 0), (1, 0), (0, 1), (1, 1)):
            cut = [slice(None)] * image.ndim
            for axis, lag, far in zip(axes, lags, near, strict=True):
                cut[axis] = slice(lag, None) if far else slice(None, -lag)
            found.append(image[tuple(cut)])
        return found

    where = np.logical_and.reduce(corners(inside))
    if where.sum() < LEAST_BLOCKS:
        return None
    a, b, c, d = (corner[where].astype(float) for corner in corners(volumes))
    return least_component(0.5 * (a - b - c + d), np.median((0.25 * (a + b + c + d)) ** 2, axis=0), 4)
