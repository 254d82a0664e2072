"""Where a result goes: what can be known of the place before anything is computed. Nothing is written to find out."""

import errno
import hashlib
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path

from edge_pigment import errors as texts
from edge_pigment.errors import InputError
from edge_pigment.visible import visible

DESCRIPTION = "dataset_description.json"
GENERATOR = "edge-pigment"
_COMPANION = re.compile(rf"\..*\.{GENERATOR}-(lock|partial|old)-[0-9a-f]{{8}}", re.DOTALL)
"""Names of the hidden files of `staging`."""
_LONGEST_NAME = 255 - len(f"..{GENERATOR}-partial-00000000")
"""Bytes of a target's name that fit into those of its hidden companions."""
_BEGINNING = 100
"""Letters kept of a name that is longer."""
_OF_THE_DISK = "lost+found"
"""What every new ext4 file system holds."""


def check_target(
    target: Path, overwrite: bool, participants: Sequence[str] | None = None, inputs: Sequence[Path] = ()
) -> None:
    """Refuse a target that cannot or must not be written, before any computing. Writes nothing.

    Args:
        target: the folder to be.
        overwrite: whether an older result may be replaced.
        participants: `sub-<label>` folders about to be added to the dataset `target`; None: the target is one
            result.
        inputs: files that the result is made from; they are never replaced.

    Raises:
        InputError: it exists (and may not be replaced), is not edge-pigment's, holds the input or lies in it, or cannot
            be created.
    """
    try:
        place = place_of(target)
        _refuse_what_is_there(target, place, overwrite, participants)
        _refuse_input(target, place, participants, inputs)
        home = home_of(place, participants is not None)
        if not home.is_dir():
            raise InputError(texts.OUTPUT_PARENT_MISSING.format(path=target, parent=home))
        if not os.access(home, os.W_OK | os.X_OK):
            why = os.strerror(errno.EROFS) if _read_only(home) else f"{home} is not writable"
            raise InputError(texts.OUTPUT_NOT_WRITABLE.format(path=target, why=why))
    except OSError as error:  # a link that leads round in a circle, a name too long, a share that is gone
        raise InputError(texts.OUTPUT_NOT_WRITABLE.format(path=target, why=error.strerror)) from error


def _refuse_what_is_there(target: Path, place: Path, overwrite: bool, participants: Sequence[str] | None) -> None:
    if place.is_symlink():  # what is left of a link after it was followed leads round in a circle
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
    if occupied(place):
        if not is_ours(place):
            raise InputError(texts.OUTPUT_NOT_OURS.format(path=target))
        older = [target] if participants is None else [target / name for name in participants]
        if not overwrite and any(p.exists() for p in older):
            raise InputError(texts.OUTPUT_EXISTS.format(path=next(p for p in older if p.exists())))
    elif place.exists() and not place.is_dir():
        raise InputError(texts.OUTPUT_NOT_A_FOLDER.format(path=target))


def _refuse_input(target: Path, place: Path, participants: Sequence[str] | None, inputs: Sequence[Path]) -> None:
    """Neither is input replaced, nor does a result go among the raw data of a BIDS participant."""
    replaced = [place] if participants is None else [place / name for name in participants]
    for path in map(place_of, inputs):
        if any(part == path or part in path.parents for part in replaced):
            raise InputError(texts.OUTPUT_HOLDS_INPUT.format(path=target, input=path))
        for folder in (place, *place.parents):
            if folder.name.startswith("sub-") and folder in path.parents and "dwi" in path.relative_to(folder).parts:
                raise InputError(texts.OUTPUT_AMONG_INPUT.format(path=target, folder=folder))
    for folder in (place, *place.parents):
        if folder.name.startswith("sub-") and _is_raw(folder.parent):
            raise InputError(texts.OUTPUT_AMONG_INPUT.format(path=target, folder=folder))


def place_of(target: Path) -> Path:
    """The folder itself, absolute, where `target` is a link to it or lies behind one."""
    return Path(os.path.realpath(target))


def home_of(place: Path, merge: bool) -> Path:
    """The folder for the hidden ones: beside the target, or in it.

    A mount point cannot be renamed over, and who may write in a folder may not be allowed to write beside it.
    """
    if place.is_dir() and (merge or os.path.ismount(place) or not os.access(place.parent, os.W_OK)):
        return place
    return place.parent


def companion_name(name: str) -> str:
    """How the hidden companions of a file begin: with its name, or as much of it as fits and a mark of the rest."""
    raw = os.fsencode(name)
    if len(raw) > _LONGEST_NAME:
        start = re.sub(r"[^A-Za-z0-9_-]", "", name)[:_BEGINNING]
        name = f"{start}-{hashlib.sha256(raw).hexdigest()[:16]}"
    return f".{name}."


def held(folder: Path) -> list[Path]:
    """What lies in a folder, but for hidden companions of results and what every disk has."""
    return [entry for entry in folder.iterdir() if entry.name != _OF_THE_DISK and not _COMPANION.fullmatch(entry.name)]


def occupied(folder: Path) -> bool:
    """Whether it is a folder that holds something."""
    return folder.is_dir() and bool(held(folder))


def is_ours(folder: Path) -> bool:
    """Whether `folder` is a dataset that edge-pigment wrote, by its dataset_description.json."""
    try:
        made_by = json.loads((folder / DESCRIPTION).read_text("utf-8"))["GeneratedBy"]
        return any(entry["Name"] == GENERATOR for entry in made_by)
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return False


def check_names(target: Path, merge: bool, files: Sequence[Path]) -> None:
    """Refuse names and paths that the file system would not take.

    Args:
        target: the folder to be.
        merge: as of `Staging`.
        files: about to be written, relative to it.

    Raises:
        InputError: one is too long.
    """
    place = place_of(target)
    home = home_of(place, merge)
    try:
        most_name, most_path = (os.pathconf(home, what) for what in ("PC_NAME_MAX", "PC_PATH_MAX"))
    except (OSError, ValueError, AttributeError):
        return  # not known here
    hidden = f"{companion_name(place.name)}{GENERATOR}-partial-00000000"
    for file in (*files, Path(place.name), Path(hidden)):
        longest = max((len(os.fsencode(part)) for part in file.parts), default=0)
        if 0 < most_name < longest:
            text = texts.NAME_TOO_LONG.format(name=visible(file.name), length=longest, most=most_name)
            raise InputError(text)
        whole = len(os.fsencode(home / hidden / file))
        if 0 < most_path <= whole:
            raise InputError(texts.PATH_TOO_LONG.format(path=target, length=whole, most=most_path))


def _is_raw(folder: Path) -> bool:
    """Whether it is a BIDS dataset of measurements, by its description."""
    try:
        description = json.loads((folder / DESCRIPTION).read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(description, dict) and description.get("DatasetType", "raw") == "raw"


def _read_only(folder: Path) -> bool:
    flag = getattr(os, "ST_RDONLY", 0)
    return bool(flag and os.statvfs(folder).f_flag & flag)
