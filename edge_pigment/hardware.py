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


def address_space() -> int | None:
    """Bytes that this process may map in all (ulimit -v), or None without a limit."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    limits = [resource.getrlimit(what)[0] for what in (resource.RLIMIT_AS, resource.RLIMIT_DATA)]
    limited = [limit for limit in limits if limit != resource.RLIM_INFINITY]
    return min(limited) if limited else None


def most_processes() -> int | None:
    """Processes and threads that the user may have in all (ulimit -u), or None without a limit."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    limit = resource.getrlimit(resource.RLIMIT_NPROC)[0]
    return None if limit == resource.RLIM_INFINITY else limit


def memory_left() -> int | None:
    """Bytes that this process can still have: the least that machine, container and ulimit allow. None: not known."""
    left = [size for size in (_machine_left(), _cgroup_left(), _address_space_left()) if size is not None]
    return max(0, min(left)) if left else None


def _machine_left() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        kib = {line.split(":")[0]: int(line.split()[1]) for line in lines if len(line.split()) > 1}
        return 1024 * (kib["MemAvailable"] + kib.get("SwapFree", 0))
    except (OSError, KeyError, ValueError):
        return None


def _cgroup_left() -> int | None:
    """Under the limits of control groups (containers, jobs of a cluster); files in cache give way."""
    left = []
    for folder in _cgroups():
        try:
            limit = int((folder / "memory.max").read_text())
            stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
            left.append(limit - int((folder / "memory.current").read_text()) + int(stat.get("file", 0)))
        except (OSError, ValueError):
            continue  # no limit ("max"), or not version 2
    return min(left) if left else None


def _cgroups() -> list[Path]:
    root = Path("/sys/fs/cgroup")
    try:
        own = [line.split(":", 2)[2] for line in Path("/proc/self/cgroup").read_text().splitlines() if line[:2] == "0:"]
    except (OSError, IndexError):
        return [root]
    folder = root / (own[0].strip("/") if own else "")
    return [place for place in (folder, *folder.parents) if place.is_relative_to(root)]


def _address_space_left() -> int | None:
    limit = address_space()
    if limit is None:
        return None
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return limit
    return limit - pages * os.sysconf("SC_PAGE_SIZE")


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
