"""What a backend does: the three kernels of the tensor model, on arrays of voxels.

Structure of arrays: each coordinate's voxels lie together, as an image's volumes do, so that neighbouring lanes
or threads read neighbouring words. All arrays are float32 and C-contiguous; V voxels, N measurements.
"""

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


class Summary(NamedTuple):
    """theta (7, V), log S0 and D in µm²/ms; sd (7, V)."""

    theta: Array
    sd: Array


class Posterior(NamedTuple):
    """mode (7, V); factor (28, V); residual (V,); distance (V,); share (2, V): see `adaptation.Posterior`."""

    mode: Array
    factor: Array
    residual: Array
    distance: Array
    share: Array


class Backend(Protocol):
    """One way of running the kernels; every backend agrees with the float64 reference."""

    @property
    def name(self) -> str:
        """What the provenance records, e.g. 'host (AVX2, 2 threads)'."""
        ...

    def summarise(self, y: Array, b: Array, bvecs: Array, sigma: Array) -> Summary:
        """y (N, V), b (N,) in ms/µm², bvecs (N, 3), sigma (V,): see `physics.summarise`."""
        ...

    def adapt(
        self, y: Array, b: Array, bvecs: Array, sigma: Array, mean: Array, precision_factor: Array, nu: float
    ) -> Posterior:
        """mean (7, V), precision_factor (28, V): see `physics.adaptation`."""
        ...

    def moments(self, mode: Array, factor: Array) -> Array:
        """(20, V), rows in the order of `physics.moments.COLUMNS`."""
        ...
