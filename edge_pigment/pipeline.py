"""A scan in, maps out: the one function that the command line, the demo and the benchmarks call."""

import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_pigment import __version__
from edge_pigment import errors as texts
from edge_pigment.acquisition import Acquisition
from edge_pigment.adapt import adapt, gather
from edge_pigment.alteration import Alteration
from edge_pigment.brainmask import brain_mask
from edge_pigment.errors import DeviceError, InputError
from edge_pigment.findings import CARE, Finding
from edge_pigment.maps import to_image, voxel_maps, with_altered
from edge_pigment.network import NetworkWithFallback, open_network
from edge_pigment.noise.measure import measure_noise
from edge_pigment.physics.backend import Backend
from edge_pigment.physics.cuda import CudaBackend
from edge_pigment.physics.fallback import FallbackBackend
from edge_pigment.physics.host import HostBackend
from edge_pigment.prior.bundle import Bundle, load_bundle
from edge_pigment.prior.context import Network
from edge_pigment.quality import assess
from edge_pigment.quality.frame import check_frame
from edge_pigment.quality.residuals import misfit_of, residual_z
from edge_pigment.reading.masks import read_mask
from edge_pigment.screening import screen
from edge_pigment.trust import NOVEL

STEPS = ("mask", "noise", "summarise", "context prior", "adapt", "maps", "quality")
"""In order; `progress` is called with each when it starts, and on the way through the context prior."""
SIGMA_RANGE = (1e-20, 1e20)
"""In which σ over any signal is a number in float32, too."""
_WEIGHTS = (0.05, 0.08, 0.05, 0.57, 0.18, 0.04, 0.03)
"""Rough shares of the time, for progress bars only."""


@dataclass(frozen=True)
class RunOptions:
    """What a user may choose; None means: found from the scan, or the shipped bundle, or every core."""

    mask: Path | None = None
    sigma: float | None = None
    b0_threshold: float | None = None
    """s/mm², the largest b that counts as b=0; None: 50, or more where no volume is below."""
    bundle: Path | None = None
    device: str = "auto"
    threads: int | None = None
    precision: str = "fp32"
    """Flavour of the bundle's network: fp32, fp16, int8-cpu or int8-trt, as far as the bundle has them."""
    network: str = "auto"
    """Where the network runs: one of `network.NETWORKS`."""
    build_engine: bool = False
    """Build a TensorRT engine if none fits; without it, none ever is."""
    dry_run: bool = False
    """End with what can refuse or warn, before the maps, of which there are none then."""
    public_key: Path | None = None
    """Ed25519 key that must have signed the bundle; None: not checked."""


@dataclass(frozen=True, eq=False)
class Result:
    """Maps by name, (X, Y, Z) or (X, Y, Z, K) float32, 0 outside the mask; see `maps` for units and frame."""

    maps: dict[str, NDArray[np.float32]]
    mask: NDArray[np.bool_]
    affine: NDArray[np.float64]
    header: Any
    provenance: dict[str, Any]
    warnings: tuple[str, ...] = field(default=())


@dataclass(frozen=True, eq=False)
class Tools:
    """What computes: kernels, bundle, network, and what the user should know of them."""

    backend: Backend
    bundle: Bundle
    network: Network
    notes: tuple[str, ...] = ()
    alteration: Alteration | None = None


def open_tools(options: RunOptions) -> Tools:
    """Open what a run needs besides the scan; who runs again and again keeps it.

    Raises:
        InputError, BundleError, DeviceError: as `run`.
    """
    backend = choose_backend(options.device, options.threads)
    bundle = load_bundle(options.bundle, options.public_key)
    network, notes = open_network(
        bundle, options.network, options.precision, options.threads, backend, options.build_engine
    )
    return Tools(backend, bundle, network, tuple(notes), bundle.alteration())


def choose_backend(device: str, threads: int | None) -> Backend:
    """The kernels' backend: `cpu`; `cuda`; or `auto`, a GPU if it works, the CPU if not or when it fails.

    Raises:
        InputError: no such device.
        DeviceError: `cuda` was asked for and does not work here; nothing else is taken instead.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise InputError(texts.DEVICE_UNKNOWN.format(device=device))
    if device == "cpu":
        return HostBackend(threads)
    try:
        gpu = CudaBackend()
        gpu.verify()
    except DeviceError as error:
        if device == "cuda":
            raise DeviceError(texts.CUDA_UNAVAILABLE.format(why=error)) from error
        return FallbackBackend(None, HostBackend(threads), str(error))
    return gpu if device == "cuda" else FallbackBackend(gpu, HostBackend(threads))


def describe_protocol(acquisition: Acquisition) -> dict[str, Any]:
    """A scan's protocol as provenance, pictures and plans tell it."""
    table = acquisition.gradients
    return {
        "Volumes": len(table),
        "B0Threshold": table.b0_threshold,
        "Shells": [{"b": float(shell.bval), "Volumes": len(shell.indices)} for shell in table.shells],
        "BVals": [round(float(b), 1) for b in table.bvals],
        "Directions": [[round(float(v), 4) for v in g] for g in table.bvecs],
        "VoxelSize": [round(float(v), 4) for v in acquisition.voxel_size],
        "Shape": [int(n) for n in acquisition.signal.shape[:3]],
    }


class _Steps:
    """Times the steps of a run, and tells who wants to know how far it is."""

    def __init__(self, progress: Callable[[str, float], None] | None) -> None:
        self._progress = progress
        self._began = time.perf_counter()
        self.seconds: dict[str, float] = {}

    def tell(self, name: str, share: float = 0.0) -> None:
        if self._progress:
            number = STEPS.index(name)
            self._progress(name, sum(_WEIGHTS[:number]) + share * _WEIGHTS[number])

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        if name in STEPS:
            self.tell(name)
        began = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - began

    def finish(self) -> dict[str, float]:
        return {k: round(v, 4) for k, v in (self.seconds | {"total": time.perf_counter() - self._began}).items()}


def _find_mask(acquisition: Acquisition, path: Path | None) -> tuple[NDArray[np.bool_], tuple[str, ...]]:
    """The voxels to be computed, (X, Y, Z), and warnings about them."""
    b0 = acquisition.mean_b0
    if path is None:
        mask, warnings = brain_mask(b0, acquisition.mean_dwi, acquisition.voxel_size)
    else:
        mask, warnings = read_mask(path, acquisition)
    mask = mask & (b0 > 0)
    if not mask.any():
        raise InputError(texts.NO_BRAIN if path is None else texts.MASK_EMPTY.format(path=path))
    return mask, warnings


def _describe_device(options: RunOptions, backend: Backend, session: Network) -> dict[str, str]:
    """What computed, and why not the GPU where one was wanted."""
    device = {"Asked": options.device, "Kernels": backend.name, "Network": session.device}
    if isinstance(backend, FallbackBackend) and backend.failure:
        device["GPU"] = f"{'failed' if backend.failed_midway else 'not used'}: {backend.failure}"
    return device


def run(
    acquisition: Acquisition,
    options: RunOptions | None = None,
    progress: Callable[[str, float], None] | None = None,
    tools: Tools | None = None,
) -> Result:
    """Turn a scan into tensor maps with uncertainty.

    Args:
        acquisition: the scan.
        options: see `RunOptions`.
        progress: called with the name of each step and the share of the work done, when it starts and, in the
            context prior, as it goes.
        tools: opened with the same options; by default they are opened for this run.

    Raises:
        InputError: an option does not fit the scan.
        BundleError: the bundle is damaged or not for this version.
        DeviceError: the device asked for does not work here, or failed; with `auto` the CPU finishes instead.
    """
    options = options or RunOptions()
    steps = _Steps(progress)
    warnings = list(acquisition.warnings)
    if options.sigma is not None and not SIGMA_RANGE[0] <= options.sigma <= SIGMA_RANGE[1]:
        raise InputError(texts.SIGMA_NOT_POSITIVE.format(sigma=options.sigma))
    with steps.timed("open"):
        tools = tools or open_tools(options)
    backend, bundle, session = tools.backend, tools.bundle, tools.network
    warnings += tools.notes
    nu = bundle.manifest.nu
    with steps.timed("screen"):
        screened = screen(acquisition.with_b0_threshold(options.b0_threshold))
    acquisition, findings = screened.acquisition, list[Finding](screened.findings)
    with steps.timed("mask"):
        mask, mask_warnings = _find_mask(acquisition, options.mask)
    findings += [Finding(CARE, text) for text in mask_warnings]
    with steps.timed("noise"):
        noise = measure_noise(acquisition, mask, options.sigma)
    findings += noise.findings

    if options.dry_run:
        told = [*warnings, *(finding.text for finding in findings)]
        return Result({}, mask, acquisition.affine, acquisition.header, {}, tuple(told))
    m = gather(acquisition, mask, noise.sigma, backend, noise.correlation.steps, noise.relative, noise.floor)
    adapted = adapt(m, backend, session, nu, steps.tell)
    steps.seconds |= adapted.seconds
    if isinstance(backend, FallbackBackend) and backend.failed_midway:
        warnings.append(texts.GPU_FAILED.format(why=backend.failure))
    if isinstance(session, NetworkWithFallback) and session.failure:
        warnings.append(texts.NETWORK_FAILED.format(why=session.failure))

    with steps.timed("maps"):
        voxels = voxel_maps(adapted.outcome, m.scale, nu)
        voxels = with_altered(voxels, tools.alteration, adapted.innovation, m.mask, acquisition.voxel_size)
        maps = {name: to_image(values, m.mask) for name, values in voxels.items()}
    with steps.timed("quality"):
        convention = check_frame(maps, mask, acquisition, m, adapted.summary, session)
        residual = residual_z(m.y, adapted.outcome.mode, m.b, m.bvecs, m.sigma)
        quality = assess(
            acquisition,
            mask,
            m,
            adapted.summary.theta,
            residual,
            convention,
            tuple(findings),
            screened.volumes,
            misfit_of(m.y, adapted.outcome),
        )
    if quality.convention.warning:
        warnings.append(quality.convention.warning)
    warnings += quality.warnings

    provenance = {
        "Software": {"edge-pigment": __version__, "Python": platform.python_version(), "NumPy": np.__version__},
        "Bundle": {"Name": bundle.manifest.name, "Version": bundle.manifest.version, "SHA256": bundle.hash},
        "Protocol": describe_protocol(acquisition),
        "Screening": screened.as_dict(),
        "Noise": noise.as_dict(m.scale),
        "MaskVoxels": int(mask.sum()),
        "MaskFrom": "brain_mask" if options.mask is None else str(options.mask),
        "Float64Voxels": len(adapted.outcome.exact),
        "Novel": float(np.mean(voxels["novelty"] > NOVEL)),
        "GradientConvention": quality.convention.as_dict(),
        "Quality": quality.as_dict(),
        "Device": _describe_device(options, backend, session),
        "Seconds": steps.finish(),
    }
    return Result(maps, mask, acquisition.affine, acquisition.header, provenance, tuple(warnings))
