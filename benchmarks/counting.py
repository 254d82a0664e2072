"""How many operations the kernels take per voxel, counted by running them with numbers that count (counting.cpp)."""

import ctypes
import struct
import subprocess
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from edge_pigment.physics.adaptation import ITERATIONS
from edge_pigment.physics.protocol import summary_basis, tensor_table

SOURCE = Path(__file__).with_name("counting.cpp")


class Operations(NamedTuple):
    """Of one voxel: instructions of a thread. select: comparisons, selections, minima, maxima; integer: of bits."""

    fma: float
    multiply: float
    add: float
    select: float
    integer: float
    divide: float
    root: float

    @property
    def arithmetic(self) -> float:
        """Floating-point instructions, a fused multiply-add being one: what an FMA unit issues."""
        return self.fma + self.multiply + self.add

    @property
    def flop(self) -> float:
        """Floating-point operations, a fused multiply-add being two; a division or root, one."""
        return 2 * self.fma + self.multiply + self.add + self.divide + self.root


def count(v: Any, nu: float, voxels: int = 1000) -> dict[str, Operations]:
    """Operations per voxel of summarise, adapt and moments, means over the first voxels of `kernels.Voxels`.

    Raises:
        subprocess.CalledProcessError: g++ does not compile counting.cpp.
    """
    V = min(voxels, v.y.shape[1])
    N = len(v.b)
    y, mean, factor = (np.ascontiguousarray(a[:, :V]) for a in (v.y, v.mean, v.factor))
    sigma = np.ascontiguousarray(v.sigma[:V])
    protocol, table = summary_basis(v.b, v.bvecs).packed, tensor_table(v.b, v.bvecs)
    out = {name: np.empty((rows, V), np.float32) for name, rows in
           (("theta", 7), ("sd", 7), ("mode", 7), ("factor", 28), ("residual", 1), ("distance", 1), ("share", 2),
            ("moments", 20))}  # fmt: skip

    def at(*arrays: np.ndarray[Any, Any]) -> list[int]:
        return [a.ctypes.data for a in arrays]

    posterior = at(*[out[name] for name in ("mode", "factor", "residual", "distance", "share")])
    tasks = {
        "summarise": struct.pack("@li5P", V, N, *at(protocol, y, sigma, out["theta"], out["sd"])),
        "adapt": struct.pack("@liif10P", V, N, ITERATIONS, nu, *at(table, y, sigma, mean, factor), *posterior),
        "moments": struct.pack("@l3P", V, *at(out["mode"], out["factor"], out["moments"])),
    }
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder, "counting.so")
        flags = ["-std=c++17", "-O1", "-fPIC", "-shared", "-ffp-contract=off"]
        subprocess.run(["g++", *flags, str(SOURCE), "-o", str(library)], check=True)
        functions = ctypes.CDLL(str(library))
        found = {}
        for name, task in tasks.items():
            sums = (ctypes.c_long * len(Operations._fields))()
            getattr(functions, f"count_{name}")(task, sums)
            found[name] = Operations(*[total / V for total in sums])
    return found


def traffic(measurements: int) -> dict[str, int]:
    """Bytes per voxel that a kernel must read and write at least: each measurement once."""
    return {
        "summarise": 4 * (measurements + 1 + 14),
        "adapt": 4 * (measurements + 1 + 35 + 39),
        "moments": 4 * (35 + 20),
    }
