"""Values that are no measurement: what a correction moved out of view, what is missing, and what was clipped.

A magnitude image holds no zero in the middle of tissue and nothing below zero. After the correction of motion and eddy
currents it does: zeros where the head was moved out of the field of view, small negative values from splines. Such
zeros, zones of negative values and clipped ones become NaN, which has no weight in any step; a negative value within
noise becomes 0, for the model would take its square.

Zeros also come from rounding to coarse integers, and from scanners that subtract the noise's floor. These lie where
there is little signal, singly, and fade into small values; what was moved out of view has an edge.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_pigment import errors as texts
from edge_pigment.acquisition import Acquisition, Volume
from edge_pigment.boxes import sums_of_three
from edge_pigment.brainmask import fill_holes, label, otsu
from edge_pigment.errors import listed
from edge_pigment.findings import CARE, NOTE, REPEAT, Finding

Mask = NDArray[np.bool_]

TISSUE = 0.1
"""Of the head's median, above which a voxel has signal; fluid at b = 1000 has about that."""
LEVELS = 3.0
"""Steps of the stored numbers, above which a voxel has signal: below, rounding makes zeros of it."""
CLEAR, LEAST_ZONE = 0.3, 10
"""Of the head's median, and touching voxels with so much signal in other volumes: chance does not make so many zeros
touch there."""
EDGE = 0.4
"""Of what the other volumes have there, the least median just outside a zone that was cut off: interpolation halves it
at most, zeros of weak signal fade into small values."""
INTERPOLATED = 0.6
"""The same, below which a voxel that touches such a zone was interpolated with it."""
STRONG = 0.5
"""Of the head's median: where there is so much signal, noise makes no zero, and no negative value of half of it."""
ONE = 1.5
"""Steps of the stored numbers, up to which a value is a one. Of noise there are fewer zeros than ones (a magnitude's
density goes to nothing at 0), so zeros are looked at only where there are more."""
SCATTERED = 3.0
"""Times as many zeros as ones, and LEAST_ZONE more, where signal is strong and zeros lie singly."""
SIGNED = 0.2
"""Share of an image below zero, from which its noise is about 0, as a real reconstruction's: then single values are
no fault, however far below."""
BELOW_ZERO, ALL_BELOW = -0.3, 0.85
"""Of what the other volumes have there, below which a value is looked at, and the share of such values in 3 x 3 x 3
voxels that makes them a zone, which noise about 0 does not."""
TISSUE_ADC, FLUID_ADC = 1.5, 3.0
"""µm²/ms: what b=0 lets expect of a voxel that is zero in every weighted volume, if free water would show there."""
LEAST_LIKE = 3
"""Volumes that tell what signal a voxel has; fewer of one b are judged by all that are weighted, or by all."""
LEAST_CLIPPED = 20
"""Voxels of a head at one value; fewer are chance."""
CLIPPED_TIMES = 5.0
"""By which more voxels have that value than any of the NEAR next values."""
NEAR = 5
CLIPPED_QUANTILE = 0.99
"""Of the head: a few spikes may lie above the value at which the rest was clipped."""
TRACE_OF_HEAD = 0.01
"""Share of the head's voxels that lost some volumes, up to which it is only noted."""
CLIPPED_CARE, CLIPPED_REPEAT = 0.005, 0.05
"""Share of the head's voxels clipped in some volume, from which it matters for the verdict: below the first it is eyes
and some fluid, beyond the second it is tissue."""


class Screen(NamedTuple):
    """A scan without the values that are no measurement, and what the user should know."""

    acquisition: Acquisition
    findings: tuple[Finding, ...] = ()


def leave_out_values(acquisition: Acquisition, numbers: NDArray[np.intp]) -> Screen:
    """Take the weight from values that are no measurement: they become NaN.

    A voxel without any value at b=0, or without any other, becomes NaN at b=0, by which it falls out of the mask.

    Args:
        acquisition: the scan.
        numbers: (N,) of its volumes, in the scan as it was given.
    """
    head = _head(acquisition)
    lost: dict[int, Mask] = {}
    negative: dict[int, Mask] = {}
    for n, reference, level in _references(acquisition):
        zone, below = _no_measurement(acquisition.signal[..., n], reference, level)
        if zone is not None and zone.any():
            lost[n] = zone
        if below is not None and below.any():
            negative[n] = below
    inside = np.flatnonzero(head.ravel("F"))
    plateaus = {n: _clipped(volume.T, inside) for n, volume in enumerate(acquisition.signal.T)}
    clipped = {n: found for n, found in plateaus.items() if found is not None}
    missing = _missing(acquisition)
    if not (lost or negative or clipped or missing):
        return Screen(acquisition)
    signal = acquisition.signal.copy(order="F")
    for n, below in negative.items():
        signal[..., n][below] = 0
    for n, zone in [*lost.items(), *clipped.items()]:
        signal[..., n][zone] = np.nan
    screened = replace(acquisition, signal=signal)
    left_out = _without_measurement(screened)
    if left_out.any():
        for n in np.flatnonzero(acquisition.gradients.is_b0).tolist():
            signal[..., n][left_out] = np.nan
        screened = replace(acquisition, signal=signal)
    for n in missing:
        zone = lost.get(n)
        bad = ~np.isfinite(acquisition.signal[..., n])
        lost[n] = bad if zone is None else zone | bad
    return Screen(screened, _findings(head, lost, clipped, left_out, numbers))


def _findings(
    head: Mask, lost: dict[int, Mask], clipped: dict[int, Mask], left_out: Mask, numbers: NDArray[np.intp]
) -> tuple[Finding, ...]:
    count = max(int(head.sum()), 1)
    found = []
    touched = {n: zone for n, zone in lost.items() if (zone & head).any()}
    if touched:
        share = float((np.any(list(touched.values()), axis=0) & head).sum()) / count
        volumes = listed(int(numbers[n]) for n in sorted(touched))
        text = texts.VALUES_LOST.format(percent=_percent(share), volumes=volumes)
        found.append(Finding(CARE if share > TRACE_OF_HEAD else NOTE, text))
    if clipped:
        share = float((np.any(list(clipped.values()), axis=0) & head).sum()) / count
        volumes = listed(int(numbers[n]) for n in sorted(clipped))
        level = REPEAT if share > CLIPPED_REPEAT else CARE if share > CLIPPED_CARE else NOTE
        found.append(Finding(level, texts.VALUES_CLIPPED.format(percent=_percent(share), volumes=volumes)))
    share = float((left_out & head).sum()) / count
    if share > 0:
        text = texts.VOXELS_WITHOUT_MEASUREMENT.format(percent=_percent(share))
        found.append(Finding(CARE if share > TRACE_OF_HEAD else NOTE, text))
    return tuple(found)


def _percent(share: float) -> str:
    return f"{100 * share:.1f}" if share >= 0.0005 else "less than 0.1"


def _head(acquisition: Acquisition) -> Mask:
    """(X, Y, Z) what is brighter than air at b=0, or in the weighted image."""
    found = np.zeros(acquisition.signal.shape[:3], bool)
    for image in (acquisition.mean_b0, acquisition.mean_dwi):
        image = np.nan_to_num(image, nan=0.0, posinf=0.0, neginf=0.0)
        found |= image > max(0.5 * otsu(image), 0.0)
    return found


def _missing(acquisition: Acquisition) -> list[int]:
    """Volumes with values that are not finite."""
    return [n for n, volume in enumerate(acquisition.signal.T) if not np.isfinite(volume).all()]


def _without_measurement(acquisition: Acquisition) -> Mask:
    """(X, Y, Z) where no volume at b=0 or no weighted one has a value."""
    found = np.zeros(acquisition.signal.shape[:3], bool)
    for kind in (acquisition.gradients.is_b0, ~acquisition.gradients.is_b0):
        none = np.ones_like(found)
        for n in np.flatnonzero(kind):
            none &= ~np.isfinite(acquisition.signal[..., n])
            if not none.any():
                break
        found |= none
    return found


def _references(acquisition: Acquisition) -> Iterator[tuple[int, Volume, float]]:
    """Each volume with values <= 0, what signal (X, Y, Z) the volumes like it have (the mean of their positive values),
    and the median of that in the head."""
    table, signal = acquisition.gradients, acquisition.signal
    pools: dict[tuple[int, ...], list[int]] = {}
    for group in table.alike:
        kind = np.flatnonzero(table.is_b0 == table.is_b0[group[0]])
        like = next((p for p in (group, kind) if len(p) >= LEAST_LIKE), np.arange(len(table)))
        pools.setdefault(tuple(like.tolist()), []).extend(group.tolist())
    for pool, members in pools.items():
        suspects = [n for n in members if not signal[..., n].min() > 0]
        if not suspects:
            continue
        total = np.zeros(signal.shape[:3], np.float32, order="F")
        count = np.zeros_like(total)
        for n in pool:
            positive = signal[..., n] > 0
            np.add(total, signal[..., n], out=total, where=positive & np.isfinite(signal[..., n]))
            count += positive
        reference = np.divide(total, np.maximum(count, 1), dtype=np.float32)
        if (count == 0).any():
            np.copyto(reference, _expected(acquisition, members[0]), where=count == 0)
        head = reference > 0.5 * otsu(reference)
        level = float(np.median(reference[head])) if head.any() else 0.0
        for n in suspects if level > 0 else ():
            yield n, reference, level


def _expected(acquisition: Acquisition, n: int) -> Volume:
    """(X, Y, Z) the least that a volume should have by those of the other kind: weighted for b=0, b=0 for weighted."""
    table = acquisition.gradients
    if table.is_b0[n]:
        return np.nan_to_num(acquisition.mean_dwi)
    b0, b = np.nan_to_num(acquisition.mean_b0), float(table.bvals[n]) * 1e-3
    above = acquisition.signal[..., n]
    step = float(above[above > 0].min(initial=np.inf))
    shows = b0 * np.float32(np.exp(-b * FLUID_ADC)) > 2 * step
    return np.where(shows, b0 * np.float32(np.exp(-b * TISSUE_ADC)), np.float32(0))


def _no_measurement(volume: Volume, reference: Volume, level: float) -> tuple[Mask | None, Mask | None]:
    """Where a volume holds no measurement, and where it has negative values that are noise; None: nowhere.

    Args:
        volume: (X, Y, Z).
        reference: (X, Y, Z) signal of the volumes like it.
        level: median of that in the head.
    """
    step = float(np.min(volume, initial=np.inf, where=volume > 0))
    if not np.isfinite(step):
        return None, None
    floor, clear = max(TISSUE * level, LEVELS * step), max(CLEAR * level, LEVELS * step)
    zone = None
    zero = volume == 0
    tissue = volume[reference > clear]
    ones = np.count_nonzero((tissue > 0) & (tissue <= ONE * step))
    if np.count_nonzero(tissue == 0) >= LEAST_ZONE + ones:
        zone = _cut_off(volume, zero, reference, floor, clear)
        strong = reference > max(STRONG * level, 2 * LEVELS * step)
        singly = zero & strong & ~zone
        ones = np.count_nonzero(strong & (volume > 0) & (volume <= ONE * step))
        if singly.sum() > LEAST_ZONE + SCATTERED * ones:
            zone |= singly
    below = volume < 0
    if not below.any():
        return zone, None
    large = below & (volume < -STRONG * reference) & (reference > max(STRONG * level, floor))
    if below.mean() > SIGNED:
        large[:] = False
    large |= _negative_zone(below & (reference > floor), volume < BELOW_ZERO * reference)
    return large if zone is None else zone | large, below & ~large


def _negative_zone(below: Mask, far_below: Mask) -> Mask:
    """Zones where nearly all values are far below zero, with the negative values at their edges."""
    share = sums_of_three(below & far_below) / sums_of_three(np.ones_like(below))
    labels = label(below & (share >= ALL_BELOW))
    large = np.bincount(labels.ravel()) >= LEAST_ZONE
    large[0] = False
    zone = large[labels]
    for _ in range(2):
        zone = _grown(zone) & below
    return zone


def _cut_off(volume: Volume, zero: Mask, reference: Volume, floor: float, clear: float) -> Mask:
    """Zones of zeros with an edge, and the voxels that were interpolated with them."""
    signal = reference > floor
    labels = label(zero & (reference > 0.5 * floor))
    sizes = np.bincount(labels[reference > clear], minlength=labels.max() + 1)
    large = sizes >= LEAST_ZONE
    large[0] = False
    none = np.zeros_like(zero)
    if not large.any():
        return none
    labels[~large[labels]] = 0
    ratio = np.where(signal & ~zero & np.isfinite(volume), volume / np.where(signal, reference, 1), np.nan)
    zone = _sharp(labels, ratio)
    if not zone.any():
        return none
    zone |= fill_holes(zone) & zero
    return zone | (_grown(zone) & ~zone & (ratio < INTERPOLATED))


def _sharp(labels: NDArray[np.int32], ratio: Volume) -> Mask:
    """The zones that have an edge: what touches them has its signal, or nothing with signal touches them.

    Args:
        labels: (X, Y, Z), 0 outside of zones.
        ratio: (X, Y, Z) signal over what the other volumes have, NaN where that says nothing.
    """
    zones, touching = [], []
    for axis in range(3):
        for here, there in ((slice(1, None), slice(None, -1)), (slice(None, -1), slice(1, None))):
            own, near = np.moveaxis(labels, axis, 0)[here], np.moveaxis(ratio, axis, 0)[there]
            beside = (own > 0) & np.isfinite(near)
            zones.append(own[beside])
            touching.append(near[beside])
    numbers, ratios = np.concatenate(zones), np.concatenate(touching)
    faded = [n for n in np.unique(numbers) if np.median(ratios[numbers == n]) <= EDGE]
    return (labels > 0) & ~np.isin(labels, faded)


def _grown(mask: Mask) -> Mask:
    """The mask and all voxels that share a face with it."""
    grown = mask.copy()
    for axis in range(3):
        here, there = np.moveaxis(grown, axis, 0), np.moveaxis(mask, axis, 0)
        here[1:] |= there[:-1]
        here[:-1] |= there[1:]
    return grown


def _clipped(volume: Volume, head: NDArray[np.intp]) -> Mask | None:
    """Where a volume has the one value that was made of all higher ones; None if there is none.

    Args:
        volume: (X, Y, Z).
        head: voxels of the head, in Fortran order.
    """
    values = volume.ravel("F")[head]
    values = values[np.isfinite(values)]
    if len(values) < LEAST_CLIPPED:
        return None
    kth = int(CLIPPED_QUANTILE * (len(values) - 1))
    for value in {float(values.max()), float(np.partition(values, kth)[kth])}:
        count = int(np.count_nonzero(values == value))
        if value <= 0 or count < LEAST_CLIPPED or np.count_nonzero(values < value) < LEAST_CLIPPED:
            continue
        others = [_counts(values[values < value])[-NEAR:], _counts(values[values > value])[:NEAR]]
        if count > CLIPPED_TIMES * max(1, *(int(c.max(initial=0)) for c in others)):
            return np.asarray(volume == np.float32(value))
    return None


def _counts(values: NDArray[np.float32]) -> NDArray[np.intp]:
    """How often each value occurs, by ascending value."""
    return np.unique(values, return_counts=True)[1]
