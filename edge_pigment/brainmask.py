"""The brain, by a median filter, Otsu's threshold and a little mathematical morphology.

The way of DIPY's `median_otsu` (Garyfallidis et al. 2014, Front. Neuroinform. 8:8,
doi:10.3389/fninf.2014.00008): median filter, Otsu's threshold (Otsu 1979, IEEE Trans. SMC 9:62,
doi:10.1109/TSMC.1979.4310076), largest component, holes filled. What differs, and why:

- The threshold is taken on the mean of the b=0 and the diffusion-weighted image, each scaled to its own two
  classes: eyes and outer CSF are bright at b=0 only, and fat is dark in one of the two more often than
  brain is.
- Both are clipped at the level of tissue, so that CSF and eyes do not draw the threshold up.
- An opening cuts the bridges to scalp, eyes and neck before the largest component is taken.
- The level of tissue is a local one: surface coils see the middle of the head and the brain stem at half
  the level of cortex, below a common threshold.
- Everything is NumPy: a 3-point median along each axis, twice, stands for the large cubic median.
"""

from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edge_pigment import errors as texts

Mask = NDArray[np.bool_]
Volume = NDArray[np.float32]
T = TypeVar("T", bound=np.generic)

MEDIAN_PASSES = 2
"""Of the 3-point median along each axis: removes speckle of up to two voxels, keeps edges."""
OPENING_MM = 4.0
"""Bridges between brain and eyes, scalp or neck are thinner than twice this; gyri are not."""
TISSUE_CEILING = 1.25
"""Clip, in units of tissue above background: keeps grey against white matter, not the brightness of CSF."""
BIAS_MM = 40.0
"""Width of the moving mean that estimates the level of tissue: coils vary over that, tissue does not."""
BIAS_PASSES = 2
"""Masks found with the level of tissue from the mask before."""
BIAS_PRIOR = 0.05
"""Weight of the global level against the share of the neighbourhood that is in the mask."""
SLAB_SLICES = 8
"""Below so many slices nothing is cut across them."""
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


def brain_mask(b0: ArrayLike, dwi: ArrayLike | None = None, voxel_size: ArrayLike = (2.0, 2.0, 2.0)) -> BrainMask:
    """Find the brain; a mask that failed is replaced by a cruder one, with a warning, and never ends a run.

    Args:
        b0: (X, Y, Z) mean of the b=0 volumes.
        dwi: (X, Y, Z) mean of the diffusion-weighted volumes, if there are any.
        voxel_size: (3,) mm.

    Returns:
        The mask (X, Y, Z), never empty.
    """
    size = np.asarray(voxel_size, float)
    images = [_finite(b0)] + ([] if dwi is None else [_finite(dwi)])
    tissue = [_tissue(_median(image)) for image in images]
    levels = tissue
    for _ in range(BIAS_PASSES):
        _, mask = _bright(levels, size)
        levels = [image / _local_level(image, mask, size) for image in tissue]
    bright, mask = _bright(levels, size)
    mask = fill_holes(mask)
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
    # only within the box around the mask: the rest cannot be enclosed
    spans = [np.flatnonzero(mask.any(tuple(set(range(3)) - {axis}))) for axis in range(3)]
    if not len(spans[0]):
        return filled
    box = filled[tuple(slice(span[0], span[-1] + 1) for span in spans)]
    for axis in range(3):
        planes = np.moveaxis(box, axis, 2)
        if min(planes.shape[:2]) < 3:
            continue
        outside = label(np.pad(~planes, ((1, 1), (1, 1), (0, 0)), constant_values=True), axes=(0, 1))
        # the padding around a plane is one component, with the label of its corner
        planes |= (outside != outside[:1, :1])[1:-1, 1:-1]
    return filled


def label(mask: Mask, axes: tuple[int, ...] = (0, 1, 2)) -> NDArray[np.int32]:
    """Connected components by faces across these axes: 0 outside the mask, then any distinct numbers from 1.

    Runs of voxels along the last of the axes are the nodes of a graph, faces between runs its edges; the
    smallest number of a component spreads along the edges with pointer jumping (Shiloach & Vishkin 1982, J.
    Algorithms 3:57).
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
        touching = np.flatnonzero((near > 0) & (far > 0))
        edges.append(np.stack([near.ravel()[touching], far.ravel()[touching]]))
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
    image = np.ascontiguousarray(image, np.float32)
    return np.where(np.isfinite(image), image, np.float32(0))


def _neighbours(image: NDArray[T], axis: int) -> tuple[NDArray[T], NDArray[T]]:
    """The image shifted by one voxel either way; the border repeats itself, so that slabs are not eaten."""
    below, above = np.empty_like(image), np.empty_like(image)
    ahead, behind, first, last = (
        tuple(cut if a == axis else slice(None) for a in range(image.ndim))
        for cut in (slice(1, None), slice(None, -1), slice(None, 1), slice(-1, None))
    )
    below[ahead], below[first] = image[behind], image[first]
    above[behind], above[last] = image[ahead], image[last]
    return below, above


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
    """The image scaled so that background is about 0 and tissue about 1, clipped at TISSUE_CEILING."""
    # bright CSF and eyes: the threshold is found once more with them clipped
    ceiling = np.inf
    for _ in range(2):
        clipped = np.minimum(image, np.float32(ceiling))
        threshold = otsu(clipped)
        if not (clipped > threshold).any():
            return np.zeros_like(image)
        background = float(np.median(image[image <= threshold]))
        contrast = float(np.median(image[image > threshold])) - background
        ceiling = background + TISSUE_CEILING * contrast
    return (clipped - np.float32(background)) * np.float32(1 / max(contrast, 1e-30))


def _local_level(image: Volume, mask: Mask, voxel_size: NDArray[np.float64]) -> Volume:
    """Moving mean of the image within the mask, drawn to 1 where little of the mask is near.

    On a grid of every `stride`-th voxel, which is all that so wide a mean needs.
    """
    stride = np.maximum(np.floor(BIAS_MM / 8 / voxel_size), 1).astype(int)
    coarse = tuple(slice(None, None, s) for s in stride)
    half = np.maximum(np.round(BIAS_MM / 2 / (voxel_size * stride)), 1).astype(int)
    inside = mask[coarse].astype(np.float32)
    level = (_blur(image[coarse] * inside, half) + BIAS_PRIOR) / (_blur(inside, half) + BIAS_PRIOR)
    for axis in range(3):
        level = level.repeat(stride[axis], axis).take(np.arange(image.shape[axis]), axis)
    return level


def _blur(image: Volume, half: NDArray[np.int_]) -> Volume:
    """Moving mean of 2 half + 1 voxels along each axis, twice (nearly a triangle); zero beyond the border."""
    for axis in range(3):
        if image.shape[axis] == 1:
            continue
        h = int(half[axis])
        for _ in range(2):
            total = np.cumsum(np.pad(image, [(h + 1, h) if a == axis else (0, 0) for a in range(3)]), axis)
            total = np.moveaxis(total, axis, 0)
            image = np.moveaxis((total[2 * h + 1 :] - total[: -2 * h - 1]) / np.float32(2 * h + 1), 0, axis)
    return image


def _bright(levels: list[Volume], voxel_size: NDArray[np.float64]) -> tuple[Mask, Mask]:
    """What is brighter than Otsu's threshold, and its largest component after an opening."""
    score = np.mean([np.clip(level, 0, TISSUE_CEILING) for level in levels], axis=0, dtype=np.float32)
    bright: Mask = np.asarray(score > otsu(score))
    steps = np.maximum(np.round(OPENING_MM / voxel_size), 1).astype(int)
    # slices of a slab may lie apart and differ: a bridge is cut within them only
    steps[np.asarray(bright.shape) < SLAB_SLICES] = 0
    return bright, _dilate(largest_component(_erode(bright, steps)), steps) & bright


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
