"""Sums over neighbouring voxels, for what is looked at in more than one voxel."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray


def sums_of_three(image: NDArray[Any], axes: Iterable[int] = (0, 1, 2)) -> NDArray[np.float32]:
    """Over a voxel and both neighbours along each axis in turn, 0 beyond the edge; an axis given twice reaches further.

    Args:
        image: (X, Y, Z).
        axes: to sum along.
    """
    total = np.asarray(image, np.float32)
    for axis in axes:
        ahead, behind = ([slice(None)] * total.ndim for _ in range(2))
        ahead[axis], behind[axis] = slice(1, None), slice(None, -1)
        summed = total.copy()
        summed[tuple(behind)] += total[tuple(ahead)]
        summed[tuple(ahead)] += total[tuple(behind)]
        total = summed
    return total


def box_sums(image: NDArray[np.float32], half: tuple[int, int, int]) -> NDArray[np.float32]:
    """Over boxes about each voxel, cut off at the edge: running sums, so that a large box costs what a small one does.

    Args:
        image: (C, Z, Y, X), each channel by itself.
        half: half-widths along the last three axes, voxels; a box has 2 half + 1.

    Returns:
        (C, Z, Y, X).
    """
    out = np.empty(image.shape, np.float32)
    for channel, total in zip(out, image, strict=True):  # one after the other stays in the cache
        for axis, reach in enumerate(half):
            total = _runs(total, axis, reach)
        channel[...] = total
    return out


def _runs(image: NDArray[Any], axis: int, reach: int) -> NDArray[np.float64]:
    """Sums of 2 reach + 1 along an axis; in float64, since differences of long sums are taken."""

    def part(first: int | None, last: int | None) -> tuple[slice, ...]:
        return (slice(None),) * axis + (slice(first, last),)

    n = image.shape[axis]
    running = np.zeros([size + (2 * reach + 1 if a == axis else 0) for a, size in enumerate(image.shape)])
    np.cumsum(image, axis=axis, out=running[part(reach + 1, reach + 1 + n)])
    running[part(reach + 1 + n, None)] = running[part(reach + n, reach + n + 1)]
    return np.asarray(running[part(2 * reach + 1, None)] - running[part(None, n)])
