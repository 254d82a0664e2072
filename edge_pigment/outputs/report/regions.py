"""Areas for the reader to look at: unlike what the prior knows, or of lower diffusion than the rest of the brain.

Two tests, since each sees what the other does not. A voxel is novel where its surroundings predict something else, or
where healthy heads diffuse otherwise, which its scale makes sure of only for the larger part of large lesions. And the
mean diffusivity itself speaks: hardly any healthy tissue diffuses much less than the brain's median. Raised diffusion
alone is no sign, as fluid does it everywhere. Neither is a diagnosis: artefacts do both.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_pigment.boxes import sums_of_three
from edge_pigment.brainmask import largest_component
from edge_pigment.trust import NOVEL

MOST = 3
"""Areas told of each kind; a scan with more is novel as a whole, which the share of novel voxels says."""
DENSE = 0.4
"""Share of novel voxels around one of an area; healthy voxels are novel one by one, not in groups."""
LOW_MD = 0.7
"""Of the median of tissue: the mean of 3 x 3 x 3 voxels is above in healthy heads, scanned or simulated, down to SNR
10, but for 0.15 ml in the worst; three training heads were looked at. A stroke's core has half."""
WITHIN = 24
"""Of 27 voxels around one, that are brain inside of its rim."""
TISSUE_MD = 1.3e-3
"""mm²/s: above, a voxel is mostly fluid and does not count for the median."""
SMALLEST_ML = 0.2
"""A ball of 7 mm; smaller groups are chance or partial volume."""


class Area(NamedTuple):
    """Volume in ml, centre in scanner mm."""

    ml: float
    centre: tuple[float, float, float]


def novel_areas(novelty: NDArray[np.float32], mask: NDArray[np.bool_], affine: NDArray[np.float64]) -> list[Area]:
    """The largest groups of novel voxels, largest first.

    Args:
        novelty: (X, Y, Z).
        mask: (X, Y, Z) the brain.
        affine: (4, 4) voxel indices -> scanner mm.
    """
    novel = (novelty > NOVEL) & mask
    if not novel.any():
        return []
    density, count = sums_of_three(novel), np.maximum(sums_of_three(mask), 1)
    return _largest((density > DENSE * count) & mask, affine)


def low_areas(md: NDArray[np.float32], mask: NDArray[np.bool_], affine: NDArray[np.float64]) -> list[Area]:
    """The largest areas of low mean diffusivity, largest first; the brain's rim, where air comes in, is left out.

    Args:
        md: (X, Y, Z) mm²/s.
        mask: (X, Y, Z) the brain.
        affine: (4, 4) voxel indices -> scanner mm.
    """
    tissue = md[mask & (md > 0) & (md < TISSUE_MD)]
    if not tissue.size:
        return []
    count = sums_of_three(mask)
    local = sums_of_three(np.where(mask, md, 0)) / np.maximum(count, 1)
    return _largest(mask & (count > WITHIN) & (local < LOW_MD * np.median(tissue)), affine)


def areas(
    maps: Mapping[str, NDArray[Any]], mask: NDArray[np.bool_], affine: NDArray[np.float64]
) -> dict[str, list[Area]]:
    """Both kinds by the map that shows them, MD and novelty; nothing of images thinner than three voxels.

    Args:
        maps: by name, as `Result.maps`.
        mask: (X, Y, Z) the brain.
        affine: (4, 4) voxel indices -> scanner mm.
    """
    tests = {"MD": low_areas, "novelty": novel_areas}
    if min(mask.shape) < 3:
        return {}
    found = {name: test(maps[name], mask, affine) for name, test in tests.items() if name in maps}
    return {name: some for name, some in found.items() if some}


def _largest(left: NDArray[np.bool_], affine: NDArray[np.float64]) -> list[Area]:
    """The largest connected parts, largest first."""
    voxel_ml = float(abs(np.linalg.det(affine[:3, :3]))) / 1000
    found: list[Area] = []
    while left.any() and len(found) < MOST:
        part = largest_component(left)
        if part.sum() * voxel_ml < SMALLEST_ML:
            break
        centre = np.append(np.stack(np.nonzero(part)).mean(1), 1.0)
        x, y, z = (float(v) for v in (affine @ centre)[:3])
        found.append(Area(float(part.sum() * voxel_ml), (x, y, z)))
        left = left & ~part
    return found
