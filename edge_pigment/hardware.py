"""What this machine is: processor, memory, power mode, GPUs. Nothing is changed, and nothing missing is an error."""

import ctypes
import os
import platform
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

_CPU_FEATURES = ("sse2", "avx2", "fma", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "asimd", "asimddp", "i8mm")
"""Those that the kernels or ONNX Runtime's integer kernels make use of, as /proc/cpuinfo spells them."""
# CUdevice_attribute of the driver API (cuda.h)
_MAJOR, _MINOR = 75, 76


@dataclass(frozen=True)
class Gpu:
    """name; sm, the compute capability as in sm_90; memory in bytes."""

    name: str
    sm: int
    memory: int


@dataclass(frozen=True)
class Driver:
    """The CUDA driver: highest CUDA version that it runs, as 13000 for 13.0, and the GPUs that it sees."""

    cuda: int
    gpus: tuple[Gpu, ...]

    @property
    def version(self) -> str:
        """Such as "13.0"."""
        return f"{self.cuda // 1000}.{self.cuda % 1000 // 10}"


class DriverError(Exception):
    """The CUDA driver is not there or does not start; the message says which."""


def cpu_features() -> tuple[str, ...]:
    """Vector and integer extensions of this processor, of those that matter here; empty where not readable."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return ()
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("flags", "Features"):
            present = set(value.split())
            return tuple(name for name in _CPU_FEATURES if name in present)
    return ()


def cpu_name() -> str:
    """The processor's own name, or its architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def cpu_count() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory() -> tuple[int, int] | None:
    """Total and available bytes, or None where /proc/meminfo is not readable."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        kib = {line.split(":")[0]: int(line.split()[1]) for line in lines if len(line.split()) > 1}
        return 1024 * kib["MemTotal"], 1024 * kib["MemAvailable"]
    except (OSError, KeyError, ValueError):
        return None


def power_mode() -> str | None:
    """The power mode of a Jetson (nvpmodel), or the CPU's frequency governor; None where neither is readable."""
    tool = shutil.which("nvpmodel")
    if tool:
        try:
            text = subprocess.run([tool, "-q"], capture_output=True, text=True, timeout=5, check=True).stdout
        except (OSError, subprocess.SubprocessError):
            return None
        named = [line.partition(":")[2].strip() for line in text.splitlines() if "Power Mode" in line]
        return named[0] if named else None
    try:
        governor = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor").read_text().strip()
    except OSError:
        return None
    return f"governor {governor}"


def driver_release() -> str | None:
    """Release of the NVIDIA kernel driver, such as "580.65.06"; None where it is not readable."""
    try:
        words = Path("/proc/driver/nvidia/version").read_text().splitlines()[0].split()
    except (OSError, IndexError):
        return None
    return next((w for w in words if w[:1].isdigit() and "." in w), None)


def cuda_driver() -> Driver:
    """Ask libcuda, without creating a context.

    Raises:
        DriverError: libcuda is not installed or does not start.
    """
    try:
        cuda = ctypes.CDLL("nvcuda.dll" if os.name == "nt" else "libcuda.so.1")
    except OSError:
        raise DriverError("no NVIDIA driver (libcuda.so.1) is installed") from None
    status = cuda.cuInit(0)
    if status:
        raise DriverError(f"the NVIDIA driver does not start (cuInit returned {status})")
    version, count = ctypes.c_int(), ctypes.c_int()
    cuda.cuDriverGetVersion(ctypes.byref(version))
    cuda.cuDeviceGetCount(ctypes.byref(count))
    return Driver(version.value, tuple(_gpu(cuda, index) for index in range(count.value)))


def _gpu(cuda: ctypes.CDLL, index: int) -> Gpu:
    device, major, minor = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    name, size = ctypes.create_string_buffer(256), ctypes.c_size_t()
    cuda.cuDeviceGet(ctypes.byref(device), index)
    cuda.cuDeviceGetName(name, 256, device)
    cuda.cuDeviceGetAttribute(ctypes.byref(major), _MAJOR, device)
    cuda.cuDeviceGetAttribute(ctypes.byref(minor), _MINOR, device)
    cuda.cuDeviceTotalMem_v2(ctypes.byref(size), device)
    return Gpu(name.value.decode(errors="replace"), 10 * major.value + minor.value, size.value)
