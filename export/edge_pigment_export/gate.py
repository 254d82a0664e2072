"""The gate on maps: a flavour is as good as the maps that the whole adaptation makes with it.

Every flavour runs through `adapt` and `maps` on the verification set and is held against FP32 there, at every noise
level of every scan.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edge_pigment.agreement import LIMITS, KnownScan, difference, exceeded, maps_of
from edge_pigment.physics.backend import Array
from edge_pigment.physics.host import HostBackend
from edge_pigment.prior.context import ContextSession

Row = dict[str, Any]


@dataclass(frozen=True)
class Verdict:
    """One flavour: its error on each scan, the worst of each kind, and whether all are within the limits."""

    flavour: str
    rows: tuple[Row, ...]

    @property
    def worst(self) -> dict[str, float]:
        """The largest error of each kind over the scans; not a number, if one is not."""
        return {key: float(np.max([row[key] for row in self.rows])) for key in LIMITS}

    @property
    def passed(self) -> bool:
        """Whether every error of every scan is within its limit (not a number is not)."""
        return not exceeded(self.worst)

    @property
    def load(self) -> float:
        """The largest error in units of its limit: above 1 is refused."""
        return float(np.max([value / LIMITS[key] for key, value in self.worst.items()]))


class Gate:
    """FP32's maps of a verification set, and what another flavour's differ from them.

    Args:
        scans: the verification set.
        reference: the FP32 network's file.
        nu: degrees of freedom of the prior.
    """

    def __init__(self, scans: list[KnownScan], reference: Path, nu: float) -> None:
        self.scans, self._nu = scans, nu
        self._backend = HostBackend(None)
        self._expected = self._maps(reference, "fp32", None)

    def _maps(self, path: Path, flavour: str, tell: Callable[[str], None] | None) -> list[dict[str, Array]]:
        session = ContextSession.of_file(path, flavour=flavour)
        maps = []
        for scan in self.scans:
            if tell:
                tell(f"{flavour}: {scan.name}, SNR {scan.snr:g}")
            maps.append(maps_of(scan, self._backend, session, self._nu))
        return maps

    def judge(self, flavour: str, path: Path, tell: Callable[[str], None] | None = None) -> Verdict:
        """Run a flavour's file through the whole adaptation."""
        found = self._maps(path, flavour, tell)
        triples = zip(self.scans, self._expected, found, strict=True)
        return Verdict(flavour, tuple(row_of(scan, expected, maps) for scan, expected, maps in triples))


def row_of(scan: KnownScan, expected: dict[str, Array], found: dict[str, Array]) -> Row:
    """What a flavour's maps of one scan differ by from FP32's."""
    return {"scan": scan.name, "SNR": scan.snr, "voxels": len(scan.fa), **difference(scan, expected, found)}


def table(verdicts: list[Verdict]) -> str:
    """The verdicts as a person reads them, with the limits in the last line."""
    lines = ["| flavour | scan | SNR | MD bias % | FA MAE | V1 median deg | coverage points | |", "|---" * 8 + "|"]
    for verdict in verdicts:
        for row in verdict.rows:
            note = "refused" if exceeded(row) else ""
            cells = " | ".join(f"{row[key]:.4f}" for key in LIMITS)
            lines.append(f"| {verdict.flavour} | {row['scan']} | {row['SNR']:g} | {cells} | {note} |")
    lines.append("| limit | | | " + " | ".join(f"{limit:g}" for limit in LIMITS.values()) + " | |")
    return "\n".join(lines)


def report(verdicts: list[Verdict]) -> dict[str, Any]:
    """The verdicts as gate.json holds them."""
    return {
        "limits": LIMITS,
        "against": "fp32",
        "flavours": {v.flavour: {"passed": v.passed, "worst": v.worst, "scans": list(v.rows)} for v in verdicts},
    }
