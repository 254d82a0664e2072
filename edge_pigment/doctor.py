"""What is here and what works: one finding for each thing that a scan needs or could use, with its mend."""

import importlib
import importlib.util
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

from edge_pigment import __version__, hardware
from edge_pigment.errors import DeviceError, EdgePigmentError
from edge_pigment.hardware import Driver, DriverError

State = Literal["ok", "absent", "broken"]
LEAST_MEMORY = 2 * 2**30
"""Bytes available below which a large scan may not fit."""


@dataclass(frozen=True)
class Finding:
    """One line: what was looked at, how it is, what was found, how to mend it.

    absent: not here, and not needed to run; broken: needed, or here but not working.
    """

    name: str
    state: State
    found: str
    mend: str = ""
    needed: bool = False

    def line(self) -> str:
        """As a person reads it."""
        mend = f"  -> {self.mend}" if self.mend and self.state != "ok" else ""
        return f"{self.state:>6}  {self.name}: {self.found}{mend}"

    def as_dict(self) -> dict[str, Any]:
        """As --json prints it."""
        return asdict(self)


def examine(bundle: Path | None = None) -> list[Finding]:
    """Look at everything; no finding depends on an optional package, and none stops the others."""
    checks: list[tuple[str, bool, Callable[[], Finding]]] = [
        ("edge-pigment", True, lambda: Finding("edge-pigment", "ok", __version__)),
        ("CPU", False, _cpu),
        ("kernels", True, _kernels),
        ("memory", False, _memory),
        ("power mode", False, _power),
        ("ONNX Runtime", True, _onnxruntime),
        ("bundle", True, lambda: _bundle(bundle)),
        ("NVIDIA driver", False, _driver),
        ("GPU", False, _gpu),
        ("TensorRT", False, _tensorrt),
        ("PyCUDA", False, _pycuda),
        ("CUDA kernels", False, _cuda_kernels),
        ("engine cache", False, lambda: _engines(bundle)),
    ]
    return [_safely(*check) for check in checks]


def healthy(findings: Iterable[Finding]) -> bool:
    """Whether nothing that a scan needs is broken."""
    return not any(f.needed and f.state == "broken" for f in findings)


def _safely(name: str, needed: bool, check: Callable[[], Finding]) -> Finding:
    try:
        return check()
    except EdgePigmentError as error:
        return Finding(name, "broken", str(error), needed=needed)
    except Exception as error:  # whatever a foreign library does wrong is a finding, too
        why = " ".join(str(error).split()) or "no message"
        return Finding(name, "broken", f"{type(error).__name__}: {why}", f"reinstall {name}", needed)


def _cpu() -> Finding:
    features = ", ".join(hardware.cpu_features()) or "features not readable"
    return Finding("CPU", "ok", f"{hardware.cpu_name()}, {hardware.cpu_count()} usable, {features}")


def _kernels() -> Finding:
    from edge_pigment.physics.host import HostBackend, instruction_sets

    return Finding("kernels", "ok", f"{HostBackend(None).name}; here: {', '.join(instruction_sets())}", needed=True)


def _memory() -> Finding:
    sizes = hardware.memory()
    if sizes is None:
        return Finding("memory", "absent", "not readable", "see that 2 GiB are free")
    total, available = sizes
    found = f"{available / 2**30:.1f} of {total / 2**30:.1f} GiB available"
    if available < LEAST_MEMORY:
        return Finding("memory", "broken", found, "close other programs, or run fewer scans at once")
    return Finding("memory", "ok", found)


def _power() -> Finding:
    mode = hardware.power_mode()
    if mode is None:
        return Finding("power mode", "absent", "not readable here", "on a Jetson: sudo nvpmodel -q")
    if "powersave" in mode:
        return Finding("power mode", "broken", mode, "sudo cpupower frequency-set -g performance")
    return Finding("power mode", "ok", mode)


def _onnxruntime() -> Finding:
    import onnxruntime as ort

    from edge_pigment.prior.context import CPU

    providers = ort.get_available_providers()
    found = f"{ort.__version__}, providers {', '.join(providers)}; {CPU} is the default"
    if CPU not in providers:
        return Finding("ONNX Runtime", "broken", found, "pip install --force-reinstall onnxruntime", True)
    return Finding("ONNX Runtime", "ok", found, needed=True)


def _bundle(folder: Path | None) -> Finding:
    from edge_pigment.prior.bundle import load_bundle

    bundle = load_bundle(folder)
    m = bundle.manifest
    found = f"{m.name} {m.version} ({bundle.hash[:16]}), every file checked; flavours {', '.join(m.flavours)}"
    return Finding("bundle", "ok", found, needed=True)


def _driver() -> Finding:
    try:
        driver: Driver = hardware.cuda_driver()
    except DriverError as error:
        return Finding("NVIDIA driver", "absent", str(error), "only for GPUs: install NVIDIA's driver")
    release = hardware.driver_release()
    return Finding("NVIDIA driver", "ok", f"{release or 'release not readable'}, runs CUDA up to {driver.version}")


def _gpu() -> Finding:
    try:
        gpus = hardware.cuda_driver().gpus
    except DriverError as error:
        return Finding("GPU", "absent", str(error), "only for speed: the kernels and the network run on the CPU, too")
    if not gpus:
        return Finding("GPU", "broken", "the driver sees none", "check CUDA_VISIBLE_DEVICES, and the card's seat")
    return Finding("GPU", "ok", "; ".join(f"{g.name}, sm_{g.sm}, {g.memory / 2**30:.0f} GiB" for g in gpus))


def _tensorrt() -> Finding:
    if importlib.util.find_spec("tensorrt") is None:
        mend = "only for `edge-pigment build`; on a Jetson with JetPack (python3-libnvinfer), else pip install tensorrt"
        return Finding("TensorRT", "absent", "not installed", mend)
    return Finding("TensorRT", "ok", str(importlib.import_module("tensorrt").__version__))


def _pycuda() -> Finding:
    try:
        installed = version("pycuda")
    except PackageNotFoundError:
        return Finding("PyCUDA", "absent", "not installed", "only for CUDA kernels: pip install pycuda")
    try:
        importlib.import_module("pycuda.driver")
    except ImportError as error:
        why = str(error).splitlines()[0]
        state: State = "absent" if "libcuda" in why else "broken"
        mend = "install NVIDIA's driver, or build PyCUDA anew"
        return Finding("PyCUDA", state, f"{installed} does not load: {why}", mend)
    return Finding("PyCUDA", "ok", installed)


def _cuda_kernels() -> Finding:
    from edge_pigment.physics.cuda import CudaBackend

    wanted = _gpu().state == "ok" and _pycuda().state == "ok"
    try:
        backend = CudaBackend()
        backend.verify()
    except DeviceError as error:
        mend = "run --device cpu; update the driver" if wanted else "only for GPUs: see the lines above"
        return Finding("CUDA kernels", "broken" if wanted else "absent", str(error), mend)
    return Finding("CUDA kernels", "ok", f"{backend.name}: as the CPU's")


def _engines(folder: Path | None) -> Finding:
    from edge_pigment.prior import engine
    from edge_pigment.prior.bundle import load_bundle

    place, found = engine.cache_folder(), engine.entries()
    if not found:
        return Finding("engine cache", "absent", f"no engine in {place}", "only for TensorRT: edge-pigment build")
    said = f"{len(found)} in {place}: {'; '.join(sorted({engine.words(r['key']) for r in found}))}"
    try:
        opened, trt = load_bundle(folder), engine.load_tensorrt()
        keys = [engine.key_here(opened, f, trt) for f in engine.FLAVOURS if f in opened.manifest.flavours]
    except EdgePigmentError as error:
        return Finding("engine cache", "absent", f"{said}; of no use here: {error}", "see the lines above")
    fitting = []
    for key in keys:
        try:
            engine.find(key)
            fitting.append(key.precision)
        except DeviceError:
            continue
    if not fitting:
        return Finding("engine cache", "broken", f"{said}; none fits this machine and bundle", "edge-pigment build")
    return Finding("engine cache", "ok", f"{said}; of use here: {', '.join(fitting)}")
