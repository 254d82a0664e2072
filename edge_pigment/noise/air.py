"""What air around the head says of noise: the floor that magnitudes have where there is no signal.

Magnitudes of one coil, or of coils combined with weights, are Rician: without signal their mean square is 2σ². The root
of the sum of squares of n coils has 2nσ² (non-central χ; Constantinides, Atalar & McVeigh 1997, MRM 38:852), and so lie
its low signals: a diffusivity read from them as if they were Rician is too low. Averages and interpolation of
magnitudes do the same by lowering the noise and not the floor. Air is not believed where it was masked, where ghosts or
stray signal lie in it, or where it is uneven.
"""

from typing import NamedTuple

import numpy as np

from edge_pigment.acquisition import Acquisition
from edge_pigment.boxes import sums_of_three
from edge_pigment.brainmask import otsu
from edge_pigment.morphology import dilate
from edge_pigment.noise.details import Mask

MARGIN_MM = 16.0
"""Around what is brighter than Otsu's threshold: scalp and its ghosts are left out."""
TISSUE = 1.35
"""Mean of 27 voxels over the median of such means in air, from which it is taken for scalp or a ghost: Rayleigh noise
strays by a tenth."""
LEAST_VOXELS = 500
MOST_ZEROS = 0.02
"""Share of voxels without any value from which air is taken for masked."""
MOST_VOLUMES = 8
EVEN = 0.25
"""Largest relative difference of the mean square between parts of the air, and between b=0 and weighted volumes. Ghosts
and stray signal are stronger where the head is brighter."""
LEAST_FLOOR = 1.5
"""Mean square over that of Rician noise, 2σ², from which it is taken for more than that; the least number of coils, 2,
has 2."""


class Air(NamedTuple):
    """mean_square of magnitudes in air, image's unit squared; coils: effective number, from how narrowly they spread
    (Rician: 1)."""

    mean_square: float
    coils: float

    @property
    def sigma(self) -> float:
        """sd of the noise of one coil's components, the image's unit."""
        return float(np.sqrt(self.mean_square / (2 * self.coils)))


def measure_air(acquisition: Acquisition) -> Air | None:
    """The air around the head; None where there is none that can be believed.

    Args:
        acquisition: the scan.
    """
    air = _air(acquisition)
    if air.sum() < LEAST_VOXELS:
        return None
    table = acquisition.gradients
    weighted = np.flatnonzero(~table.is_b0)
    weighted = weighted[np.argsort(table.bvals[weighted], kind="stable")][-MOST_VOLUMES:]
    square = np.stack([acquisition.signal[..., n][air] for n in weighted]).astype(float) ** 2
    b0 = np.stack([acquisition.signal[..., n][air] for n in np.flatnonzero(table.is_b0)[:2]]).astype(float) ** 2
    if not (np.isfinite(square).all() and np.isfinite(b0).all()):
        return None
    if max(np.mean(square == 0), np.mean(b0 == 0)) > MOST_ZEROS:
        return None
    mean = float(square.mean())
    parts = [part.mean() for part in np.array_split(square, 8, axis=1)] + [float(b0.mean())]
    if mean <= 0 or max(parts) - min(parts) > EVEN * mean:
        return None
    return Air(mean, float(mean**2 / square.var()))


def extra_floor(air: Air | None, sigma: float) -> float:
    """Mean square by which magnitudes without signal exceed those of Rician noise; 0 where they do not clearly.

    Args:
        air: measured.
        sigma: noise's sd in the brain, unit of the image.
    """
    if air is None or air.mean_square < LEAST_FLOOR * 2 * sigma**2:
        return 0.0
    return air.mean_square - 2 * sigma**2


def sigma_before_averages(air: Air | None) -> float:
    """σ of Rician noise whose magnitudes were averaged until hardly any noise was left: their mean is √(π/2) σ."""
    return float(np.sqrt(air.mean_square / (np.pi / 2))) if air is not None and air.coils > 1 + LEAST_FLOOR else 0.0


def _air(acquisition: Acquisition) -> Mask:
    """What is far from what is bright, and as dark on the mean of neighbours as most of it."""
    b0 = np.nan_to_num(acquisition.mean_b0, posinf=0, neginf=0)
    head: Mask = np.asarray(b0 > otsu(b0))
    steps = np.maximum(np.round(MARGIN_MM / acquisition.voxel_size), 1).astype(int)
    air = ~dilate(head, steps)
    if air.sum() < LEAST_VOXELS:
        return air
    level = sums_of_three(b0) / sums_of_three(np.ones_like(b0))
    tissue = air & (level > TISSUE * np.median(level[air]))
    return air & ~dilate(tissue, np.ones(3, int))
