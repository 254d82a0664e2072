"""Voxels that float32 cannot decide: which they are, and what float64 makes of them.

The kernels' arithmetic is float32's. Where measurements and prior fit together, it ends where the float64 reference
does, thirty times nearer than anyone asks. Where they do not, what is left of the prior may be less than the rounding
of what pulls at it; a tensor that no measurement holds may be of any size; and a posterior that is wider than its
tensor is large turns the last digit of its width into FA. Such voxels are computed once more from the beginning, by the
same kernels in float64 on the CPU (`HostBackend.adapt_in_float64`), whatever computed the others. They are few.

The outcome itself tells which they are; the kernel but gives a residual the other sign where its trial points did not
suffice. The thresholds are measured, on 400 000 simulated voxels of 1 to 30 directions, as they are or spoilt in five
ways: of those that stay float32's none was beyond 0.07 of a bar (latent 1e-4, FA 1e-4, V1 0.1 degrees) with the usual
priors and SNR 5 to 30, none beyond 0.3 with priors three times as wide or SNR 1.5 to 200. `benchmarks/degenerate.py`
judges them by voxels that were not looked at for it.
"""

from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_pigment.physics.backend import Outcome
from edge_pigment.physics.moments import COLUMNS
from edge_pigment.physics.tensor import Float

FAR: Final = 40.0
"""δ² of a mode that is far from its prior, as 0.1 to 0.9 % of a healthy scan's are; nearly all misses are beyond 80."""
LOUD: Final = 5.0
"""Root mean square misfit, in σ, of a spike among few measurements, which leaves log S0 to rounding."""
FAST: Final = 5.0
"""MD in µm²/ms that no water has, even at 60 °C: an eigenvalue that no measurement sees."""
VAGUE: Final = 0.5
"""sd of MD as a share of MD: a signal that does not fall."""
ROUND, ASTRAY = 0.1, 40.0
"""FA from which on V1 is asked for, and degrees by which it strays so far that another axis may be as likely."""


Voxels = NDArray[np.intp]
"""Numbers of some of a scan's voxels."""


class Exact(NamedTuple):
    """float64: mode (7, V), factor (28, V), residual (V,), distance (V,), share (2, V), moments (20, V)."""

    mode: Float
    factor: Float
    residual: Float
    distance: Float
    share: Float
    moments: Float


def doubtful(outcome: Outcome) -> Voxels:
    """Numbers of the voxels that float32 may not decide, ascending."""
    FA, MD, MD_sd, V1_sd = (outcome.moments[COLUMNS.index(name)] for name in ("FA", "MD", "MD_sd", "V1_sd"))
    misfit = (outcome.residual < 0) | (outcome.residual > LOUD)
    doubt = misfit | (outcome.distance > FAR) | (MD > FAST) | (MD_sd > VAGUE * MD)
    return np.flatnonzero(doubt | ((FA > ROUND) & (V1_sd > ASTRAY)))


def settled(outcome: Outcome, again: Callable[[Voxels], Exact]) -> Outcome:
    """The outcome with its doubtful voxels as float64 has them, written into its arrays; its residual has no sign left.

    Args:
        outcome: of float32.
        again: computes the voxels of these numbers.
    """
    voxels = doubtful(outcome)
    if voxels.size:
        found = again(voxels)
        for name in ("mode", "residual", "distance", "share", "moments"):
            getattr(outcome, name)[..., voxels] = getattr(found, name)
        np.abs(outcome.residual, out=outcome.residual)
    return outcome._replace(exact=voxels)
