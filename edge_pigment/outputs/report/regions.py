"""Areas that the prior does not know: connected groups of novel voxels, for the reader to look at."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_pigment.brainmask import largest_component
from edge_pigment.trust import NOVEL

MOST = 3
"""Areas told; a scan with more is novel as a whole, which the share of novel voxels says."""
DENSE = 0.4
"""Share of novel voxels around one of an area; healthy voxels are novel one by one, not in groups."""
SMALLEST_ML = 0.15
"""A ball of 6.6 mm; smaller groups are chance or partial volume."""


class Area(NamedTuple):
    """Volume in ml, centre in scanner mm."""

    ml: float
    centre: tuple[float, float, float]


def novel_areas(novelty: NDArray[np.float32], mask: NDArray[np.bool_], affine: NDArray[np.float64]) -> list[Area]:
    """The largest areas, largest first.

    Args:
        novelty: (X, Y, Z).
        mask: (X, Y, Z) the brain.
        affine: (4, 4) voxel indices -> scanner mm.
    """
    novel = np.asarray((novelty > NOVEL) & mask, np.float32)
    if min(novel.shape) < 3 or not novel.any():
        return []
    density, count = _sums(novel), np.maximum(_sums(np.asarray(mask, np.float32)), 1)
    left = (density > DENSE * count) & mask
    voxel_ml = float(abs(np.linalg.det(affine[:3, :3]))) / 1000
    areas: list[Area] = []
    while left.any() and len(areas) < MOST:
        part = largest_component(left)
        if part.sum() * voxel_ml < SMALLEST_ML:
            break
        centre = np.append(np.stack(np.nonzero(part)).mean(1), 1.0)
        x, y, z = (float(v) for v in (affine @ centre)[:3])
        areas.append(Area(float(part.sum() * voxel_ml), (x, y, z)))
        left &= ~part
    return areas


def _sums(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Over 3 x 3 x 3 voxels; beyond the edge 0."""
    for axis in range(3):
        padded = np.pad(image, [(1, 1) if a == axis else (0, 0) for a in range(3)])
        n = image.shape[axis]
        image = sum(np.take(padded, range(k, k + n), axis) for k in range(3))  # type: ignore[assignment]
    return image
