"""Where noise varies over the brain (parallel imaging, many coils): σ by place, from details that volumes do not share.

Parallel imaging amplifies noise in the middle of the head by its g-factor (Pruessmann et al. 1999, MRM 42:952), by up
to three. One σ for all would make deviations too small there.
"""

import numpy as np

from edge_pigment.acquisition import Acquisition, Volume
from edge_pigment.boxes import bounding_box, box_sums
from edge_pigment.noise.details import LEAST_BLOCKS, Mask, chosen_volumes, diagonal, diagonal_inside, noise_directions

BOX_MM = 10.0
"""Half-width of the boxes over which variance is averaged: some hundred voxels, and finer than coils vary."""
VARIES = 1.6
"""σ of the loudest boxes (95th percentile) over that of the quietest (5th) from which σ by place is used. Scans
simulated with one σ have 1.13 to 1.30 at SNR 8 to 20, real scans 1.4 to 2.4."""
CLIP = 6.0
"""Squared details over their median; what is beyond is an edge."""
LEAST_FILLED = 0.3
"""Share of a box that must be brain for its variance to be taken."""
LOWEST, HIGHEST = 0.4, 3.0
"""Of σ by place over its median."""


def relative_sigma(acquisition: Acquisition, mask: Mask, step: int = 1) -> Volume | None:
    """σ by place over its median in the brain, (X, Y, Z); None where it varies too little to matter, or cannot be told.

    Args:
        acquisition: the scan.
        mask: (X, Y, Z) the brain.
        step: voxels along the axes of the slices at which noise is independent.
    """
    if not mask.any():
        return None
    box = bounding_box(mask)
    relative = _relative(acquisition.signal[box], acquisition, mask[box], step)
    if relative is None:
        return None
    whole = np.ones(mask.shape, np.float32, order="F")
    whole[box] = relative
    return whole


def _relative(signal: Volume, acquisition: Acquisition, mask: Mask, step: int) -> Volume | None:
    """The same in the box that holds the brain."""
    square, inside = _squared_details(signal[..., chosen_volumes(acquisition.gradients)], mask, step)
    if square is None or inside.sum() < LEAST_BLOCKS:
        return None
    square = np.minimum(square, CLIP * np.median(square[inside]))
    # cells of some voxels are enough for boxes so wide
    cell = [max(int(BOX_MM / 2 / size), 1) for size in acquisition.voxel_size]
    half = [max(round(BOX_MM / (size * n)), 1) for size, n in zip(acquisition.voxel_size, cell, strict=True)]
    images = np.stack([_cells(image, cell) for image in (np.where(inside, square, 0), inside, np.ones_like(square))])
    total, count, size = box_sums(np.ascontiguousarray(images.transpose(0, 3, 2, 1)), (half[2], half[1], half[0]))
    local, count, size = (_voxels(image.T, cell, mask.shape) for image in (total / np.maximum(count, 1), count, size))
    # boxes reach beyond the edge of a slab
    known = (count > LEAST_FILLED * size) & mask
    if known.sum() < LEAST_BLOCKS:
        return None
    local = np.sqrt(local)
    low, middle, high = np.quantile(local[known], (0.05, 0.5, 0.95))
    if not low > 0 or high / low < VARIES:
        return None
    return np.where(count > 0, np.clip(local / middle, LOWEST, HIGHEST), 1).astype(np.float32)


def _cells(image: Volume | Mask, cell: list[int]) -> Volume:
    """Sums over cells of so many voxels along each axis, (X, Y, Z)."""
    total = image.astype(np.float32)
    for axis, count in enumerate(cell):
        total = np.add.reduceat(total, np.arange(0, total.shape[axis], count), axis=axis)
    return total


def _voxels(image: Volume, cell: list[int], shape: tuple[int, ...]) -> Volume:
    """What a cell has, in each of its voxels."""
    for axis, count in enumerate(cell):
        image = image.repeat(count, axis=axis).take(np.arange(shape[axis]), axis=axis)
    return image


def _squared_details(volumes: Volume, mask: Mask, step: int) -> tuple[Volume | None, Mask]:
    """Squares of what varies least between volumes, (X, Y, Z), and where they lie in the brain."""
    volumes = np.nan_to_num(volumes)
    inside = np.zeros_like(mask)
    if min(mask.shape[:2]) <= step:
        return None, inside
    near = (slice(None, -step), slice(None, -step))
    inside[near] = diagonal_inside(mask, step)
    if inside.sum() < LEAST_BLOCKS or volumes.shape[3] < 2:
        return None, inside
    details = diagonal(volumes, step)
    directions, _, noise = noise_directions(details[inside[near]].astype(float))
    square = np.zeros(mask.shape, np.float32)
    square[near] = np.mean((details @ directions[:, noise].astype(np.float32)) ** 2, axis=-1)
    return square, inside
