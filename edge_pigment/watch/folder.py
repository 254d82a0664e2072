"""Volumes as they arrive in a folder: one NIfTI that grows, or a file for each volume with its own b and direction.

A volume counts once its voxels and its entries in .bval and .bvec are all there; what is half written is looked at
again later. Files of single volumes are ordered by name, numbers in names as numbers, whatever the order of arrival.
A volume with the same voxels as another was sent twice and counts once.
"""

import hashlib
import re
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from edge_pigment import errors as texts
from edge_pigment.acquisition import IMAGE_SUFFIXES, Acquisition, stem
from edge_pigment.errors import InputError
from edge_pigment.gradients import GradientTable, fsl_signs

Float = NDArray[np.float64]
Volume = NDArray[np.float32]
_GZIP = 31
"""zlib's code for a stream with a gzip header."""


@dataclass(frozen=True, eq=False)
class Arrivals:
    """The scan so far; None where no volume has arrived yet.

    waiting: files that are not complete, and why; repeats: files or volumes that were sent twice; fingerprint: changes
    when the volumes do.
    """

    acquisition: Acquisition | None
    waiting: tuple[str, ...] = ()
    repeats: tuple[str, ...] = ()
    fingerprint: str = ""

    @property
    def count(self) -> int:
        """Volumes."""
        return 0 if self.acquisition is None else len(self.acquisition.gradients)


@dataclass(frozen=True, eq=False)
class _Piece:
    """Complete volumes of one file: (X, Y, Z, n), b (n,), directions (n, 3) along the image axes; their digests."""

    signal: Volume
    bvals: Float
    bvecs: Float
    affine: Float
    header: Any
    digests: tuple[bytes, ...]


class Folder:
    """A folder that a scanner writes into.

    Raises:
        InputError: it is not there.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_dir():
            raise InputError(texts.WATCH_FOLDER_MISSING.format(path=path))
        self.path = path
        self._known: dict[Path, tuple[tuple[tuple[int, int], ...], _Piece]] = {}
        self._told: tuple[list[_Piece], list[str], Arrivals] | None = None

    def look(self) -> Arrivals:
        """What has arrived by now.

        Raises:
            InputError: complete volumes that cannot belong to one scan.
        """
        waiting: list[str] = []
        pieces: list[tuple[Path, _Piece]] = []
        found = [p for p in self.path.iterdir() if p.name.endswith(IMAGE_SUFFIXES) and not p.name.startswith(".")]
        for path in sorted(found, key=_natural):
            try:
                pieces.append((path, self._piece(path)))
            except _UnfinishedError as why:
                waiting.append(f"{path.name}: {why}")
        known = [piece for _, piece in pieces]
        if self._told is None or self._told[:2] != (known, waiting):
            self._told = known, waiting, _joined(pieces, waiting)
        return self._told[2]

    def _piece(self, path: Path) -> _Piece:
        """The file's complete volumes; read again only if it or its tables have changed."""
        tables = [path.with_name(f"{stem(path)}.{kind}") for kind in ("bval", "bvec")]
        for table in tables:
            if not table.is_file():
                raise _UnfinishedError(f"no {table.name} yet")
        state = tuple((s.st_size, s.st_mtime_ns) for s in (p.stat() for p in (path, *tables)))
        if path in self._known and self._known[path][0] == state:
            return self._known[path][1]
        piece = _read(path, *tables)
        self._known[path] = (state, piece)
        return piece


class _UnfinishedError(Exception):
    """A file that is still being written, as far as one can tell."""


def _natural(path: Path) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", path.name)]


def _read(path: Path, bval: Path, bvec: Path) -> _Piece:
    header, voxels, affine = _volumes(path)
    bvals = _numbers(bval).ravel()
    rows = np.atleast_2d(_numbers(bvec))
    if rows.shape == (3, 1) or (rows.shape[0] == 3 and rows.shape[1] == len(bvals)):
        rows = rows.T
    if rows.shape[1] != 3:
        raise _UnfinishedError(f"{bvec.name} is not complete")
    count = min(voxels.shape[3], len(bvals), len(rows))
    # a scanner may make room for all volumes beforehand: an empty one has not arrived
    kept = [n for n in range(count) if _has_signal(voxels[..., n])]
    if not kept:
        raise _UnfinishedError("no complete volume yet")
    if len(kept) < voxels.shape[3]:
        voxels = np.asfortranarray(voxels[..., kept])
    digests = tuple(hashlib.blake2b(voxels[..., n].tobytes("F"), digest_size=16).digest() for n in range(len(kept)))
    return _Piece(voxels, bvals[kept], np.nan_to_num(rows[kept]) * fsl_signs(affine), affine, header, digests)


def _has_signal(volume: Volume) -> bool:
    """As `read_acquisition` asks it: at least two finite values."""
    known = volume[np.isfinite(volume)]
    return bool(known.size) and bool(known.min() < known.max())


def _numbers(path: Path) -> Float:
    try:
        lines = path.read_text("utf-8-sig").replace(",", " ").splitlines()
        rows = [[float(word) for word in line.split()] for line in lines if line.strip()]
        shortest = min(len(row) for row in rows)
        # the last row may be half written
        return np.array([row[:shortest] for row in rows])
    except ValueError as error:
        raise _UnfinishedError(f"{path.name} is not complete") from error


def _volumes(path: Path) -> tuple[Any, Volume, Float]:
    """Header, complete volumes (X, Y, Z, n) and affine of a file that may still grow."""
    raw = _bytes(path)
    try:
        header: Any = nib.Nifti1Header(raw[:348])  # type: ignore[no-untyped-call]
    except Exception as error:  # whatever nibabel makes of half a header
        raise _UnfinishedError("the header is not complete") from error
    shape = tuple(int(n) for n in header.get_data_shape())
    if len(shape) not in (3, 4):
        raise InputError(texts.IMAGE_NOT_4D.format(path=path, shape=shape))
    dtype = header.get_data_dtype()
    start, size = int(header.get_data_offset()), int(np.prod(shape[:3])) * dtype.itemsize
    count = min((len(raw) - start) // size, shape[3] if len(shape) == 4 else 1)
    if count < 1:
        raise _UnfinishedError("no complete volume yet")
    stored = np.frombuffer(raw, dtype, count * int(np.prod(shape[:3])), start).reshape((*shape[:3], count), order="F")
    slope, inter = header.get_slope_inter()
    as_stored = slope is None or (slope, inter or 0.0) == (1.0, 0.0)
    voxels = np.empty(stored.shape, np.float32, order="F")
    for n in range(count):
        voxels[..., n] = stored[..., n] if as_stored else stored[..., n] * np.float64(slope) + (inter or 0.0)
    return header, voxels, np.asarray(header.get_best_affine(), float)


def _bytes(path: Path) -> bytes:
    """The file's content, decompressed as far as it has been written."""
    if not path.name.endswith(".gz"):
        return path.read_bytes()
    packed, parts = path.read_bytes(), []
    try:
        while packed:  # a gzip file may have several members
            unpack = zlib.decompressobj(_GZIP)
            parts.append(unpack.decompress(packed))
            packed = unpack.unused_data
    except zlib.error:
        pass  # damaged or cut short; complete volumes are told by their size
    return b"".join(parts)


def _joined(pieces: list[tuple[Path, _Piece]], waiting: list[str]) -> Arrivals:
    """One scan of all pieces, what was sent twice left out."""
    if not pieces:
        return Arrivals(None, tuple(waiting))
    first = pieces[0][1]
    seen: set[bytes] = set()
    repeats: list[str] = []
    signal: list[Volume] = []
    bvals, bvecs = [], []
    fingerprint = hashlib.blake2b(digest_size=16)
    for path, piece in pieces:
        if piece.signal.shape[:3] != first.signal.shape[:3] or not np.allclose(piece.affine, first.affine, atol=1e-3):
            raise InputError(texts.WATCH_GRIDS_DIFFER.format(path=path, other=pieces[0][0].name))
        for n in range(piece.signal.shape[3]):
            if piece.digests[n] in seen:
                repeats.append(f"{path.name} volume {n}")
                continue
            seen.add(piece.digests[n])
            fingerprint.update(piece.digests[n])
            signal.append(piece.signal[..., n])
            bvals.append(piece.bvals[n])
            bvecs.append(piece.bvecs[n])
    whole = np.empty((*first.signal.shape[:3], len(signal)), np.float32, order="F")
    for n, volume in enumerate(signal):
        whole[..., n] = volume
    table = GradientTable(np.array(bvals), np.array(bvecs))
    for numbers in (table.bvals, table.bvecs):
        fingerprint.update(np.ascontiguousarray(numbers).tobytes())
    acquisition = Acquisition(whole, table, first.affine, pieces[0][0], first.header)
    return Arrivals(acquisition, tuple(waiting), tuple(repeats), fingerprint.hexdigest())
