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
    total = image
    for axis, reach in enumerate(half, start=1):
        n = image.shape[axis]
        running = np.zeros((*total.shape[:axis], n + 1, *total.shape[axis + 1 :]), np.float64)
        np.cumsum(total, axis=axis, out=np.moveaxis(np.moveaxis(running, axis, 0)[1:], 0, axis))
        at = np.arange(n)
        last, first = np.minimum(at + reach + 1, n), np.maximum(at - reach, 0)
        total = (running.take(last, axis=axis) - running.take(first, axis=axis)).astype(np.float32)
    return total
