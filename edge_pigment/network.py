"""Where the network runs: chosen by name, told in the provenance, and never changed silently.

`cpu`, `ort-cuda` and `ort-tensorrt` are ONNX Runtime's providers; `tensorrt` is an engine that `edge-pigment build`
made on this machine. `auto` is an engine where the kernels run on a GPU and one was built, else the CPU.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_pigment import errors as texts
from edge_pigment.errors import DeviceError, InputError
from edge_pigment.physics.backend import Array, Backend, Held, Outcome
from edge_pigment.physics.cuda import CudaBackend
from edge_pigment.physics.fallback import FallbackBackend
from edge_pigment.physics.gpu import open_gpu
from edge_pigment.physics.host import HostBackend
from edge_pigment.prior import engine
from edge_pigment.prior.bundle import Bundle
from edge_pigment.prior.context import PROVIDERS, ContextSession, Network, Revise
from edge_pigment.prior.runner import EngineNetwork, Runner

NETWORKS = ("auto", *PROVIDERS, "tensorrt")


@dataclass(frozen=True)
class Built:
    """An engine that was built, tried and stored: its entry in the cache, bytes, and what its maps differ by."""

    entry: Path
    size: int
    key: engine.EngineKey
    errors: dict[str, float]


class NetworkWithFallback(Network):
    """`first` until it fails, `second` from then on; `failure` says of what it failed, and is empty before."""

    def __init__(self, first: Network, second: Network) -> None:
        self._first, self._second = first, second
        self.reach = first.reach
        self.failure = ""

    @property
    def device(self) -> str:  # type: ignore[override]
        """What computes or, where it changed, what did and what does."""
        if self.failure:
            return f"{self._first.device}, and after it failed {self._second.device}"
        return self._first.device

    def run_slices(self, features: Array) -> tuple[Array, Array]:
        """See `Network.run_slices`."""
        if not self.failure:
            try:
                return self._first.run_slices(features)
            except DeviceError as error:
                self.failure = str(error)
        return self._second.run_slices(features)

    def adapt_in_place(self, held: Held, mask: NDArray[np.bool_], nu: float, revise: Revise) -> Outcome | None:
        """See `Network.adapt_in_place`."""
        if not self.failure:
            try:
                return self._first.adapt_in_place(held, mask, nu, revise)
            except DeviceError as error:
                self.failure = str(error)
        return None


def open_network(
    bundle: Bundle,
    network: str = "auto",
    flavour: str = "fp32",
    threads: int | None = None,
    backend: Backend | None = None,
    build: bool = False,
    tell: Callable[[str], None] = lambda text: None,
) -> tuple[Network, list[str]]:
    """The network of a bundle where it was asked for.

    Args:
        bundle: opened, so checked.
        network: one of NETWORKS.
        flavour: of the bundle.
        threads: of the CPU.
        backend: what runs the kernels; decides what `auto` is.
        build: build an engine if none fits; without it, none ever is.
        tell: called before minutes are spent building.

    Returns:
        the network, and what the user should know.

    Raises:
        InputError: no such network.
        BundleError: the bundle lacks the flavour.
        DeviceError: what was asked for does not work here; nothing else is taken in its place.
    """
    if network not in NETWORKS:
        raise InputError(texts.NETWORK_UNKNOWN.format(network=network, known=", ".join(NETWORKS)))
    if network in PROVIDERS:
        return ContextSession(bundle, threads, flavour, network), []
    if network == "tensorrt" or build:
        return open_engine(bundle, flavour, build, tell), []
    on_cpu = ContextSession(bundle, threads, flavour)
    running = backend.now if isinstance(backend, FallbackBackend) else backend
    if not isinstance(running, CudaBackend):
        return on_cpu, []
    try:
        on_gpu = open_engine(bundle, flavour)
    except DeviceError as error:
        return on_cpu, [texts.NETWORK_ON_CPU.format(why=error)]
    return NetworkWithFallback(on_gpu, on_cpu), []


def open_engine(
    bundle: Bundle, flavour: str, build: bool = False, tell: Callable[[str], None] = lambda text: None
) -> EngineNetwork:
    """The engine of a flavour from the cache, built first if that is allowed and needed.

    Raises:
        BundleError: the bundle lacks the flavour.
        DeviceError: no TensorRT, PyCUDA or GPU, or no engine that fits; the message names the command that builds one.
    """
    trt = engine.load_tensorrt()
    key = engine.key_here(bundle, flavour, trt)
    try:
        plan = engine.find(key)
    except DeviceError:
        if not build:
            raise
        tell(_building(key))
        build_engine(bundle, flavour)
        plan = engine.find(key)
    return _network(plan, trt, key, bundle)


def build_engine(bundle: Bundle, flavour: str, tell: Callable[[str], None] = lambda text: None) -> Built:
    """Build an engine for this GPU, try it on a simulated scan, and store it if its maps are ONNX Runtime's.

    Raises:
        BundleError: the bundle lacks the flavour.
        DeviceError: it cannot be built or run here, or its maps differ; nothing is stored then.
    """
    from edge_pigment.agreement import exceeded

    trt = engine.load_tensorrt()
    key = engine.key_here(bundle, flavour, trt)
    tell(_building(key))
    plan = engine.serialise(bundle.model(flavour).read_bytes(), trt, key.profile)
    errors = compare(_network(plan, trt, key, bundle), ContextSession(bundle, None, flavour), bundle.manifest.nu)
    if wrong := exceeded(errors):
        found = ", ".join(f"{kind} {errors[kind]:.3g}" for kind in wrong)
        raise DeviceError(texts.ENGINE_WRONG.format(made=engine.words(key), found=found))
    return Built(engine.store(key, plan), len(plan), key, errors)


def compare(network: Network, reference: Network, nu: float) -> dict[str, float]:
    """What the maps of a trial scan differ by, in the terms of `agreement.LIMITS`."""
    # simulation is not needed to run a scan, and takes its time to import
    from edge_pigment.agreement import difference, maps_of, trial

    scan, backend = trial(), HostBackend(None)
    expected, found = (maps_of(scan, backend, n, nu) for n in (reference, network))
    return difference(scan, expected, found)


def _network(plan: bytes, trt: Any, key: engine.EngineKey, bundle: Bundle) -> EngineNetwork:
    gpu = open_gpu()
    with gpu.current():
        return EngineNetwork(Runner(plan, trt, key), gpu, bundle.manifest.reach)


def _building(key: engine.EngineKey) -> str:
    return f"{engine.words(key)}; this can take minutes"
