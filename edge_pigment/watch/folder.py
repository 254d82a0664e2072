"""Volumes as they arrive in a folder: one NIfTI that grows, or a file for each volume with its own b and direction.

A volume counts once its voxels and its entries in .bval and .bvec are all there; what is half written is looked at
again later. Files of single volumes are ordered by name, numbers in names as numbers, whatever the order of arrival.
A volume with the same voxels as another was sent twice and counts once.
"""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_pigment import errors as texts
from edge_pigment.acquisition import Acquisition, has_signal, real_image
from edge_pigment.errors import IncompleteError, InputError
from edge_pigment.gradients import GradientTable, fsl_signs
from edge_pigment.reading.image import Image, beside, is_image
from edge_pigment.reading.orientation import furthest_apart, voxel_sizes
from edge_pigment.reading.tables import read_growing

Float = NDArray[np.float64]
Volume = NDArray[np.float32]

SAME_PLACE = 0.01
"""Voxels by which headers of one scan may differ unsaid: converters round."""
LOW_B = 100.0
"""s/mm², up to which a volume may stand for b=0 (HCP's 7 T scans store 55 to 65) and waits for no direction."""
FOLLOWED = 30.0
"""mm at a corner of the image that a scanner may follow a head by (PACE): a nod of 10 degrees, as coils allow."""


@dataclass(frozen=True, eq=False)
class Arrivals:
    """The scan so far; None where no volume has arrived yet.

    waiting: files and volumes that are not complete, and why; repeats: files or volumes that were sent twice;
    passed_over: names of images without any table, which are no part of the scan as far as one can tell; fingerprint:
    changes when the volumes do.
    """

    acquisition: Acquisition | None
    waiting: tuple[str, ...] = ()
    repeats: tuple[str, ...] = ()
    passed_over: tuple[str, ...] = ()
    fingerprint: str = ""

    @property
    def count(self) -> int:
        """Volumes."""
        return 0 if self.acquisition is None else len(self.acquisition.gradients)


@dataclass(frozen=True, eq=False)
class _Piece:
    """Complete volumes (X, Y, Z) of one file, their numbers in it, b (n,), directions (n, 3) along the image axes, and
    digests; missing: values that are not finite; late: volumes whose entries in the tables are no numbers yet."""

    volumes: tuple[Volume, ...]
    numbers: tuple[int, ...]
    bvals: Float
    bvecs: Float
    image: Image
    digests: tuple[bytes, ...]
    missing: tuple[int, ...]
    late: tuple[str, ...]


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
        self._told: tuple[list[_Piece], list[str], list[str], Arrivals] | None = None

    def look(self) -> Arrivals:
        """What has arrived by now.

        Raises:
            InputError: complete volumes that cannot belong to one scan.
        """
        waiting: list[str] = []
        strays: list[str] = []
        pieces: list[tuple[Path, _Piece]] = []
        for path in self._images():
            try:
                if (piece := self._piece(path)) is None:
                    strays.append(path.name)
                else:
                    pieces.append((path, piece))
            except (_UnfinishedError, IncompleteError) as error:
                waiting.append(f"{path.name}: {getattr(error, 'why', error)}")
            except OSError as error:  # it was there a moment ago
                waiting.append(f"{path.name}: {error.strerror or error}")
        known = [piece for _, piece in pieces]
        if self._told is None or self._told[:3] != (known, waiting, strays):
            self._told = known, waiting, strays, _joined(pieces, waiting, strays)
        return self._told[3]

    def _images(self) -> list[Path]:
        """Image files in their order; of a pair, the header."""
        try:
            found = [p for p in self.path.iterdir() if is_image(p) and not p.name.startswith(".") and p.is_file()]
        except OSError as error:
            raise InputError(texts.WATCH_FOLDER_MISSING.format(path=self.path)) from error
        images = [p for p in found if not p.name.lower().endswith((".img", ".img.gz"))]
        return sorted(images, key=_natural)

    def _piece(self, path: Path) -> _Piece | None:
        """The file's complete volumes, read again only if it or its tables have changed; None where it has no table."""
        tables = [beside(path, f".{kind}") for kind in ("bval", "bvec")]
        missing = [table.name for table in tables if not table.is_file()]
        if len(missing) == len(tables):
            return None
        if missing:
            raise _UnfinishedError(f"no {missing[0]} yet")
        voxels = beside(path, ".img", ".img.gz") if path.name.lower().endswith((".hdr", ".hdr.gz")) else path
        if not voxels.is_file():
            raise _UnfinishedError(f"no {voxels.name} yet")
        state = tuple((s.st_size, s.st_mtime_ns) for s in (p.stat() for p in (path, voxels, *tables)))
        if path in self._known and self._known[path][0] == state:
            return self._known[path][1]
        piece = _read(path, *tables)
        self._known[path] = (state, piece)
        return piece


class _UnfinishedError(Exception):
    """A file that is still being written, as far as one can tell."""


class _OtherGridError(Exception):
    """Volumes that do not lie on one grid."""


def _natural(path: Path) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", path.name)]


def _read(path: Path, bval: Path, bvec: Path) -> _Piece:
    nifti = real_image(path)
    bvals, rows = _tables(bval, bvec)
    volumes: list[Volume] = []
    kept: list[int] = []
    room = False
    for n, volume in enumerate(nifti.volumes(growing=True)):
        with np.errstate(all="ignore"):
            signal = np.asfortranarray(volume, np.float32)
        # a scanner may make room for all volumes beforehand: an empty one has not arrived
        if not has_signal(signal):
            room = True
        elif n < min(len(bvals), len(rows)):
            volumes.append(signal)
            kept.append(n)
    if room and len(kept) > 1 and _is_half(volumes[-1], volumes[0]):
        volumes.pop()
        kept.pop()
    if not kept:
        raise _UnfinishedError("no complete volume yet")
    bvals, bvecs = bvals[kept], rows[kept]
    undirected = ~np.isfinite(bvecs).all(1)
    unknown = np.isnan(bvals) | (undirected & (bvals > LOW_B))
    # the direction of a b=0 volume means nothing; some tools write nan, the normalised zero vector
    bvecs[undirected & ~unknown] = 0
    late = [kept[n] for n in np.flatnonzero(unknown)]
    use = np.flatnonzero(~unknown)
    affine = nifti.orientation.affine
    return _Piece(
        volumes=tuple(volumes[n] for n in use),
        numbers=tuple(kept[n] for n in use),
        bvals=bvals[use],
        bvecs=bvecs[use] * fsl_signs(affine),
        image=nifti,
        digests=tuple(hashlib.blake2b(volumes[n].tobytes("F"), digest_size=16).digest() for n in use),
        missing=tuple(volumes[n].size - int(np.isfinite(volumes[n]).sum()) for n in use),
        late=(f"volume {texts.listed(late)}: no b-value and direction in numbers yet",) if late else (),
    )


def _is_half(volume: Volume, whole: Volume) -> bool:
    """Whether a volume's last slices are still the room that was made for them."""
    ends = [int(np.flatnonzero(v.any((0, 1)))[-1]) for v in (volume, whole)]
    rows = [int(np.flatnonzero(v[:, :, end].any(0))[-1]) for v, end in zip((volume, whole), ends, strict=True)]
    # a slice that is written in part ends early: half the rows are more than noise in air varies by
    return ends[0] < ends[1] or rows[0] < rows[1] // 2


def _tables(bval: Path, bvec: Path) -> tuple[Float, Float]:
    """b-values (n,) and directions (m, 3) of tables that may be half written."""
    try:
        bvals, rows = read_growing(bval).ravel(), read_growing(bvec)
    except InputError as error:
        raise _UnfinishedError(f"{bval.name} or {bvec.name} is not complete") from error
    if rows.shape == (3, 1) or (rows.shape[0] == 3 and rows.shape[1] == len(bvals)):
        rows = rows.T
    if rows.shape[1] != 3:
        raise _UnfinishedError(f"{bvec.name} is not complete")
    return bvals, rows.copy()


def _moved(piece: _Piece, first: _Piece) -> float:
    """mm between the places that the two headers give the outermost voxels.

    Raises:
        _OtherGridError: the two are volumes of two scans.
    """
    if piece.image.grid != first.image.grid:
        raise _OtherGridError
    one, other = piece.image.orientation.affine, first.image.orientation.affine
    away = furthest_apart(one, other, first.image.grid)
    if away > SAME_PLACE * voxel_sizes(other).min() and (away > FOLLOWED or not _is_turned(one, other)):
        raise _OtherGridError
    return away


def _is_turned(one: Float, other: Float) -> bool:
    """Whether the two affines have the same voxels, turned and shifted at most."""
    turn = (one[:3, :3] / voxel_sizes(one)) @ np.linalg.inv(other[:3, :3] / voxel_sizes(other))
    rigid = np.allclose(turn @ turn.T, np.eye(3), atol=SAME_PLACE) and np.linalg.det(turn) > 0
    return bool(rigid and np.allclose(voxel_sizes(one), voxel_sizes(other), rtol=SAME_PLACE))


def _joined(pieces: list[tuple[Path, _Piece]], waiting: list[str], strays: list[str]) -> Arrivals:
    """One scan of all pieces, what was sent twice or has no direction yet left out."""
    if not pieces:
        return Arrivals(None, tuple(waiting), passed_over=tuple(strays))
    warnings = _warnings(pieces)
    chosen, late, repeats = _chosen(pieces)
    waiting = waiting + late
    if not chosen:
        return Arrivals(None, tuple(waiting), tuple(repeats), tuple(strays))
    path, first = pieces[0]
    whole = np.empty((*first.image.grid, len(chosen)), np.float32, order="F")
    fingerprint = hashlib.blake2b(digest_size=16)
    for k, (piece, n) in enumerate(chosen):
        whole[..., k] = piece.volumes[n]
        fingerprint.update(piece.digests[n])
    bvals = np.array([piece.bvals[n] for piece, n in chosen])
    table = GradientTable(bvals, np.array([piece.bvecs[n] for piece, n in chosen]))
    for numbers in (table.bvals, table.bvecs):
        fingerprint.update(np.ascontiguousarray(numbers).tobytes())
    if missing := sum(piece.missing[n] for piece, n in chosen):
        warnings.append(texts.VOXELS_NOT_FINITE.format(path=path.parent, count=missing))
    orientation = first.image.orientation
    acquisition = Acquisition(whole, table, orientation.affine, path, orientation.header, tuple(warnings))
    return Arrivals(acquisition, tuple(waiting), tuple(repeats), tuple(strays), fingerprint.hexdigest())


def _chosen(pieces: list[tuple[Path, _Piece]]) -> tuple[list[tuple[_Piece, int]], list[str], list[str]]:
    """The scan's volumes in order; what waits for its entry in the tables; what was sent twice."""
    chosen: list[tuple[_Piece, int]] = []
    late: list[str] = []
    repeats: list[str] = []
    seen: set[bytes] = set()
    # zeros among directions are no trace images but room for directions that are not known yet
    directed = any(piece.bvecs.any() for _, piece in pieces)
    for path, piece in pieces:
        late += [f"{path.name}: {why}" for why in piece.late]
        undirected = directed & (piece.bvals > LOW_B) & ~piece.bvecs.any(1)
        if undirected.any():
            volumes = texts.listed(np.array(piece.numbers)[undirected])
            late.append(f"{path.name}: volume {volumes}: no direction yet (0 0 0)")
        for n in np.flatnonzero(~undirected):
            if piece.digests[n] in seen:
                repeats.append(f"{path.name} volume {piece.numbers[n]}")
            else:
                seen.add(piece.digests[n])
                chosen.append((piece, int(n)))
    return chosen, late, repeats


def _warnings(pieces: list[tuple[Path, _Piece]]) -> list[str]:
    """What is doubtful about the headers, each kind once.

    Raises:
        InputError: the files belong to two scans.
    """
    path, first = pieces[0]
    kinds: dict[str, str] = {}
    furthest = 0.0
    for other, piece in pieces:
        for warning in piece.image.warnings:
            kinds.setdefault(warning.replace(str(other), ""), warning)
        try:
            furthest = max(furthest, _moved(piece, first))
        except _OtherGridError as error:
            raise InputError(texts.WATCH_GRIDS_DIFFER.format(path=other, other=path.name)) from error
    warnings = list(kinds.values())
    orientation = first.image.orientation
    if not orientation.stated:
        warnings.append(texts.ORIENTATION_UNKNOWN.format(path=path))
    if furthest > SAME_PLACE * voxel_sizes(orientation.affine).min():
        warnings.append(texts.WATCH_MOVING.format(mm=furthest))
    return warnings
