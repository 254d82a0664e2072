"""Who is writing a result: a file beside it, locked until the process ends.

The kernel releases such a lock however the process dies, so a later run can tell what is stale from what is in use.
Some network shares have no locks. There a run goes on without, and nothing is ever judged stale or in use.
"""

import errno
import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from enum import Enum
from pathlib import Path
from typing import IO, Any

from edge_pigment import errors as texts

fcntl: Any
try:
    import fcntl
except ImportError:  # Windows: no lock, so nothing is ever judged stale
    fcntl = None

UNSUPPORTED = frozenset({errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL, errno.EBADF})
"""What flock answers where the file system has no locks."""
_PATIENCE = 2.0
"""Seconds to wait for a gate that another process holds: its holders keep it for milliseconds."""
_PAUSE = 0.01


class State(Enum):
    """Of the process that made a lock: it lives, it is gone, or it cannot be told."""

    LIVE = "live"
    STALE = "stale"
    UNKNOWN = "unknown"


class Lock:
    """A lock file of this process.

    Args:
        path: of the new file.
        claims: what is going to be written, as `claimed` reads it back; None: everything.

    Attributes:
        works: whether the file is locked; False where the file system has no locks.

    Raises:
        OSError: the file cannot be made.
    """

    def __init__(self, path: Path, claims: Sequence[str] | None) -> None:
        self.path = path
        self._file: IO[bytes] = open(path, "xb")  # noqa: SIM115  # open as long as the run lives
        try:
            self.works = _lock(self._file.fileno(), patience=_PATIENCE)
            about = {"locked": self.works, "claims": None if claims is None else list(claims), "process": os.getpid()}
            self._file.write(json.dumps(about).encode())
            self._file.flush()
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        """Take the file away."""
        with suppress(OSError):
            self.path.unlink(missing_ok=True)
        with suppress(OSError):
            self._file.close()


def unsupported(folder: Path) -> bool:
    """Whether the folder's file system is known to have no locks; nothing is written to find out."""
    if fcntl is None:
        return True
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        # EBADF and EINVAL: some shares lock files but not folders
        return error.errno in UNSUPPORTED - {errno.EBADF, errno.EINVAL}
    finally:
        os.close(descriptor)
    return False


def no_locks(target: Path) -> str:
    """What to tell where a target's file system has none."""
    return texts.NO_LOCKS.format(path=target, name=target.name)


def state(path: Path) -> State:
    """Whether the process that made a lock file is alive; the file is not changed."""
    if fcntl is None or not _content(path).get("locked", True):
        return State.UNKNOWN
    try:
        with open(path, "rb") as file:
            # shared: two who look at the same time do not take each other for its owner
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return State.LIVE
    except OSError:
        return State.UNKNOWN
    return State.STALE


def claimed(path: Path) -> list[str] | None:
    """What the owner of a lock file is going to write; None: everything."""
    claims = _content(path).get("claims")
    return claims if isinstance(claims, list) else None


@contextmanager
def gate(folder: Path) -> Iterator[None]:
    """One process at a time: who looks for others and makes its own lock must not be looked at meanwhile.

    Where folders cannot be locked, or another holds the gate for seconds, there is none.
    """
    descriptor = -1
    if fcntl is not None:
        try:
            descriptor = os.open(folder, os.O_RDONLY)
            _lock(descriptor, patience=_PATIENCE)
        except OSError:
            pass  # a folder that cannot be read or locked
    try:
        yield
    finally:
        if descriptor >= 0:
            os.close(descriptor)


def _lock(descriptor: int, patience: float) -> bool:
    """Lock a file for this process alone; False where there are no locks.

    Raises:
        BlockingIOError: another process holds it all the time.
    """
    if fcntl is None:
        return False
    end = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > end:
                raise
            time.sleep(_PAUSE)
        except OSError as error:
            if error.errno in UNSUPPORTED:
                return False
            raise
        else:
            return True


def _content(path: Path) -> dict[str, Any]:
    """What a lock file says; empty for those of older versions, and where it cannot be read."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
