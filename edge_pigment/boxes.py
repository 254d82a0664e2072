"""Boxes of voxels: the sums over them, for what is looked at in more than one voxel, and the one that holds a mask."""

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
        total = of_three(total, np.add, axis)
    return total


def of_three(
    image: NDArray[np.float32], combine: np.ufunc, axis: int, step: int = 1, onto: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """A voxel combined with both neighbours of an image along an axis, or with those that there are.

    Args:
        image: whose neighbours are taken.
        combine: np.add, np.maximum or np.minimum.
        axis: along which.
        step: how far away the neighbours are, voxels.
        onto: where the voxel itself is taken from; the image by default.
    """
    out = image.copy() if onto is None else onto.copy()
    ahead, behind = ([slice(None)] * image.ndim for _ in range(2))
    ahead[axis], behind[axis] = slice(step, None), slice(None, -step)
    for to, of in ((behind, ahead), (ahead, behind)):
        combine(out[tuple(to)], image[tuple(of)], out=out[tuple(to)])
    return out


def box_sums(image: NDArray[np.float32], half: tuple[int, int, int]) -> NDArray[np.float32]:
    """Over boxes about each voxel, cut off at the edge.

    Products with banded matrices of ones: a BLAS takes less time for them than running sums take, and no long sums are
    subtracted.

    Args:
        image: (C, Z, Y, X), each channel by itself.
        half: half-widths along the last three axes, voxels; a box has 2 half + 1.

    Returns:
        (C, Z, Y, X).
    """
    shape = image.shape
    along_z, along_y, along_x = (_band(n, reach) for n, reach in zip(shape[1:], half, strict=True))
    in_plane = np.matmul(along_y, np.matmul(image, along_x))
    return np.matmul(along_z, in_plane.reshape(*shape[:2], -1)).reshape(shape)


def _band(n: int, reach: int) -> NDArray[np.float32]:
    at = np.arange(n)
    return (abs(at[:, None] - at) <= reach).astype(np.float32)


def bounding_box(mask: NDArray[np.bool_]) -> tuple[slice, ...]:
    """The smallest box that holds every true voxel of a non-empty mask."""
    box = []
    for axis in range(mask.ndim):
        other = tuple(a for a in range(mask.ndim) if a != axis)
        where = np.flatnonzero(mask.any(axis=other))
        box.append(slice(int(where[0]), int(where[-1]) + 1))
    return tuple(box)
