"""The kernels on a GPU: PyCUDA around the fatbins that `fatbin.py` compiles from `kernels/`.

`CudaBackend` is a `backend.Backend`; its arrays are on the host, and each call copies what it needs. A scan goes
through `hold`, which takes the measurements up once and brings back only what maps are made of. What does not fit
into the GPU's memory is computed slab by slab, with the same result, since voxels are independent.

Pointers for others (TensorRT, CuPy, torch) in the same process, all float32 on the primary context:

    with backend.hold(y, b, bvecs, sigma) as scan:      # a DeviceScan
        if scan.resident:                               # the whole scan is on the GPU
            scan.start_summarise()                      # asynchronous, on backend.gpu.stream
            scan.start_features(where, shape, stack)    # the network's input; or scan.pointer("theta"), ("sd")
            ...                                         # the network, from `stack` to `mean` and `factor`
            scan.start_gather(where, shape, mean, factor)
            outcome = scan.finish_adapt(nu)             # waits; only the outcome comes back

Work of others must be on `backend.gpu.stream` (its `handle` is a cudaStream_t) or be waited for.
"""

import contextlib
import math
import struct
from collections.abc import Callable
from typing import Final, Self

import numpy as np

from edge_pigment import errors as texts
from edge_pigment.errors import DeviceError
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
from edge_pigment.physics.gpu import Arena, Gpu, open_gpu, slab_size, slabs
from edge_pigment.physics.host import HostBackend
from edge_pigment.physics.moments import COLUMNS
from edge_pigment.physics.protocol import summary_basis, tensor_table
from edge_pigment.physics.tensor import DIMENSION

SUMMARY: Final = {"theta": DIMENSION, "sd": DIMENSION}
PRIOR: Final = {"mean": DIMENSION, "factor": PACKED}
TAKEN: Final = 2**16
"""Voxels whose priors are fetched from the GPU at a time, where float32 does not decide: a small part of HEADROOM."""
POSTERIOR: Final = {"mode": DIMENSION, "posterior_factor": PACKED, "residual": 1, "distance": 1, "share": 2}
MOMENTS: Final = {"moments": len(COLUMNS)}
_TOLERANCE: Final = 1e-3
"""For the first voxels of a GPU beside the CPU's; ten times what rounding does to them."""


def _rows(*fields: dict[str, int]) -> dict[str, int]:
    return {name: rows for field in fields for name, rows in field.items()}


class DeviceScan:
    """A scan's measurements on the GPU, or as many slabs as they have to be cut into; a `backend.Held`.

    Args:
        gpu: where.
        y, b, bvecs, sigma: as `backend.Backend.summarise` takes them.
        memory: bytes that may be taken at most; None: what the GPU has to spare.
        iterations: trial points per voxel at most.

    Raises:
        DeviceError: from every method, if the GPU fails.
    """

    def __init__(
        self,
        gpu: Gpu,
        y: Array,
        b: Array,
        bvecs: Array,
        sigma: Array,
        memory: int | None = None,
        iterations: int = ITERATIONS,
    ) -> None:
        self.gpu = gpu
        self.y, self.b, self.bvecs, self.sigma = checked_measurements(y, b, bvecs, sigma)
        self.iterations = iterations
        self.N, self.V = self.y.shape
        self._protocol = summary_basis(self.b, self.bvecs).packed
        self._table = tensor_table(self.b, self.bvecs)
        extra = self._protocol.size + self._table.size
        fields = _rows({"y": self.N, "sigma": 1}, SUMMARY, PRIOR, POSTERIOR, MOMENTS)
        self.size = slab_size(gpu, self.V, sum(fields.values()), extra, memory)
        self._arena = Arena(gpu, self.size, fields, extra)
        self._protocols = np.concatenate([self._protocol, self._table.ravel()])
        with gpu.current():
            gpu.driver.memcpy_htod_async(self._arena.extra, self._protocols, gpu.stream)
            if self.resident:
                self._upload_measurements(0, self.V)

    @property
    def resident(self) -> bool:
        """Whether the whole scan is on the GPU."""
        return self.size >= self.V

    def pointer(self, name: str) -> int:
        """Device address of a field: y, sigma, or a key of SUMMARY, PRIOR, POSTERIOR or MOMENTS; (rows, V)."""
        return self._arena.pointer(name)

    def start_summarise(self) -> None:
        """Compute theta and sd of a resident scan; asynchronous."""
        with self.gpu.current():
            self._summarise(self.V)

    def finish_adapt(self, nu: float) -> Outcome:
        """Adapt a resident scan to the prior that lies at "mean" and "factor"; see `backend.Held.adapt`."""
        outcome = self._outcome()
        with self.gpu.current():
            self._adapt(self.V, nu)
            self._moments(self.V)
            self._download(outcome, 0, self.V)
            self.gpu.synchronise()
        return self._settled(outcome, self._fetch_prior, nu)

    def start_adapt(self, nu: float) -> None:
        """Adapt a resident scan; asynchronous, the posterior stays where it is."""
        with self.gpu.current():
            self._adapt(self.V, nu)

    def start_moments(self) -> None:
        """Integrate the moments of a resident posterior; asynchronous."""
        with self.gpu.current():
            self._moments(self.V)

    def start_features(self, where: int, shape: tuple[int, int, int], stack: int) -> None:
        """Write the network's input of a resident, summarised scan; asynchronous.

        Args:
            where: device address of (Z, Y, X) int32, the number of each voxel, -1 outside the mask.
            shape: (Z, Y, X).
            stack: device address of (Z, 45, Y, X) float32, all of which is written: see `prior.features`.
        """
        pointers = [where, *self._pointers("theta", "sd"), stack]
        with self.gpu.current():
            self.gpu.launch("features", math.prod(shape), struct.pack("@l3i4P", self.V, *shape, *pointers))

    def start_gather(self, where: int, shape: tuple[int, int, int], mean: int, factor: int) -> None:
        """Take the network's outputs for some slices as the prior of their voxels; asynchronous.

        Args:
            where: device address of (B, Y, X) int32, as in `start_features`, of the B slices.
            shape: (B, Y, X).
            mean: device address of (B, 7, Y, X) float32.
            factor: device address of (B, 28, Y, X) float32.
        """
        pointers = [where, mean, factor, *self._pointers("mean", "factor")]
        with self.gpu.current():
            self.gpu.launch("features_gather", math.prod(shape), struct.pack("@l3i5P", self.V, *shape, *pointers))

    def prior(self) -> tuple[Array, Array]:
        """Mean (7, V) and factor (28, V) of a resident scan, fetched from the GPU."""
        found = {name: self.gpu.empty((rows, self.V)) for name, rows in PRIOR.items()}
        with self.gpu.current():
            self._download(found, 0, self.V)
            self.gpu.synchronise()
        return found["mean"], found["factor"]

    def replace_factor(self, factor: Array) -> None:
        """Put another factor (28, V) in the place of a resident scan's."""
        with self.gpu.current():
            self._arena.upload("factor", checked("factor", factor, (PACKED, self.V)), 0, self.V)
            self.gpu.synchronise()  # the array may be gone before an asynchronous copy is done

    def summarise(self) -> Summary:
        """See `backend.Backend.summarise`."""
        summary = Summary(*[self.gpu.empty((rows, self.V)) for rows in SUMMARY.values()])
        with self.gpu.current():
            for first, last in slabs(self.V, self.size):
                if not self.resident:
                    self._upload_measurements(first, last)
                self._summarise(last - first)
                self._download(summary._asdict(), first, last)
            self.gpu.synchronise()
        return summary

    def adapt(self, mean: Array, precision_factor: Array, nu: float) -> Outcome:
        """See `backend.Held.adapt`."""
        if not 0 < nu < np.inf:
            raise ValueError(f"nu: {nu}, expected a positive number")
        mean, factor = checked("mean", mean, (DIMENSION, self.V)), checked("factor", precision_factor, (PACKED, self.V))
        outcome = self._outcome()
        self._adapt_to(mean, factor, nu, outcome)
        return self._settled(outcome, lambda v: (mean[:, v], factor[:, v]), nu)

    def posterior(self, mean: Array, precision_factor: Array, nu: float) -> Posterior:
        """All of the posterior, as `backend.Backend.adapt` gives it."""
        mean, factor = checked_prior(mean, precision_factor, nu, self.V)
        shapes = [(rows, self.V) if rows > 1 else (self.V,) for rows in POSTERIOR.values()]
        found = Posterior(*[self.gpu.empty(shape) for shape in shapes])
        self._adapt_to(mean, factor, nu, dict(zip(POSTERIOR, found, strict=True)))
        return found

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        try:
            self._arena.free()
        except DeviceError:
            if not any(raised):  # else the error that broke the GPU is on its way
                raise

    def _outcome(self) -> dict[str, Array]:
        rows = {"mode": (DIMENSION,), "residual": (), "distance": (), "share": (2,), "moments": (len(COLUMNS),)}
        return {name: self.gpu.empty((*shape, self.V)) for name, shape in rows.items()}

    def _settled(
        self, found: dict[str, Array], prior_of: Callable[[Voxels], tuple[Array, Array]], nu: float
    ) -> Outcome:
        """What the GPU found, and in float64 what it could not decide: that is done on the CPU, by all its cores."""
        _refuse_marked(found["residual"])

        def again(v: Voxels) -> Exact:
            of_v = (self.y[:, v], self.b, self.bvecs, self.sigma[v], *prior_of(v))
            return HostBackend().adapt_in_float64(*of_v, nu, self.iterations)

        mode, residual, distance, share, maps = found.values()
        return settled(Outcome(mode, residual, distance, share, maps), again)

    def _fetch_prior(self, voxels: Voxels) -> tuple[Array, Array]:
        """Mean and factor of some voxels of a resident scan, which lie on the GPU."""
        prior = np.empty((DIMENSION + PACKED, len(voxels)), np.float32)
        arena = Arena(self.gpu, min(len(voxels), TAKEN), {"voxels": 1, "taken": len(prior)})
        try:
            with self.gpu.current():
                for first, last in slabs(len(voxels), TAKEN):
                    numbers = np.ascontiguousarray(voxels[first:last], np.int32)
                    arena.upload("voxels", numbers.view(np.float32), 0, len(numbers))
                    pointers = [arena.pointer("voxels"), *self._pointers("mean", "factor"), arena.pointer("taken")]
                    task = struct.pack("@li4P", self.V, len(numbers), *pointers)
                    self.gpu.launch("features_take", len(numbers), task)
                    arena.download("taken", prior, first, last)
                    self.gpu.synchronise()
        finally:
            with contextlib.suppress(DeviceError):
                arena.free()
        return prior[:DIMENSION], prior[DIMENSION:]

    def _adapt_to(self, mean: Array, factor: Array, nu: float, targets: dict[str, Array]) -> None:
        with self.gpu.current():
            for first, last in slabs(self.V, self.size):
                if not self.resident:
                    self._upload_measurements(first, last)
                self._arena.upload("mean", mean, first, last)
                self._arena.upload("factor", factor, first, last)
                self._adapt(last - first, nu)
                self._moments(last - first)
                self._download(targets, first, last)
            self.gpu.synchronise()

    def _upload_measurements(self, first: int, last: int) -> None:
        self._arena.upload("y", self.y, first, last)
        self._arena.upload("sigma", self.sigma, first, last)

    def _download(self, targets: dict[str, Array], first: int, last: int) -> None:
        for name, target in targets.items():
            self._arena.download(name, target, first, last)

    def _pointers(self, *names: str) -> list[int]:
        return [self._arena.pointer(name) for name in names]

    def _summarise(self, voxels: int) -> None:
        kernel = "summarise" if self.gpu.set_protocol("summarise", self._protocol) else "summarise_long"
        pointers = [self._arena.extra, *self._pointers("y", "sigma", "theta", "sd")]
        self.gpu.launch(kernel, voxels, struct.pack("@li5P", voxels, self.N, *pointers))

    def _adapt(self, voxels: int, nu: float) -> None:
        kernel = "adapt" if self.gpu.set_protocol("adapt", self._table) else "adapt_long"
        table = self._arena.extra + self._protocol.nbytes
        pointers = [table, *self._pointers("y", "sigma", "mean", "factor", *POSTERIOR)]
        task = struct.pack("@liif10P", voxels, self.N, self.iterations, nu, *pointers)
        self.gpu.launch(kernel, voxels, task)

    def _moments(self, voxels: int) -> None:
        moments = self._pointers("mode", "posterior_factor", "moments")
        self.gpu.launch("moments", voxels, struct.pack("@l3P", voxels, *moments))


def _refuse_marked(residual: Array) -> None:
    """The kernel marks voxels of a prior that is not finite: to look at every prior here would take longer."""
    if np.isnan(residual).any():
        raise ValueError("mean or precision_factor: not finite")


class CudaBackend:
    """The kernels on a GPU; implements `backend.Backend`.

    Args:
        index: number of the GPU.
        memory: bytes that may be taken at most; None: what the GPU has to spare.

    Raises:
        DeviceError: the GPU cannot be used, or fails; the message is the reason, for errors.CUDA_UNAVAILABLE.
    """

    def __init__(self, index: int = 0, memory: int | None = None) -> None:
        self.gpu = open_gpu(index)
        self._memory = memory

    @property
    def name(self) -> str:
        """'cuda (NVIDIA H100, sm_90)'."""
        return f"cuda ({self.gpu.name})"

    def empty(self, shape: tuple[int, ...]) -> Array:
        """Pinned memory, where that is wise."""
        return self.gpu.empty(shape)

    def hold(self, y: Array, b: Array, bvecs: Array, sigma: Array) -> DeviceScan:
        """Take a scan to the GPU."""
        return DeviceScan(self.gpu, y, b, bvecs, sigma, self._memory)

    def summarise(self, y: Array, b: Array, bvecs: Array, sigma: Array) -> Summary:
        """y (N, V), b (N,) in ms/µm², bvecs (N, 3), sigma (V,): see `physics.summarise`."""
        with self.hold(y, b, bvecs, sigma) as scan:
            return scan.summarise()

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
        with DeviceScan(self.gpu, y, b, bvecs, sigma, self._memory, iterations) as scan:
            return scan.posterior(mean, precision_factor, nu)

    def moments(self, mode: Array, factor: Array) -> Array:
        """(20, V), rows in the order of `physics.moments.COLUMNS`."""
        V = np.shape(mode)[-1]
        mode, factor = checked("mode", mode, (DIMENSION, V)), checked("factor", factor, (PACKED, V))
        out = self.gpu.empty((len(COLUMNS), V))
        fields = {"mode": DIMENSION, "factor": PACKED, **MOMENTS}
        size = slab_size(self.gpu, V, sum(fields.values()), 0, self._memory)
        arena = Arena(self.gpu, size, fields)
        try:
            self._moments(arena, mode, factor, out)
        finally:
            with contextlib.suppress(DeviceError):
                arena.free()
        return out

    def _moments(self, arena: Arena, mode: Array, factor: Array, out: Array) -> None:
        with self.gpu.current():
            for first, last in slabs(out.shape[1], arena.capacity):
                arena.upload("mode", mode, first, last)
                arena.upload("factor", factor, first, last)
                pointers = [arena.pointer(name) for name in ("mode", "factor", "moments")]
                self.gpu.launch("moments", last - first, struct.pack("@l3P", last - first, *pointers))
                arena.download("moments", out, first, last)
            self.gpu.synchronise()

    def verify(self) -> None:
        """Compute a few voxels here and on the CPU.

        Raises:
            DeviceError: the GPU fails, or the results differ.
        """
        V, b = 256, np.array([0.0, *[1.0] * 6], np.float32)
        bvecs = np.array([[0, 0, 0], [1, 0, 1], [-1, 0, 1], [0, 1, 1], [0, 1, -1], [1, 1, 0], [-1, 1, 0]]) / np.sqrt(2)
        fade = np.linspace(0.3, 1.0, V, dtype=np.float32)
        y = np.stack([np.ones(V, np.float32), *[fade ** (1 + 0.1 * n) for n in range(6)]])
        scan = (y, b, bvecs.astype(np.float32), np.full(V, 0.05, np.float32))
        mean = np.repeat(np.array([[0, 0.8, 0.8, 0.8, 0, 0, 0]], np.float32).T, V, axis=1)
        factor = np.zeros((PACKED, V), np.float32)
        factor[[row * (row + 3) // 2 for row in range(DIMENSION)]] = 5
        with self.hold(*scan) as ours, HostBackend(1).hold(*scan) as theirs:
            _compare(ours.summarise(), theirs.summarise())
            try:
                found = ours.adapt(mean, factor, 8.0)
            except ValueError as error:  # this prior is finite
                raise DeviceError(texts.CUDA_WRONG.format(what="residual", error=np.nan)) from error
            _compare(found, theirs.adapt(mean, factor, 8.0))


def _compare(ours: Summary | Outcome, theirs: Summary | Outcome) -> None:
    for what in (name for name in ours._fields if name != "exact"):
        error = float(np.max(np.abs(getattr(ours, what) - getattr(theirs, what))))
        if not error < _TOLERANCE:
            raise DeviceError(texts.CUDA_WRONG.format(what=what, error=error))
