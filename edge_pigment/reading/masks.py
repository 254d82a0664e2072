"""A mask file on a scan's grid.

A mask that has the scan's grid up to the order and direction of its axes is turned to fit, which is exact. Any other
is refused: to resample it is a choice that is not made in silence.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_pigment import errors as texts
from edge_pigment.errors import InputError
from edge_pigment.reading.image import first_line, is_image, load_quietly, open_image
from edge_pigment.reading.orientation import corners, is_sound, voxel_sizes

if TYPE_CHECKING:
    from edge_pigment.acquisition import Acquisition

Float = NDArray[np.float64]

INSIDE = 0.5
"""Least value of a voxel inside: masks are 0 and 1, and probabilities are cut in the middle."""
SAME_PLACE, NEARLY = 0.01, 0.1
"""Voxels at a corner of the image by which the grids may differ: unsaid, and with a word. Quaternions in float32 are
good to 0.05 voxels there."""
OTHER_SIZE = 0.02
"""Relative difference of voxel sizes that is called one."""


class _Picture(NamedTuple):
    """values (X, Y, Z) float; affine (4, 4); stated: the affine is one that the file states."""

    values: NDArray[np.float32]
    affine: Float
    stated: bool


def read_mask(path: Path, acquisition: "Acquisition") -> tuple[NDArray[np.bool_], tuple[str, ...]]:
    """Read a mask, and lay it on a scan's grid by its affine.

    Args:
        path: of an image that is at least INSIDE within the mask; what is not finite lies outside.
        acquisition: the scan.

    Returns:
        (X, Y, Z) the mask, and warnings about it.

    Raises:
        InputError: no such file, not readable, no mask, of another grid, or empty.
    """
    picture = _read(path)
    shape = acquisition.signal.shape[:3]
    unplaced = [p for p, stated in ((path, picture.stated), (acquisition.path, acquisition.oriented)) if not stated]
    if unplaced:
        if picture.values.shape != shape:
            raise InputError(texts.MASK_SHAPE.format(path=path, found=picture.values.shape, expected=shape))
        values, warnings = picture.values, [texts.MASK_UNPLACED.format(path=unplaced[0])]
    else:
        values, warnings = _turned(picture, acquisition, path)
    mask: NDArray[np.bool_] = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0) >= INSIDE
    if not mask.any():
        raise InputError(texts.MASK_EMPTY.format(path=path))
    return mask, tuple(warnings)


def _read(path: Path) -> _Picture:
    if not path.is_file():
        raise InputError(texts.MASK_MISSING.format(path=path))
    with _plainly(path):
        image = open_image(path) if is_image(path) else None
        other: Any = None if image else load_quietly(path)
    if image is None:
        return _other_format(path, other)
    _refuse_kind(path, image.dtype, image.shape)
    with _plainly(path):
        (volume,) = image.volumes()
    return _Picture(volume.astype(np.float32), image.orientation.affine, image.orientation.stated)


@contextmanager
def _plainly(path: Path) -> Iterator[None]:
    """Whatever goes wrong with the file is told as a fault of the mask; lack of memory stays what it is."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:
        why = getattr(error, "why", "") or first_line(error).rstrip(".")
        raise InputError(texts.MASK_UNREADABLE.format(path=path, why=why.replace(str(path), "it"))) from error


def _other_format(path: Path, image: Any) -> _Picture:
    """A mask in another format that nibabel reads, such as FreeSurfer's .mgz."""
    with _plainly(path):
        dtype, shape, affine = image.get_data_dtype(), image.shape, np.asarray(image.affine, np.float64)
    _refuse_kind(path, dtype, shape)
    with _plainly(path):
        if not is_sound(affine):
            raise ValueError("its affine is singular or not finite")
        values = np.asanyarray(image.dataobj).reshape(shape[:3]).astype(np.float32)
    return _Picture(values, affine, True)


def _refuse_kind(path: Path, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
    if dtype.kind not in "iuf":
        raise InputError(texts.MASK_NOT_REAL.format(path=path, dtype=dtype))
    count = int(np.prod(shape[3:], dtype=np.int64))
    if count != 1:
        raise InputError(texts.MASK_VOLUMES.format(path=path, count=count))


def _turned(picture: _Picture, acquisition: "Acquisition", path: Path) -> tuple[NDArray[np.float32], list[str]]:
    """The mask's values with axes as the scan has them, if that makes its grid the scan's, and warnings."""
    shape = acquisition.signal.shape[:3]
    to_mask = np.linalg.inv(picture.affine) @ acquisition.affine
    axes = np.abs(to_mask[:3, :3]).argmax(0)  # of the mask, by those of the scan
    signs = np.sign(to_mask[axes, range(3)])
    found = picture.values.shape
    if sorted(axes) != [0, 1, 2] or tuple(found[axis] for axis in axes) != shape:
        _refuse_grid(picture, acquisition, path)
    flips = tuple(slice(None, None, -1 if sign < 0 else None) for sign in signs)
    expected = np.zeros((3, 4))
    expected[axes, range(3)] = signs
    expected[axes, 3] = [n - 1 if sign < 0 else 0 for sign, n in zip(signs, shape, strict=True)]
    off = to_mask[:3] - expected
    furthest = float(np.abs(corners(shape) @ off[:, :3].T + off[:, 3]).max())
    if furthest > NEARLY:
        _refuse_grid(picture, acquisition, path)
    warnings = [texts.MASK_NEARLY.format(path=path, voxels=furthest)] if furthest > SAME_PLACE else []
    if list(axes) != [0, 1, 2] or (signs < 0).any():
        warnings.append(texts.MASK_REORIENTED.format(path=path))
    return picture.values.transpose(axes)[flips], warnings


def _refuse_grid(picture: _Picture, acquisition: "Acquisition", path: Path) -> None:
    """Say how the mask's grid differs from the scan's."""
    found, expected = picture.values.shape, acquisition.signal.shape[:3]
    if sorted(found) != sorted(expected):
        raise InputError(texts.MASK_SHAPE.format(path=path, found=found, expected=expected))
    size, voxel = voxel_sizes(picture.affine), acquisition.voxel_size
    if np.abs(np.sort(size) / np.sort(voxel) - 1).max() > OTHER_SIZE:
        why = f"its voxels measure {_by(size)} mm, those of the scan {_by(voxel)} mm"
        raise InputError(texts.MASK_GRID.format(path=path, why=why))
    middles = [a[:3, :3] @ (np.array(n) - 1) / 2 + a[:3, 3] for a, n in _grids(picture, acquisition)]
    away = float(np.linalg.norm(middles[0] - middles[1]))
    why = f"its middle lies {away:.1f} mm away" if away > voxel.min() * NEARLY else "its axes point elsewhere"
    raise InputError(texts.MASK_GRID.format(path=path, why=why))


def _grids(picture: _Picture, acquisition: "Acquisition") -> list[tuple[Float, tuple[int, ...]]]:
    return [(picture.affine, picture.values.shape), (acquisition.affine, acquisition.signal.shape[:3])]


def _by(sizes: Float) -> str:
    return " x ".join(f"{size:.3g}" for size in sizes)
