"""Learning of the test for altered tissue: heads of the training data, healthy and with simulated changes of MD.

What it learns from are maps, as `edge-pigment run` makes them of simulated scans with the bundle that it will be part
of. Its scale is that of heads that were left out, one after the other: a new head is as foreign as those were.
"""

from collections.abc import Iterator
from dataclasses import replace
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from edge_pigment.acquisition import Acquisition
from edge_pigment.adapt import adapt, gather
from edge_pigment.alteration import Alteration, features
from edge_pigment.gradients import GradientTable
from edge_pigment.maps import voxel_maps
from edge_pigment.physics.backend import Array, Backend
from edge_pigment.prior.context import ContextSession
from edge_pigment.simulate.directions import electrostatic
from edge_pigment_prior.changes import scale, smooth_field
from edge_pigment_prior.patches import TRUTH_SD
from edge_pigment_prior.references import Reference
from edge_pigment_prior.rescan import rician
from edge_pigment_prior.schemes import random_rotation

COUNT = (15, 45)
"""Changed ellipsoids in a head."""
RADIUS = (0.5, 9.0)
"""Half-axes in voxels, log-uniform."""
FACTOR = (0.35, 2.6)
"""Of MD, log-uniform."""
LEAST_CHANGE = 0.2
"""Of log MD; less is not called altered."""
SHAPE = (0.5, 1.1)
"""Factor of the tensor's deviation from a sphere."""
TISSUE_MD = (0.4, 1.2)
"""µm²/ms; fluid is not altered."""
FIELD_SD = 0.05
"""Of a smooth factor of MD that is not called altered: heads differ."""
SNR = (5.0, 40.0)
DIRECTIONS = (6, 6, 6, 12, 30)
"""Six is what the product is for."""
B = (700.0, 1500.0)
THINNED = (1, 1, 1, 2, 3)
"""Every k-th slice: gaps in place of thick slices."""
SLAB = 0.2
"""Part of heads of which only some slices are scanned."""
MOSTLY = 0.6
"""Part of a coarser voxel that must be brain."""
LEAST_HEALTHY = 50_000
"""Voxels of healthy scans without which a head has no say in the scale."""
LEAST_ALTERED = 700
"""Voxels of a slab without which nothing is altered in it: the changes would be most of what there is."""
EACH = 14_000
"""Voxels taken of a head: a large one would speak for all."""
SIZE_POWER = 0.8
"""A voxel of a change weighs as the number of its voxels to minus this: else a few large changes would be all that is
learned."""
LEAST_SIZE = 7
"""Voxels; what is smaller weighs as such a one."""
HIDDEN = 32
STEPS = 2500
BATCH = 4096
RATE = 1e-2
DECAY = 0.05
QUANTILES = np.r_[np.linspace(0.001, 0.99, 100), 1 - np.geomspace(0.009, 1e-4, 40)]
"""Of healthy voxels, at which log odds are given their normal score: dense where flags are decided. Rarer than one in
ten thousand counts as that (a score of 3.7), which the training heads cannot tell from luck."""


class Head(NamedTuple):
    """features (V, K) of a simulated scan, of how many voxels the change is that a voxel lies in (V,), 0 for none; name
    of the head."""

    name: str
    features: Array
    size: NDArray[np.int32]

    @property
    def altered(self) -> NDArray[np.bool_]:
        """(V,)."""
        return self.size > 0


def coarsened(reference: Reference) -> Reference:
    """A reference as it is, or averaged into cubes of voxels if it is noisier than a target may be: what noise changes
    would be taken for health."""
    k = int(np.ceil((reference.sd / TRUTH_SD) ** (2 / 3)))
    if k < 2:
        return reference
    size = tuple(n // k * k for n in reference.mask.shape)
    theta = reference.theta[:, : size[0], : size[1], : size[2]]
    mask = reference.mask[: size[0], : size[1], : size[2]]
    cubes = (size[0] // k, k, size[1] // k, k, size[2] // k, k)
    part = mask.reshape(cubes).mean((1, 3, 5))
    mean = (theta * mask).reshape(7, *cubes).mean((2, 4, 6)) / np.maximum(part, 1 / k**3)
    whole = part > MOSTLY
    x, y, z = (k * v for v in reference.voxel_size)
    sd = reference.sd / k**1.5
    return replace(reference, theta=(mean * whole).astype(np.float32), mask=whole, voxel_size=(x, y, z), sd=sd)


def alter(theta: Array, mask: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.int32]:
    """Change MD in ellipsoids of a head, in place.

    Args:
        theta: (7, Z, Y, X) log S0 and D.
        mask: (Z, Y, X).
        rng: source of chance.

    Returns:
        (Z, Y, X), the voxels of the change that a voxel lies in, 0 where nothing was changed.
    """
    size = np.zeros(mask.shape, np.int32)
    MD = theta[1:4].mean(0)
    tissue = mask & (TISSUE_MD[0] < MD) & (TISSUE_MD[1] > MD)
    places, grid = np.argwhere(tissue), np.indices(mask.shape)
    for _ in range(rng.integers(*COUNT)):
        centre = places[rng.integers(len(places))]
        radius = np.exp(rng.uniform(*np.log(RADIUS))) * np.exp(rng.normal(0, 0.15, 3))
        r2 = sum(((g - c) / r) ** 2 for g, c, r in zip(grid, centre, radius, strict=True))
        inside = (r2 <= 1) & tissue & (size == 0)
        factor = float(np.exp(rng.uniform(*np.log(FACTOR))))
        if abs(np.log(factor)) < LEAST_CHANGE:
            continue
        part = theta[:, inside]
        scale(part, *(np.full(part.shape[1], f, np.float32) for f in (factor, rng.uniform(*SHAPE))))
        theta[:, inside] = part
        size[inside] = inside.sum()
    return size


def simulated_head(
    reference: Reference, backend: Backend, network: ContextSession, nu: float, healthy: bool, rng: np.random.Generator
) -> Head | None:
    """Features of a simulated scan of a reference; None for a slab with too little tissue."""
    thin = int(rng.choice(THINNED)) if reference.mask.shape[0] > 30 else 1
    theta, mask = reference.theta[:, ::thin].copy(), reference.mask[::thin].copy()
    if rng.random() < SLAB:
        filled = np.flatnonzero(mask.any((1, 2)))
        first = int(rng.integers(len(filled)))
        mask[: filled[first]] = False
        mask[filled[first] + int(rng.integers(1, 12)) :] = False
    field = np.exp(FIELD_SD * smooth_field((mask.shape[0], *mask.shape[1:]), rng))
    scale(theta, field, np.ones_like(field))
    size = np.zeros(mask.shape, np.int32)
    if not healthy and mask.sum() >= LEAST_ALTERED:
        size = alter(theta, mask, rng)
    directions = int(rng.choice(DIRECTIONS))
    b0s = max(directions // 10, 1)
    b = np.r_[np.zeros(b0s), np.full(directions, rng.uniform(*B))]
    bvecs = np.concatenate([np.zeros((b0s, 3)), electrostatic(directions) @ random_rotation(rng).T])
    sigma = float(np.exp(-rng.uniform(*np.log(SNR))))
    signal = np.zeros((len(b), *mask.shape), np.float32)
    signal[:, mask] = rician(theta[:, mask], b / 1000, bvecs, sigma, rng)
    voxel_size = np.array(reference.voxel_size) * (1, 1, thin)
    affine = np.diag([*voxel_size, 1.0])
    m = gather(Acquisition(signal.T, GradientTable(b, bvecs), affine), mask.T, sigma)
    adapted = adapt(m, backend, network, nu)
    maps = voxel_maps(adapted.outcome, m.scale, nu)
    seen = features(maps["FA"], maps["MD"], maps["MD_sd"], adapted.innovation, m.mask, voxel_size)
    return None if seen is None else Head(reference.name.split("_")[0], seen, size[m.mask])


def heads(
    references: list[Reference], backend: Backend, network: ContextSession, nu: float, each: int, seed: int
) -> Iterator[Head]:
    """Scans of every reference, `each` of them with changes and a third as many without."""
    for number, reference in enumerate(map(coarsened, references)):
        for k in range(each + each // 3):
            rng = np.random.default_rng([seed, number, k])
            head = simulated_head(reference, backend, network, nu, k >= each, rng)
            if head is not None:
                yield head


def learn(found: list[Head], seed: int) -> Alteration:
    """The test, with the scale of heads that it had not learned from: the mean of their quantiles."""
    names = sorted({head.name for head in found})
    apart = []
    for name in names:
        others = fit([head for head in found if head.name != name], seed)
        healthy = [others.odds(head.features) for head in found if head.name == name and not head.altered.any()]
        if sum(map(len, healthy)) >= LEAST_HEALTHY:
            apart.append(np.quantile(np.concatenate(healthy), QUANTILES))
    log_odds = np.mean(apart, axis=0).astype(np.float32)
    normal = np.array([NormalDist().inv_cdf(q) for q in QUANTILES], np.float32)
    return replace(fit(found, seed), log_odds=log_odds, normal=normal)


def fit(found: list[Head], seed: int) -> Alteration:
    """The perceptron alone, by cross entropy; its scale is empty."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    picks = [rng.permutation(len(head.altered))[:EACH] for head in found]
    x = torch.from_numpy(np.concatenate([head.features[pick] for head, pick in zip(found, picks, strict=True)]))
    size = np.concatenate([head.size[pick] for head, pick in zip(found, picks, strict=True)])
    ill = size > 0
    y = torch.from_numpy(ill.astype(np.float32))
    weight = np.ones(len(size), np.float32)
    if ill.any():
        of_ill = np.maximum(size[ill], LEAST_SIZE) ** -SIZE_POWER
        weight[ill] = of_ill / of_ill.mean()
    w = torch.from_numpy(weight)
    mean, sd = x.mean(0), x.std(0) + 1e-3
    x = (x - mean) / sd
    layers = [nn.Linear(x.shape[1], HIDDEN), nn.Linear(HIDDEN, HIDDEN), nn.Linear(HIDDEN, 1)]
    net = nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.ReLU(), layers[2])
    optimiser = torch.optim.AdamW(net.parameters(), RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, STEPS)
    for _ in range(STEPS):
        pick = torch.randint(len(x), (BATCH,))
        loss = nn.functional.binary_cross_entropy_with_logits(net(x[pick])[:, 0], y[pick], w[pick])
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
    plain = tuple((each.weight.detach().numpy().T.copy(), each.bias.detach().numpy().copy()) for each in layers)
    return Alteration(mean.numpy(), sd.numpy(), plain, np.zeros(0, np.float32), np.zeros(0, np.float32))
