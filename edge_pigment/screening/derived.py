"""Volumes that are no measurement of their own: copies, means, trace and ADC images, maps and filtered copies.

Consoles append what they computed to what they measured. As a measurement such a volume counts noise twice, and maps
become too sure. What a volume is made of is found from details, in which noise of measurements is independent:

1. A copy (scaled, offset, rounded) has the details of another volume; the first of them stays.
2. A mean has details that are a sum, with weights >= 0, of those of volumes of one b-value; a trace image (geometric
   mean) the same of the log signal. The constituents stay. Signals of a model without noise depend on each other,
   too, but not as such sums: a direction's tensor g gᵀ is no mean of others.
3. An ADC or MD image is a difference of log signals. Any other map is told by its contrast: the logarithm of a signal
   follows that of other volumes with coefficients of sum 1, since spin density and the coil's sensitivity are in all
   of them; FA goes the other way.
4. A smoothed copy lacks fine noise that the others of its b-value have.
5. A resampled copy (of a motion-corrected series) differs from the original by less than the noise of two volumes.

1 to 3 leave no doubt and are notes; contrast, 4 and 5 are inferred, and the verdict is no better than "usable with
care".
"""

import numpy as np

from edge_pigment import errors as texts
from edge_pigment.acquisition import Acquisition
from edge_pigment.errors import InputError, listed
from edge_pigment.findings import CARE, NOTE, Finding
from edge_pigment.gradients import GradientTable
from edge_pigment.screening.details import NEGATIVE, Details, measure_details, nonnegative
from edge_pigment.screening.inferred import drop_maps, drop_resampled, drop_smooth
from edge_pigment.screening.search import SAME_DIRECTION, Float, Indices, Search, groups_of

EXACT = 0.05
"""Of a volume's noise: the residual of what was computed in floating point, where rounding before cannot be seen.
Two measurements differ by 1.4 times their noise, of which edges may hide more than nine tenths at an SNR of 1000."""
ROUNDED = 1.5
"""Times the variance that rounding leaves in a volume and in its constituents: the residual of what was rounded.
Two measurements have more than twice that if their noise is above a fifth of the rounding step."""
MOST_RESIDUAL = 0.3
"""Of a volume's details: the most that rounding may explain. 40 real scans of twelve scanners leave 0.4 to 1, slices of
2 to 13 repeated b=0 volumes down to 0.2 (0.02 to 0.04 is the most of copies and means that were rounded)."""
FACTOR_OF_LOG = (0.95, 1.05)
"""Of the details of a copy's log signal, which a smooth factor (prescan normalisation, bias field) does not change."""
LEAST_WEIGHT = 0.2
"""Of a mean's largest weight: constituents below have no part in it."""
MOST_AT_ONCE, FEW = 100, 3
"""Volumes among which sums are looked for all at once, and of a b-value that counts as one of few."""
COMPUTED = 0.8
"""Share of a volume's details that log signals explain, above which it was computed from them."""
BALANCED, BALANCED_DECAY = 0.1, 0.03
"""Of the sum of the weights' magnitudes, for ADC images and, by its log, for the decay itself (exponential ADC):
neither changes with the scale of the signal. A signal at high b has up to 0.09."""


def drop_derived(acquisition: Acquisition) -> tuple[Indices, tuple[Finding, ...]]:
    """Find the volumes that are measurements.

    Args:
        acquisition: the scan.

    Returns:
        Numbers of the volumes to keep, ascending, and what is said of the others.

    Raises:
        InputError: what is left is no diffusion scan.
    """
    table = acquisition.gradients
    details = measure_details(acquisition)
    search = Search(table, np.ones(len(table), bool))
    if details is None:
        _drop_identical(search, acquisition)
    else:
        unseen = np.flatnonzero(~details.present)
        search.kept[unseen] = False
        exact = (_drop_copies, _drop_means, _drop_traces, _drop_computed)
        for step in (*exact, drop_maps, drop_smooth, drop_resampled):
            step(search, details)
        search.kept[unseen] = True
        signed = [int(n) for n in unseen if details.negative[n] >= NEGATIVE]
        if signed and len(signed) <= len(search.volumes) // 2:
            search.drop(signed, CARE, texts.VOLUMES_OF_MAPS)
    kept = search.volumes
    if len(kept) == len(table):
        return kept, ()
    try:
        table.subset(kept).check_protocol()
    except InputError as error:
        said = " ".join(finding.text for finding in search.findings)
        raise InputError(texts.NOTHING_MEASURED.format(said=said, why=error)) from error
    return kept, tuple(search.findings)


def _drop_identical(search: Search, acquisition: Acquisition) -> None:
    """Of an image too small to look closer: volumes with the same values."""
    seen: dict[bytes, int] = {}
    pairs = []
    for n in range(len(search.kept)):
        first = seen.setdefault(acquisition.signal[..., n].tobytes("F"), n)
        if first != n:
            pairs.append((first, n))
    _tell_copies(search, pairs)


def _drop_copies(search: Search, details: Details) -> None:
    """Volumes with the details of one before, in the signal or, if a smooth factor lies between them, in its log."""
    relative = details.noise / np.maximum(details.level, 1e-30)
    linear = details.linear, details.noise, details.rounding[0], (0.0, np.inf)
    log = details.log, relative, details.rounding[1], FACTOR_OF_LOG
    pairs: list[tuple[int, int]] = []
    for n in search.volumes:
        earlier = [first for first in search.volumes if first < n and first not in [later for _, later in pairs]]
        for first in earlier:
            if any(_copied(int(first), int(n), *domain) for domain in (linear, log)):
                pairs.append((int(first), int(n)))
                break
    _tell_copies(search, pairs)


def _copied(
    first: int, n: int, moments: Float, noise: Float, rounding: Float, between: tuple[float, float]
) -> bool:
    """Whether a volume's details are those of the first times a factor between two bounds."""
    weight = moments[first, n] / max(float(moments[first, first]), 1e-300)
    residual = moments[n, n] - weight * moments[first, n]
    rounded = rounding[n] + weight**2 * rounding[first]
    return bool(between[0] < weight < between[1] and residual <= _allowed(moments[n, n], noise[n], rounded))


def _tell_copies(search: Search, pairs: list[tuple[int, int]]) -> None:
    """Leave the second of each pair out; whether it has the first's b-value and direction makes a difference."""
    g = search.table.bvecs
    alike = [
        any(np.isin(pair, group).all() for group in groups_of(search.table))
        and (abs(g[pair[0]] @ g[pair[1]]) > SAME_DIRECTION or not (g[pair[0]].any() or g[pair[1]].any()))
        for pair in pairs
    ]
    for wanted, level, text in ((True, NOTE, texts.VOLUMES_COPIED), (False, CARE, texts.VOLUMES_COPIED_UNLIKE)):
        told = [pair for pair, same in zip(pairs, alike, strict=True) if same == wanted]
        if told:
            first, second = [pair[0] for pair in told], [pair[1] for pair in told]
            search.drop(second, level, text, of=listed(sorted(set(first))))


def _drop_means(search: Search, details: Details) -> None:
    _drop_sums(search, details.linear, details.noise, details.rounding[0], texts.VOLUME_AVERAGED)


def _drop_traces(search: Search, details: Details) -> None:
    noise = details.noise / np.maximum(details.level, 1e-30)
    _drop_sums(search, details.log, noise, details.rounding[1], texts.VOLUME_TRACE)


def _drop_sums(search: Search, moments: Float, noise: Float, rounding: Float, text: str) -> None:
    """Volumes whose details are sums of others', with weights >= 0, one after the other."""
    most = len(search.volumes) // 2  # beyond, the data are filtered as a whole, and nobody's sum
    found: list[tuple[int, Indices]] = []
    for pool in _pools(search.table, search.volumes):
        found += _sums(search.table, np.setdiff1d(pool, [n for n, _ in found]), moments, noise, rounding)
    if len(found) <= most:
        for n, parts in found:
            search.drop([n], NOTE, text, of=listed(parts))


def _pools(table: GradientTable, volumes: Indices) -> list[Indices]:
    """Volumes among which sums are looked for: all, or of long series those of one b-value, and b-values of few.

    With hundreds of regressors a few hundred blocks leave no residual of anything.
    """
    if len(volumes) <= MOST_AT_ONCE:
        return [volumes]
    groups = [group[np.isin(group, volumes)] for group in groups_of(table)]
    few = [group for group in groups if len(group) < FEW]
    return [np.sort(np.concatenate([group, *few])) for group in groups if len(group) >= FEW]


def _sums(
    table: GradientTable, kept: Indices, moments: Float, noise: Float, rounding: Float
) -> list[tuple[int, Indices]]:
    """Volumes that are sums of others of these, and the others."""
    found: list[tuple[int, Indices]] = []
    while len(kept) > 2:
        inner = moments[np.ix_(kept, kept)]
        # residual of a regression on all others, by the inverse: the least that any weights can leave
        scale = np.sqrt(np.maximum(np.diag(inner), 1e-300))
        inverse = np.linalg.inv(inner / np.outer(scale, scale) + 1e-9 * np.eye(len(kept)))
        candidates = np.flatnonzero(np.diag(inverse) > 1 / MOST_RESIDUAL**2)
        for at in candidates[np.argsort(-np.diag(inverse)[candidates], kind="stable")]:
            parts = _parts(table, kept, int(at), moments, noise, rounding)
            if len(parts) > 1:
                found.append((int(kept[at]), parts))
                kept = np.delete(kept, at)
                break
        else:
            break
    return found


def _parts(
    table: GradientTable, kept: Indices, at: int, moments: Float, noise: Float, rounding: Float
) -> Indices:
    """The volumes of one b-value, or all others with equal weights, whose sum a volume is; empty if it is none."""
    target, others = kept[at], np.delete(kept, at)
    for _ in range(2):  # once more without those that have hardly a part
        weights = nonnegative(moments[np.ix_(others, others)], moments[others, target])
        strong = weights >= LEAST_WEIGHT * weights.max(initial=0)
        others, weights = others[strong], weights[strong]
    own = moments[target, target]
    residual = own - 2 * weights @ moments[others, target] + weights @ moments[np.ix_(others, others)] @ weights
    if residual > _allowed(own, noise[target], rounding[target] + weights**2 @ rounding[others]):
        return others[:0]
    of_one_b = any(np.isin(others, group).all() for group in groups_of(table))
    of_all = len(others) == len(kept) - 1 and np.ptp(weights) < 0.1 * weights.max()
    return others if of_one_b or of_all else others[:0]


def _allowed(own: float, noise: float, rounding: float) -> float:
    """The residual variance, at most, of a volume that was computed from others."""
    return min((EXACT * noise) ** 2 + ROUNDED * rounding, MOST_RESIDUAL**2 * own)


def _drop_computed(search: Search, details: Details) -> None:
    """ADC and MD images: b=0 log signals minus weighted ones."""
    found: list[int] = []
    b0 = np.flatnonzero(search.table.is_b0)
    for pool in _pools(search.table, search.volumes):
        with_b0 = np.union1d(pool, b0[search.kept[b0]][:FEW])
        found += [n for n in _computed_among(search.table, details, np.setdiff1d(with_b0, found)) if n not in found]
    if found and len(found) <= len(search.volumes) // 2:
        search.drop(sorted(found), NOTE, texts.VOLUMES_COMPUTED)


def _computed_among(table: GradientTable, details: Details, kept: Indices) -> list[int]:
    """Volumes that were computed from others of these. The clearest first: it explains others in its turn."""
    found: list[int] = []
    most = len(kept) // 2
    while len(found) < most:
        shares = np.array([_computed(table, details, kept, at) for at in _explained(details, kept)])
        if not len(shares) or not shares[:, 1].max() > COMPUTED:
            break
        at = int(shares[np.argmax(shares[:, 1]), 0])
        found.append(int(kept[at]))
        kept = np.delete(kept, at)
    return found


def _explained(details: Details, kept: Indices) -> Indices:
    """Places in `kept` of volumes whose details, or their logs', follow from logs of the others, with any weights."""
    log, mixed = details.log[np.ix_(kept, kept)], details.mixed[np.ix_(kept, kept)]
    scale = np.sqrt(np.maximum(np.diag(log), 1e-300))
    inverse = np.linalg.inv(log / np.outer(scale, scale) + 1e-9 * np.eye(len(kept)))
    products = mixed / scale[:, None]
    weights = inverse @ products
    # of a regression on all, what the volume's own log signal adds is taken off
    share = np.sum(products * weights, axis=0) - np.diag(weights) ** 2 / np.diag(inverse)
    of_log = 1 - 1 / np.diag(inverse)
    return np.flatnonzero((share > COMPUTED * np.diag(details.linear)[kept]) | (of_log > COMPUTED))


def _computed(table: GradientTable, details: Details, kept: Indices, at: int) -> tuple[int, float]:
    """The place, and the share of the volume's details that a balanced difference of log signals explains, or 0."""
    n, others = kept[at], np.delete(kept, at)
    shares = [0.0]
    image = 1.0, BALANCED, details.mixed[others, n], details.linear[n, n]
    decay = -1.0, BALANCED_DECAY, details.log[others, n], details.log[n, n]
    for way, most, with_others, own in (image, decay):
        sign = np.where(table.is_b0[others], way, -way)
        moments = details.log[np.ix_(others, others)] * np.outer(sign, sign)
        products = with_others * sign
        weights = nonnegative(moments, products)
        if abs(weights @ sign) < most * weights.sum():
            explained = float(2 * weights @ products - weights @ moments @ weights)
            shares.append(explained / max(float(own), 1e-300))
    return at, max(shares)
