"""A TensorRT engine at work, on the stream and in the memory of the CUDA kernels (`physics.cuda`).

Where a scan lies on the GPU as a whole, kernels make the network's input there and take its outputs. Between the
network and the adaptation the priors visit the host, where it is decided in which voxels they step back (`innovation`).

Calls are those that TensorRT 10.3 and 11 share: `deserialize_cuda_engine`, `set_input_shape`, `set_tensor_address`,
`execute_async_v3`.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_pigment import errors as texts
from edge_pigment.boxes import bounding_box
from edge_pigment.errors import DeviceError
from edge_pigment.physics.adaptation import PACKED
from edge_pigment.physics.backend import Array, Held, Outcome
from edge_pigment.physics.cuda import DeviceScan
from edge_pigment.physics.fallback import HeldWithFallback
from edge_pigment.physics.gpu import FLOAT, Gpu
from edge_pigment.physics.tensor import DIMENSION
from edge_pigment.prior.context import INPUT, OUTPUTS, Network, Revise
from edge_pigment.prior.engine import EngineKey, command, words
from edge_pigment.prior.features import CHANNELS

Shape = tuple[int, int, int, int]


class Runner:
    """An engine, ready to run on device memory.

    Args:
        plan: the engine, as TensorRT serialised it.
        trt: the `tensorrt` module.
        key: what the engine was built for.

    Raises:
        DeviceError: TensorRT does not load it, or it is not that of the context prior; the message names the command
            that builds it anew.
    """

    def __init__(self, plan: bytes, trt: Any, key: EngineKey) -> None:
        self.key = key
        # kept: an engine lives no longer than the runtime and the logger that it came from
        self._logger = trt.Logger(trt.Logger.ERROR)
        self._runtime = trt.Runtime(self._logger)
        self._engine = self._runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            raise DeviceError(self._unfit(f"TensorRT {trt.__version__} does not load it"))
        names = {self._engine.get_tensor_name(i) for i in range(self._engine.num_io_tensors)}
        if names != {INPUT, *OUTPUTS}:
            raise DeviceError(self._unfit(f"its inputs and outputs are {', '.join(sorted(names))}"))
        self._context = self._engine.create_execution_context()
        if self._context is None:
            raise DeviceError(self._unfit("there is no memory for its activations"))
        self._largest = tuple(int(n) for n in tuple(self._engine.get_tensor_profile_shape(INPUT, 0))[2])

    @property
    def most_slices(self) -> int:
        """That go through the network at once."""
        return int(self._largest[0])

    def _unfit(self, why: str) -> str:
        return texts.ENGINE_UNFIT.format(made=words(self.key), why=why, command=command(self.key.precision))

    def infer(self, features: int, shape: Shape, mean: int, factor: int, stream: int) -> None:
        """Start the network on device memory; asynchronous.

        Args:
            features: address of (B, 45, Y, X) float32.
            shape: (B, 45, Y, X).
            mean: address of (B, 7, Y, X) float32, which is written.
            factor: address of (B, 28, Y, X) float32, which is written.
            stream: handle of a CUDA stream (a cudaStream_t).

        Raises:
            DeviceError: the engine was not built for the shape, or does not start.
        """
        if any(n > most for n, most in zip(shape, self._largest, strict=True)):
            raise DeviceError(texts.ENGINE_SHAPE.format(shape=shape, largest=self._largest))
        context = self._context
        fine = context.set_input_shape(INPUT, shape)
        for name, address in zip((INPUT, *OUTPUTS), (features, mean, factor), strict=True):
            fine = fine and context.set_tensor_address(name, address)
        if not (fine and context.execute_async_v3(stream)):
            raise DeviceError(self._unfit(f"it does not run on {shape}"))


class EngineNetwork(Network):
    """The context prior in TensorRT: between the kernels on the GPU, or from and to the host.

    Args:
        runner: the engine.
        gpu: whose memory and stream are used.
        reach: of the bundle's manifest.
    """

    def __init__(self, runner: Runner, gpu: Gpu, reach: int | None = None) -> None:
        self.runner, self.gpu, self.reach = runner, gpu, reach
        self._memory: Any = None
        self._bytes = 0
        self.device = f"{words(runner.key)}, on {gpu.name}"

    def run_slices(self, features: Array) -> tuple[Array, Array]:
        """(B, 45, Y, X) -> mean (B, 7, Y, X) and packed precision factor (B, 28, Y, X)."""
        features = np.ascontiguousarray(features, np.float32)
        B, _, Y, X = features.shape
        voxels = B * Y * X
        mean, factor = (self.gpu.empty((B, rows, Y, X)) for rows in (DIMENSION, PACKED))
        with self.gpu.current():
            at = self._room(FLOAT * voxels * (CHANNELS + DIMENSION + PACKED))
            at_mean = at + FLOAT * voxels * CHANNELS
            at_factor = at_mean + FLOAT * voxels * DIMENSION
            driver, stream = self.gpu.driver, self.gpu.stream
            driver.memcpy_htod_async(at, features, stream)
            self.runner.infer(at, features.shape, at_mean, at_factor, int(stream.handle))
            driver.memcpy_dtoh_async(mean, at_mean, stream)
            driver.memcpy_dtoh_async(factor, at_factor, stream)
            self.gpu.synchronise()
        return mean, factor

    def adapt_in_place(self, held: Held, mask: NDArray[np.bool_], nu: float, revise: Revise) -> Outcome | None:
        """See `Network.adapt_in_place`."""
        scan = held.now if isinstance(held, HeldWithFallback) else held
        if not (isinstance(scan, DeviceScan) and scan.resident and scan.gpu is self.gpu):
            return None
        mask = mask[bounding_box(mask)]
        where = np.full(mask.shape, -1, np.int32)
        where[mask] = np.arange(scan.V, dtype=np.int32)
        Z, Y, X = (int(n) for n in mask.shape)
        plane, most = Y * X, min(Z, self.runner.most_slices)
        # the numbers of the voxels, the whole input, and the outputs of as many slices as go through at once
        sizes = [FLOAT * plane * n for n in (Z, Z * CHANNELS, most * DIMENSION, most * PACKED)]
        if sum(sizes) - self._bytes > self.gpu.budget():
            return None
        with self.gpu.current():
            numbers = self._room(sum(sizes))
            stack, mean, factor = (numbers + sum(sizes[:n]) for n in (1, 2, 3))
            self.gpu.driver.memcpy_htod_async(numbers, where, self.gpu.stream)
            scan.start_features(numbers, (Z, Y, X), stack)
            for first in range(0, Z, most):
                B = min(most, Z - first)
                features = stack + FLOAT * plane * CHANNELS * first
                self.runner.infer(features, (B, CHANNELS, Y, X), mean, factor, int(self.gpu.stream.handle))
                scan.start_gather(numbers + FLOAT * plane * first, (B, Y, X), mean, factor)
        scan.replace_factor(revise(*scan.prior()))
        return scan.finish_adapt(nu)

    def _room(self, size: int) -> int:
        """Address of device memory of at least this many bytes, which later calls use again."""
        if size > self._bytes:
            if self._memory is not None:
                self._memory.free()
            self._memory = self.gpu.driver.mem_alloc(size)
            self._bytes = size
        return int(self._memory)
