"""What the machine refuses is told as that."""

import errno
import os
import subprocess
import sys

import pytest

from conftest import opening
from edge_pigment import errors as texts
from edge_pigment.cli.faults import LEAST_ADDRESS_SPACE, as_refusals, explain
from edge_pigment.errors import InputError, ResourceError


class OnnxRuntimeLikeError(Exception):
    """As ONNX Runtime's, which have no base of ours."""


OnnxRuntimeLikeError.__module__ = "onnxruntime.capi.onnxruntime_pybind11_state"


def os_error(code, path=None):
    return OSError(code, os.strerror(code), path) if path else OSError(code, os.strerror(code))


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (MemoryError(), texts.NO_MEMORY),
        (MemoryError("Unable to allocate 3. GiB"), texts.NO_MEMORY),
        (os_error(errno.ENOMEM), texts.NO_MEMORY),
        (OnnxRuntimeLikeError("[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : std::bad_alloc"), texts.NO_MEMORY),
        (OnnxRuntimeLikeError("Failed to allocate memory for requested buffer of size 94371840"), texts.NO_MEMORY),
        (ImportError("libx.so: failed to map segment from shared object"), texts.NO_MEMORY),
        (OSError("libx.so: cannot allocate memory in static TLS block"), texts.NO_MEMORY),
        (RuntimeError("can't start new thread"), texts.NO_THREADS),
        (OnnxRuntimeLikeError("onnxruntime::PosixThread::PosixThread pthread_create failed"), texts.NO_THREADS),
        (os_error(errno.ENOSPC, "a"), texts.DISK_FULL),
        (os_error(errno.EDQUOT, "a"), texts.DISK_FULL),
        (os_error(errno.EFBIG), texts.FILE_SYSTEM_UNNAMED),
        *((os_error(code, "a"), texts.FILE_SYSTEM) for code in (
            errno.EACCES, errno.EROFS, errno.EIO, errno.ENAMETOOLONG, errno.ESTALE, errno.ENOENT, errno.EMFILE)),
    ],
)  # fmt: skip
def test_refusals(error, text):
    with pytest.raises(ResourceError, match=opening(text)) as told, as_refusals():
        raise error
    assert told.value.exit_code == InputError.exit_code == 2
    assert len(str(told.value).splitlines()) == 1


def test_what_is_behind_an_error_counts():
    error = ImportError("numpy could not be imported")
    error.__cause__ = MemoryError()
    assert "Not enough memory" in str(explain(error))


@pytest.mark.parametrize(
    "error",
    [ValueError("x"), RuntimeError("x"), ZeroDivisionError(), OnnxRuntimeLikeError("bad shape"), OSError("of a tool"),
     BrokenPipeError(errno.EPIPE, "Broken pipe"), ValueError("out of memory of things past")],
)  # fmt: skip
def test_the_rest_stays_what_it_is(error):
    assert explain(error) is None
    with pytest.raises(type(error)), as_refusals():
        raise error


@pytest.mark.skipif(sys.platform != "linux", reason="ulimit -v is Linux's")
@pytest.mark.parametrize("megabytes", [100, 150, 200])
def test_too_little_address_space_is_said_before_libraries_end_the_process(megabytes, tmp_path):
    assert megabytes * 2**20 < LEAST_ADDRESS_SPACE
    command = f"ulimit -v {megabytes * 1024}; '{sys.executable}' -m edge_pigment.cli run scan.nii -o out"
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, env=_env())
    assert done.returncode == 2, done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert "edge-pigment: error: Not enough memory" in done.stderr


def _env():
    return os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
