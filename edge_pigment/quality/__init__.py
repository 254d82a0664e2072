"""Whether a scan is fit for use: measures that need no truth, the warnings they give, and the verdict.

`levels` finds volumes and slices of another brightness, `swaps` volumes in the wrong order, `motion` a head that
moved, `protocol` what cannot be identified; the gradient frame is `convention.check_convention`'s. None of them trusts
a fit that the fault itself could bend: with six directions and one b=0 there is no residual to look at.
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_pigment import errors as texts
from edge_pigment.acquisition import Acquisition
from edge_pigment.adapt import Measurements
from edge_pigment.brainmask import is_small, spread
from edge_pigment.convention import Convention, doubted
from edge_pigment.findings import NOTE, Finding
from edge_pigment.physics.backend import Array
from edge_pigment.quality.levels import Levels, measure_levels
from edge_pigment.quality.lost import filled
from edge_pigment.quality.motion import Motion, measure_motion
from edge_pigment.quality.protocol import Identifiability, identify
from edge_pigment.quality.swaps import Swap, find_swap
from edge_pigment.quality.verdict import REPEAT_MM, Verdict, judge

SMALLEST_BRAIN_ML, LARGEST_BRAIN_ML = 400.0, 2200.0
"""A newborn's brain, and the largest adult's with its fluid and membranes. The lower bound counts only for scans that
cover a head (COVERAGE_MM)."""
LEAST_SPREAD = 0.07
"""By which b=0 or the weighted image varies in a brain. Parts of real brains have 0.11 and more; a vessel filled with
one liquid has 0.05 at SNR 5, and less above."""
LEAST_VARIED_VOXELS = 500
"""Fewer can be one tissue."""
COVERAGE_MM = 100.0
"""Extent of the image along its shortest axis, beyond which the whole brain should be in it."""


@dataclass(frozen=True, eq=False)
class Quality:
    """What was measured of a scan, and what follows."""

    levels: Levels
    swap: Swap
    motion: Motion
    identifiability: Identifiability
    convention: Convention
    snr: float
    mask_ml: float
    mask_doubts: tuple[str, ...]
    residual: NDArray[np.float64]
    """(N,) robust z of each volume's residual; see `residual_z`."""
    directions_left: int
    """Independent directions (6 at most) without the outlying volumes."""
    b0_left: int
    slices: int
    """Slices of all volumes together."""
    seconds: float
    findings: tuple[Finding, ...] = ()
    """Of the steps before: what was screened out, what the noise is not."""
    volumes: tuple[int, ...] = ()
    """Numbers of the volumes in the scan as it was given; empty: all of it was used."""
    misfit: float = 0.0
    """Median over the brain of the residual, in what noise leaves; 0 where no measurement is to spare."""
    verdict: Verdict = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "verdict", judge(self))

    @property
    def rotation(self) -> float:
        """Degrees, the largest of any volume; 0 where nothing was compared."""
        return float(np.nanmax(np.append(np.abs(self.motion.rotation).ravel(), 0.0)))

    def named(self, volumes: Iterable[int]) -> list[int]:
        """Numbers, in the scan as it was given, of volumes that were used."""
        return [self.volumes[n] if self.volumes else int(n) for n in volumes]

    def _placed(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Values (N, ...) of the volumes used, at their numbers in the scan as it was given; NaN between them."""
        if not self.volumes:
            return values
        out = np.full((max(self.volumes) + 1, *values.shape[1:]), np.nan)
        out[list(self.volumes)] = values
        return out

    @property
    def warnings(self) -> tuple[str, ...]:
        """For the user; the frame's own warning is told by who found it."""
        notes = tuple(finding.text for finding in self.findings if finding.level == NOTE)
        return tuple(reason for reason in self.verdict.reasons if reason != self.convention.warning) + notes

    def as_dict(self) -> dict[str, Any]:
        """For the provenance; volumes and slices count from 0, and volumes that were not used have None."""
        return {
            "Verdict": self.verdict.level,
            "Reasons": list(self.verdict.reasons),
            "Volumes": {
                "Outliers": self.named(self.levels.outliers),
                "LogLevel": _rounded(self._placed(self.levels.gain)),
                "ResidualZ": _rounded(self._placed(self.residual)),
                "Exchanged": [self.named(pair) for pair in self.swap.pairs] if self.swap.told else [],
                "ExchangeLeadInStandardErrors": round(self.swap.lead, 1),
                "ExchangeUndecidable": self.swap.undecidable,
            },
            "DroppedSlices": [{"Volume": self.named([n])[0], "Slice": z} for n, z in self.levels.dropped],
            "MotionMm": {
                "Largest": _or_none(self.motion.largest),
                "Span": _or_none(self.motion.span),
                "SpanWithoutEddyCurrents": _or_none(self.motion.span_without_eddy),
                "Limits": _rounded(self._placed(self.motion.limits)),
                "Moved": self.named(self.motion.moved),
                "PerVolume": _rounded(self._placed(self.motion.displacement)),
                "Translation": [_rounded(row) for row in self._placed(self.motion.translation)],
                "RotationDegrees": [_rounded(row) for row in self._placed(self.motion.rotation)],
            },
            "BrainADC": _or_none(self.levels.adc * 1e-3, 6),
            "SNRb0": round(self.snr, 2),
            "Misfit": round(self.misfit, 2),
            "MaskMl": round(self.mask_ml, 1),
            "Protocol": {
                "Rank": self.identifiability.rank,
                "ConditionNumber": _or_none(self.identifiability.condition),
                "Limits": list(self.identifiability.limits),
            },
            "Seconds": round(self.seconds, 3),
        }


def assess(
    acquisition: Acquisition,
    mask: NDArray[np.bool_],
    measurements: Measurements,
    theta: Array,
    residual: NDArray[np.floating[Any]],
    convention: Convention,
    findings: tuple[Finding, ...] = (),
    volumes: Iterable[int] = (),
    misfit: float = 0.0,
) -> Quality:
    """Measure a scan's quality and judge it.

    Args:
        acquisition: the scan.
        mask: (X, Y, Z) the brain.
        measurements: of the mask's V voxels.
        theta: (7, V) least-squares summary.
        residual: (N,) robust z of each volume's residual, from `residual_z`.
        convention: verdict on the gradient frame.
        findings: of the steps before.
        volumes: (N,) numbers of the volumes in the scan as it was given; by default the same.
        misfit: median residual of the brain, from `misfit_of`.
    """
    began = time.perf_counter()
    m, table = measurements, acquisition.gradients
    sigma = float(m.sigma[0])
    y = filled(m.y, table)
    if y is not m.y:
        acquisition = replace(acquisition, signal=filled(acquisition.signal.T, table).T)
    levels = measure_levels(y, m.mask, table, sigma)
    motion = measure_motion(acquisition, mask, levels.outliers)
    if levels.outliers:
        swap = Swap((), 0.0, "volumes differ in brightness")
    else:
        swap = find_swap(y, theta[1:], m.mask, table, sigma)
        if motion.span > REPEAT_MM and swap.found:
            swap = swap._replace(undecidable="the head moved, which looks alike")
    kept = np.setdiff1d(np.arange(len(table)), levels.outliers)
    left = table.subset(kept)
    # tensors of volumes that are not what the table says look like those of another frame
    disordered = swap.found or bool(levels.outliers) or not levels.adc_is_plausible
    numbers = tuple(int(n) for n in volumes)
    ml = float(mask.sum() * np.prod(acquisition.voxel_size) / 1000)
    return Quality(
        levels=levels,
        swap=swap,
        motion=motion,
        identifiability=identify(table, np.array(numbers, np.intp) if numbers else None),
        convention=doubted(convention) if disordered else convention,
        snr=1 / sigma,
        mask_ml=ml,
        mask_doubts=_mask_doubts(ml, mask, acquisition),
        residual=np.asarray(residual, float),
        directions_left=identify(left).rank if not left.is_b0.all() else 0,
        b0_left=int(left.is_b0.sum()),
        slices=acquisition.signal.shape[2] * len(table),
        seconds=time.perf_counter() - began,
        findings=findings,
        volumes=numbers,
        misfit=misfit,
    )


def _mask_doubts(ml: float, mask: NDArray[np.bool_], acquisition: Acquisition) -> tuple[str, ...]:
    """Why what is in the mask may be no human brain."""
    shape, size = acquisition.signal.shape[:3], acquisition.voxel_size
    extent = np.array(shape) * size
    doubts = []
    if is_small(size, shape):
        doubts.append(texts.SMALL_SUBJECT.format(mm=extent.max()))
    elif ml > LARGEST_BRAIN_ML or (ml < SMALLEST_BRAIN_ML and extent.min() > COVERAGE_MM):
        doubts.append(texts.MASK_VOLUME.format(ml=ml, low=SMALLEST_BRAIN_ML, high=LARGEST_BRAIN_ML))
    if mask.sum() >= LEAST_VARIED_VOXELS and acquisition.gradients.is_b0.any():
        varies = max(spread(image, mask) for image in (acquisition.mean_b0, acquisition.mean_dwi))
        if 0 < varies < LEAST_SPREAD:
            doubts.append(texts.UNIFORM_SUBJECT.format(percent=100 * varies))
    return tuple(doubts)


def _rounded(values: NDArray[np.float64]) -> list[float | None]:
    return [_or_none(float(v)) for v in values]


def _or_none(value: float, digits: int = 2) -> float | None:
    return round(float(value), digits) if np.isfinite(value) else None
