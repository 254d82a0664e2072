"""One NIfTI image of whatever kind: versions 1 and 2, one file or a pair, either byte order, compressed or not.

The header is judged here, not by nibabel, whose loader mends some damage silently and ends in many kinds of exception
at other. The voxels come volume by volume, so that a scan is in memory once, and a file that is still being written
gives the volumes that are there.
"""

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.imageglobals import logger
from numpy.typing import NDArray

from edge_pigment import errors as texts
from edge_pigment.errors import IncompleteError, InputError
from edge_pigment.reading.orientation import Orientation, orient
from edge_pigment.reading.stream import LARGEST_RATIO, is_gzip, opened

SUFFIXES = (".nii.gz", ".nii", ".hdr.gz", ".hdr", ".img.gz", ".img")
"""Of image files, in lower case; names are compared without regard to case."""
_HEADER_SUFFIXES, _VOXEL_SUFFIXES = (".hdr", ".hdr.gz"), (".img", ".img.gz")
_PACKERS = {b"BZh": "bzip2", b"\x28\xb5\x2f\xfd": "Zstandard", b"PK\x03\x04": "zip", b"\xfd7zXZ": "xz"}
_SIZE_1, _SIZE_2 = 348, 540
"""Bytes of the headers of NIfTI-1 and NIfTI-2."""
LARGEST_VALUE, LARGEST_OF_ALL = 1e15, 1e25
"""Of a voxel where most of the image is far below, as where floats are damaged; and of an image in any unit."""
_MOST_EXCESS = 512
"""Bytes that may follow the voxels: some writers fill up their last block. More, and the header says too little."""
_SUSPICIOUS_RATIO = 32
"""Claimed over compressed size beyond which the stream is measured before memory is taken for it; masked scans
reach 20."""


@dataclass(frozen=True, eq=False)
class Image:
    """An image whose header has been read and judged; its voxels have not been read yet.

    Attributes:
        path: as it was given.
        voxels: file that holds the voxels.
        shape: as the header states it, at least three numbers.
        dtype: of the stored values, with their byte order.
        offset: of the voxels in their file, bytes.
        slope, inter: value = slope * stored + inter.
        orientation: affine in mm, and a header that is safe to derive others from.
        warnings: what is doubtful about the header but does no harm.
    """

    path: Path
    voxels: Path
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    offset: int
    slope: float
    inter: float
    orientation: Orientation
    warnings: tuple[str, ...] = ()

    @property
    def grid(self) -> tuple[int, int, int]:
        """(X, Y, Z)."""
        return self.shape[:3]  # type: ignore[return-value]

    @property
    def count(self) -> int:
        """Volumes, along whatever dimensions follow the third."""
        count = 1
        for n in self.shape[3:]:
            count *= n
        return count

    @property
    def _volume_bytes(self) -> int:
        x, y, z = self.grid
        return x * y * z * self.dtype.itemsize

    def volumes(self, growing: bool = False) -> Iterator[NDArray[Any]]:
        """The volumes (X, Y, Z) in order, scaled: as stored where there is no scaling, else float64.

        What is infinite or too large for a signal is NaN.

        Args:
            growing: the file may still be written: give the volumes that are whole, and do not mind the rest.

        Raises:
            IncompleteError: damaged, or, unless `growing`, cut short or longer than the header says.
        """
        with _plainly(self.path):
            self._check_size(growing)
            yield from self._scaled(growing)

    def _scaled(self, growing: bool) -> Iterator[NDArray[Any]]:
        as_stored = (self.slope, self.inter) == (1.0, 0.0)
        with opened(self.voxels) as stream:
            stream.skip(self.offset)
            for n in range(self.count):
                buffer = np.empty(self._volume_bytes, np.uint8)
                if stream.readinto(buffer.data) < len(buffer):
                    if not growing:
                        raise _incomplete(self.path, f"it ends in volume {n} of {self.count}")
                    return
                stored = buffer.view(self.dtype).reshape(self.grid, order="F")
                with np.errstate(all="ignore"):
                    values = stored if as_stored else stored.astype(np.float64) * self.slope + self.inter
                    # one comparison for nearly all images; one that is not a number fails it, too
                    if values.dtype.kind == "f" and not np.abs(values).max() <= LARGEST_VALUE:
                        values = np.where(np.abs(values) <= _largest(values), values, np.nan).astype(values.dtype)
                yield values
            excess = stream.skip()
            if stream.cut and not growing:
                raise _incomplete(self.path, "the compressed stream has no end")
            if excess >= _MOST_EXCESS and not growing:
                raise _incomplete(self.path, f"it holds {excess} bytes more than its header says")

    def _check_size(self, growing: bool) -> None:
        """Refuse a header that claims more than the file can hold, before memory is taken."""
        needed = self._volume_bytes * (1 if growing else self.count)
        size = self.voxels.stat().st_size
        if not is_gzip(self.voxels):
            held = size - self.offset
        elif needed > LARGEST_RATIO * size:
            held = 0
        elif needed > _SUSPICIOUS_RATIO * size:
            with opened(self.voxels) as stream:
                held = stream.skip() - self.offset
        else:
            return
        if held < needed:
            why = f"the header says {needed} bytes of voxels, and the file holds {max(held, 0)}"
            raise _incomplete(self.path, "no complete volume yet" if growing else why)


def _largest(values: NDArray[Any]) -> float:
    """The largest value of a volume that can be a signal, whatever its unit."""
    known = np.abs(values[np.isfinite(values)])
    usual = float(np.quantile(known, 0.99)) if known.size else 0.0
    return min(max(LARGEST_VALUE, 100 * usual), LARGEST_OF_ALL)


def open_image(path: Path) -> Image:
    """Read and judge the header.

    Args:
        path: .nii or .nii.gz, or either file of a .hdr and .img pair.

    Raises:
        InputError: no such file, no NIfTI image, or a header that makes no sense.
        IncompleteError: the file ends in the header, or is damaged.
    """
    head, voxels = _files(path)
    with _plainly(path), np.errstate(all="ignore"):
        with opened(head) as stream:
            raw = stream.read(_SIZE_2)
        header = _header(raw, path)
        warnings: list[str] = []
        dtype = _dtype(header, path, warnings)
        shape = _shape(header, path)
        slope, inter = _scaling(header, path, warnings)
        offset = _offset(header, path, head == voxels)
        orientation = orient(header, shape[:3], path)
        warnings += orientation.warnings
        return Image(path, voxels, shape, dtype, offset, slope, inter, orientation, tuple(warnings))


def is_image(path: Path) -> bool:
    """Whether the name is that of an image file that `open_image` may read."""
    return path.name.lower().endswith(SUFFIXES)


def stem(path: Path) -> str:
    """File name without the suffix of an image."""
    for suffix in SUFFIXES:
        if path.name.lower().endswith(suffix):
            return path.name[: -len(suffix)]
    return path.stem


def beside(path: Path, *suffixes: str) -> Path:
    """The file of the image's name with one of these suffixes, in lower or upper case; the first where there is
    none."""
    names = [f"{stem(path)}{s}" for suffix in suffixes for s in (suffix, suffix.upper())]
    candidates = [path.with_name(name) for name in names]
    return next((candidate for candidate in candidates if candidate.is_file()), candidates[0])


def _files(path: Path) -> tuple[Path, Path]:
    """The files that hold the header and the voxels."""
    name = path.name.lower()
    head = beside(path, *_HEADER_SUFFIXES) if name.endswith(_VOXEL_SUFFIXES) else path
    voxels = beside(path, *_VOXEL_SUFFIXES) if name.endswith(_HEADER_SUFFIXES) else path
    for file in (path, head, voxels):
        if file.is_symlink() and not file.exists():
            raise InputError(texts.IMAGE_LINK_BROKEN.format(path=file))
        if not file.is_file():
            raise InputError(texts.IMAGE_MISSING.format(path=file))
    return head, voxels


def _header(raw: bytes, path: Path) -> Any:
    """The nibabel header of these bytes, as they are."""
    maker: Any
    if len(raw) < _SIZE_1:
        raise IncompleteError(
            texts.IMAGE_NOT_NIFTI.format(path=path, why="it ends before its header does"), "the header is not complete"
        )
    if raw[344:347] in (b"n+1", b"ni1"):
        size, field, maker = _SIZE_1, slice(40, 42), nib.Nifti1Header
    elif raw[4:7] in (b"n+2", b"ni2"):
        size, field, maker = _SIZE_2, slice(16, 24), nib.Nifti2Header
    else:
        why = _other_kind(path, raw)
        raise IncompleteError(texts.IMAGE_NOT_NIFTI.format(path=path, why=why), "the header is not complete")
    if len(raw) < size:
        raise _incomplete(path, "the header is not complete")
    little, big = (int.from_bytes(raw[field], order, signed=True) for order in ("little", "big"))
    if not (1 <= little <= 7 or 1 <= big <= 7):
        why = f"its header says that it has {little} dimensions"
        raise InputError(texts.IMAGE_NOT_NIFTI.format(path=path, why=why))
    return maker(raw[:size], endianness="<" if 1 <= little <= 7 else ">", check=False)


def load_quietly(path: Path) -> Any:
    """What nibabel makes of a file of any format, without its comments on the terminal; its exceptions are many."""
    before, logger.disabled = logger.disabled, True
    try:
        return nib.load(path)
    finally:
        logger.disabled = before


def _other_kind(path: Path, raw: bytes) -> str:
    """What a file is that has no NIfTI header, in words."""
    if raw[128:132] == b"DICM":
        return "it is DICOM; convert it with dcm2niix"
    for magic, packer in _PACKERS.items():
        if raw.startswith(magic):
            return f"it is compressed by {packer}; unpack it first"
    try:
        kind = type(load_quietly(path)).__name__
    except Exception:  # whatever nibabel makes of a file of any kind
        kind = ""
    return f"it is a {kind}" if kind and not kind.startswith("Nifti") else "it has no NIfTI header"


def _dtype(header: Any, path: Path, warnings: list[str]) -> np.dtype[Any]:
    try:
        dtype: np.dtype[Any] = header.get_data_dtype()
    except Exception as error:
        why = f"its header has an unknown data type, code {int(header['datatype'])}"
        raise InputError(texts.IMAGE_NOT_NIFTI.format(path=path, why=why)) from error
    bits = 8 * dtype.itemsize
    if bits == 0 or dtype.kind not in "iufcV":
        why = f"its voxels have the data type {dtype}, which no image has"
        raise InputError(texts.IMAGE_NOT_NIFTI.format(path=path, why=why))
    if int(header["bitpix"]) != bits:
        warnings.append(texts.BITPIX_DIFFERS.format(path=path, stated=int(header["bitpix"]), bits=bits))
    return dtype


def _shape(header: Any, path: Path) -> tuple[int, ...]:
    count, *sizes = (int(n) for n in header["dim"])
    shape = tuple(sizes[:count])
    if any(n < 1 for n in shape):
        why = f"its header says that it has the shape {shape}"
        raise InputError(texts.IMAGE_NOT_NIFTI.format(path=path, why=why))
    return shape + (1,) * (3 - len(shape))


def _scaling(header: Any, path: Path, warnings: list[str]) -> tuple[float, float]:
    """Slope and intercept; a slope of 0 or one that is not finite means none, as the standard and its readers say."""
    slope, inter = float(header["scl_slope"]), float(header["scl_inter"])
    if slope == 0 or not np.isfinite(slope):
        return 1.0, 0.0
    if not np.isfinite(inter):
        raise InputError(texts.IMAGE_SCALING.format(path=path, slope=slope, inter=inter))
    if slope < 0:
        warnings.append(texts.SLOPE_NEGATIVE.format(path=path, slope=slope))
    return slope, inter


def _offset(header: Any, path: Path, single: bool) -> int:
    """Of the voxels in their file; in a single file they cannot begin before the header ends."""
    offset, least = float(header["vox_offset"]), int(header.sizeof_hdr) if single else 0
    if not np.isfinite(offset) or offset < least or offset != int(offset) or offset > 2**40:
        why = f"its header says that the voxels begin at byte {offset:g}"
        raise InputError(texts.IMAGE_NOT_NIFTI.format(path=path, why=why))
    return int(offset)


def _incomplete(path: Path, why: str) -> IncompleteError:
    return IncompleteError(texts.IMAGE_TRUNCATED.format(path=path, why=why), why)


@contextmanager
def _plainly(path: Path) -> Iterator[None]:
    """Whatever goes wrong with the file is told in one sentence; lack of memory stays what it is."""
    try:
        yield
    except (InputError, MemoryError):
        raise
    except (zlib.error, EOFError) as error:
        raise _incomplete(path, first_line(error)) from error
    except Exception as error:
        raise InputError(texts.IMAGE_NOT_NIFTI.format(path=path, why=first_line(error))) from error


def first_line(error: Exception) -> str:
    """What an exception says, on one line; an operating system's, without its number and the path."""
    told = getattr(error, "strerror", None) or str(error)
    return str(told).splitlines()[0] if str(told) else type(error).__name__
