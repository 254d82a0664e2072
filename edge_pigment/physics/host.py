"""The kernels on a CPU: ctypes around the library that `setup.py` compiles from `kernels/`.

The width is chosen at run time: the library holds the kernels for several instruction sets (SSE2, AVX2, AVX-512
on x86-64; NEON on aarch64) and takes the widest that the machine has. The environment variable EDGE_PIGMENT_ISA
names another one ('sse2', 'avx2', ...), for tests. Results differ between them in rounding only, and not at all
between numbers of threads.
"""

import ctypes
import os
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from edge_pigment import errors
from edge_pigment.physics.adaptation import ITERATIONS, PACKED
from edge_pigment.physics.backend import (
    Array,
    Outcome,
    Posterior,
    Summary,
    checked,
    checked_measurements,
    checked_prior,
)
from edge_pigment.physics.doubt import Exact, Voxels, settled
from edge_pigment.physics.moments import COLUMNS
from edge_pigment.physics.protocol import exact_tensor_table, summary_basis, tensor_table
from edge_pigment.physics.tensor import DIMENSION

LIBRARY: Final = Path(__file__).with_name("_host.so")
ISA_VARIABLE: Final = "EDGE_PIGMENT_ISA"
_LABELS: Final = {"sse2": "SSE2", "avx2": "AVX2", "avx512": "AVX-512", "neon": "NEON", "generic": "generic"}
_OUT_OF_MEMORY: Final = 2


@cache
def _library() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL(str(LIBRARY))
    except OSError as error:
        raise errors.DeviceError(errors.HOST_LIBRARY_MISSING.format(path=LIBRARY, why=error)) from error
    text, integer, pointer = ctypes.c_char_p, ctypes.c_int, ctypes.c_void_p
    voxels = (text, integer, ctypes.c_long)  # instruction set, threads, V
    signatures: dict[str, tuple[type[ctypes._SimpleCData[Any]], ...]] = {
        "ep_isa": (integer,),
        "ep_chosen": (text,),
        "ep_summarise": (*voxels, integer, *[pointer] * 5),
        "ep_adapt": (*voxels, integer, integer, ctypes.c_float, *[pointer] * 10),
        "ep_adapt_double": (*voxels, integer, integer, ctypes.c_double, *[pointer] * 11),
        "ep_moments": (*voxels, *[pointer] * 3),
        "ep_products": (*voxels, integer, *[pointer] * 8),
    }
    for name, types in signatures.items():
        getattr(library, name).argtypes = types
        getattr(library, name).restype = text if name in ("ep_isa", "ep_chosen") else integer
    return library


def instruction_sets() -> tuple[str, ...]:
    """Those that both the library and this machine have, narrowest first.

    Raises:
        DeviceError: the library is not there.
    """
    library = _library()
    names: list[str] = []
    while name := library.ep_isa(len(names)):
        names.append(name.decode())
    return tuple(names)


class Products(NamedTuple):
    """The tensor model against the measurements: r (N, V) or None, Σr² (V,), Jᵀr (7, V), JᵀJ (28, V) or None."""

    residual: Array | None
    rss: Array
    gradient: Array
    information: Array | None


class HostBackend:
    """The three kernels on this machine's CPU; implements `backend.Backend`.

    Args:
        threads: how many at most; None for as many as this process may use.

    Raises:
        DeviceError: the library is not there, or EDGE_PIGMENT_ISA names a set that is not.
        ValueError: from the kernels' methods, where shapes do not fit together, or b, bvecs, sigma or the prior
            are not finite or have the wrong sign. Measurements may be anything.
    """

    def __init__(self, threads: int | None = None) -> None:
        available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        self.threads = available if threads is None else max(1, threads)
        wanted = os.environ.get(ISA_VARIABLE, "")
        chosen = _library().ep_chosen(wanted.encode())
        if chosen is None:
            raise errors.DeviceError(
                errors.HOST_ISA_UNKNOWN.format(
                    variable=ISA_VARIABLE, wanted=wanted, available=", ".join(instruction_sets())
                )
            )
        self.isa: str = chosen.decode()

    @property
    def name(self) -> str:
        """'host (AVX2, 2 threads)'."""
        return f"host ({_LABELS[self.isa]}, {self.threads} thread{'s' if self.threads > 1 else ''})"

    def empty(self, shape: tuple[int, ...]) -> Array:
        """Any memory will do."""
        return np.empty(shape, np.float32)

    def hold(self, y: Array, b: Array, bvecs: Array, sigma: Array) -> "HostScan":
        """The scan stays where it is."""
        return HostScan(self, y, b, bvecs, sigma)

    def summarise(self, y: Array, b: Array, bvecs: Array, sigma: Array) -> Summary:
        """y (N, V), b (N,) in ms/µm², bvecs (N, 3), sigma (V,): see `physics.summarise`."""
        N, V = np.shape(y)
        y, b, bvecs, sigma = checked_measurements(y, b, bvecs, sigma)
        theta, sd = np.empty((DIMENSION, V), np.float32), np.empty((DIMENSION, V), np.float32)
        protocol = summary_basis(b, bvecs).packed
        self._run("ep_summarise", V, N, protocol, y, sigma, theta, sd)
        return Summary(theta, sd)

    def adapt(
        self,
        y: Array,
        b: Array,
        bvecs: Array,
        sigma: Array,
        mean: Array,
        precision_factor: Array,
        nu: float,
        iterations: int = ITERATIONS,
    ) -> Posterior:
        """mean (7, V), precision_factor (28, V): see `physics.adaptation`."""
        N, V = np.shape(y)
        y, b, bvecs, sigma = checked_measurements(y, b, bvecs, sigma)
        mean, factor = checked_prior(mean, precision_factor, nu, V)
        sizes = [(DIMENSION, V), (PACKED, V), (V,), (V,), (2, V)]
        posterior = Posterior(*[np.empty(size, np.float32) for size in sizes])
        table = tensor_table(b, bvecs)
        self._run("ep_adapt", V, N, iterations, float(nu), table, y, sigma, mean, factor, *posterior)
        return posterior

    def adapt_in_float64(
        self,
        y: Array,
        b: Array,
        bvecs: Array,
        sigma: Array,
        mean: Array,
        precision_factor: Array,
        nu: float,
        iterations: int = ITERATIONS,
    ) -> Exact:
        """`adapt` and the moments, by the same kernels in float64: some three times as long, and as the reference's."""
        N, V = np.shape(y)
        y, b, bvecs, sigma = checked_measurements(y, b, bvecs, sigma)
        mean, factor = checked_prior(mean, precision_factor, nu, V)
        sizes = [(DIMENSION, V), (PACKED, V), (V,), (V,), (2, V), (len(COLUMNS), V)]
        found = Exact(*[np.empty(size) for size in sizes])
        read = [np.asarray(a, float) for a in (exact_tensor_table(b, bvecs), y, sigma, mean, factor)]
        self._run("ep_adapt_double", V, N, iterations, float(nu), *read, *found)
        return found

    def moments(self, mode: Array, factor: Array) -> Array:
        """(20, V), rows in the order of `physics.moments.COLUMNS`."""
        V = np.shape(mode)[-1]
        out = np.empty((len(COLUMNS), V), np.float32)
        mode, factor = checked("mode", mode, (DIMENSION, V)), checked("factor", factor, (PACKED, V))
        self._run("ep_moments", V, mode, factor, out)
        return out

    def products(
        self,
        y: Array,
        b: Array,
        bvecs: Array,
        sigma: Array,
        z: Array,
        out: Products | None = None,
    ) -> Products:
        """The inside of `adapt`'s loop alone, at z (7, V), for the tests and the benchmark.

        r = (y - √(F² + σ²))/σ, and J is the derivative of -r with respect to z. What is None in `out`, arrays of an
        earlier call, is not computed.
        """
        N, V = np.shape(y)
        y, b, bvecs, sigma = checked_measurements(y, b, bvecs, sigma)
        z = checked("z", z, (DIMENSION, V))
        if out is None:
            sizes = [(N, V), (V,), (DIMENSION, V), (PACKED, V)]
            out = Products(*[np.empty(size, np.float32) for size in sizes])
        self._run("ep_products", V, N, tensor_table(b, bvecs), y, sigma, z, *out)
        return out

    def _run(self, function: str, voxels: int, *arguments: int | float | NDArray[np.floating] | None) -> None:
        status = getattr(_library(), function)(
            self.isa.encode(),
            self.threads,
            voxels,
            *[a.ctypes.data if isinstance(a, np.ndarray) else a for a in arguments],
        )
        if status == _OUT_OF_MEMORY:
            raise MemoryError(f"{function}: no room for a tile of the measurements")


class HostScan:
    """A scan in the memory where it is anyway; a `backend.Held`."""

    def __init__(self, backend: HostBackend, y: Array, b: Array, bvecs: Array, sigma: Array) -> None:
        self.backend = backend
        self._scan = (y, b, bvecs, sigma)

    def summarise(self) -> Summary:
        """See `Backend.summarise`."""
        return self.backend.summarise(*self._scan)

    def adapt(self, mean: Array, precision_factor: Array, nu: float) -> Outcome:
        """See `backend.Held.adapt`."""
        p = self.backend.adapt(*self._scan, mean, precision_factor, nu)
        moments = self.backend.moments(p.mode, p.factor)
        y, b, bvecs, sigma = self._scan

        def again(v: Voxels) -> Exact:
            of_v = (y[:, v], b, bvecs, sigma[v], mean[:, v], precision_factor[:, v])
            return self.backend.adapt_in_float64(*of_v, nu)

        return settled(Outcome(p.mode, p.residual, p.distance, p.share, moments), again)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        pass
