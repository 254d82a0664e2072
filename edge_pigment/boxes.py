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
