"""What the machine refuses (memory, disk, file system), told as that and not as a fault of edge-pigment."""

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

from edge_pigment import errors as texts
from edge_pigment.errors import ResourceError

LEAST_ADDRESS_SPACE = 224 * 2**20
"""Bytes. With less, NumPy's libraries end the process themselves, without a word of ours: measured 200 MiB."""
FEW_PROCESSES = 1024
"""Limits on processes and threads (ulimit -u) below this are meant; desktops have tens of thousands."""
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_OUT_OF_MEMORY = re.compile(
    r"bad_?alloc|bad allocation"
    r"|cannot allocate memory|failed to allocate|allocation failed|out of memory|unable to allocate"
    r"|failed to map segment|cannot apply additional memory protection|cannot create shared object descriptor"
    r"|mmap failed|cannot enable executable stack",
    re.IGNORECASE,
)
_OUT_OF_THREADS = re.compile(r"can't start new thread|PosixThread|pthread_create|std::system_error", re.IGNORECASE)
"""What libraries say that raise their own kinds of error."""
_OF_LIBRARIES = (ImportError, RuntimeError, SystemError, OSError)
_LONGEST = 200
"""Letters of what a library says."""
_OF_ONNXRUNTIME = "onnxruntime"


def spare_address_space() -> None:
    """Where it is limited (ulimit -v): refuse what is too little in any case, and let NumPy start no threads.

    To be called before NumPy is imported.

    Raises:
        ResourceError: it is too little to load the libraries.
    """
    from edge_pigment.hardware import address_space, most_processes

    limit, processes = address_space(), most_processes()
    if limit is None and (processes is None or processes >= FEW_PROCESSES):
        return
    # each thread of OpenBLAS maps tens of megabytes at once, and one that cannot be had ends the process
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    if limit is not None and limit < LEAST_ADDRESS_SPACE:
        needed, free = (f"{size / 1e6:.0f} MB" for size in (LEAST_ADDRESS_SPACE, limit))
        raise ResourceError(texts.NO_MEMORY.format(why=texts.MEMORY_LIMIT.format(needed=needed, free=free)))


@contextmanager
def as_refusals() -> Iterator[None]:
    """Turn what the machine refuses into one line.

    Raises:
        ResourceError: in the place of errors of memory, disk and file system.
    """
    try:
        yield
    except Exception as error:
        refusal = explain(error)
        if refusal is None:
            raise
        raise refusal from error


def explain(error: BaseException) -> ResourceError | None:
    """What of the machine is behind an error; None: nothing that is known."""
    seen: set[int] = set()
    link: BaseException | None = error
    # libraries wrap what stopped them: an ImportError of NumPy has that of its shared object behind it
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        if _is_of_library(link) and _OUT_OF_THREADS.search(str(link)):
            return ResourceError(texts.NO_THREADS)
        if _lacks_memory(link):
            return ResourceError(texts.NO_MEMORY.format(why=_words(link)))
        link = link.__cause__ or link.__context__
    if isinstance(error, OSError) and error.errno is not None and not isinstance(error, BrokenPipeError):
        return _of_files(error)
    return None


def _lacks_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return True
    return _is_of_library(error) and bool(_OUT_OF_MEMORY.search(str(error)))


def _is_of_library(error: BaseException) -> bool:
    return isinstance(error, _OF_LIBRARIES) or type(error).__module__.startswith(_OF_ONNXRUNTIME)


def _of_files(error: OSError) -> ResourceError:
    why = error.strerror or os.strerror(error.errno or 0)
    if error.errno in _FULL:
        return ResourceError(texts.DISK_FULL.format(why=why))
    if error.filename is None:
        return ResourceError(texts.FILE_SYSTEM_UNNAMED.format(why=why))
    return ResourceError(texts.FILE_SYSTEM.format(path=os.fsdecode(error.filename), why=why))


def _words(error: BaseException) -> str:
    """The first line of what a library says, without the full stop; ONNX Runtime speaks of its code only."""
    said = str(error).strip().splitlines()
    if not said or type(error).__module__.startswith(_OF_ONNXRUNTIME):
        return "the system gives no more"
    return said[0].rstrip(".")[:_LONGEST]
