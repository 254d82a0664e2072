"""Mathematical morphology of masks by the faces of voxels: components, holes, erosion and dilation; NumPy only."""

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
T = TypeVar("T", bound=np.generic)


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


def neighbours(image: NDArray[T], axis: int) -> tuple[NDArray[T], NDArray[T]]:
    """The image shifted by one voxel either way; the border repeats itself, so that slabs are not eaten."""
    below, above = np.empty_like(image), np.empty_like(image)
    ahead, behind, first, last = (
        tuple(cut if a == axis else slice(None) for a in range(image.ndim))
        for cut in (slice(1, None), slice(None, -1), slice(None, 1), slice(-1, None))
    )
    below[ahead], below[first] = image[behind], image[first]
    above[behind], above[last] = image[ahead], image[last]
    return below, above


def erode(mask: Mask, steps: NDArray[np.int_]) -> Mask:
    """Without what lies within so many voxels of its rim along each axis; the image's border is no rim."""
    for step in range(steps.max()):
        shrunk = mask.copy()
        for axis in np.flatnonzero(steps > step):
            for moved in neighbours(mask, int(axis)):
                shrunk &= moved
        mask = shrunk
    return mask


def dilate(mask: Mask, steps: NDArray[np.int_]) -> Mask:
    """With what lies within so many voxels of it along each axis."""
    for step in range(steps.max()):
        grown = mask.copy()
        for axis in np.flatnonzero(steps > step):
            for moved in neighbours(mask, int(axis)):
                grown |= moved
        mask = grown
    return mask
