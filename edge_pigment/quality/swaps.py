"""Volumes in the wrong order: two directions exchanged.

Two criteria, by what the protocol offers. Both ask of every pair whether the scan makes more sense with the two
volumes exchanged, and then, block by block of the brain, how sure that is.

1. Redundancy. With more directions than the tensor has elements, the log-linear fit leaves residuals: R y with
   R = I - X X⁺. Exchanging i and j changes the sum of squares by 2 d ((R y)_i - (R y)_j) + d² (R_ii + R_jj - 2 R_ij)
   with d = y_j - y_i, which needs the second moments of y over the brain only, once for all pairs.

2. Prolateness. Six directions fit any order. But white matter is prolate: the mode of its tensors (Ennis & Kindlmann
   2006, Magn. Reson. Med. 55:136; 1 is prolate, -1 oblate) is high, and no exchange keeps it so. The mode does not
   depend on the frame, so a flipped axis is none of this test's business.
"""

from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_pigment.boxes import sums_of_three
from edge_pigment.convention import BLOCK
from edge_pigment.gradients import GradientTable
from edge_pigment.physics.backend import Array
from edge_pigment.physics.tensor import quadratic_form

Float = NDArray[np.float64]

SURE = 4.0
"""Standard errors between blocks by which the exchanged order must leave less residual, of the best of all pairs."""
SURE_OF_SHAPE = 2.5
"""The same for the shape of tensors. In scans in order the best pair trails by 1 to 10 standard errors, down to SNR 5.
Of noise alone, the pairs of six even directions being five kinds, chance exceeds it in 3 % of scans, and those are to
be repeated for their SNR."""
AS_GOOD = 0.9
"""Of the best pair's lead: pairs above cannot be told from it."""
AROUND = (0, 1, 1, 2, 2)
"""Axes along which tensors are averaged over three voxels, in plane twice."""
MOST_VOXELS = 15_000
"""More add time, not certainty."""
LEAST_VOXELS = 500
"""Of white matter; fewer are one tract, whose shape is not that of white matter."""
ANISOTROPIC = 0.25
"""Share of the brain's voxels, those of highest deviatoric norm, that are taken for white matter."""
MD_RANGE = (0.35, 1.3)
"""µm²/ms: no fluid, no air."""
LEAST_SPARE = 0.25
"""Of R's quadratic form for a pair (2 if nothing is fitted): below, the fit follows either order."""


class Swap(NamedTuple):
    """The pairs whose exchange improves the scan most, and by how many standard errors (0: none does).

    There may be several: of six evenly spread directions, exchanging (a, b) or (c, d) differs by half a turn only.
    """

    pairs: tuple[tuple[int, int], ...]
    lead: float
    undecidable: str = ""
    needed: float = SURE

    @property
    def found(self) -> bool:
        """Whether a pair seems to be exchanged, or something that looks alike happened."""
        return bool(self.pairs) and self.lead > self.needed

    @property
    def told(self) -> bool:
        """Whether a pair seems to be exchanged, and nothing else explains it."""
        return self.found and not self.undecidable


def find_swap(y: Array, D: Array, mask: NDArray[np.bool_], table: GradientTable, sigma: float) -> Swap:
    """Ask whether two diffusion-weighted volumes are exchanged.

    Args:
        y: (N, V) magnitudes, b=0 about 1.
        D: (6, V) least-squares tensor of each voxel, µm²/ms, order xx yy zz xy xz yz.
        mask: (Z, Y, X), of the V voxels.
        table: of the N volumes.
        sigma: noise sd in the unit of y.
    """
    weighted = np.flatnonzero(~table.is_b0)
    form = quadratic_form(table.bvecs[weighted])
    if len(weighted) < 6 or np.linalg.matrix_rank(form, tol=1e-2) < 6:
        return Swap((), 0.0, "fewer than six directions")
    blocks = block_labels(mask)
    if len(weighted) == 6:
        return _prolateness(_smooth(D, mask), blocks, form, weighted)
    return _redundancy(y, blocks, table, sigma)


def block_labels(mask: NDArray[np.bool_]) -> NDArray[np.intp]:
    """(V,) number of the block of BLOCK voxels that each voxel of the mask lies in."""
    where = np.stack(np.nonzero(mask)) // BLOCK
    shape = [n // BLOCK + 1 for n in mask.shape]
    return np.asarray(np.ravel_multi_index(tuple(where), shape), np.intp)


def lead_of(gain: Float, blocks: NDArray[np.intp]) -> float:
    """Sum of a gain (V,) in its standard errors between blocks, each block's taken from what its size lets expect."""
    sums, counts = np.bincount(blocks, gain), np.bincount(blocks)
    error = float(np.sqrt(np.sum((sums - gain.mean() * counts) ** 2)))
    return float(sums.sum()) / error if error > 0 else 0.0


def _prolateness(D: Array, blocks: NDArray[np.intp], form: Float, volumes: NDArray[np.intp]) -> Swap:
    trace = D[:3].mean(0)
    norm = np.sqrt(((D[:3] - trace) ** 2).sum(0) + 2 * (D[3:] ** 2).sum(0))
    tissue = np.flatnonzero((trace > MD_RANGE[0]) & (trace < MD_RANGE[1]))
    if len(tissue) * ANISOTROPIC < LEAST_VOXELS:
        return Swap((), 0.0, "too little white matter")
    chosen = tissue[norm[tissue] > np.quantile(norm[tissue], 1 - ANISOTROPIC)]
    chosen = chosen[:: max(1, len(chosen) // MOST_VOXELS)]
    blocks = blocks[chosen]
    six = D[:, chosen].astype(float)
    own = _mode(six)
    inverse = np.linalg.inv(form)
    leads: dict[tuple[int, int], float] = {}
    for i, j in combinations(range(6), 2):
        step = form[j] - form[i]
        exchanged = six + np.outer(inverse[:, i] - inverse[:, j], step @ six)
        leads[int(volumes[i]), int(volumes[j])] = lead_of(_mode(exchanged) - own, blocks)
    best = max(leads.values())
    if best <= 0:
        return Swap((), 0.0)
    return Swap(tuple(pair for pair, lead in leads.items() if lead > AS_GOOD * best), best, needed=SURE_OF_SHAPE)


def _smooth(D: Array, mask: NDArray[np.bool_]) -> Array:
    """Means over some 5 x 5 x 3 voxels within the mask: noise makes tensors neither prolate nor oblate."""
    shape = tuple(n + 2 for n in mask.shape)
    inner = (slice(1, -1),) * 3
    image, found = np.zeros(shape, np.float32), np.empty_like(D)
    image[inner] = mask
    count = sums_of_three(image, AROUND)[inner][mask]
    for source, target in zip(D, found, strict=True):
        image[inner][mask] = source
        target[:] = sums_of_three(image, AROUND)[inner][mask] / count
    return found


def _mode(six: Float) -> Float:
    """Mode of anisotropy of tensors (6, V), -1 oblate to 1 prolate."""
    A = six.copy()
    A[:3] -= A[:3].mean(0)
    xx, yy, zz, xy, xz, yz = A
    norm2 = xx**2 + yy**2 + zz**2 + 2 * (xy**2 + xz**2 + yz**2)
    det = xx * (yy * zz - yz**2) - xy * (xy * zz - yz * xz) + xz * (xy * yz - yy * xz)
    return np.asarray(3 * np.sqrt(6) * det / np.maximum(norm2, 1e-12) ** 1.5)


def _redundancy(y: Array, blocks: NDArray[np.intp], table: GradientTable, sigma: float) -> Swap:
    step = max(1, y.shape[1] // MOST_VOXELS)
    y, blocks = y[:, ::step].astype(np.float32), blocks[::step]
    known = np.isfinite(y).all(0)
    y, blocks = y[:, known], blocks[known]
    S = np.sqrt(np.maximum(y**2 - sigma**2, (0.5 * sigma) ** 2))
    # one weight per voxel, about that of its mean signal; the noise of log S is σ/S
    weight = np.exp(np.log(S).mean(0))
    log = np.log(S) * weight
    b = table.model_bvals * 1e-3
    X = np.concatenate([np.ones((len(b), 1)), -b[:, None] * quadratic_form(table.bvecs)], axis=1)
    R = np.eye(len(b)) - X @ np.linalg.pinv(X)
    C = log @ log.T
    RC = R @ C
    i, j = np.triu_indices(len(b), 1)
    alike = np.isin(np.stack([i, j]), np.flatnonzero(~table.is_b0)).all(0) & (np.abs(b[i] - b[j]) < 0.1)
    spare = R[i, i] + R[j, j] - 2 * R[i, j]
    alike &= spare > LEAST_SPARE
    i, j, spare = i[alike], j[alike], spare[alike]
    if not len(i):
        return Swap((), 0.0, "no directions to spare")
    # d (R y)_i summed over voxels is (R C)_ij - (R C)_ii, and so on
    change = 2 * (RC[i, j] - RC[i, i] - RC[j, j] + RC[j, i]) + spare * (C[i, i] + C[j, j] - 2 * C[i, j])
    k = int(np.argmin(change))
    if change[k] >= 0:
        return Swap((), 0.0)
    first, second = int(i[k]), int(j[k])
    d = log[second] - log[first]
    fall = -(2 * d * ((R[first] - R[second]) @ log) + d**2 * spare[k])
    return Swap(((first, second),), lead_of(fall, blocks))
