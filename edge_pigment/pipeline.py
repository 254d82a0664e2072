"""A scan in, maps out: the one function that the command line, the demo and the benchmarks call."""

import platform
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from edge_pigment import __version__
from edge_pigment import errors as texts
from edge_pigment.acquisition import Acquisition
from edge_pigment.adapt import adapt, gather
from edge_pigment.brainmask import brain_mask
from edge_pigment.errors import DeviceError, InputError
from edge_pigment.gradients import check_convention
from edge_pigment.maps import to_image, voxel_maps
from edge_pigment.noise import estimate_sigma
from edge_pigment.physics.backend import Backend
from edge_pigment.physics.host import HostBackend
from edge_pigment.prior.bundle import load_bundle
from edge_pigment.prior.context import ContextSession
from edge_pigment.quality import assess
from edge_pigment.quality.residuals import residual_z
from edge_pigment.trust import NOVEL

STEPS = ("mask", "noise", "summarise", "context prior", "adapt", "maps", "quality")
"""In order; `progress` is called with each when it starts, and on the way through the context prior."""
_WEIGHTS = (0.05, 0.08, 0.05, 0.57, 0.15, 0.07, 0.03)
"""Rough shares of the time, for progress bars only."""


@dataclass(frozen=True)
class RunOptions:
    """What a user may choose; None means: found from the scan, or the shipped bundle, or every core."""

    mask: Path | None = None
    sigma: float | None = None
    bundle: Path | None = None
    device: str = "auto"
    threads: int | None = None
    precision: str = "fp32"
    """Flavour of the bundle's network: fp32, fp16 or int8-cpu, as far as the bundle has them."""


@dataclass(frozen=True, eq=False)
class Result:
    """Maps by name, (X, Y, Z) or (X, Y, Z, K) float32, 0 outside the mask; see `maps` for units and frame."""

    maps: dict[str, NDArray[np.float32]]
    mask: NDArray[np.bool_]
    affine: NDArray[np.float64]
    header: Any
    provenance: dict[str, Any]
    warnings: tuple[str, ...] = field(default=())


def choose_backend(device: str, threads: int | None) -> Backend:
    """The kernels' backend.

    Raises:
        DeviceError: the device that was asked for does not work here; nothing else is taken instead.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise InputError(texts.DEVICE_UNKNOWN.format(device=device))
    if device == "cuda":
        raise DeviceError(texts.CUDA_UNAVAILABLE.format(why="this version has no CUDA kernels yet"))
    return HostBackend(threads)


def read_mask(path: Path, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """A mask file on the scan's grid: (X, Y, Z), true where not 0.

    Raises:
        InputError: not readable, of another shape, or empty.
    """
    try:
        values = np.asanyarray(nib.load(path).dataobj)  # type: ignore[attr-defined]
    except Exception as error:
        why = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(texts.MASK_UNREADABLE.format(path=path, why=why)) from error
    if values.shape != shape:
        raise InputError(texts.MASK_SHAPE.format(path=path, found=values.shape, expected=shape))
    mask: NDArray[np.bool_] = np.nan_to_num(values) != 0
    if not mask.any():
        raise InputError(texts.MASK_EMPTY.format(path=path))
    return mask


def describe_protocol(acquisition: Acquisition) -> dict[str, Any]:
    """A scan's protocol as provenance, pictures and plans tell it."""
    table = acquisition.gradients
    return {
        "Volumes": len(table),
        "Shells": [{"b": float(shell.bval), "Volumes": len(shell.indices)} for shell in table.shells],
        "BVals": [round(float(b), 1) for b in table.bvals],
        "Directions": [[round(float(v), 4) for v in g] for g in table.bvecs],
        "VoxelSize": [round(float(v), 4) for v in acquisition.voxel_size],
        "Shape": [int(n) for n in acquisition.signal.shape[:3]],
    }


def run(
    acquisition: Acquisition, options: RunOptions | None = None, progress: Callable[[str, float], None] | None = None
) -> Result:
    """Turn a scan into tensor maps with uncertainty.

    Args:
        acquisition: the scan.
        options: see `RunOptions`.
        progress: called with the name of each step and the share of the work done, when it starts and, in the
            context prior, as it goes.

    Raises:
        InputError: an option does not fit the scan.
        BundleError: the bundle is damaged or not for this version.
        DeviceError: the device asked for does not work here.
    """
    options = options or RunOptions()
    seconds: dict[str, float] = {}
    warnings = list(acquisition.warnings)
    began = time.perf_counter()

    def step(name: str, share: float = 0.0) -> None:
        if progress:
            number = STEPS.index(name)
            progress(name, sum(_WEIGHTS[:number]) + share * _WEIGHTS[number])

    if options.sigma is not None and not 0 < options.sigma < np.inf:
        raise InputError(texts.SIGMA_NOT_POSITIVE.format(sigma=options.sigma))
    backend = choose_backend(options.device, options.threads)
    bundle = load_bundle(options.bundle)
    session = ContextSession(bundle, options.threads, options.precision)
    seconds["open"] = time.perf_counter() - began

    step("mask")
    t = time.perf_counter()
    shape = acquisition.signal.shape[:3]
    b0 = acquisition.mean_b0
    if options.mask is None:
        mask, mask_warnings = brain_mask(b0, acquisition.mean_dwi, acquisition.voxel_size)
        warnings += mask_warnings
    else:
        mask = read_mask(options.mask, shape)
    mask = mask & (b0 > 0)
    if not mask.any():
        text = texts.NO_BRAIN if options.mask is None else texts.MASK_EMPTY.format(path=options.mask)
        raise InputError(text)
    seconds["mask"] = time.perf_counter() - t

    step("noise")
    t = time.perf_counter()
    noise = estimate_sigma(acquisition, mask) if options.sigma is None else None
    sigma = float(options.sigma) if options.sigma is not None else float(noise.sigma)  # type: ignore[union-attr]
    seconds["noise"] = time.perf_counter() - t

    measurements = gather(acquisition, mask, sigma)
    adapted = adapt(measurements, backend, session, bundle.manifest.nu, step)
    seconds |= adapted.seconds

    step("maps")
    t = time.perf_counter()
    voxels = voxel_maps(adapted.posterior, backend, measurements.scale, bundle.manifest.nu)
    maps = {name: to_image(values, measurements.mask) for name, values in voxels.items()}
    convention = check_convention(maps["tensor"], maps["FA"], mask, acquisition)
    if convention.warning:
        warnings.append(convention.warning)
    seconds["maps"] = time.perf_counter() - t

    step("quality")
    t = time.perf_counter()
    m = measurements
    residual = residual_z(m.y, adapted.posterior.mode, m.b, m.bvecs, m.sigma)
    quality = assess(acquisition, mask, m, adapted.summary.theta, residual, convention)
    warnings += quality.warnings
    seconds["quality"] = time.perf_counter() - t
    seconds["total"] = time.perf_counter() - began

    provenance = {
        "Software": {"edge-pigment": __version__, "Python": platform.python_version(), "NumPy": np.__version__},
        "Bundle": {"Name": bundle.manifest.name, "Version": bundle.manifest.version, "SHA256": bundle.hash},
        "Protocol": describe_protocol(acquisition),
        "Noise": {
            "Sigma": sigma,
            "SNRb0": measurements.scale / sigma,
            "Method": "given by the user" if noise is None else noise.method,
        },
        "MaskVoxels": int(mask.sum()),
        "MaskFrom": "brain_mask" if options.mask is None else str(options.mask),
        "Novel": float(np.mean(voxels["novelty"] > NOVEL)),
        "GradientConvention": convention.as_dict(),
        "Quality": quality.as_dict(),
        "Device": {"Kernels": backend.name, "Network": session.device},
        "Seconds": {k: round(v, 4) for k, v in seconds.items()},
    }
    return Result(maps, mask, acquisition.affine, acquisition.header, provenance, tuple(warnings))
