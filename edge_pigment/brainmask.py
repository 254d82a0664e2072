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
- Otsu's threshold needs air in the image. In a field of view inside of the brain it falls between fluid and tissue, or
  between grey and white matter; such a mask leaves out much that is as bright as tissue, and is replaced by what is not
  air (`_air`).
- Of a scan that holds a brain and nothing else (extracted before) every voxel with a value is brain.
- Everything is NumPy: a 3-point median along each axis, twice, stands for the large cubic median.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edge_pigment import errors as texts
from edge_pigment.morphology import Mask, dilate, erode, fill_holes, label, largest_component, neighbours

__all__ = ["BrainMask", "brain_mask", "fill_holes", "label", "largest_component", "otsu"]
Volume = NDArray[np.float32]

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
QUARTILES = 1.349
"""Standard deviations between the quartiles of the normal distribution."""
BINS = 256
"""Of the histogram for Otsu's threshold."""
SMALLEST_FRACTION = 0.01
"""Of the image: a brain of 100 ml in a field of view of 10 l. Below, the mask is taken as failed."""
LARGEST_FRACTION = 0.95
"""Of the image: nothing was told apart."""
SMALL_FOV_MM, SMALL_VOXEL_MM, HEAD_FOV_MM = 60.0, 0.5, 200.0
"""An image no wider than the first, in voxels no wider than the second, is of a small animal or a specimen: lengths are
taken in proportion to its width, as if that were a head's."""
VOID, FLOOR = 0.3, 0.5
"""Of tissue's level at b=0. Darker than the first is no tissue (air, bone, signal void); between them it is none where
diffusion weighting takes little away, as of the noise floor. Brain of real scans is above 0.3 but for 1 %."""
LEAST_LOSS = 0.1
"""Share of tissue's signal that the diffusion weighting must take away to be of use for that."""
LEFT_OUT_PER_DARK, LEAST_LEFT_OUT, MOST_LEFT_OUT = 0.7, 0.05, 0.2
"""Share of the voxels as bright as tissue that a mask may leave out: scalp, eyes and neck, of which there is the less
the less air and bone there is. In real whole heads it is up to 0.12, in slabs 0.2; masks of fields of view inside of
the brain leave out 0.4 and more, those with the brain's edge on one side 0.2."""
MOST_DARK = 0.5
"""Share of the image darker than tissue; above, it shows a whole head, which Otsu's threshold is for."""
TOO_MUCH_LEFT_OUT = 0.35
"""As MOST_LEFT_OUT, of a whole head; above, the user is told."""
LEAST_AIR = 0.03
"""Share of the image, below which no edge of the brain is in it, and no bridge is to be cut."""
ONE_PIECE, MOSTLY_BRAIN = 0.95, 0.8
"""Shares of the voxels that have a value: left by an opening, and found to be brain. Above both, the scan was extracted
before; of scans whose air alone was set to zero half is brain."""
LEAST_BLANK = 0.02
"""Share of the image that has one and the same lowest value, as a background that was set to it."""


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
    size = _in_proportion(np.asarray(voxel_size, float), np.shape(b0))
    images = [_finite(b0)] + ([] if dwi is None else [_finite(dwi)])
    smooth = [_median(image) for image in images]
    found = _by_threshold(smooth, size)
    air, dark = _air(smooth)
    if air is not None:
        mask = None if found is None else found.mask
        left_out = 1.0 if mask is None else float(np.mean(~mask[~dark]))
        may = float(np.clip(LEFT_OUT_PER_DARK * dark.mean(), LEAST_LEFT_OUT, MOST_LEFT_OUT))
        if left_out > may and dark.mean() < MOST_DARK:
            found = BrainMask(_all_but(air, size), () if len(images) > 1 else (texts.MASK_WITHOUT_AIR,))
        elif found is not None and left_out > TOO_MUCH_LEFT_OUT:
            found = BrainMask(found.mask, (*found.warnings, texts.MASK_LEAVES_OUT.format(percent=100 * left_out)))
    if found is not None:
        extracted = _extracted([b0] if dwi is None else [b0, dwi], found.mask, size)
        return found if extracted is None else BrainMask(extracted, found.warnings)
    mask = images[0] > 0
    if not mask.any():
        mask = np.ones_like(mask)
    return BrainMask(mask, (texts.MASK_FAILED.format(percent=100 * mask.mean()),))


def otsu(image: ArrayLike) -> float:
    """The threshold between two classes that leaves the most variance between them (Otsu 1979, eq. 16-18)."""
    values = np.asarray(image).ravel()
    low, high = float(values.min(initial=np.inf)), float(values.max(initial=-np.inf))
    if not high - low > BINS * np.spacing(np.float32(max(abs(low), abs(high)))):
        return high  # one value, as far as bins can tell
    counts, edges = np.histogram(values, BINS)
    centres = (edges[1:] + edges[:-1]) / 2
    below = np.cumsum(counts)
    above = below[-1] - below
    first = np.cumsum(counts * centres)
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (first / below - (first[-1] - first) / above) ** 2
    return float(edges[1:][np.nanargmax(np.where(above > 0, between, 0))])


def _in_proportion(size: NDArray[np.float64], shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Voxel sizes as they would be if the image of a small animal were of a human head."""
    width = float((size * np.array(shape)).max())
    if is_small(size, shape):
        return size * (HEAD_FOV_MM / width)
    return size


def is_small(voxel_size: NDArray[np.float64], shape: tuple[int, ...]) -> bool:
    """Whether an image (X, Y, Z) is too small, and too fine, to be of a human head."""
    return float((voxel_size * np.array(shape[:3])).max()) < SMALL_FOV_MM and bool(voxel_size.min() < SMALL_VOXEL_MM)


def _by_threshold(smooth: list[Volume], size: NDArray[np.float64]) -> BrainMask | None:
    """The mask by Otsu's threshold; None where nothing was told apart."""
    tissue = [_tissue(image) for image in smooth]
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
    return None


def _air(smooth: list[Volume]) -> tuple[Mask | None, Mask]:
    """(X, Y, Z) where there is no tissue, and the wider set of what is darker than tissue; None where the image does
    not tell. Air is dark at b=0 beside tissue, whose level there is that of voxels bright in the diffusion-weighted
    image: fluid is brighter, but not there.
    """
    b0, last = smooth[0], smooth[-1]
    bright = last > otsu(last)
    nothing = np.zeros(b0.shape, bool)
    if not bright.any():
        return None, nothing
    level = float(np.median(last[bright]))
    like = (last > 0.7 * level) & (last < 1.4 * level)
    tissue = float(np.median(b0[like])) if like.any() else 0.0
    if not (level > 0 and tissue > 0):
        return None, nothing
    dark = b0 < FLOOR * tissue
    air = b0 < VOID * tissue
    if len(smooth) > 1:
        left = level / tissue
        if left > 1 - LEAST_LOSS:
            return None, nothing
        air |= dark & (last > (1 + left) / 2 * b0)
    return air, dark


def _all_but(air: Mask, size: NDArray[np.float64]) -> Mask:
    """The brain where little else is in the field of view: what is not air, without what hangs on by a bridge."""
    if air.mean() < LEAST_AIR:
        return fill_holes(~air)
    return fill_holes(_opened(~air, size))


def _extracted(images: list[ArrayLike], found: Mask, size: NDArray[np.float64]) -> Mask | None:
    """The voxels that have a value, if the scan holds an extracted brain and nothing else; None if not."""
    raw = [np.asarray(image) for image in images]
    blank = np.logical_or.reduce([~np.isfinite(image) for image in raw])
    lowest = np.logical_and.reduce([image == np.min(image, where=~blank, initial=np.inf) for image in raw])
    if lowest.mean() >= LEAST_BLANK:
        blank |= lowest
    valued = ~blank
    if not LEAST_BLANK <= blank.mean() < 1 or found[valued].sum() < MOSTLY_BRAIN * valued.sum():
        return None
    if _opened(valued, size).sum() < ONE_PIECE * valued.sum():
        return None
    return fill_holes(valued)


def spread(image: ArrayLike, mask: Mask) -> float:
    """By how much an image varies in a mask, as a share of its median and without the noise of single voxels; 0 where
    there is nothing.

    Args:
        image: (X, Y, Z).
        mask: (X, Y, Z).
    """
    low, middle, high = np.percentile(_median(_finite(image))[mask], [25, 50, 75]) if mask.any() else (0.0, 0.0, 0.0)
    return float((high - low) / QUARTILES / middle) if middle > 0 else 0.0


def _finite(image: ArrayLike) -> Volume:
    image = np.ascontiguousarray(image, np.float32)
    return np.where(np.isfinite(image), image, np.float32(0))


def _median(image: Volume) -> Volume:
    for _ in range(MEDIAN_PASSES):
        for axis in range(3):
            if image.shape[axis] < 3:
                continue
            below, above = neighbours(image, axis)
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
    return bright, _opened(bright, voxel_size)


def _opened(mask: Mask, voxel_size: NDArray[np.float64]) -> Mask:
    """The largest component after an opening."""
    steps = np.maximum(np.round(OPENING_MM / voxel_size), 1).astype(int)
    # slices of a slab may lie apart and differ: a bridge is cut within them only
    steps[np.asarray(mask.shape) < SLAB_SLICES] = 0
    return dilate(largest_component(erode(mask, steps)), steps) & mask
