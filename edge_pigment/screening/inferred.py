"""Volumes whose look says that they are no measurement: maps, smoothed and resampled copies. What is said is inferred.

A map is told by its contrast, a smoothed copy by the fine noise that it lacks, a resampled copy (of a motion-corrected
series) by how little it differs from the original.
"""

import numpy as np

from edge_pigment import errors as texts
from edge_pigment.errors import listed
from edge_pigment.findings import CARE
from edge_pigment.gradients import GradientTable
from edge_pigment.screening.details import Details
from edge_pigment.screening.search import SAME_DIRECTION, Float, Indices, Search, groups_of

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
MOST_IN_NOISE = 9
"""Volumes of which the least component is taken for noise."""


def drop_maps(search: Search, details: Details) -> None:
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


def drop_smooth(search: Search, details: Details) -> None:
    """Volumes with much less, and coarser, noise than the others of their b-value."""
    if not np.isfinite(details.coarse).all():
        return
    noise = details.noise / np.maximum(details.level, 1e-30)
    colour = details.noise / np.maximum(details.coarse, 1e-30)
    found = []
    for group in groups_of(search.table):
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


def drop_resampled(search: Search, details: Details) -> None:
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
    for group in groups_of(table):
        group = group[np.isin(group, volumes)]
        g = table.bvecs[group]
        without = ~np.any(g, axis=1)
        same = (np.abs(g @ g.T) > SAME_DIRECTION) | np.logical_and.outer(without, without)
        for i, j in np.argwhere(np.triu(same, 1)):
            strides.setdefault(int(group[j] - group[i]), []).append((int(group[i]), int(group[j])))
    return strides
