"""Write one NIfTI-1 image, compressed fast.

nibabel's writer spends most of its time in zlib's search for repeated strings, of which noisy floats have
none. Run length encoding (zlib's Z_RLE strategy) finds the zeros outside the brain and leaves the rest to
Huffman coding: half the time, and a slightly smaller file. It is ordinary gzip to every reader. No time stamp
is written, so the same image gives the same bytes.
"""

import zlib
from pathlib import Path
from typing import Any

import numpy as np
from nibabel import nifti1
from numpy.typing import NDArray

_GZIP_WINDOW = 31  # zlib's code for a gzip header around the stream
_MEMORY_LEVEL = 9
_CHUNK = 1 << 20  # bytes given to zlib at once; it lets go of Python's lock meanwhile
_NO_EXTENSION = bytes(4)
_Header: Any = nifti1.Nifti1Header  # nibabel annotates only some of its methods


def write_nifti(
    path: Path,
    data: NDArray[Any],
    affine: NDArray[np.float64],
    source: Any = None,
    description: str = "",
) -> None:
    """Write `data` as .nii.gz.

    Args:
        path: of the new file.
        data: (X, Y, Z) or (X, Y, Z, K), float32 or uint8; written unscaled (slope 1, intercept 0).
        affine: (4, 4) voxel indices -> scanner mm.
        source: NIfTI header of the scan the map comes from, for what its affine means (the sform and qform
            codes); None: scanner space. Nothing else is taken from it: it may hold the patient's name.
        description: up to 79 characters for the header.
    """
    header = _header(data, affine, source, description)
    # Fortran order is the order on disk: for maps that already lie so in memory, the transpose costs nothing.
    voxels = np.ascontiguousarray(data.T).reshape(-1).view(np.uint8).data
    squeeze = zlib.compressobj(1, zlib.DEFLATED, _GZIP_WINDOW, _MEMORY_LEVEL, zlib.Z_RLE)
    with open(path, "xb") as file:
        file.write(squeeze.compress(header.binaryblock + _NO_EXTENSION))
        for start in range(0, len(voxels), _CHUNK):
            file.write(squeeze.compress(voxels[start : start + _CHUNK]))
        file.write(squeeze.flush())


def _header(data: NDArray[Any], affine: NDArray[np.float64], source: Any, description: str) -> Any:
    header = _Header(endianness="<")
    header.set_data_dtype(data.dtype.newbyteorder("<"))
    header.set_data_shape(data.shape)
    sizes = np.linalg.norm(affine[:3, :3], axis=0)
    header.set_zooms(tuple(sizes) + (1.0,) * (data.ndim - 3))
    header.set_xyzt_units("mm")
    sform, qform = _codes(source)
    header.set_sform(affine, sform)
    if qform:
        _set_qform(header, _qform_of(source, affine), qform)
    header.set_slope_inter(1.0, 0.0)
    header["descrip"] = description.encode("ascii", "replace")[:79]
    header["vox_offset"] = 352
    return header


def _qform_of(source: Any, affine: NDArray[np.float64]) -> NDArray[np.float64]:
    """The scan's own qform, which may differ from its sform and stays what it was; its affine where it has none.

    Headers exist whose quaternion is none (rounded by another program, or never filled in).
    """
    if source is None:
        return affine
    try:
        own = np.asarray(source.get_qform(), np.float64)
    except (ValueError, ArithmeticError, np.linalg.LinAlgError):
        return affine
    usable = np.isfinite(own).all() and np.linalg.det(own[:3, :3]) != 0
    return own if usable else affine


def _set_qform(header: Any, qform: NDArray[np.float64], code: int) -> None:
    """Say the same in the qform, as far as a rotation can; where it cannot, the sform alone says it."""
    before = header.copy()
    try:
        header.set_qform(qform, code, strip_shears=True)
        if np.isfinite(header.get_qform()).all():
            return
    except (ValueError, ArithmeticError, np.linalg.LinAlgError):
        pass
    for name in ("pixdim", "quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z"):
        header[name] = before[name]
    header["qform_code"] = 0


def _codes(source: Any) -> tuple[int, int]:
    """(sform, qform) codes for the maps: those of the scan, and at least one that says where the maps lie."""
    if source is None:
        return 1, 1
    sform, qform = int(source["sform_code"]), int(source["qform_code"])
    # 0 and 0 means nobody knows; 2 ("aligned to another scan") claims the least
    return (sform or qform or 2), qform
