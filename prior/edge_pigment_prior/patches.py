"""Training patches: a piece of a reference as another scanner might see it.

A patch is three neighbouring slices of tensors on a new grid (turned, scaled, thick slices averaged), the tensors
turned with it; the middle slice's latents are the target, and the summaries of a simulated scan of all three the
input. Some patches keep the reference's own grid, permuted and flipped only, since interpolation makes neighbours'
noise alike and a prior trained on such patches alone would trust its neighbours too much.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from edge_pigment.physics.backend import Array, Backend
from edge_pigment.physics.tensor import from_matrix, latent, quadratic_form, to_matrix
from edge_pigment.prior.features import to_stack, voxel_features, with_neighbours
from edge_pigment_prior.blur import blur
from edge_pigment_prior.changes import insert
from edge_pigment_prior.own_error import averaging
from edge_pigment_prior.receivers import faulty, magnitudes, sigma_field
from edge_pigment_prior.references import Reference
from edge_pigment_prior.schemes import DirectionBank, Scheme, random_rotation, random_scheme

SIZE = 64
"""Voxels along a patch's side."""
OWN_GRID = 0.4
IN_PLANE_MM = (1.0, 4.0)
THICKNESS_MM = (1.0, 8.0)
"""Range of the new grid's voxels; never finer than the reference, which would be invention."""
TRUTH_SD = 0.04
"""µm²/ms. Largest error of a target's D that is borne: noisier references are averaged into larger voxels, so that
the prior does not take their noise for the texture of tissue. Half of what six directions tell at SNR 20."""
TURNED, TILTED, TILT_SD = 0.2, 0.5, 12.0
"""Part of new grids that lie anyhow in the head, and part that is tilted (degrees about each axis) as heads and slices
are between scans; the rest has the reference's axes in another order."""
SUBSAMPLES = 6
"""Points averaged in each voxel of the new grid, stratified along its thickness."""
LOG_SCALE_SD = 0.1
"""Diffusivity differs between temperatures, diffusion times and b-values; the prior must not know one scanner's."""
CONTRAST = (0.3, 1.4)
"""Factor on log S0: T2 and echo time, and so the contrast of b=0, differ between fields and scanners."""
LOG_SIGMA_SD = 0.1
"""Error of the σ that the summary is told: no scan's σ is known better."""
SIGMA_ONE_NUMBER = 0.7
"""Part of patches whose summary is told one σ, as a run's is, where the noise is uneven."""
BIAS_SD = 0.15
"""Of each low-order coefficient of the log bias field."""


@dataclass(frozen=True)
class Truth:
    """theta (7, 3, Y, X): log S0 and D in µm²/ms; mask (3, Y, X); weight in the loss (3, Y, X), 0 outside the mask; sd,
    the error of a diagonal element of D, µm²/ms."""

    theta: Array
    mask: NDArray[np.bool_]
    weight: Array
    sd: float = 0.0


def _own_grid(reference: Reference, rng: np.random.Generator) -> Truth:
    """A window of the reference's voxels with image axes permuted and flipped."""
    axes = rng.permutation(3) if min(reference.mask.shape) > 8 else np.r_[0, 1 + rng.permutation(2)]
    theta = reference.theta.transpose(0, *(1 + axes))
    mask = reference.mask.transpose(axes)
    flips = rng.random(3) < 0.5
    step = tuple(slice(None, None, -1 if f else 1) for f in flips)
    theta, mask = theta[(slice(None), *step)], mask[step]
    Z, Y, X = mask.shape
    weights = mask.sum((1, 2))
    z = int(rng.choice(Z, p=weights / weights.sum()))
    inside = np.argwhere(mask[z])
    cy, cx = inside[rng.integers(len(inside))] + rng.integers(-SIZE // 4, SIZE // 4, 2)
    out = np.zeros((7, 3, SIZE, SIZE), np.float32)
    found = np.zeros((3, SIZE, SIZE), bool)
    y0, x0 = int(cy) - SIZE // 2, int(cx) - SIZE // 2
    ys, xs = slice(max(y0, 0), min(y0 + SIZE, Y)), slice(max(x0, 0), min(x0 + SIZE, X))
    for k in range(3):
        if 0 <= z + k - 1 < Z and ys.stop > ys.start and xs.stop > xs.start:
            to = (k, slice(ys.start - y0, ys.stop - y0), slice(xs.start - x0, xs.stop - x0))
            out[(slice(None), *to)] = theta[:, z + k - 1, ys, xs]
            found[to] = mask[z + k - 1, ys, xs]
    # array axes (z, y, x) carry tensor axes (2, 1, 0): new tensor axis i is old axis order[i], with its sign
    order = (2 - axes)[::-1]
    signs = np.where(flips, -1, 1)[::-1]
    R = np.zeros((3, 3))
    R[np.arange(3), order] = signs
    return _turned(out, found, R, reference.sd)


def _turned(theta: Array, mask: NDArray[np.bool_], R: NDArray[np.float64], sd: float) -> Truth:
    D = to_matrix(theta[1:, mask].T)
    theta = theta * mask
    theta[1:, mask] = from_matrix(R @ D @ R.T).T
    return Truth(theta, mask, mask.astype(np.float32), sd)


@cache
def _volume(reference: Reference) -> torch.Tensor:
    """(1, 8, Z, Y, X): theta and mask, as grid_sample wants them."""
    return torch.from_numpy(np.concatenate([reference.theta, reference.mask[None]]).astype(np.float32))[None]


@cache
def _inside(reference: Reference) -> NDArray[np.intp]:
    """(V, 3) z, y, x of the brain's voxels."""
    return np.argwhere(reference.mask)


def _orientation(rng: np.random.Generator) -> NDArray[np.float64]:
    """(3, 3) orthogonal: the new grid's axes in rows."""
    kind = rng.random()
    if kind < TURNED:
        return random_rotation(rng)
    if kind >= TURNED + TILTED:
        return np.eye(3)[rng.permutation(3)]
    R = np.diag([rng.choice((-1.0, 1.0)), 1.0, 1.0])  # heads are mirror images of themselves
    for i, angle in enumerate(np.radians(TILT_SD) * rng.normal(size=3)):
        turn = np.eye(3)
        j, k = (i + 1) % 3, (i + 2) % 3
        turn[j, j] = turn[k, k] = np.cos(angle)
        turn[j, k], turn[k, j] = -np.sin(angle), np.sin(angle)
        R = turn @ R
    return R


def _new_grid(reference: Reference, rng: np.random.Generator) -> Truth:
    """A window of a turned, coarser grid: the average of the tensors in each of its voxels."""
    R = _orientation(rng)
    source = np.array(reference.voxel_size)
    finest = float(source.max()) if min(reference.mask.shape) > 8 else float(source[:2].max())
    volume_needed = np.prod(source) * (reference.sd / TRUTH_SD) ** 2
    low = max(IN_PLANE_MM[0], 0.9 * finest, 0.8 * np.cbrt(volume_needed))
    in_plane = rng.uniform(low, max(IN_PLANE_MM[1], 1.2 * low))
    thinnest = max(in_plane, THICKNESS_MM[0], volume_needed / in_plane**2)
    thick = rng.uniform(thinnest, max(THICKNESS_MM[1], thinnest))
    target = np.array([in_plane, in_plane, thick])
    inside = _inside(reference)
    centre = (inside[rng.integers(len(inside))][::-1] + rng.normal(size=3)) * source
    grid = np.stack(np.meshgrid(*(np.arange(n) - (n - 1) / 2 for n in (3, SIZE, SIZE)), indexing="ij"), -1)
    points = grid[..., ::-1]  # (3, SIZE, SIZE, xyz)
    to_unit = 2 / (source * reference.mask.shape[::-1])  # grid_sample spans -1..1
    base = torch.from_numpy((((centre + (points * target) @ R) + source / 2) * to_unit - 1).astype(np.float32))
    volume = _volume(reference)
    total = torch.zeros((8, 3, SIZE, SIZE))
    strata = rng.permutation(SUBSAMPLES)
    for s in range(SUBSAMPLES):
        jitter = rng.random(3) - 0.5
        jitter[2] = (strata[s] + rng.random()) / SUBSAMPLES - 0.5
        offset = torch.from_numpy(((jitter * target) @ R * to_unit).astype(np.float32))  # rows of R: new axes
        total += functional.grid_sample(volume, (base + offset)[None], mode="bilinear", align_corners=False)[0]
    weight = total[7].numpy() / SUBSAMPLES
    mask = weight > 0.5
    theta = (total[:7].numpy() / SUBSAMPLES / np.maximum(weight, 0.5)).astype(np.float32)
    return _turned(theta, mask, R, reference.sd * np.sqrt(averaging(target, np.abs(R) @ source, SUBSAMPLES)))


def draw_truth(
    references: list[Reference],
    chances: NDArray[np.float64],
    rng: np.random.Generator,
    changes: bool = True,
    lesions: float = 0.5,
    lesion_weight: float = 3.0,
) -> Truth:
    """A patch with at least 5 % of brain in its middle slice; some have simulated local changes of diffusion.

    Args:
        references: fitted scans.
        chances: of each reference.
        rng: source of chance.
        changes: whether to simulate lesions and differences of tissue.
        lesions: see `changes.insert`.
        lesion_weight: see `changes.insert`.
    """
    reference = references[int(rng.choice(len(references), p=chances))]
    for _ in range(20):
        own = rng.random() < OWN_GRID and reference.sd <= TRUTH_SD
        truth = _own_grid(reference, rng) if own else _new_grid(reference, rng)
        if truth.mask[1].mean() > 0.05:
            break
    theta = truth.theta.copy()
    weight = insert(theta, rng, lesions, lesion_weight) if changes else np.ones(truth.mask.shape, np.float32)
    theta = blur(theta, truth.mask, rng)
    theta[0] *= rng.uniform(*CONTRAST)
    scale = np.exp(LOG_SCALE_SD * rng.normal())
    theta[1:] *= scale
    axis = np.linspace(-1, 1, SIZE, dtype=np.float32)
    a, b, c, d, e = BIAS_SD * rng.normal(size=5)
    bias = a * axis[:, None] + b * axis + c * axis[:, None] ** 2 + d * axis**2 + e * axis[:, None] * axis
    theta[0] += bias.astype(np.float32) - np.float32((c + d) / 3)
    return Truth(theta * truth.mask, truth.mask, weight * truth.mask, truth.sd * scale)


def simulate(truth: Truth, scheme: Scheme, sigma: Array, rng: np.random.Generator) -> Array:
    """Magnitudes of the mask's voxels, (N, V), of a scanner that may have faults; sigma (V,)."""
    theta = truth.theta[:, truth.mask]
    played = faulty(scheme, rng)
    rows = -played.b[:, None] * quadratic_form(played.bvecs)
    S = np.exp(np.clip(theta[0], -4, 4) + rows.astype(np.float32) @ theta[1:])
    return magnitudes(S, sigma, truth.mask, rng)


def draw_example(
    truth: Truth, bank: DirectionBank, backend: Backend, rng: np.random.Generator, anisotropic: float = 0.0
) -> tuple[Array, Array, Array]:
    """What the network learns from: a simulated scan of a patch, and the truth behind it.

    Args:
        truth: the patch.
        bank: spread directions.
        backend: that summarises.
        rng: source of chance.
        anisotropic: a, where a voxel weighs exp(a FA): most voxels have little FA, so that a prior for which all weigh
            alike takes FA from the few that have much.

    Returns:
        features (45, Y, X), target latents (7, Y, X) and weights (Y, X), 0 outside the brain.
    """
    scheme = random_scheme(rng, bank)
    sigma = sigma_field(truth.mask, scheme.sigma, rng)
    y = simulate(truth, scheme, sigma, rng)
    told = np.full_like(sigma, np.median(sigma)) if rng.random() < SIGMA_ONE_NUMBER else sigma
    summary = backend.summarise(
        y,
        scheme.b.astype(np.float32),
        scheme.bvecs.astype(np.float32),
        told * np.float32(np.exp(LOG_SIGMA_SD * rng.normal())),
    )
    features = with_neighbours(to_stack(voxel_features(summary), truth.mask), 1, 2)[0]
    middle = truth.mask[1]
    target = np.zeros((7, SIZE, SIZE), np.float32)
    own = truth.theta[:, 1, middle]
    target[:, middle] = latent(np.exp(np.clip(own[0], -4, 4)), own[1:].T).T
    weight = truth.weight[1].copy()
    if anisotropic:
        weight[middle] *= np.exp(np.float32(anisotropic) * fractional_anisotropy_of(own[1:]))
    return features, target, weight


def fractional_anisotropy_of(D: Array) -> Array:
    """FA of D (6, V) by its norms, (V,); Basser & Pierpaoli 1996, J Magn Reson B 111:209, eq. 13."""
    norm = np.sum(D[:3] ** 2, axis=0) + 2 * np.sum(D[3:] ** 2, axis=0)
    deviation = norm - np.sum(D[:3], axis=0) ** 2 / 3
    return np.sqrt(np.clip(1.5 * deviation / np.maximum(norm, np.float32(1e-12)), 0, 1))
