"""The GPU for these tests: a real one or, where EDGE_PIGMENT_STANDIN names its folder, the stand-in for libcuda.

`tests/gpu/run.sh` sets it all up. Without the stand-in every test here is marked `gpu`. Test files import the fixtures
that they use (a second conftest.py would stand in the way of the first).
"""

import ctypes
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.append(str(Path(__file__).resolve().parents[1] / "physics"))

from edge_pigment.errors import DeviceError
from edge_pigment.physics import fatbin
from edge_pigment.physics.cuda import CudaBackend
from edge_pigment.physics.gpu import open_gpu

FOLDER = os.environ.get("EDGE_PIGMENT_STANDIN")
REQUIRED = os.environ.get("EDGE_PIGMENT_GPU_REQUIRED")
"""Set where a GPU must be there: then its absence is a failure, not a reason to skip."""
MARKS = [] if FOLDER else [pytest.mark.gpu]


@pytest.fixture(scope="session")
def standin_library() -> ctypes.CDLL | None:
    """The stand-in, loaded before PyCUDA asks for libcuda.so.1, which is its name, too."""
    if not FOLDER:
        return None
    os.environ["EDGE_PIGMENT_STANDIN_MODULES"] = FOLDER
    os.environ["EDGE_PIGMENT_KERNELS"] = str(fatbin.KERNELS)
    library = ctypes.CDLL(str(Path(FOLDER, "libcuda.so.1")), ctypes.RTLD_GLOBAL)
    for name in ("bytes_up", "bytes_down", "allocated"):
        getattr(library, f"standin_{name}").restype = ctypes.c_size_t
    library.standin_set_memory.argtypes = [ctypes.c_size_t]
    return library


@pytest.fixture
def device(standin_library: ctypes.CDLL | None) -> Iterator[None]:
    """A driver that works, freshly opened if it is the stand-in."""
    if standin_library is not None:
        standin_library.standin_reset()
        open_gpu.cache_clear()
    try:
        open_gpu()
    except DeviceError as error:
        if REQUIRED:
            raise
        pytest.skip(f"no GPU: {error}")
    yield
    if standin_library is not None:
        standin_library.standin_reset()
        open_gpu.cache_clear()


@pytest.fixture
def cuda(device: None) -> CudaBackend:
    return CudaBackend()


@pytest.fixture
def standin(device: None, standin_library: ctypes.CDLL | None) -> Any:
    """The stand-in's own functions; a test that makes the driver misbehave needs them."""
    if standin_library is None:
        pytest.skip("a real driver cannot be told to fail")
    return standin_library


def same(one: Any, other: Any) -> None:
    """Bit by bit."""
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)
