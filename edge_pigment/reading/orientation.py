"""Where an image's voxels lie, in mm, from a header that may be damaged.

The sform goes before the qform, as in nibabel, FSL and MRtrix. What is not used is not needed: a qform that cannot be
read beside a good sform is left out. What is used must be sound.
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_pigment import errors as texts
from edge_pigment.errors import InputError

Float = NDArray[np.float64]

SMALLEST_VOXEL, LARGEST_VOXEL = 0.01, 100.0
"""mm along an axis. Microscopes of ex vivo tissue reach 0.02 mm, localisers 50; a lost unit moves lengths by 1000."""
LEAST_ORTHOGONAL = 0.5
"""Volume of a voxel over the product of its edges: 1 for a box. A tilted gantry reaches 0.87; at 0.5 two axes enclose
30 degrees, and directions along the image axes mean nothing any more."""
LONGEST_QUATERNION = 1.01
"""Length of (b, c, d) that is still taken for rounding and brought to 1, as the standard's own library does."""
AFFINES_APART = 1.0
"""Voxels at a corner of the image by which sform and qform may differ unsaid; shears and rounding make up to 0.1."""
ZOOMS_APART = 0.05
"""Relative difference of voxel sizes between sform and pixdim that is told; a sheared sform makes 1 %."""
_STATED_ALIGNED = 2
"""Code for a matrix that is stated with an unknown code."""
_QUATERNION = ("quatern_b", "quatern_c", "quatern_d")
_OFFSET = ("qoffset_x", "qoffset_y", "qoffset_z")
_UNITS = {1: ("metres", 1000.0), 3: ("microns", 0.001)}
_MILLIMETRE = 2


class Orientation(NamedTuple):
    """affine (4, 4): voxel indices -> scanner mm. header: a copy of the image's whose orientation can be read, in mm.
    stated: the header states an orientation. warnings: what was doubtful."""

    affine: Float
    header: Any
    stated: bool
    warnings: tuple[str, ...]


def orient(header: Any, grid: tuple[int, ...], path: Path) -> Orientation:
    """Find the affine of an image.

    Args:
        header: NIfTI header as it was read.
        grid: (X, Y, Z).
        path: of the image, for messages.

    Raises:
        InputError: the affine that counts is not finite, singular, or makes voxels of an impossible size.
    """
    header = header.copy()
    warnings: list[str] = []
    for kind in ("sform_code", "qform_code"):
        code = int(header[kind])
        header[kind] = 0 if code < 0 else code if code <= 5 else _STATED_ALIGNED
    _mend_zooms(header)
    if header["sform_code"] > 0:
        affine = np.asarray(header.get_sform(), np.float64)
        if not is_sound(affine):
            raise InputError(texts.AFFINE_SINGULAR.format(path=path))
        if header["qform_code"] > 0:
            _compare_qform(header, affine, grid, path, warnings)
        elif _has_zooms(header):
            _compare_zooms(header, affine, path, warnings)
    elif header["qform_code"] > 0:
        qform, why = _qform(header, path, warnings)
        if qform is None:
            raise InputError(texts.QFORM_UNUSABLE.format(path=path, why=why))
        affine = qform
    else:
        if not _has_zooms(header):
            pixdim = ", ".join(f"{p:g}" for p in header["pixdim"][1:4])
            raise InputError(texts.PIXDIM_UNUSABLE.format(path=path, pixdim=pixdim))
        affine = _unstated(header, grid)
    stated = bool(header["sform_code"] > 0 or header["qform_code"] > 0)
    affine = _in_mm(header, affine, path, warnings)
    if header["qform_code"] == 0:  # a qform would need its own voxel sizes, which may differ from the sform's
        header["pixdim"][1:4] = voxel_sizes(affine)
        for field in (*_QUATERNION, *_OFFSET):
            header[field] = 0.0
    return Orientation(affine, header, stated, tuple(warnings))


def corners(grid: tuple[int, ...]) -> Float:
    """(8, 3) indices of the outermost voxels."""
    x, y, z = ((0, n - 1) for n in grid)
    return np.array([(i, j, k) for i in x for j in y for k in z], np.float64)


def furthest_apart(one: Float, other: Float, grid: tuple[int, ...]) -> float:
    """mm between the places that two affines give a voxel, where they differ most."""
    difference = one - other
    return float(np.linalg.norm(corners(grid) @ difference[:3, :3].T + difference[:3, 3], axis=1).max())


def _unstated(header: Any, grid: tuple[int, ...]) -> Float:
    """FSL's default: first axis from right to left, the image's middle at the origin."""
    x, y, z = (float(size) for size in header["pixdim"][1:4])
    affine = np.diag([-x, y, z, 1.0])
    affine[:3, 3] = affine[:3, :3] @ (1 - np.array(grid)) / 2
    return affine


def _mend_zooms(header: Any) -> None:
    pixdim = header["pixdim"]
    pixdim[0] = -1.0 if pixdim[0] < 0 else 1.0  # as the standard reads it, whatever it holds
    pixdim[4:][~np.isfinite(pixdim[4:])] = 1.0
    with np.errstate(invalid="ignore"):
        pixdim[1:4] = np.abs(pixdim[1:4])


def _has_zooms(header: Any) -> bool:
    sizes = np.asarray(header["pixdim"][1:4], np.float64)
    return bool(np.isfinite(sizes).all() and (sizes > 0).all())


def voxel_sizes(affine: Float) -> Float:
    """(3,) lengths of a voxel's edges, along the image axes."""
    return np.linalg.norm(affine[:3, :3], axis=0)


def is_sound(affine: Float) -> bool:
    """Finite, and with axes that span the space."""
    if not np.isfinite(affine).all() or np.abs(affine).max() > 1e12:
        return False
    edges = np.prod(voxel_sizes(affine))
    return bool(edges > 0 and abs(np.linalg.det(affine[:3, :3])) >= LEAST_ORTHOGONAL * edges)


def _qform(header: Any, path: Path, warnings: list[str]) -> tuple[Float | None, str]:
    """The qform, or why there is none; a quaternion that is longer than 1 by rounding is mended in the header."""
    quaternion = np.array([float(header[f]) for f in _QUATERNION])
    place = np.array([float(header[f]) for f in _OFFSET])
    length = float(np.linalg.norm(quaternion))
    if not np.isfinite(quaternion).all() or not np.isfinite(place).all():
        return None, "it holds a number that is not finite"
    if not _has_zooms(header):
        return None, "the voxel size (pixdim) is not positive"
    if length > LONGEST_QUATERNION:
        return None, f"its quaternion has a length of {length:.4g}, more than 1"
    try:
        qform = header.get_qform()
    except ValueError:
        # a little shorter than 1, so that float32 does not make it longer again
        for field, value in zip(_QUATERNION, quaternion / length * (1 - 1e-7), strict=True):
            header[field] = value
        warnings.append(texts.QFORM_ROUNDED.format(path=path, length=length))
        qform = header.get_qform()
    qform = np.asarray(qform, np.float64)
    return (qform, "") if is_sound(qform) else (None, "it is singular")


def _compare_qform(header: Any, sform: Float, grid: tuple[int, ...], path: Path, warnings: list[str]) -> None:
    """Leave an unusable qform out of the header; say where a usable one says something else."""
    qform, why = _qform(header, path, warnings)
    if qform is None:
        header["qform_code"] = 0
        warnings.append(texts.QFORM_LEFT_OUT.format(path=path, why=why))
        return
    furthest = furthest_apart(sform, qform, grid)
    other_hand = np.linalg.det(sform[:3, :3]) * np.linalg.det(qform[:3, :3]) < 0
    if furthest > AFFINES_APART * voxel_sizes(sform).min() or other_hand:
        hand = texts.AFFINES_OTHER_HAND if other_hand else ""
        warnings.append(texts.AFFINES_DIFFER.format(path=path, mm=furthest, hand=hand))


def _compare_zooms(header: Any, sform: Float, path: Path, warnings: list[str]) -> None:
    """Say where the voxel sizes of sform and pixdim differ."""
    sizes, zooms = voxel_sizes(sform), np.asarray(header["pixdim"][1:4], np.float64)
    if np.abs(zooms / sizes - 1).max() > ZOOMS_APART:
        warnings.append(texts.ZOOMS_DIFFER.format(path=path, sform=_by(sizes), pixdim=_by(zooms)))


def _by(sizes: Float) -> str:
    return " x ".join(f"{size:.4g}" for size in sizes)


def _in_mm(header: Any, affine: Float, path: Path, warnings: list[str]) -> Float:
    """The affine in mm, and the header with it."""
    code = int(header["xyzt_units"])
    unit, factor = _UNITS.get(code & 7, ("mm", 1.0))
    sizes = voxel_sizes(affine)
    if factor != 1 and not _plausible(sizes * factor) and _plausible(sizes):
        warnings.append(texts.UNIT_IMPLAUSIBLE.format(path=path, unit=unit, sizes=_by(sizes * factor)))
        factor = 1.0
    elif factor != 1:
        warnings.append(texts.UNIT_CONVERTED.format(path=path, unit=unit))
    if not _plausible(sizes * factor):
        raise InputError(texts.VOXEL_SIZE_IMPLAUSIBLE.format(path=path, sizes=_by(sizes * factor)))
    header["xyzt_units"] = (code & 0x38) | _MILLIMETRE
    if factor == 1:
        return affine
    header["pixdim"][1:4] *= factor
    for field in ("srow_x", "srow_y", "srow_z", *_OFFSET):
        header[field] = header[field] * factor
    return np.diag([factor, factor, factor, 1.0]) @ affine


def _plausible(sizes: Float) -> bool:
    return bool((sizes >= SMALLEST_VOXEL).all() and (sizes <= LARGEST_VOXEL).all())
