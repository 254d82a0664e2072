"""How much memory and disk space a result takes, and whether there is as much."""

import os
from pathlib import Path

from edge_pigment import errors as texts
from edge_pigment.errors import ResourceError
from edge_pigment.hardware import memory_left
from edge_pigment.outputs.target import home_of, place_of

BYTES_PER_VOXEL = 94
"""On disk, of a voxel in the mask: 23 float32 maps and the mask hardly shrink, and the report holds some of them once
more. Measured on four scans of 20,000 to 177,000 voxels: 84 and 10."""
LIKELY_SHARE = 0.35
"""Of the grid that the brain fills; measured 0.21 to 0.28 in whole heads. Crops fill all of it."""
PICTURES = 2_000_000
"""Bytes of sheet and report besides: measured 1.2 to 1.6 million."""
FILES = 60
"""That a result makes, folders and hidden ones included."""
MEMORY_PER_VALUE = 8
"""Bytes of memory for each stored value of a scan: it is held as float32 and, while it is read, as it was stored."""
MEMORY_PER_VOXEL = 260
"""Bytes of memory for each voxel of the grid besides: measured 240 to 290 on four scans."""
MEMORY_OF_LIBRARIES = 60_000_000
"""Bytes of the network and of the libraries that are loaded only when they compute."""
MEMORY_CERTAIN = 0.75
"""Of the estimate of memory that is needed in any case."""


def check_disk(target: Path, merge: bool, voxels: int, before: int = 0) -> tuple[str, ...]:
    """Refuse a disk that is clearly too full for a result; quotas may not show here.

    Args:
        target: the folder to be.
        merge: as of `Staging`.
        voxels: of the scan's grid.
        before: bytes that results before this one will take.

    Returns:
        what the user should know: that it may not be enough.

    Raises:
        ResourceError: less is free than the result will likely take.
    """
    home = home_of(place_of(target), merge)
    try:
        disk = os.statvfs(home)
    except (OSError, AttributeError):
        return ()
    free = disk.f_bavail * (disk.f_frsize or disk.f_bsize) - before
    likely, most = likely_size(voxels), BYTES_PER_VOXEL * voxels + PICTURES
    if free < likely:
        text = texts.DISK_TOO_FULL.format(path=target, needed=in_megabytes(likely), free=in_megabytes(max(free, 0)))
        raise ResourceError(text)
    if disk.f_files and disk.f_favail < FILES:
        raise ResourceError(texts.NO_INODES.format(path=target, free=disk.f_favail, needed=FILES))
    if free < most:
        return (texts.DISK_NEARLY_FULL.format(path=target, needed=in_megabytes(most), free=in_megabytes(free)),)
    return ()


def check_memory(scan: str, voxels: int, volumes: int) -> None:
    """Refuse a scan that certainly does not fit into memory.

    Args:
        scan: what to call it.
        voxels: of its grid.
        volumes: of it.

    Raises:
        ResourceError: it does not.
    """
    needed = MEMORY_PER_VALUE * voxels * volumes + MEMORY_PER_VOXEL * voxels + MEMORY_OF_LIBRARIES
    left = memory_left()
    if left is not None and MEMORY_CERTAIN * needed > left:
        why = texts.MEMORY_FOR_SCAN.format(scan=scan, needed=in_megabytes(needed), free=in_megabytes(left))
        raise ResourceError(texts.NO_MEMORY.format(why=why))


def likely_size(voxels: int) -> int:
    """Bytes that the result of a whole head takes on disk."""
    return round(LIKELY_SHARE * BYTES_PER_VOXEL * voxels) + PICTURES


def in_megabytes(size: float) -> str:
    """Such as 0.7 MB or 120 MB."""
    return f"{size / 1e6:.1f} MB" if size < 1e7 else f"{size / 1e6:.0f} MB"
