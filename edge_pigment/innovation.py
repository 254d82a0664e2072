"""The prior steps back: where measurements say of MD what surroundings had not foretold, it is not to be believed.

The difference between a measurement and its prediction is the innovation (Kailath 1968, IEEE Trans. Autom. Control
13:646). A blind prior of a healthy voxel has one of about N(0, 1). A lesion's rim is half foretold by the lesion
itself, so the innovation of a single voxel hardly shows a change of a third; but inside of a small lesion all of them
lean the same way, which chance does not do. Their mean over a ball three voxels across, at the ball's best place, tells
changes that no voxel tells (prior/ABLATIONS.md). There the prior's precision is lowered along log MD, and the data have
their say.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_pigment.boxes import bounding_box, of_three
from edge_pigment.noise import MAD
from edge_pigment.physics.backend import Array, Summary
from edge_pigment.physics.loosening import loosened, mean_diffusivity, precision_of_log_md

Steps = tuple[int, int, int]

SD_OF_MD = 0.55
"""sd of MD over the geometric mean of the diagonal elements' sd, as summaries have it: 0.51 to 0.56 with six directions
and a b=0, 0.62 to 0.64 with 30 and 3 (simulated scans of three heads, SNR 5 to 20)."""
SHAPE = 2 / 3
"""Part of the variance that a summary's own prior gives a diagonal element which is not MD's: what trace images alone
leave of it."""
LOUDEST = 4.0
"""What a voxel counts at most, in sd: a ball is not to be one voxel's."""
TISSUE = 1.1
"""µm²/ms; foretold MD of what is neither fluid nor mixed with it, whose innovations tell a scan's own bias and
spread."""
LEAST_TISSUE = 20
"""Voxels without which a scan's bias and spread are not known."""
LEAST_SPREAD = 1e-3
"""Keeps what divides by a spread finite, where nothing varies."""
BADLY_MEASURED = (0.22, 0.31)
"""sd of log MD, as measured, between which innovations lose their say: what is stepped back to would be worse than what
is left (6+1 at SNR 10 measures MD to 0.18, at SNR 5 to 0.31)."""
OWN, POOLED = (1.6, 2.6), (1.9, 3.2)
"""Innovations, of a voxel and of the best of the balls that hold it, from which the prior begins to step back and at
which it has. Half of healthy voxels lie in some ball of 1.9; higher limits leave less than four fifths of an MD of x0.7
three voxels across at SNR 10, lower ones cost healthy tissue more (prior/ABLATIONS.md)."""
UNKNOWN = 0.7
"""sd of log MD that is left to the prior then: from half to twice."""
AT_ONCE = 4096
"""Voxels whose intermediate results a processor's cache holds."""
SAMPLE = 20_000
"""Voxels that tell a median well enough: to a hundredth of a spread."""


class Innovation(NamedTuple):
    """In sd of healthy tissue, positive where MD is higher than foretold: own (V,), of the voxel; box (V,), of that
    among the 3x3 voxels of a slice which hold it that stands out most; ball (V,), the same of balls of 19 voxels. say
    (V,), 0 to 1: how much of that the prior is to heed."""

    own: Array
    box: Array
    ball: Array
    say: Array


def innovation(
    summary: Summary, mean: Array, factor: Array, mask: NDArray[np.bool_], steps: Steps = (1, 1, 1)
) -> Innovation:
    """What the measurements say of MD beyond what was foretold.

    Args:
        summary: of the V voxels of the mask, in the mask's C order.
        mean: (7, V) of the prior.
        factor: (28, V) of the prior.
        mask: (Z, Y, X).
        steps: voxels along x, y and z at which noise is independent; balls are of such voxels.
    """
    if not mask.any():
        return Innovation(*(np.empty(0, np.float32) for _ in Innovation._fields))
    foretold = mean_diffusivity(list(mean))
    tissue = foretold < TISSUE
    if np.count_nonzero(tissue) < LEAST_TISSUE:
        tissue = np.ones_like(tissue)
    variance = np.exp(2 * np.log(summary.sd[1:4]).mean(axis=0))
    of_md, rest = SD_OF_MD**2 * variance, variance - SHAPE
    measured = np.sqrt(np.where(rest > 0, np.minimum(of_md, rest), of_md)) / foretold
    sd = np.sqrt(measured**2 + 1 / precision_of_log_md(list(mean), list(factor)))
    ratio = np.maximum(summary.theta[1:4].mean(axis=0) / foretold, 0)
    own = 2 * (np.sqrt(ratio) - 1) / sd
    own = np.clip(own - _median(own[tissue]), -LOUDEST, LOUDEST)
    inside = mask[bounding_box(mask)]
    weighted, weight = np.zeros((2, *inside.shape), np.float32)
    weighted[inside], weight[inside] = own / sd, 1 / sd**2
    pooled = []
    for over in (_square, _ball):
        total = over(weighted, np.add, steps)[inside] / np.sqrt(over(weight, np.add, steps)[inside])
        image = np.zeros(inside.shape, np.float32)
        total -= _median(total[tissue])
        image[inside] = total / _spread(total[tissue])
        highest, lowest = over(image, np.maximum, steps)[inside], over(image, np.minimum, steps)[inside]
        pooled.append(np.where(highest > -lowest, highest, lowest))
    say = 1 - _ramp(measured / np.sqrt(np.maximum(ratio, 1)), BADLY_MEASURED)
    return Innovation(*(each.astype(np.float32) for each in (own / _spread(own[tissue]), *pooled, say)))


def step_back(mean: Array, factor: Array, found: Innovation) -> Array:
    """The precision factor (28, V) of a prior that leaves MD to the data where they say otherwise.

    Args:
        mean: (7, V) of the prior.
        factor: (28, V) of the prior.
        found: of the same voxels.
    """
    own, box, ball = (found.say * np.abs(each) for each in (found.own, found.box, found.ball))
    back = np.maximum(_ramp(own, OWN), _ramp(np.maximum(box, ball), POOLED))
    where = np.flatnonzero(back > 0)
    out = factor.copy()
    for first in range(0, len(where), AT_ONCE):
        some = where[first : first + AT_ONCE]
        rows = loosened(list(mean[:, some]), list(factor[:, some]), np.float32(UNKNOWN) * back[some])
        out[:, some] = np.stack(rows)
    return out


def _ramp(x: Array, ends: tuple[float, float]) -> Array:
    """From 0 at the one end to 1 at the other."""
    return np.clip((x - np.float32(ends[0])) / np.float32(ends[1] - ends[0]), 0, 1)


def _spread(x: Array) -> float:
    """sd of what is normal about 0 but for a few."""
    return max(float(_median(np.abs(x))) / MAD, LEAST_SPREAD)


def _median(x: Array) -> Any:
    """Of as many as are needed, evenly spaced."""
    return np.median(x[:: max(len(x) // SAMPLE, 1)])


def _square(image: Array, combine: np.ufunc, steps: Steps) -> Array:
    """Sum, maximum or minimum of (Z, Y, X) over 3x3 voxels of a slice, `steps` apart."""
    return of_three(of_three(image, combine, 2, steps[0]), combine, 1, steps[1])


def _ball(image: Array, combine: np.ufunc, steps: Steps) -> Array:
    """The same over the 3x3 voxels, and the five in the middle of those in the slices above and below."""
    row = of_three(image, combine, 2, steps[0])
    middle = of_three(image, combine, 1, steps[1], row)
    out = of_three(row, combine, 1, steps[1])
    return of_three(middle, combine, 0, steps[2], out)
