"""A result appears whole or not at all.

Everything is written to a hidden folder on the same file system as the target and renamed into place at the
end. The file beside it is locked until the process ends (`lock`), so a later run can tell what is stale from what is in
use, and clears it away. A run whose target another one is writing is refused.

    .OUT.edge-pigment-lock-1a2b3c4d       locked as long as the run lives
    .OUT.edge-pigment-partial-1a2b3c4d    a result being written
    .OUT.edge-pigment-old-1a2b3c4d        the result that is being replaced
"""

import errno
import glob
import secrets
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from edge_pigment import errors as texts
from edge_pigment.errors import InputError
from edge_pigment.outputs.lock import Lock, State, claimed, gate, state
from edge_pigment.outputs.target import (
    DESCRIPTION,
    GENERATOR,
    check_target,
    companion_name,
    held,
    home_of,
    is_ours,
    occupied,
    place_of,
)

__all__ = ["DESCRIPTION", "GENERATOR", "Staging", "check_target", "is_ours"]

_LOCK, _PARTIAL, _OLD = (f"{GENERATOR}-{kind}-" for kind in ("lock", "partial", "old"))
_TAKEN = (errno.ENOTEMPTY, errno.EEXIST)
_Identity = tuple[int, int] | None


class Staging:
    """A hidden folder to write in, and the move into place.

        with Staging(target) as stage:
            ...write below stage.path...
            stage.publish()

    Leaving without `publish`, by an error or an interrupt, leaves nothing behind. If `target` does not exist
    or is replaced, the whole folder is moved at once. If `merge` and `target` exists, each entry of the
    folder is moved into it, replacing an entry of that name: a dataset grows by whole participants. So it is
    where the target is a mount point. A target that is a link stays one; what it points to is written.

    Args:
        target: the folder to be.
        merge: add to a dataset.
        overwrite: whether what is there may be replaced.
        participants: about to be added, where `merge`; runs that add others go on side by side.

    Attributes:
        path: the hidden folder.
        locks: whether the file system has locks; where it has none, two runs into one target find out about each other
            when the second is done.

    Raises:
        InputError: the folder cannot be created, another run is writing the same, or has done so meanwhile.
    """

    def __init__(
        self, target: Path, merge: bool = False, overwrite: bool = True, participants: Sequence[str] = ()
    ) -> None:
        self._said = target
        self.target = place_of(target)
        self.locks = True
        self._merge, self._overwrite = merge, overwrite
        self._claims = list(participants) if merge else None
        self._home = home_of(self.target, merge)
        self._token = secrets.token_hex(4)
        name = companion_name(self.target.name)
        self.path = self._home / f"{name}{_PARTIAL}{self._token}"
        self._lock_path = self._home / f"{name}{_LOCK}{self._token}"
        self._lock: Lock | None = None
        self._replaced: list[Path] = []
        self._before: dict[str, _Identity] = {}

    def __enter__(self) -> Self:
        try:
            with gate(self._home):
                _recover(self.target)
                refuse_if_in_use(self.target, self._claims, self._said)
                self._lock = Lock(self._lock_path, self._claims)
            self.locks = self._lock.works
            self._before = _entries(self.target)
            if not self._overwrite:
                self._refuse_older()
            self.path.mkdir()
        except OSError as error:
            self._clear()
            raise InputError(texts.OUTPUT_NOT_WRITABLE.format(path=self._said, why=error.strerror)) from error
        except BaseException:
            self._clear()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._clear()

    def publish(self) -> None:
        """Move what was written into place.

        Raises:
            InputError: another run has written the same meanwhile; what it wrote is left as it is.
        """
        with gate(self._home):
            whole = self._home != self.target and not (self._merge and occupied(self.target))
            if not (whole and self._publish_whole()):
                self._publish_entries()

    def _publish_whole(self) -> bool:
        """Whether the folder could be moved as a whole; a dataset that has just appeared is joined instead."""
        if not self._merge and _entries(self.target) != self._before:
            raise InputError(texts.OUTPUT_TAKEN.format(path=self._said))
        try:
            self._swap(self.path, self.target)
        except OSError as error:
            if error.errno not in _TAKEN:
                raise
            if not self._merge:
                raise InputError(texts.OUTPUT_TAKEN.format(path=self._said)) from error
            return False
        return True

    def _publish_entries(self) -> None:
        now = _entries(self.target)
        new = {entry.name for entry in self.path.iterdir()}
        for entry in self.path.iterdir():
            if entry.is_dir() and now.get(entry.name) != self._before.get(entry.name):
                raise InputError(texts.OUTPUT_TAKEN.format(path=self._said / entry.name))
        # the description last: until then, a new dataset does not claim to be one
        for entry in sorted(self.path.iterdir(), key=lambda p: (p.name == DESCRIPTION, p.name)):
            try:
                self._swap(entry, self.target / entry.name)
            except OSError as error:
                if error.errno not in _TAKEN:
                    raise
                raise InputError(texts.OUTPUT_TAKEN.format(path=self._said / entry.name)) from error
        if not self._merge:  # one result takes the place of the older one, all of it
            for name in now.keys() - new:
                self._put_away(self.target / name)

    def _refuse_older(self) -> None:
        """What appeared since `check_target` looked."""
        if self._claims is None:
            older = [self._said] if occupied(self.target) else []
        else:
            older = [self._said / name for name in self._claims if name in self._before]
        if older:
            raise InputError(texts.OUTPUT_EXISTS.format(path=older[0]))

    def _swap(self, new: Path, place: Path) -> None:
        """Put `new` where `place` is; what was there is gone only when the new one is in place."""
        old = self._put_away(place) if place.is_dir() and any(place.iterdir()) else None
        try:
            new.replace(place)
        except BaseException:
            if old is not None and not place.exists():
                old.rename(place)
            raise

    def _put_away(self, place: Path) -> Path:
        old = place.parent / f"{companion_name(place.name)}{_OLD}{self._token}"
        place.rename(old)
        self._replaced.append(old)
        return old

    def _clear(self) -> None:
        for folder in (self.path, *self._replaced):
            _remove(folder)
        if self._lock:
            self._lock.release()
            self._lock = None


def refuse_if_in_use(target: Path, claims: Sequence[str] | None, said: Path | None = None) -> None:
    """Refuse what a living run is writing.

    Args:
        target: as `target.place_of` gives it.
        claims: participants about to be written; None: the whole of `target`.
        said: what to call `target`.

    Raises:
        InputError: another run is writing the same.
    """
    for lock in _locks_of(target):
        theirs = claimed(lock)
        apart = claims is not None and theirs is not None and not set(claims) & set(theirs)
        if not apart and state(lock) is State.LIVE:
            raise InputError(texts.OUTPUT_IN_USE.format(path=said or target))


def _places(target: Path) -> Iterator[tuple[Path, str]]:
    """Where companions of a target may lie, and how their names begin: beside it, and in it for what it holds."""
    yield target.parent, glob.escape(companion_name(target.name))
    if target.is_dir():
        yield target, ".*."


def _locks_of(target: Path) -> Iterator[Path]:
    for home, prefix in _places(target):
        yield from home.glob(f"{prefix}{_LOCK}*")


def _entries(folder: Path) -> dict[str, _Identity]:
    """What lies in a folder, but for hidden companions: device and inode by name; empty where there is none."""
    try:
        return {entry.name: _identity(entry) for entry in held(folder)}
    except OSError:
        return {}


def _identity(place: Path) -> _Identity:
    try:
        about = place.lstat()
    except OSError:
        return None
    return about.st_dev, about.st_ino


def _recover(target: Path) -> None:
    """Clear away what killed runs left; give back an old result whose successor never came."""
    for lock in list(_locks_of(target)):
        if state(lock) is not State.STALE:
            continue
        token = lock.name.rpartition("-")[2]
        for home, prefix in list(_places(target)):
            for old in home.glob(f"{prefix}{_OLD}{token}"):
                place = target if home != target else home / old.name.removeprefix(".").removesuffix(f".{_OLD}{token}")
                if place.exists():
                    _remove(old)
                else:
                    old.rename(place)
            for partial in home.glob(f"{prefix}{_PARTIAL}{token}"):
                _remove(partial)
        lock.unlink(missing_ok=True)


def _remove(place: Path) -> None:
    if place.is_symlink():
        place.unlink(missing_ok=True)
    else:
        shutil.rmtree(place, ignore_errors=True)
