"""The ways in which scans are ruined for `benchmarks/quality.py`, and what counts as caught."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from edge_pigment.acquisition import Acquisition
from edge_pigment.brainmask import brain_mask
from edge_pigment.quality.levels import HIGHEST_ADC, LOWEST_ADC
from edge_pigment.simulate.sampling import move

Told = Mapping[str, Any]
"""`Quality.as_dict`, as the provenance has it, with the provenance's GradientConvention where the pipeline ran."""
Fault = tuple[Acquisition, Callable[[Told], bool]]

MOVED_MM = 5.0
FLIPPED, HALVED, BLANK, SWAPPED, MOVED = "x flipped", "volume x0.5", "slice blank", "volumes swapped", "moved 5 mm"
FAULTS = (FLIPPED, HALVED, BLANK, SWAPPED, MOVED)


def flipped(acquisition: Acquisition) -> Acquisition:
    """The scan with x of its directions negated."""
    return Acquisition(acquisition.signal, acquisition.gradients.with_signs((-1, 1, 1)), acquisition.affine)


def faults(acquisition: Acquisition, rng: np.random.Generator) -> dict[str, Fault]:
    """The scan ruined in each way but the flip, and what counts as caught.

    One volume x 0.5; one slice of one weighted volume blank; two weighted volumes exchanged; the head 5 mm elsewhere,
    in a random direction, in the second half of the volumes (moved by trilinear interpolation of the noisy image).
    """
    table, weighted = acquisition.gradients, np.flatnonzero(~acquisition.gradients.is_b0)

    def copy() -> np.ndarray[Any, np.dtype[np.float32]]:
        return acquisition.signal.copy(order="F")

    def scan(signal: Any) -> Acquisition:
        return Acquisition(signal, table, acquisition.affine)

    half = copy()
    n = int(rng.integers(len(table)))
    half[..., n] *= 0.5
    blank = copy()
    v = int(rng.choice(weighted))
    brain, _ = brain_mask(acquisition.mean_b0, acquisition.mean_dwi, acquisition.voxel_size)
    area = brain.sum((0, 1))
    z = int(rng.choice(np.flatnonzero(area > 0.3 * area.max())))
    blank[:, :, z, v] = 0
    swapped = copy()
    i, j = (int(k) for k in np.sort(rng.choice(weighted, 2, replace=False)))
    swapped[..., [i, j]] = swapped[..., [j, i]]
    moved = copy()
    shift = rng.standard_normal(3)
    shift *= MOVED_MM / np.linalg.norm(shift)
    for k in range((len(table) + 1) // 2, len(table)):
        moved[..., k] = move(acquisition.signal[..., k], acquisition.voxel_size, np.eye(3), shift)
    return {
        HALVED: (scan(half), lambda told: n in told["Volumes"]["Outliers"] or _adc_doubted(told)),
        BLANK: (scan(blank), lambda told: {"Volume": v, "Slice": z} in told["DroppedSlices"]),
        SWAPPED: (scan(swapped), _swap_told),
        MOVED: (scan(moved), _motion_told),
    }


def alarms(told: Told) -> dict[str, bool]:
    """What each check says of a scan; the flip's only where the pipeline ran."""
    found = {
        HALVED: bool(told["Volumes"]["Outliers"]) or _adc_doubted(told),
        BLANK: bool(told["DroppedSlices"]),
        SWAPPED: _swap_told(told),
        MOVED: _motion_told(told),
    }
    if "GradientConvention" in told:
        found[FLIPPED] = flip_told(told)
    return found


def flip_told(told: Told) -> bool:
    """Whether the frame is doubted."""
    return bool(told["GradientConvention"]["Doubted"])


def _adc_doubted(told: Told) -> bool:
    adc = told["BrainADC"]
    return adc is not None and not LOWEST_ADC <= 1e3 * adc <= HIGHEST_ADC


def _swap_told(told: Told) -> bool:
    """As a fact or, in a scan that moved, as a doubt."""
    return any("exchanged" in reason for reason in told["Reasons"])


def _motion_told(told: Told) -> bool:
    return bool(told["MotionMm"]["Moved"])
