"""How precise maps are: medians of their deviations in white and in grey matter."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

WHITE_FA = 0.3
"""Above, a voxel counts as white matter."""
GREY_FA, GREY_MD = 0.2, (0.6e-3, 1.1e-3)
"""Below this FA and within this MD (mm²/s), a voxel counts as grey matter."""
LEAST_VOXELS = 50
"""Of a tissue; the median of fewer is not told."""


class Precision(NamedTuple):
    """Medians of posterior sd, NaN where there is too little of the tissue; MD in mm²/s; share: data share."""

    white_fa_sd: float
    grey_fa_sd: float
    white_md_sd: float
    grey_md_sd: float
    share: float

    def as_dict(self) -> dict[str, float]:
        """For JSON."""
        return self._asdict()


def measure_precision(maps: Mapping[str, NDArray[Any]], mask: NDArray[np.bool_]) -> Precision:
    """Medians over white and grey matter.

    Args:
        maps: of `pipeline.Result`.
        mask: (X, Y, Z).
    """
    fa, md = maps["FA"], maps["MD"]
    white = mask & (fa > WHITE_FA)
    grey = mask & (fa < GREY_FA) & (md > GREY_MD[0]) & (md < GREY_MD[1])

    def median(name: str, where: NDArray[np.bool_]) -> float:
        return float(np.median(maps[name][where])) if where.sum() >= LEAST_VOXELS else float("nan")

    share = median("datashare", white if white.sum() >= LEAST_VOXELS else mask)
    return Precision(
        median("FA_sd", white), median("FA_sd", grey), median("MD_sd", white), median("MD_sd", grey), share
    )
