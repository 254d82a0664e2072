"""The gate on maps: a flavour is as good as the maps that the whole adaptation makes with it.

An error of a tensor in the middle of the network says little: the adaptation divides it by what the measurements
know. So every flavour runs through `adapt` and `maps` on the verification set and is held against FP32 there.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edge_pigment.physics.backend import Array
from edge_pigment.physics.host import HostBackend
from edge_pigment.prior.context import ContextSession
from edge_pigment_export.verification import VerificationScan, maps_of

LIMITS = {"MD_bias_percent": 0.1, "FA_MAE": 0.002, "V1_median_deg": 0.2, "coverage_points": 0.5}
"""Largest difference from FP32 that is let through, at every noise level of every scan."""
WHITE_FA = 0.3
"""True FA above which a voxel has a direction worth judging."""
NORMAL_90 = 1.6449

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
        return all(bool(value <= LIMITS[key]) for key, value in self.worst.items())

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

    def __init__(self, scans: list[VerificationScan], reference: Path, nu: float) -> None:
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
        return Verdict(flavour, tuple(difference(scan, expected, maps) for scan, expected, maps in triples))


def difference(scan: VerificationScan, expected: dict[str, Array], found: dict[str, Array]) -> Row:
    """What a flavour's maps of one scan differ by from FP32's."""
    white = scan.fa > WHITE_FA
    cosine = np.abs(np.sum(expected["V1"][white] * found["V1"][white], axis=-1, dtype=float))
    moved = [
        abs(covered(found, key, truth) - covered(expected, key, truth))
        for key, truth in (("FA", scan.fa), ("MD", scan.md))
    ]
    mean, mean_expected = (float(np.mean(maps["MD"], dtype=float)) for maps in (found, expected))
    return {
        "scan": scan.name,
        "SNR": scan.snr,
        "voxels": len(scan.fa),
        "MD_bias_percent": 100 * abs(mean / mean_expected - 1),
        "FA_MAE": float(np.mean(np.abs(found["FA"] - expected["FA"]), dtype=float)),
        "V1_median_deg": float(np.degrees(np.median(np.arccos(np.clip(cosine, 0, 1))))),
        "coverage_points": float(100 * max(moved)),
    }


def covered(maps: dict[str, Array], key: str, truth: Array) -> float:
    """Share of voxels whose 90 % interval holds the truth."""
    return float(np.mean(np.abs(maps[key] - truth) < NORMAL_90 * maps[f"{key}_sd"]))


def table(verdicts: list[Verdict]) -> str:
    """The verdicts as a person reads them, with the limits in the last line."""
    lines = ["| flavour | scan | SNR | MD bias % | FA MAE | V1 median deg | coverage points | |", "|---" * 8 + "|"]
    for verdict in verdicts:
        for row in verdict.rows:
            note = "" if all(row[key] <= limit for key, limit in LIMITS.items()) else "refused"
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
