"""What of a scan is a measurement: volumes and values that are none are left out before anything is computed.

`run` and `watch` screen alike. Each screen takes an `Acquisition` and returns what is left of it, with what the user
should know of the rest.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_pigment.acquisition import Acquisition
from edge_pigment.findings import Finding
from edge_pigment.screening.derived import drop_derived


class Screened(NamedTuple):
    """What is left of a scan.

    acquisition: the measurements. volumes (N,): numbers, in the scan as it was given, of those kept. findings: what was
    left out and why.
    """

    acquisition: Acquisition
    volumes: NDArray[np.intp]
    findings: tuple[Finding, ...] = ()

    def as_dict(self) -> dict[str, object]:
        """For the provenance."""
        return {
            "VolumesUsed": [int(n) for n in self.volumes],
            "Findings": [finding.text for finding in self.findings],
        }


def screen(acquisition: Acquisition) -> Screened:
    """Leave out what is no measurement.

    Args:
        acquisition: the scan as it was read.

    Raises:
        InputError: what is left is no diffusion scan, or what a volume is cannot be told.
    """
    volumes, findings = drop_derived(acquisition)
    if len(volumes) < len(acquisition.gradients):
        acquisition = acquisition.subset(volumes)
    return Screened(acquisition, volumes, findings)
