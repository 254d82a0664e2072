"""A result appears whole or not at all.

Everything is written to a hidden folder on the same file system as the target and renamed into place at the
end. The file beside it is locked until the process ends; the kernel releases such a lock however the process
dies, so a later run can tell what is stale from what is in use, and clears it away.

    .OUT.edge-pigment-lock-1a2b3c4d       locked as long as the run lives
    .OUT.edge-pigment-partial-1a2b3c4d    a result being written
    .OUT.edge-pigment-old-1a2b3c4d        the result that is being replaced
"""

import glob
import json
import os
import secrets
import shutil
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from edge_pigment import errors as texts
from edge_pigment.errors import InputError

try:
    import fcntl
except ImportError:  # Windows: no lock, so nothing is ever judged stale
    fcntl = None  # type: ignore[assignment]

DESCRIPTION = "dataset_description.json"
GENERATOR = "edge-pigment"
_LOCK, _PARTIAL, _OLD = (f"{GENERATOR}-{kind}-" for kind in ("lock", "partial", "old"))


def check_target(target: Path, overwrite: bool, participants: Sequence[str] | None = None) -> None:
    """Refuse a target that cannot or must not be written, before any computing. Writes nothing.

    Args:
        target: the folder to be.
        overwrite: whether an older result may be replaced.
        participants: `sub-<label>` folders about to be added to the dataset `target`; None: the target is one
            result.

    Raises:
        InputError: it exists (and may not be replaced), is not edge-pigment's, or cannot be created.
    """
    if target.is_dir() and any(target.iterdir()):
        if not is_ours(target):
            raise InputError(texts.OUTPUT_NOT_OURS.format(path=target))
        older = [target] if participants is None else [target / name for name in participants]
        if not overwrite and any(place.exists() for place in older):
            raise InputError(texts.OUTPUT_EXISTS.format(path=next(p for p in older if p.exists())))
    elif target.exists() and not target.is_dir():
        raise InputError(texts.OUTPUT_NOT_A_FOLDER.format(path=target))
    home = _home(target, participants is not None)
    if not home.is_dir():
        raise InputError(texts.OUTPUT_PARENT_MISSING.format(path=target, parent=home))
    if not os.access(home, os.W_OK | os.X_OK):
        raise InputError(texts.OUTPUT_NOT_WRITABLE.format(path=target, why=f"{home} is not writable"))


def is_ours(folder: Path) -> bool:
    """Whether `folder` is a dataset that edge-pigment wrote, by its dataset_description.json."""
    try:
        made_by = json.loads((folder / DESCRIPTION).read_text("utf-8"))["GeneratedBy"]
        return any(entry["Name"] == GENERATOR for entry in made_by)
    except (OSError, ValueError, LookupError, TypeError):
        return False


class Staging:
    """A hidden folder to write in, and the move into place.

        with Staging(target) as stage:
            ...write below stage.path...
            stage.publish()

    Leaving without `publish`, by an error or an interrupt, leaves nothing behind. If `target` does not exist
    or is replaced, the whole folder is moved at once. If `merge` and `target` exists, each entry of the
    folder is moved into it, replacing an entry of that name: a dataset grows by whole participants. So it is
    where the target is a mount point.

    Raises:
        InputError: the folder cannot be created.
    """

    def __init__(self, target: Path, merge: bool = False) -> None:
        self.target = Path(os.path.abspath(target))
        self._merge = merge
        self._home = _home(self.target, merge)
        self._token = secrets.token_hex(4)
        self.path = self._home / f".{self.target.name}.{_PARTIAL}{self._token}"
        self._lock_path = self._home / f".{self.target.name}.{_LOCK}{self._token}"
        self._lock: IO[bytes] | None = None
        self._replaced: list[Path] = []

    def __enter__(self) -> Self:
        _recover(self._home, "*" if self._home == self.target else f".{glob.escape(self.target.name)}.")
        try:
            self._lock = open(self._lock_path, "xb")
            if fcntl:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.path.mkdir()
        except OSError as error:
            self._clear()
            raise InputError(texts.OUTPUT_NOT_WRITABLE.format(path=self.target, why=error.strerror)) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._clear()

    def publish(self) -> None:
        """Move what was written into place."""
        grows = self._merge and self.target.is_dir() and any(self.target.iterdir())
        if not grows and self._home != self.target:
            self._swap(self.path, self.target)
            return
        # the description last: until then, a new dataset does not claim to be one
        for entry in sorted(self.path.iterdir(), key=lambda p: (p.name == DESCRIPTION, p.name)):
            self._swap(entry, self.target / entry.name)

    def _swap(self, new: Path, place: Path) -> None:
        """Put `new` where `place` is; what was there is gone only when the new one is in place."""
        old = place.parent / f".{place.name}.{_OLD}{self._token}"
        try:
            if place.is_dir() and any(place.iterdir()):
                place.rename(old)
            new.replace(place)
        except BaseException:
            if old.exists() and not place.exists():
                old.rename(place)
            raise
        self._replaced.append(old)

    def _clear(self) -> None:
        for folder in (self.path, *self._replaced):
            shutil.rmtree(folder, ignore_errors=True)
        if self._lock:
            self._lock_path.unlink(missing_ok=True)
            self._lock.close()
            self._lock = None


def _home(target: Path, merge: bool) -> Path:
    """The folder for the hidden ones: beside the target, or in it.

    A mount point cannot be renamed over, and who may write in a folder may not be allowed to write beside it.
    """
    target = Path(os.path.abspath(target))
    if target.is_dir() and (merge or os.path.ismount(target) or not os.access(target.parent, os.W_OK)):
        return target
    return target.parent


def _recover(home: Path, prefix: str) -> None:
    """Clear away what killed runs left in `home`; give back an old result whose successor never came."""
    for lock in home.glob(f"{prefix}{_LOCK}*"):
        if not _is_free(lock):
            continue
        token = lock.name.rpartition("-")[2]
        for old in home.glob(f"{prefix}{_OLD}{token}"):
            place = home / old.name.removeprefix(".").removesuffix(f".{_OLD}{token}")
            if place.exists():
                shutil.rmtree(old, ignore_errors=True)
            else:
                old.rename(place)
        for partial in home.glob(f"{prefix}{_PARTIAL}{token}"):
            shutil.rmtree(partial, ignore_errors=True)
        lock.unlink(missing_ok=True)


def _is_free(lock: Path) -> bool:
    """Whether the process that made `lock` is gone."""
    if not fcntl:
        return False
    try:
        with open(lock, "rb+") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
