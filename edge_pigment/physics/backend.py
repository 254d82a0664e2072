"""What a backend does: the three kernels of the tensor model, on arrays of voxels.

Structure of arrays: each coordinate's voxels lie together, as an image's volumes do, so that neighbouring lanes
or threads read neighbouring words. All arrays are float32 and C-contiguous; V voxels, N measurements.
"""

from typing import NamedTuple, Protocol, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edge_pigment.physics.adaptation import PACKED
from edge_pigment.physics.tensor import DIMENSION

Array = NDArray[np.float32]


class Summary(NamedTuple):
    """theta (7, V), log S0 and D in µm²/ms; sd (7, V)."""

    theta: Array
    sd: Array


class Posterior(NamedTuple):
    """mode (7, V); factor (28, V); residual (V,); distance (V,); share (2, V): see `adaptation.Posterior`.

    The residual is negative where the trial points did not suffice.
    """

    mode: Array
    factor: Array
    residual: Array
    distance: Array
    share: Array


class Outcome(NamedTuple):
    """What an adaptation brings back: of a `Posterior` all but the factor, and moments (20, V) made with it.

    exact: the voxels that were computed in float64, see `doubt`; their numbers, ascending.
    """

    mode: Array
    residual: Array
    distance: Array
    share: Array
    moments: Array
    exact: NDArray[np.intp] = np.empty(0, np.intp)


class Held(Protocol):
    """One scan's measurements where a backend computes. As a context manager it gives the memory back."""

    def summarise(self) -> Summary:
        """See `Backend.summarise`."""
        ...

    def adapt(self, mean: Array, precision_factor: Array, nu: float) -> Outcome:
        """`Backend.adapt` and, of its result, `Backend.moments`; in float64 where float32 does not decide: `doubt`."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *raised: object) -> None: ...


class Backend(Protocol):
    """One way of running the kernels; every backend agrees with the float64 reference.

    Raises:
        ValueError: from every method, where shapes do not fit together, or b, bvecs, sigma or the prior are not finite
            or have the wrong sign. Measurements may be anything.
    """

    @property
    def name(self) -> str:
        """What the provenance records, e.g. 'host (AVX2, 2 threads)'."""
        ...

    def empty(self, shape: tuple[int, ...]) -> Array:
        """An array of float32 that this backend reads fastest."""
        ...

    def hold(self, y: Array, b: Array, bvecs: Array, sigma: Array) -> Held:
        """Take a scan: see `summarise`."""
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


def checked(name: str, array: ArrayLike, shape: tuple[int, ...]) -> Array:
    """The array as the kernels read it; whoever calls them with another shape has made a mistake."""
    a = np.ascontiguousarray(array, np.float32)
    if a.shape != shape:
        raise ValueError(f"{name}: shape {a.shape}, expected {shape}")
    return a


def _finite(name: str, array: Array) -> None:
    if not np.isfinite(array).all():
        raise ValueError(f"{name}: not finite")


def checked_measurements(y: Array, b: Array, bvecs: Array, sigma: Array) -> tuple[Array, Array, Array, Array]:
    """y (N, V), b (N,), bvecs (N, 3) and sigma (V,) as the kernels read them."""
    N, V = np.shape(y)
    y = checked("y", y, (N, V))
    b, bvecs = checked("b", b, (N,)), checked("bvecs", bvecs, (N, 3))
    sigma = checked("sigma", sigma, (V,))
    _finite("b", b)
    _finite("bvecs", bvecs)
    if N and b.min() < 0:
        raise ValueError("b: negative")
    if V and not (sigma.min() > 0 and sigma.max() < np.inf):
        raise ValueError("sigma: not everywhere a positive number")
    return y, b, bvecs, sigma


def checked_prior(mean: Array, precision_factor: Array, nu: float, voxels: int) -> tuple[Array, Array]:
    """mean (7, V) and precision_factor (28, V) as the kernels read them."""
    mean = checked("mean", mean, (DIMENSION, voxels))
    factor = checked("precision_factor", precision_factor, (PACKED, voxels))
    _finite("mean", mean)
    _finite("precision_factor", factor)
    if not 0 < nu < np.inf:
        raise ValueError(f"nu: {nu}, expected a positive number")
    return mean, factor
