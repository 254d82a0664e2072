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

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edge_pigment import errors as texts
from edge_pigment.acquisition import Acquisition
from edge_pigment.errors import InputError, listed
from edge_pigment.findings import CARE, NOTE, Finding
from edge_pigment.gradients import GradientTable
from edge_pigment.screening.details import NEGATIVE, Details, measure_details, nonnegative

Float = NDArray[np.float64]
Indices = NDArray[np.intp]

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
AGAINST = -0.2
"""Sum of the coefficients of other log signals in that of a volume. FA maps of six real scans have -0.3 to -0.9; in
40 real scans the least of a measurement is -0.04, at the noise floor."""
UNLIKE = 1.6
"""Times what that leaves of the other volumes, it leaves of a map (1.9 to 3.3): phantoms have contrasts, too, in which
coefficients say little."""
LEAST_MEANS = 200
"""Blocks of which contrast is judged."""
SMOOTH = 0.5
"""Of the noise (over the signal) of the others of its b-value: below, a volume may be filtered. Of real scans the least
is 0.74, of volumes smoothed by a Gaussian of one voxel 0.05 to 0.25."""
SMOOTH_COLOUR = 0.66
"""Of the others' ratio of finest to next details: means have less noise, too, but of the same colour (0.68 or more;
smoothed volumes 0.27 to 0.64)."""
SERIES = 0.7
"""Share of a series' second half that must be smooth for all of it to be."""
SHARED = 0.65
"""Of the noise of two volumes, in the difference of two of the same direction. Real repeats have 0.83 or more, copies
moved by a fraction of a voxel and a degree 0.2 to 0.5."""
SOFTER = 0.8
"""Noise of a series' second half over that of its first, whose volumes it repeats: linear interpolation leaves 0.6."""
LEAST_SERIES = 4
"""Pairs that make a series."""
SHARED_SERIES = 0.3
"""Share of the pairs of a series sent twice that must be seen to share noise; those moved by a voxel or more do not."""
EDGED = 1.15
"""Coarse over fine details in that difference: of two measurements of little noise it is white; moved edges are not."""
SAME_DIRECTION = np.cos(np.deg2rad(4.0))
"""Motion correction turns directions by a degree or two."""
MOST_IN_NOISE = 9
"""Volumes of which the least component is taken for noise."""


@dataclass
class _Search:
    """Volumes that are still taken for measurements, and what was found of the others."""

    table: GradientTable
    kept: NDArray[np.bool_]
    findings: list[Finding] = field(default_factory=list)

    @property
    def volumes(self) -> Indices:
        return np.flatnonzero(self.kept)

    def drop(self, volumes: list[int], level: str, text: str, **details: object) -> None:
        self.kept[volumes] = False
        self.findings.append(Finding(level, text.format(volumes=listed(volumes), **details)))


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
    search = _Search(table, np.ones(len(table), bool))
    if details is None:
        _drop_identical(search, acquisition)
    else:
        unseen = np.flatnonzero(~details.present)
        search.kept[unseen] = False
        exact = (_drop_copies, _drop_means, _drop_traces, _drop_computed)
        for step in (*exact, _drop_maps, _drop_smooth, _drop_resampled):
            step(search, details)
        search.kept[unseen] = True
        signed = [int(n) for n in unseen if details.negative[n] >= NEGATIVE]
        if signed and len(signed) <= len(search.volumes) // 2:
            search.drop(signed, CARE, texts.VOLUMES_OF_MAPS)
    kept = search.volumes
    if len(kept) == len(table):
        return kept, ()
    findings = search.findings
    try:
        table.subset(kept).check_protocol()
    except InputError as error:
        said = " ".join(finding.text for finding in search.findings)
        raise InputError(texts.NOTHING_MEASURED.format(said=said, why=error)) from error
    return kept, tuple(findings)


def _drop_identical(search: _Search, acquisition: Acquisition) -> None:
    """Of an image too small to look closer: volumes with the same values."""
    seen: dict[bytes, int] = {}
    pairs = []
    for n in range(len(search.kept)):
        first = seen.setdefault(acquisition.signal[..., n].tobytes("F"), n)
        if first != n:
            pairs.append((first, n))
    _tell_copies(search, pairs)


def _drop_copies(search: _Search, details: Details) -> None:
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


def _tell_copies(search: _Search, pairs: list[tuple[int, int]]) -> None:
    """Leave the second of each pair out; whether it has the first's b-value and direction makes a difference."""
    g = search.table.bvecs
    alike = [
        any(np.isin(pair, group).all() for group in _groups(search.table))
        and (abs(g[pair[0]] @ g[pair[1]]) > SAME_DIRECTION or not (g[pair[0]].any() or g[pair[1]].any()))
        for pair in pairs
    ]
    for wanted, level, text in ((True, NOTE, texts.VOLUMES_COPIED), (False, CARE, texts.VOLUMES_COPIED_UNLIKE)):
        told = [pair for pair, same in zip(pairs, alike, strict=True) if same == wanted]
        if told:
            first, second = [pair[0] for pair in told], [pair[1] for pair in told]
            search.drop(second, level, text, of=listed(sorted(set(first))))


def _drop_means(search: _Search, details: Details) -> None:
    _drop_sums(search, details.linear, details.noise, details.rounding[0], texts.VOLUME_AVERAGED)


def _drop_traces(search: _Search, details: Details) -> None:
    noise = details.noise / np.maximum(details.level, 1e-30)
    _drop_sums(search, details.log, noise, details.rounding[1], texts.VOLUME_TRACE)


def _drop_sums(search: _Search, moments: Float, noise: Float, rounding: Float, text: str) -> None:
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
    groups = [group[np.isin(group, volumes)] for group in _groups(table)]
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
    of_one_b = any(np.isin(others, group).all() for group in _groups(table))
    of_all = len(others) == len(kept) - 1 and np.ptp(weights) < 0.1 * weights.max()
    return others if of_one_b or of_all else others[:0]


def _allowed(own: float, noise: float, rounding: float) -> float:
    """The residual variance, at most, of a volume that was computed from others."""
    return min((EXACT * noise) ** 2 + ROUNDED * rounding, MOST_RESIDUAL**2 * own)


def _groups(table: GradientTable) -> list[Indices]:
    """Volumes of b=0, and those of each shell."""
    return [np.flatnonzero(table.is_b0), *(shell.indices for shell in table.shells)]


def _drop_computed(search: _Search, details: Details) -> None:
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


def _drop_maps(search: _Search, details: Details) -> None:
    """Other maps, by their contrast."""
    if len(details.means) < LEAST_MEANS or len(search.volumes) < 4:
        return
    log, b0 = details.means, search.table.is_b0
    sums, spreads = {}, {}
    for n in search.volumes:
        others = search.volumes[search.volumes != n]
        groups = [group for group in (others[b0[others]], others[~b0[others]]) if len(group)]
        if len(groups) == 2:
            x = np.stack([np.ones(len(log)), *(log[:, group].mean(axis=1) for group in groups)], axis=1)
            coefficients = _robust_fit(x, log[:, n])
            sums[int(n)] = float(coefficients[1:].sum())
            spreads[int(n)] = float(np.median(np.abs(log[:, n] - x @ coefficients)))
    usual = np.median(list(spreads.values())) if spreads else 0.0
    found = [n for n, total in sums.items() if total < AGAINST and spreads[n] > UNLIKE * usual]
    if found and len(found) <= len(search.volumes) // 2:
        search.drop(found, CARE, texts.VOLUMES_OF_MAPS)


def _robust_fit(x: Float, y: Float) -> Float:
    """Coefficients (K,) of y (B,) in the columns of x (B, K), with Huber's weights."""
    weight: Float = np.ones(len(y))
    coefficients: Float = np.zeros(x.shape[1])
    for _ in range(8):
        root = np.sqrt(weight)
        coefficients = np.asarray(np.linalg.lstsq(x * root[:, None], y * root, rcond=None)[0], float)
        distance = np.abs(y - x @ coefficients)
        weight = np.asarray(1 / np.maximum(1, distance / (3 * np.median(distance) + 1e-9)), float)
    return coefficients


def _drop_smooth(search: _Search, details: Details) -> None:
    """Volumes with much less, and coarser, noise than the others of their b-value."""
    if not np.isfinite(details.coarse).all():
        return
    noise = details.noise / np.maximum(details.level, 1e-30)
    colour = details.noise / np.maximum(details.coarse, 1e-30)
    found = []
    for group in _groups(search.table):
        group = group[search.kept[group]]
        if len(group) > 1:
            # of a series and its smoothed copy one half is as it was
            usual = np.quantile(noise[group], 0.75), np.quantile(colour[group], 0.75)
            found += [int(n) for n in group if noise[n] < SMOOTH * usual[0] and colour[n] < SMOOTH_COLOUR * usual[1]]
    for stride, pairs in _series(search.table, search.volumes).items():
        # of a whole series that was smoothed, those in which edges hide it
        if stride * 2 == len(search.volumes) and np.isin([n for _, n in pairs], found).mean() > SERIES:
            found = [n for _, n in pairs]
    if found and len(found) <= len(search.volumes) // 2:
        search.drop(sorted(found), CARE, texts.VOLUMES_SMOOTHED)


def _drop_resampled(search: _Search, details: Details) -> None:
    """Of two volumes of one direction that share their noise, the one that has less of it."""
    series = _series(search.table, search.volumes)
    pairs = [pair for members in series.values() for pair in members]
    if not pairs:
        return
    relative = details.noise / np.maximum(details.level, 1e-30)
    smoother: dict[tuple[int, int], int] = {}
    for members in series.values():
        first, second = np.array(members).T
        later = np.mean(relative[second] < relative[first]) >= 0.5
        smoother |= {pair: pair[int(later)] for pair in members}
    originals = np.setdiff1d(search.volumes, list(smoother.values()))[:MOST_IN_NOISE]
    if len(originals) < 3:
        return
    # brought to one level; noise is the least of all combinations
    moments = details.linear[np.ix_(originals, originals)]
    noise = float(np.sqrt(max(np.linalg.eigvalsh(moments)[0], 0)))

    def share(first: int, second: int) -> bool:
        ratio = details.level[first] / details.level[second]
        two = noise * np.sqrt(1 + ratio**2)
        return bool(details.difference[first, second] < SHARED * two and details.colour[first, second] > EDGED)

    found = []
    for members in series.values():
        sharing = [pair for pair in members if share(*pair)]
        whole = len(sharing) > 1 and len(sharing) >= SHARED_SERIES * len(members)
        if len(members) >= LEAST_SERIES and 2 * len(members) == len(search.volumes):
            softness = [relative[smoother[pair]] / relative[sum(pair) - smoother[pair]] for pair in members]
            whole = whole or bool(np.median(softness) < SOFTER)
        found += members if whole else sharing
    gone = sorted({smoother[pair] for pair in found})
    if gone and len(gone) <= len(search.volumes) // 2:
        of = sorted({sum(pair) - smoother[pair] for pair in found})
        search.drop(gone, CARE, texts.VOLUMES_RESAMPLED, of=listed(of))


def _series(table: GradientTable, volumes: Indices) -> dict[int, list[tuple[int, int]]]:
    """Pairs of volumes of one b-value and direction, by how far apart they lie: a series sent twice has one stride."""
    strides: dict[int, list[tuple[int, int]]] = {}
    for group in _groups(table):
        group = group[np.isin(group, volumes)]
        g = table.bvecs[group]
        without = ~np.any(g, axis=1)
        same = (np.abs(g @ g.T) > SAME_DIRECTION) | np.logical_and.outer(without, without)
        for i, j in np.argwhere(np.triu(same, 1)):
            strides.setdefault(int(group[j] - group[i]), []).append((int(group[i]), int(group[j])))
    return strides
