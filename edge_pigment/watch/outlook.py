"""What more averages would bring.

The deviation falls with a power of the amount of data. Where the data say everything the power is ½;
where they say little, more of them help mostly through the surroundings, and the power is ½ √a, with a the data share.
That is a fit to simulated scans (six directions averaged up to eight times at SNR 10; 7 to 30 directions at SNR 20),
which it meets within 7 %.
"""

from typing import NamedTuple

import numpy as np

from edge_pigment.precision import Precision

WORTH_IT = 0.10
"""Share by which twice the data must lower the deviation of FA; below, minutes on the table are better spent."""
LONGEST = 4.0
"""Times the data so far; a target that needs more is out of reach of a patient."""
MANY = 100.0
"""Times the data, beyond which the number says no more."""


class Forecast(NamedTuple):
    """reached: the target is met. factor: times the data so far that would meet it, inf where none would. doubled:
    FA sd of white matter with twice the data. stop: more averages are not worth it, or not needed. advice: why."""

    reached: bool
    factor: float
    doubled: float
    stop: bool
    advice: str


def power(share: float) -> float:
    """The power of the amount of data with which the deviation falls, from the data share of white matter."""
    return float(0.5 * np.sqrt(np.clip(share, 0, 1)))


def expected(sd: float, share: float, factor: float) -> float:
    """The deviation with `factor` times the data.

    Args:
        sd: by now.
        share: data share of white matter.
        factor: >= 1.
    """
    return float(sd * factor ** -power(share))


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
    gain = power(share)
    factor = float(np.float64(sd / target) ** (1 / gain)) if gain > 0 else float("inf")  # too large is inf
    if doubled > (1 - WORTH_IT) * sd:
        advice = f"More averages will not help enough: twice the data would give {doubled:.3f}. The scan can stop."
        return Forecast(False, factor, doubled, True, advice)
    if factor > LONGEST:
        many = f"{factor:.0f}" if factor < MANY else f"more than {MANY:.0f}"
        advice = f"The target needs {many} times the data so far: out of reach. Twice would give {doubled:.3f}."
        return Forecast(False, factor, doubled, True, advice)
    return Forecast(False, factor, doubled, False, f"Go on: {factor:.1f} times the data so far will reach the target.")
