"""The brain, by a median filter, Otsu's threshold and a little mathematical morphology.

The way of DIPY's `median_otsu` (Garyfallidis et al. 2014, Front. Neuroinform. 8:8, doi:10.3389/fninf.2014.00008):
median filter, Otsu's threshold (Otsu 1979, IEEE Trans. SMC 9:62, doi:10.1109/TSMC.1979.4310076), largest component,
holes filled. What differs, and why:

- The threshold is taken on the mean of the b=0 and the diffusion-weighted image, each scaled to its own two classes:
  eyes and outer CSF are bright at b=0 only, and fat is dark in one of the two more often than brain is.
- Both are clipped at the level of tissue, so that CSF and eyes do not draw the threshold up.
- An opening cuts the bridges to scalp, eyes and neck before the largest component is taken.
- Everything is NumPy: a 3-point median along each axis, twice, stands for the large cubic median.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edge_pigment import errors as texts

Mask = NDArray[np.bool_]
Volume = NDArray[np.float32]

MEDIAN_PASSES = 2
"""Of the 3-point median along each axis: removes speckle of up to two voxels, keeps edges."""
OPENING_MM = 4.0
"""Bridges between brain and eyes, scalp or neck are thinner than twice this; gyri are not."""
TISSUE_CEILING = 1.25
"""Clip, in units of the tissue's level above background: keeps grey against white matter, not CSF's brightness."""
BINS = 256
"""Of the histogram for Otsu's threshold."""
SMALLEST_FRACTION = 0.01
"""Of the image: a brain of 100 ml in a field of view of 10 l. Below, the mask is taken as failed."""
LARGEST_FRACTION = 0.95
"""Of the image: nothing was told apart."""


class BrainMask(NamedTuple):
    """A mask (X, Y, Z) and, where it had to be guessed, why."""

    mask: Mask
    warnings: tuple[str, ...] = ()


def brain_mask(
    b0: ArrayLike, dwi: ArrayLike | None = None, voxel_size: ArrayLike = (2.0, 2.0, 2.0)
) -> BrainMask:
    """Find the brain; a mask that failed is replaced by a cruder one, with a warning, and never ends a run.

    Args:
        b0: (X, Y, Z) mean of the b=0 volumes.
        dwi: (X, Y, Z) mean of the diffusion-weighted volumes, if there are any.
        voxel_size: (3,) mm.

    Returns:
        The mask (X, Y, Z), never empty.
    """
    images = [_finite(b0)] + ([] if dwi is None else [_finite(dwi)])
    score = np.mean([_tissue(_median(image)) for image in images], axis=0, dtype=np.float32)
    bright = score > otsu(score)
    steps = np.maximum(np.round(OPENING_MM / np.asarray(voxel_size, float)), 1).astype(int)
    core = largest_component(_erode(bright, steps))
    mask = fill_holes(_dilate(core, steps) & bright)
    if SMALLEST_FRACTION <= mask.mean() <= LARGEST_FRACTION:
        return BrainMask(mask)
    mask = fill_holes(largest_component(bright))
    if SMALLEST_FRACTION <= mask.mean() <= LARGEST_FRACTION:
        return BrainMask(mask, (texts.MASK_WITHOUT_OPENING,))
    mask = images[0] > 0
    if not mask.any():
        mask = np.ones_like(mask)
    return BrainMask(mask, (texts.MASK_FAILED.format(percent=100 * mask.mean()),))


def otsu(image: ArrayLike) -> float:
    """The threshold between two classes that leaves the most variance between them (Otsu 1979, eq. 16-18)."""
    values = np.asarray(image).ravel()
    counts, edges = np.histogram(values, BINS)
    centres = (edges[1:] + edges[:-1]) / 2
    below = np.cumsum(counts)
    above = below[-1] - below
    first = np.cumsum(counts * centres)
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (first / below - (first[-1] - first) / above) ** 2
    return float(edges[1:][np.nanargmax(np.where(above > 0, between, 0))])


def largest_component(mask: Mask) -> Mask:
    """The largest set of voxels of the mask that touch by their faces."""
    labels = label(mask)
    if labels.max(initial=0) == 0:
        return mask.copy()
    counts = np.bincount(labels.ravel())
    counts[0] = 0
    found: Mask = labels == counts.argmax()
    return found


def fill_holes(mask: Mask) -> Mask:
    """Fill what the mask encloses: within each plane, for all three planes.

    By planes, since in a slab or a single slice the ventricles are open above and below.
    """
    filled = mask.copy()
    for axis in range(3):
        planes = np.moveaxis(filled, axis, 2)
        if min(planes.shape[:2]) < 3:
            continue
        outside = label(np.pad(~planes, ((1, 1), (1, 1), (0, 0)), constant_values=True), axes=(0, 1))
        # the padding of a plane is one component, with the label of its corner
        planes |= (outside != outside[:1, :1])[1:-1, 1:-1]
    return filled


def label(mask: Mask, axes: tuple[int, ...] = (0, 1, 2)) -> NDArray[np.int32]:
    """Connected components by faces across these axes: 0 outside the mask, then any distinct numbers from 1.

    Runs of voxels along the last of the axes are the nodes of a graph, faces between runs its edges; the smallest
    number of a component spreads along the edges with pointer jumping (Shiloach & Vishkin 1982, J. Algorithms 3:57).
    """
    along = axes[-1]
    moved = np.ascontiguousarray(np.moveaxis(mask, along, -1))
    starts = moved.copy()
    starts[..., 1:] &= ~moved[..., :-1]
    runs = np.where(moved, np.cumsum(starts.ravel(), dtype=np.int32).reshape(moved.shape), 0)
    runs = np.moveaxis(runs, -1, along)
    edges = []
    for axis in axes[:-1]:
        near, far = np.moveaxis(runs, axis, 0)[:-1], np.moveaxis(runs, axis, 0)[1:]
        touching = (near > 0) & (far > 0)
        edges.append(np.stack([near[touching], far[touching]]))
    root = np.arange(runs.max(initial=0) + 1, dtype=np.int32)
    u, v = np.concatenate(edges, axis=1)
    while len(u):
        ru, rv = root[u], root[v]
        apart = ru != rv
        if not apart.any():
            break
        u, v = u[apart], v[apart]
        high, low = np.maximum(ru[apart], rv[apart]), np.minimum(ru[apart], rv[apart])
        np.minimum.at(root, high, low)
        while not np.array_equal(root, root[root]):
            root = root[root]
    return root[runs]


def _finite(image: ArrayLike) -> Volume:
    return np.nan_to_num(np.asarray(image, np.float32), nan=0, posinf=0, neginf=0)


def _neighbours(image: NDArray[np.generic], axis: int) -> tuple[NDArray[np.generic], NDArray[np.generic]]:
    """The image shifted by one voxel either way; the border repeats itself, so that slabs are not eaten."""
    last = image.shape[axis] - 1
    index = np.arange(last + 1)
    return image.take(np.maximum(index - 1, 0), axis), image.take(np.minimum(index + 1, last), axis)


def _median(image: Volume) -> Volume:
    for _ in range(MEDIAN_PASSES):
        for axis in range(3):
            if image.shape[axis] < 3:
                continue
            below, above = _neighbours(image, axis)
            low, high = np.minimum(below, above), np.maximum(below, above)
            image = np.maximum(low, np.minimum(image, high))
    return image


def _tissue(image: Volume) -> Volume:
    """The image scaled so that background is about 0 and tissue about 1, clipped to [0, TISSUE_CEILING]."""
    # bright CSF and eyes: the threshold is found once more with them clipped
    ceiling = np.inf
    for _ in range(2):
        clipped = np.minimum(image, ceiling)
        threshold = otsu(clipped)
        if not (clipped > threshold).any():
            return np.zeros_like(image)
        background, tissue = np.median(image[image <= threshold]), np.median(image[image > threshold])
        ceiling = background + TISSUE_CEILING * (tissue - background)
    return np.clip((image - background) / max(tissue - background, np.finfo(np.float32).tiny), 0, TISSUE_CEILING)


def _erode(mask: Mask, steps: NDArray[np.int_]) -> Mask:
    for step in range(steps.max()):
        shrunk = mask.copy()
        for axis in np.flatnonzero(steps > step):
            for moved in _neighbours(mask, int(axis)):
                shrunk &= moved
        mask = shrunk
    return mask


def _dilate(mask: Mask, steps: NDArray[np.int_]) -> Mask:
    for step in range(steps.max()):
        grown = mask.copy()
        for axis in np.flatnonzero(steps > step):
            for moved in _neighbours(mask, int(axis)):
                grown |= moved
        mask = grown
    return mask
