"""The three steps on one scan: summarise, context prior, adapt; between the last two, the prior may step back.

The signal is scaled once, so that the median b=0 signal in the brain is 1; the prior knows no other unit.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from edge_pigment.acquisition import Acquisition, Volume
from edge_pigment.innovation import Innovation, innovation, step_back
from edge_pigment.interpolation import WHOLE, interleaved_prior
from edge_pigment.physics.backend import Array, Backend, Outcome, Summary
from edge_pigment.prior.context import Network

MS_PER_UM2 = 1e-3
NO_TISSUE = 100.0
"""Of the brain's median b=0 signal, beyond which a value is a damaged one: eyes and vessels reach 5. What is left of a
prior about it is no number in float32."""
"""s/mm² -> ms/µm²."""


@dataclass(frozen=True, eq=False)
class Measurements:
    """The voxels of the mask as the kernels take them: y (N, V), b (N,) ms/µm², bvecs (N, 3), sigma (V,).

    b is each volume's own, 0 where it is negligible; a direction of zero with another b is a trace image, or a volume
    of small b that has no direction.
    `scale` is the median b=0 signal in the brain, in the image's unit; mask is (Z, Y, X), the image's transpose;
    `steps` are voxels along x, y and z at which noise is independent (see `interpolation`).
    """

    y: Array
    b: Array
    bvecs: Array
    sigma: Array
    scale: float
    mask: NDArray[np.bool_]
    steps: tuple[int, int, int] = WHOLE


def gather(
    acquisition: Acquisition,
    mask: NDArray[np.bool_],
    sigma: float,
    backend: Backend | None = None,
    steps: tuple[int, int, int] = WHOLE,
    relative: Volume | None = None,
    floor: float = 0.0,
) -> Measurements:
    """Collect and scale the measurements of the mask's voxels.

    Args:
        acquisition: the scan.
        mask: (X, Y, Z).
        sigma: noise sd in the image's unit.
        backend: that will compute with them, in memory that it likes.
        steps: as `noise.correlation` finds them.
        relative: (X, Y, Z) noise sd over sigma, where it varies.
        floor: mean square, in the image's unit, by which magnitudes without signal exceed those of Rician noise. It is
            taken off, so that they lie as the likelihood expects them (the correction of Gudbjartsson & Patz 1995).
    """
    inside = np.ascontiguousarray(mask.T)
    where = np.flatnonzero(inside)
    volumes = acquisition.signal.T
    shape = (len(volumes), len(where))
    y = np.empty(shape, np.float32) if backend is None else backend.empty(shape)
    for row, volume in zip(y, volumes, strict=True):
        np.take(volume.reshape(-1), where, out=row)
    if floor:
        np.sqrt(np.maximum(y**2 - np.float32(floor), 0), out=y)
    b0 = np.nanmean(y[acquisition.gradients.is_b0], axis=0)
    positive = b0[b0 > 0]
    scale = float(np.median(positive)) if len(positive) else 1.0
    y /= np.float32(scale)
    varying = np.ones(len(where), np.float32) if relative is None else relative.T.reshape(-1)[where]
    if floor:
        weighted = y[~acquisition.gradients.is_b0] if (~acquisition.gradients.is_b0).any() else y
        varying = varying * spread_above_floor(weighted, sigma / scale * varying, floor / scale**2)
    y[(y > NO_TISSUE) | (y < -NO_TISSUE)] = np.nan  # has no weight
    return Measurements(
        y=y,
        b=(acquisition.gradients.model_bvals * MS_PER_UM2).astype(np.float32),
        bvecs=np.ascontiguousarray(acquisition.gradients.bvecs, np.float32),
        sigma=varying * np.float32(sigma / scale),
        scale=scale,
        mask=inside,
        steps=steps,
    )


def spread_above_floor(y: Array, sigma: Array, floor: float) -> Array:
    """sd of magnitudes whose floor was taken off, over σ: (V,).

    The square of a magnitude of n coils has the variance 4σ²(F² + nσ²), so the root of what is left of it has about
    σ² (F² + nσ²) / (F² + σ²) where its mean square is F² + σ²: more than σ² where the signal F is low.

    Args:
        y: (N, V) magnitudes without their extra floor.
        sigma: (V,) noise sd, unit of y.
        floor: mean square that was taken off, 2(n - 1)σ².
    """
    signal2 = np.maximum(np.nanmean(y**2, axis=0) - 2 * sigma**2, 0)
    coils = 1 + floor / (2 * sigma**2)
    return np.sqrt((signal2 + coils * sigma**2) / (signal2 + sigma**2)).astype(np.float32)


@dataclass(frozen=True, eq=False)
class Adapted:
    """What the adaptation found, with the summary it came from and what its prior had not foretold."""

    summary: Summary
    outcome: Outcome
    innovation: Innovation
    seconds: dict[str, float]


def adapt(
    measurements: Measurements,
    backend: Backend,
    context: Network,
    nu: float,
    progress: Callable[[str, float], None] | None = None,
) -> Adapted:
    """Run the three steps, and integrate the maps' moments; `progress` gets a step and the share of it that is done."""
    m = measurements
    seconds: dict[str, float] = {}

    def started(step: str) -> float:
        if progress:
            progress(step, 0.0)
        return time.perf_counter()

    t = started("summarise")
    with backend.hold(m.y, m.b, m.bvecs, m.sigma) as held:
        summary = held.summarise()
        seconds["summarise"] = time.perf_counter() - t
        found = None

        def revise(mean: Array, factor: Array) -> Array:
            nonlocal found
            found = innovation(summary, mean, factor, m.mask, m.steps)
            return step_back(mean, factor, found)

        t = started("context prior")
        outcome = context.adapt_in_place(held, m.mask, nu, revise) if m.steps == WHOLE else None
        seconds["context prior"] = time.perf_counter() - t  # with the adaptation, where both went on the GPU at once
        if outcome is None:
            told = partial(progress, "context prior") if progress else None
            mean, factor = interleaved_prior(context, summary, m.mask, m.steps, told)
            factor = revise(mean, factor)
            seconds["context prior"] = time.perf_counter() - t
            t = started("adapt")
            outcome = held.adapt(mean, factor, nu)
            seconds["adapt"] = time.perf_counter() - t
    assert found is not None  # whichever way was taken, the prior was revised
    return Adapted(summary, outcome, found, seconds)
