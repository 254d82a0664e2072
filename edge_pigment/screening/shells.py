"""Which volumes the tensor is fitted to: a tensor is a model of low b.

The logarithm of the signal bends with b (kurtosis), so one tensor over shells up to b = 3000 has an MD that is 10 to
20 % too low. Where the volumes of low b determine the tensor by themselves, those above are left out.
"""

import numpy as np
from numpy.typing import NDArray

from edge_pigment import errors as texts
from edge_pigment.errors import listed
from edge_pigment.findings import CARE, NOTE, Finding
from edge_pigment.gradients import GradientTable
from edge_pigment.quality.protocol import ILL_CONDITIONED, identify

USUAL_B, HIGHEST_B = 1250.0, 1600.0
"""s/mm². A tensor is usually measured at b = 700 to 1200; up to nominally 1500 it holds still, with an MD that is some
6 % lower. Above by what imaging gradients add."""
MOST_OF_IT = 0.5
"""Share of what all volumes up to HIGHEST_B tell that those up to USUAL_B must tell to be enough."""
LEAST_INFORMATION = 0.9
"""What the volumes of low b must tell of D at least, in units of (S0/σ)²: six directions at b = 700. One at b = 500
tells 0.11, at b = 1000 0.20."""
SHARE_OF_INFORMATION = 0.4
"""Or this share of what all volumes tell, where all tell little: deviations grow by a factor of 1.6 at most."""
USUAL_MD = 0.8
"""µm²/ms, of brain tissue."""
BIASED_B = 2600.0
"""s/mm², above which a tensor's MD is too low by more than its deviation says; up to 2500 tensors are measured, too."""


def choose_volumes(table: GradientTable) -> NDArray[np.intp]:
    """Indices of the volumes that the tensor is fitted to, ascending.

    All of b=0, and the weighted ones up to USUAL_B, or HIGHEST_B, or the next shell above, whichever is the first that
    tells as many of the tensor's elements as all volumes do, as evenly, and enough of them (MOST_OF_IT,
    LEAST_INFORMATION, SHARE_OF_INFORMATION).

    Args:
        table: of the scan.
    """
    every = np.arange(len(table))
    weighted = table.bvals[~table.is_b0]
    tops = [float(table.bvals[shell.indices].max()) for shell in table.shells]
    whole = identify(table)
    least = min(LEAST_INFORMATION, SHARE_OF_INFORMATION * _information(weighted))
    most_of_it = max(least, MOST_OF_IT * _information(weighted[weighted <= HIGHEST_B]))
    limits = [(USUAL_B, most_of_it), (HIGHEST_B, least), *((top, least) for top in tops if top > HIGHEST_B)]
    for top, enough in limits:
        chosen = np.flatnonzero(table.is_b0 | (table.bvals <= top))
        low = weighted[weighted <= top]
        if not len(low) or _information(low) < enough:
            continue
        part = identify(table.subset(chosen))
        if part.rank == whole.rank and part.condition <= max(ILL_CONDITIONED, whole.condition):
            return chosen
    return every


def tell_shells(table: GradientTable, chosen: NDArray[np.intp], numbers: NDArray[np.intp]) -> tuple[Finding, ...]:
    """What the user should know of the choice.

    Args:
        table: of the scan before the choice.
        chosen: indices of the volumes that are used.
        numbers: (N,) of the volumes, in the scan as it was given.
    """
    highest = float(table.bvals[chosen].max())
    left = np.setdiff1d(np.arange(len(table)), chosen)
    found = []
    if len(left):
        bvals = ", ".join(f"{shell.bval:.0f}" for shell in table.subset(left).shells[:8])
        text = texts.HIGH_B_LEFT_OUT.format(
            bvals=bvals, volumes=listed(int(n) for n in numbers[left]), count=len(left), highest=highest
        )
        found.append(Finding(NOTE, text))
    if highest > BIASED_B:
        found.append(Finding(CARE, texts.HIGH_B_BIASED.format(highest=highest)))
    return tuple(found)


def _information(bvals: NDArray[np.float64]) -> float:
    """Σ (b exp(-b MD))²: how well D is told, in units of (S0/σ)²."""
    b = bvals * 1e-3
    return float(np.sum((b * np.exp(-b * USUAL_MD)) ** 2))
