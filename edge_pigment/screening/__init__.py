"""What of a scan is a measurement: volumes and values that are none are left out before anything is computed.

`run` and `watch` screen alike. Each screen takes an `Acquisition` and returns what is left of it, with what the user
should know of the rest.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_pigment import errors as texts
from edge_pigment.acquisition import Acquisition
from edge_pigment.findings import NOTE, Finding
from edge_pigment.gradients import B0_THRESHOLD
from edge_pigment.screening.derived import drop_derived
from edge_pigment.screening.shells import choose_volumes, tell_shells
from edge_pigment.screening.values import leave_out_values


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
    table = acquisition.gradients
    findings: list[Finding] = []
    if table.b0_threshold > B0_THRESHOLD:
        b0 = table.bvals[table.is_b0]
        if b0.size and b0.min() > B0_THRESHOLD:
            findings.append(Finding(NOTE, texts.LOWEST_B_IS_B0.format(lowest=b0.min(), highest=b0.max())))
    # what is computed from others first: an ADC map or a mean trace is no shell
    volumes, derived = drop_derived(acquisition)
    acquisition = _only(acquisition, volumes)
    chosen = choose_volumes(acquisition.gradients)
    findings += [*derived, *tell_shells(acquisition.gradients, chosen, volumes)]
    acquisition, volumes = _only(acquisition, chosen), volumes[chosen]
    values = leave_out_values(acquisition, volumes)
    return Screened(values.acquisition, volumes, (*findings, *values.findings))


def _only(acquisition: Acquisition, volumes: NDArray[np.intp]) -> Acquisition:
    """These volumes; the scan itself, not a copy, where they are all of it."""
    return acquisition if len(volumes) == len(acquisition.gradients) else acquisition.subset(volumes)
