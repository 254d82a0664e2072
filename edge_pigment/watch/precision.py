"""How precise the maps are by now, and what more averages would bring.

The forecast. Every coordinate of a voxel's latent has a share a of its precision from the data. With m times the data
that part grows m-fold and the prior's stays, so a deviation falls by 1/√(1 - a + m a). The surroundings become better
known too, and with them the prior; that is not counted, so the forecast errs on the side of too little gain.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_pigment.physics.tensor import DIMENSION

WHITE_FA = 0.3
"""Above, a voxel counts as white matter."""
GREY_FA, GREY_MD = 0.2, (0.6e-3, 1.1e-3)
"""Below this FA and within this MD (mm²/s), a voxel counts as grey matter."""
LEAST_VOXELS = 50
"""Of a tissue; the median of fewer is not told."""
WORTH_IT = 0.10
"""Share by which twice the data must lower the deviation of FA; below, minutes on the table are better spent."""
LONGEST = 4.0
"""Times the data so far; a target that needs more is out of reach of a patient."""


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


class Forecast(NamedTuple):
    """reached: the target is met. factor: times the data so far that would meet it, inf where none would. doubled:
    FA sd of white matter with twice the data. stop: more averages are not worth it, or not needed. advice: why."""

    reached: bool
    factor: float
    doubled: float
    stop: bool
    advice: str


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


def expected(sd: float, share: float, factor: float) -> float:
    """The deviation with `factor` times the data.

    Args:
        sd: by now.
        share: data share of the whole latent, log S0 included.
        factor: >= 1.
    """
    # log S0 is nearly all data; what is left of the share is the tensor's
    tensor = np.clip((DIMENSION * share - 1) / (DIMENSION - 1), 0, 1)
    return float(sd / np.sqrt(1 - tensor + factor * tensor))


def forecast(precision: Precision, target: float) -> Forecast:
    """Whether to go on.

    Args:
        precision: by now.
        target: sd of FA in white matter that the scan is for.
    """
    sd, share = precision.white_fa_sd, precision.share
    if not np.isfinite(sd):
        return Forecast(False, float("inf"), float("nan"), False, "Too little white matter so far to tell.")
    doubled = expected(sd, share, 2)
    if sd <= target:
        return Forecast(True, 1.0, doubled, True, "The target is reached: the scan can stop.")
    tensor = float(np.clip((DIMENSION * share - 1) / (DIMENSION - 1), 0, 1))
    factor = 1 + ((sd / target) ** 2 - 1) / tensor if tensor > 0 else float("inf")
    if doubled > (1 - WORTH_IT) * sd:
        advice = f"More averages will not help enough: twice the data would give {doubled:.3f}. The scan can stop."
        return Forecast(False, factor, doubled, True, advice)
    if factor > LONGEST:
        advice = f"The target needs {factor:.0f} times the data so far: out of reach. The scan can stop."
        return Forecast(False, factor, doubled, True, advice)
    return Forecast(False, factor, doubled, False, f"Go on: {factor:.1f} times the data so far will reach the target.")
