"""A GPU as the kernels use it, through PyCUDA: the primary context, one stream, modules, memory within a budget.

The primary context is the one that TensorRT, CuPy and torch use, too, so that all live in one process and share
pointers. It is current only while something here runs. PyCUDA is imported when a GPU is asked for, not before.
"""

import contextlib
import ctypes
import functools
import importlib
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np

from edge_pigment import errors as texts
from edge_pigment.errors import DeviceError
from edge_pigment.physics import fatbin
from edge_pigment.physics.backend import Array

HEADROOM: Final = 256 * 2**20
"""Bytes of a GPU's free memory that are left alone, for the driver's own needs and a display."""
SHARED_HEADROOM: Final = 2**30
"""The same where the memory is the machine's (Jetson): the scan, the network and the maps lie there as well."""
SHARED_SHARE: Final = 0.5
"""And of what is left there, the share that may be taken: free memory is what other processes count on, too."""
PINNED_MOST: Final = 2 * 2**30
"""Bytes beyond which an array is not pinned: the system cannot page it out any more."""
PINNED_LEAST: Final = 2**16
"""Below, pinning costs more than it saves."""
BLOCK: Final = 128
"""Threads of a block, as EP_BLOCK in kernels/thread.cuh."""
FLOAT: Final = 4
VARIANTS: Final = {"summarise": ("_long",), "adapt": ("_long",), "features": ("_gather", "_take")}
"""Kernels of a module besides the one of its name."""


def _pycuda(module: str = "driver") -> Any:
    try:
        return importlib.import_module(f"pycuda.{module}")
    except ImportError as error:
        why = str(error).splitlines()[0]
        text = texts.CUDA_NO_DRIVER if "libcuda" in why else texts.CUDA_NO_PYCUDA
        raise DeviceError(text.format(why=why)) from error


def _keep(owned: Any) -> None:
    """Never let PyCUDA destroy this object.

    Of a GPU that has failed, a destructor that cannot make the context current ends the process (an exception leaves
    it, in C++), also after the CPU has done the work. And a primary context is destroyed as if it were one of its own
    (cuCtxDetach). The driver cleans up when the process ends.
    """
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(owned))


class Gpu:
    """One GPU with the kernels loaded. Made by `open_gpu`, once per process.

    Raises:
        DeviceError: no PyCUDA, driver or device, or no code for it; the message is the reason. From every method:
            whatever the driver says, and the GPU is of no more use then.
    """

    def __init__(self, index: int = 0) -> None:
        self.driver = _pycuda()
        with self._told():
            self.driver.init()
            count = self.driver.Device.count()
        if index >= count:
            raise DeviceError(texts.CUDA_NO_DEVICE.format(count=count, index=index))
        with self._told():
            device = self.driver.Device(index)
            self.device_name = str(device.name())
            major, minor = device.compute_capability()
            self.sm = 10 * int(major) + int(minor)
            self.integrated = bool(device.get_attribute(self.driver.device_attribute.INTEGRATED))
            self.context = device.retain_primary_context()
        _keep(self.context)
        self._pinned: list[Any] = []
        self._protocols: dict[str, Array] = {}
        with self.current():
            self.stream = self.driver.Stream()
            _keep(self.stream)
            self.compiled_here = False
            self._modules = {name: self._load(name) for name in fatbin.MODULES}
            for module in self._modules.values():
                _keep(module)
            self._functions = {
                f"{name}{kind}": module.get_function(f"ep_{name}{kind}")
                for name, module in self._modules.items()
                for kind in ("", *VARIANTS.get(name, ()))
            }

    @property
    def name(self) -> str:
        """'NVIDIA H100, sm_90' and, where the shipped code did not fit, that it was compiled here."""
        return f"{self.device_name}, sm_{self.sm}" + (", compiled here" if self.compiled_here else "")

    @contextlib.contextmanager
    def current(self) -> Iterator[None]:
        """Make the context current; what the driver says inside is raised as a DeviceError."""
        with self._told():
            self.context.push()
        try:
            with self._told():
                yield
        finally:
            with contextlib.suppress(self.driver.Error):  # of a broken context; the error that broke it is on its way
                self.context.pop()

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except self.driver.Error as error:
            raise DeviceError(texts.CUDA_ERROR.format(why=" ".join(str(error).split()))) from error

    def _load(self, name: str) -> Any:
        try:
            return self.driver.module_from_buffer(fatbin.path_of(name).read_bytes())
        except (self.driver.Error, OSError, UnicodeDecodeError) as error:  # PyCUDA reads a log
            nvcc = fatbin.find_nvcc()
            if nvcc is None:
                record = fatbin.record()
                raise DeviceError(
                    texts.CUDA_NO_FATBIN.format(
                        device=self.device_name,
                        sm=self.sm,
                        have=", ".join(f"sm_{sm}" for sm in record["architectures"]),
                        toolkit=record["nvcc"],
                        why=" ".join(str(error).split()),
                    )
                ) from error
            self.compiled_here = True
            return self.driver.module_from_buffer(self._compile(name, str(nvcc)))

    def _compile(self, name: str, nvcc: str) -> bytes:
        """The module's source for this GPU; PyCUDA keeps what it has compiled in the user's cache folder."""
        source = (fatbin.KERNELS / f"{name}.cu").read_text()
        try:
            return bytes(
                _pycuda("compiler").compile(
                    source,
                    nvcc=nvcc,
                    options=list(fatbin.FLAGS),
                    no_extern_c=True,
                    arch=f"sm_{self.sm}",
                    include_dirs=[str(fatbin.KERNELS)],
                    target="cubin",
                )
            )
        except self.driver.CompileError as error:
            said = str(error.stderr or error).strip().splitlines()
            raise DeviceError(texts.CUDA_NOT_COMPILED.format(nvcc=nvcc, sm=self.sm, why=said[-1])) from error

    def budget(self) -> int:
        """Bytes that may be allocated now."""
        with self.current():
            free, _ = self.driver.mem_get_info()
        left = free - (SHARED_HEADROOM if self.integrated else HEADROOM)
        return max(int(left * SHARED_SHARE if self.integrated else left), 0)

    def empty(self, shape: tuple[int, ...]) -> Array:
        """Pinned memory for a float32 array where that is wise; of an array that nobody refers to any more, again."""
        count = math.prod(shape)
        if not PINNED_LEAST <= FLOAT * count <= PINNED_MOST:
            return np.empty(shape, np.float32)
        for block in self._pinned:
            # references: this list, the loop's variable, getrefcount's argument; and of every array made of it, one
            if count <= block.size <= 2 * count and sys.getrefcount(block) == 3:
                return np.ndarray(shape, np.float32, buffer=block)
        try:
            with self.current():
                block = self.driver.pagelocked_empty(count, np.float32)
        except DeviceError:  # a system may allow little or no pinned memory; it is only slower without
            return np.empty(shape, np.float32)
        self._pinned.append(block)
        _keep(block.base)
        return np.ndarray(shape, np.float32, buffer=block)

    def set_protocol(self, module: str, protocol: Array) -> bool:
        """Put a protocol into a module's constant memory, if another one is there; False if it is too long for that."""
        pointer, size = self._modules[module].get_global("ep_protocol")
        if protocol.nbytes > size:
            return False
        if self._protocols.get(module) is not protocol:
            self.driver.memcpy_htod_async(pointer, protocol, self.stream)
            self._protocols[module] = protocol
        return True

    def launch(self, kernel: str, voxels: int, task: bytes) -> None:
        """Start a kernel with one thread per voxel; `task` is its only argument, a struct of kernels/tasks.h."""
        if voxels:
            grid = (-(-voxels // BLOCK), 1)
            self._functions[kernel](np.void(task), block=(BLOCK, 1, 1), grid=grid, stream=self.stream)

    def synchronise(self) -> None:
        """Wait for all that was started."""
        self.stream.synchronize()


@functools.cache
def open_gpu(index: int = 0) -> Gpu:
    """The GPU of that number; see `Gpu` for what is raised."""
    return Gpu(index)


class Arena:
    """Room on a GPU for the fields of up to `capacity` voxels, one allocation: name -> (rows, capacity) float32.

    Where a slab is shorter, its rows lie closer together.
    """

    def __init__(self, gpu: Gpu, capacity: int, fields: Mapping[str, int], extra: int = 0) -> None:
        self.gpu = gpu
        self.capacity = max(capacity, 1)
        sizes = [rows * self.capacity for rows in fields.values()]
        starts = np.concatenate([[0], np.cumsum(sizes)])
        with gpu.current():
            self._memory: Any = gpu.driver.mem_alloc(int(FLOAT * (starts[-1] + extra)) or FLOAT)
        _keep(self._memory)  # free() gives the memory back
        self._rows = dict(fields)
        base = int(self._memory)
        self._at = {name: base + FLOAT * int(start) for name, start in zip(fields, starts, strict=False)}
        self.extra = base + FLOAT * int(starts[-1])

    def pointer(self, name: str) -> int:
        """Device address of a field."""
        return self._at[name]

    def upload(self, name: str, source: Array, first: int, last: int) -> None:
        """Columns first..last-1 of a (rows, V) or (V,) array become the field; `source` must live until then."""
        if (first, last) == (0, source.shape[-1]) and source.size:
            self.gpu.driver.memcpy_htod_async(self._at[name], source, self.gpu.stream)
        elif last > first and source.size:
            copy = self._columns(name, first, last)
            copy.set_src_host(source)
            copy.set_dst_device(self._at[name])
            copy.src_pitch, copy.src_x_in_bytes = FLOAT * source.shape[-1], FLOAT * first
            copy.dst_pitch = FLOAT * (last - first)
            copy(self.gpu.stream)

    def download(self, name: str, target: Array, first: int, last: int) -> None:
        """The field becomes columns first..last-1 of a (rows, V) or (V,) array, once the stream comes to it."""
        if (first, last) == (0, target.shape[-1]) and target.size:
            self.gpu.driver.memcpy_dtoh_async(target, self._at[name], self.gpu.stream)
        elif last > first and target.size:
            copy = self._columns(name, first, last)
            copy.set_src_device(self._at[name])
            copy.set_dst_host(target)
            copy.src_pitch = FLOAT * (last - first)
            copy.dst_pitch, copy.dst_x_in_bytes = FLOAT * target.shape[-1], FLOAT * first
            copy(self.gpu.stream)

    def _columns(self, name: str, first: int, last: int) -> Any:
        copy = self.gpu.driver.Memcpy2D()
        copy.width_in_bytes, copy.height = FLOAT * (last - first), self._rows[name]
        return copy

    def free(self) -> None:
        """Give the memory back; the arena is of no use then."""
        if self._memory is not None:
            with self.gpu.current():
                self._memory.free()
            self._memory = None


def slab_size(gpu: Gpu, voxels: int, rows: int, extra: int, most: int | None) -> int:
    """How many voxels of `rows` floats each are computed at a time: all of them if the budget allows.

    Args:
        gpu: whose memory it is.
        voxels: of the scan.
        rows: floats per voxel.
        extra: floats that are needed besides.
        most: a limit below the budget, in bytes.

    Raises:
        DeviceError: not even one block fits.
    """
    budget = gpu.budget() if most is None else min(gpu.budget(), most)
    fit = (budget // FLOAT - extra) // rows // BLOCK * BLOCK
    if fit >= voxels:
        return voxels
    if fit < BLOCK:
        raise DeviceError(texts.CUDA_NO_MEMORY.format(free=budget / 2**20, needed=FLOAT * rows * BLOCK / 2**20))
    return int(fit)


def slabs(voxels: int, size: int) -> Sequence[tuple[int, int]]:
    """(first, last + 1) of each slab."""
    return [(first, min(first + size, voxels)) for first in range(0, voxels, max(size, 1))]
