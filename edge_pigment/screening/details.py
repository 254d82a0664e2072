"""Details of every volume at the same places of the head, where noise shows; and how volumes are made up of others.

Noise of two measurements is independent, the noise of a volume that was computed from others is not. The diagonal Haar
details (of 2x2 voxels within a slice) hold noise and few edges, so how volumes depend on each other shows in their
second moments. A sample of the head is enough: squares of 8x8 voxels, which have details of three sizes.
"""

from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from edge_pigment.acquisition import Acquisition
from edge_pigment.brainmask import otsu

Float = NDArray[np.float64]
Values = NDArray[np.float32]
Mask = NDArray[np.bool_]
T = TypeVar("T", bound=np.generic)

SQUARE = 8
"""Voxels along either side."""
MOST_SQUARES = 1200
"""More only take time."""
MOST_VALUES = 8_000_000
"""Of all volumes together: 0.2 s."""
LEAST_SQUARES = 20
"""Fewer: squares of 2x2 voxels are taken."""
LEAST_BLOCKS = 150
"""Of 2x2 voxels; moments of fewer say too little."""
FILLED = 0.75
"""Share of a square that must lie in the head."""
PRESENT = 0.4
"""Share of the sample where a volume must be positive, as maps within a brain mask are; others cannot be looked at."""
NEGATIVE = 0.2
"""Share of values below 0 from which on a volume is no magnitude."""
MOST_SLICES = 16
"""Evenly spaced; to look at all of them takes longer than all the rest."""
MOST_MEANS = 2000
"""Blocks of which contrast is judged; more only take time."""
LOOKED_AT = 9
"""Volumes whose median shows where the head is; maps among them are outvoted."""
OUTLYING = 0.2
"""Share of the blocks, those of most energy, that is left out of moments: few edges hold most of it."""
CALM = 0.5
"""Share of the blocks, those of least energy, in which a volume's own noise is looked for."""
MAD = 0.6745
"""Median absolute deviation of the unit normal distribution."""


class Details(NamedTuple):
    """What is known of N volumes by a sample of the head.

    linear, log (N, N): second moments of the finest details of the signal and of its logarithm. mixed (N, N): of the
    details of the log signal (rows) with those of the signal. noise, coarse (N,): sd of the finest details in calm
    blocks, and of details of twice the size in all (NaN if unknown). difference (N, N): sd of the finest details of two
    volumes' difference, brought to one level; colour (N, N): sd of the coarsest over that of the finest. level (N,):
    median signal. rounding (N,): variance that rounding leaves, in the signal and in its logarithm (2, N).
    means (B, N): log of the signal of small blocks. blocks: number. present (N,): volumes that were looked at.
    negative (N,): share of values below 0.
    """

    linear: Float
    log: Float
    mixed: Float
    noise: Float
    coarse: Float
    difference: Float
    colour: Float
    level: Float
    rounding: Float
    means: Float
    blocks: int
    present: Mask
    negative: Float


def measure_details(acquisition: Acquisition) -> Details | None:
    """Details of a scan's volumes; None where too little of a head is in view.

    Args:
        acquisition: the scan.
    """
    sample = _sample(acquisition)
    if sample is None:
        return None
    values, inside = sample
    if not inside.any():
        return None
    positive = values > 0
    negative = np.mean(values[:, inside] < 0, axis=1)
    present: Mask = (positive[:, inside].mean(axis=1) > PRESENT) & (negative < NEGATIVE)
    if not present.any():
        return None
    inside = inside & positive[present].all(axis=0)
    values = np.where(positive, values, np.float32(1e-6))
    if not inside.any():
        return None
    sums, fine, whole = _finest(values, inside)
    blocks = int(whole.sum())
    if blocks < LEAST_BLOCKS:
        return None
    log_fine = _finest(np.log(values), inside)[1]
    energy = _energy(fine[:, present])
    usual = energy <= np.quantile(energy, 1 - OUTLYING)
    calm = energy <= np.quantile(energy, CALM)
    level = np.median(sums, axis=0) / 2
    x, y = fine[usual], log_fine[usual]
    linear, coarse, coarsest, means = x.T @ x / len(x), np.full(len(level), np.nan), None, sums / 2
    if values.shape[-1] == SQUARE:
        halved, halved_inside = _halved(values, inside)
        means, second, _ = _finest(halved, halved_inside)
        means = means / 4
        if len(second) >= LEAST_BLOCKS:
            coarse = np.median(np.abs(second), axis=0) / MAD
        third = _third(halved, halved_inside)
        if len(third) >= LEAST_SQUARES:
            energy = _energy(third[:, present])
            third = third[energy <= np.quantile(energy, 1 - OUTLYING)]
            coarsest = third.T @ third / len(third)
    difference = _difference(linear, level)
    colour = np.full_like(difference, np.nan)
    if coarsest is not None:
        colour = _difference(coarsest, level) / np.maximum(difference, 1e-12 * level[:, None])
    means = means[:: -(-len(means) // MOST_MEANS)]
    step = np.array([_step(volume) for volume in values])
    inverse = np.array([np.mean(volume[inside].astype(float) ** -2) for volume in values])
    return Details(
        linear=linear,
        log=y.T @ y / len(y),
        mixed=y.T @ x / len(x),
        noise=np.median(np.abs(fine[calm]), axis=0) / MAD,
        coarse=coarse,
        difference=difference,
        colour=colour,
        level=level,
        rounding=np.stack([step**2 / 12, step**2 / 12 * inverse]),
        means=np.log(np.maximum(means, 1e-6)),
        blocks=blocks,
        present=present,
        negative=negative,
    )


def nonnegative(moments: Float, products: Float) -> Float:
    """Weights >= 0 of regressors that come nearest to a target (Lawson & Hanson 1974, chapter 23).

    Args:
        moments: (K, K) of the regressors.
        products: (K,) of the regressors with the target.
    """
    count = len(products)
    weights, free = np.zeros(count), np.zeros(count, bool)
    enough = 1e-9 * float(np.abs(products).max(initial=0))
    for _ in range(3 * count):
        slope = np.where(free, -np.inf, products - moments @ weights)
        if not count or slope.max() <= enough:
            break
        free[np.argmax(slope)] = True
        while True:
            chosen = np.flatnonzero(free)
            trial = np.zeros(count)
            trial[chosen] = np.linalg.lstsq(moments[np.ix_(chosen, chosen)], products[chosen], rcond=None)[0]
            negative = chosen[trial[chosen] <= 0]
            if not len(negative):
                break
            gone = weights[negative] / np.maximum(weights[negative] - trial[negative], 1e-300)
            weights = weights + gone.min() * (trial - weights)
            free[negative[np.argmin(gone)]] = False
            weights[~free] = 0
        weights = trial
    return weights


def _sample(acquisition: Acquisition) -> tuple[Values, Mask] | None:
    """Squares of the head, (N, T, n, n), and what of them lies in the head, (T, n, n)."""
    signal = acquisition.signal
    X, Y, Z, N = signal.shape
    slices = np.unique(np.linspace(0, Z - 1, min(Z, MOST_SLICES)).astype(int))
    some = np.unique(np.linspace(0, N - 1, LOOKED_AT).astype(int))
    relative = []
    for n in some:
        volume = np.nan_to_num(signal[:, :, slices, n], posinf=0, neginf=0)
        volume = np.maximum(volume, 0)  # magnitudes
        relative.append(volume / max(float(volume.mean()), 1e-30))
    middle = np.median(relative, axis=0)
    head = middle > otsu(middle)
    for size in (SQUARE, 2):
        x, y = X // size, Y // size
        if not x * y:
            continue
        share = head[: x * size, : y * size].reshape(x, size, y, size, len(slices)).mean(axis=(1, 3))
        at = np.argwhere(share >= FILLED)
        if len(at) >= (LEAST_SQUARES if size == SQUARE else 1):
            break
    else:
        return None
    most = max(min(MOST_SQUARES, MOST_VALUES // (N * SQUARE**2)), LEAST_SQUARES) * SQUARE**2 // size**2
    at = at[np.linspace(0, len(at) - 1, min(most, len(at))).astype(int)]
    steps = np.arange(size)
    i = at[:, 0, None, None] * size + steps[:, None]
    j = at[:, 1, None, None] * size + steps
    voxels = i + X * (j + Y * slices[at[:, 2, None, None]])
    values = np.stack([signal[..., n].ravel("F")[voxels] for n in range(N)])
    return np.nan_to_num(values, posinf=0, neginf=0), head[i, j, at[:, 2, None, None]]


def _finest(values: Values, inside: Mask) -> tuple[Float, Float, Mask]:
    """Sums and diagonal details (B, N) of the 2x2 blocks that lie inside, and which do; orthonormal."""
    a, b, c, d = _corners(values)
    whole = _whole(inside)
    sums, details = ((kind[:, whole].T / 2).astype(float) for kind in (a + b + c + d, a - b - c + d))
    return sums, details, whole


def _third(halved: Values, inside: Mask) -> Float:
    """All three kinds of details of 8x8 voxels, (B, N)."""
    values, inside = _halved(halved, inside)
    a, b, c, d = _corners(values)
    whole = _whole(inside)
    kinds = (a - b + c - d, a + b - c - d, a - b - c + d)
    return np.concatenate([(kind[:, whole].T / 2).astype(float) for kind in kinds])


def _halved(values: Values, inside: Mask) -> tuple[Values, Mask]:
    """Sums of 2x2 voxels, orthonormal, and which lie inside."""
    a, b, c, d = _corners(values)
    return (a + b + c + d) / np.float32(2), _whole(inside)


def _whole(inside: Mask) -> Mask:
    """2x2 blocks that lie inside as a whole."""
    a, b, c, d = _corners(inside)
    whole: Mask = a & b & c & d
    return whole


def _corners(image: NDArray[T]) -> tuple[NDArray[T], NDArray[T], NDArray[T], NDArray[T]]:
    """The four voxels of 2x2 blocks."""
    return image[..., ::2, ::2], image[..., 1::2, ::2], image[..., ::2, 1::2], image[..., 1::2, 1::2]


def _energy(details: Float) -> Float:
    """(B,) of all volumes together, each in units of its own usual size."""
    size = np.median(np.abs(details), axis=0)
    energy: Float = np.sum((details / np.where(size > 0, size, 1)) ** 2, axis=1)
    return energy


def _difference(moments: Float, level: Float) -> Float:
    """(N, N) sd of details of volume m minus those of n brought to the level of m."""
    ratio = level[:, None] / np.maximum(level, 1e-30)
    own = np.diag(moments)
    square = own[:, None] - 2 * ratio * moments + ratio**2 * own
    return np.sqrt(np.maximum(square, 0))


def _step(values: Values) -> float:
    """Distance of the values that a volume can have: 1 for integers, next to nothing for floats."""
    steps = np.diff(np.unique(values[values > 1e-6]))
    steps = steps[steps > 1e-6 * float(values.max(initial=0))]
    return float(steps.min()) if len(steps) else 0.0
