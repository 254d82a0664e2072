"""The volumes of a scan that are still taken for measurements, while it is asked which were computed from others."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edge_pigment.errors import listed
from edge_pigment.findings import Finding
from edge_pigment.gradients import GradientTable

Float = NDArray[np.float64]
Indices = NDArray[np.intp]
SAME_DIRECTION = np.cos(np.deg2rad(4.0))
"""Motion correction turns directions by a degree or two."""


@dataclass
class Search:
    """Volumes that are still taken for measurements, and what was found of the others."""

    table: GradientTable
    kept: NDArray[np.bool_]
    findings: list[Finding] = field(default_factory=list)

    @property
    def volumes(self) -> Indices:
        """Numbers of those that are kept."""
        return np.flatnonzero(self.kept)

    def drop(self, volumes: list[int], level: str, text: str, **details: object) -> None:
        """Leave volumes out and say so: text with these volumes and details, as a finding of this level."""
        self.kept[volumes] = False
        self.findings.append(Finding(level, text.format(volumes=listed(volumes), **details)))


def groups_of(table: GradientTable) -> list[Indices]:
    """Volumes of b=0, and those of each shell."""
    return [np.flatnonzero(table.is_b0), *(shell.indices for shell in table.shells)]
