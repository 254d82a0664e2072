"""Eddy currents told from motion: a shift along one axis of the image that goes with the gradients' directions.

Eddy currents of the diffusion gradients shift, stretch and shear the image of an EPI scan along its phase-encoding
axis, in proportion to the gradient: linearly in its direction within a shell (Jezzard et al. 1998, Magn. Reson. Med.
39:801; Andersson & Sotiropoulos 2016, NeuroImage 125:1063). A head moves along any axis, and in time. Which axis is the
phase-encoding one is not in the file; a shift that is nearly all along one of the three is taken to be along it.
"""

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]

OFF_AXIS = 0.6
"""Of the shell's limit of displacement: the motion across the axis that eddy currents do not make. Fibres' contrast
makes 0.5 of it in sagittal series at b = 2000 that lay still."""
LEAST_DIRECTIONS = 10
"""Volumes of a shell from which a linear dependence on the direction, of four unknowns, can be told from chance."""
LINEAR = 0.5
"""Share of the shift's variance that the directions explain. Chance makes 0.16 of 20 directions; eddy currents of real
scans 0.57 to 0.67, the rest being contrast."""
STEP = 0.95
"""Share of the shift's variance that one move explains, above which it is that: in few directions eddy currents hardly
ever look like it."""


def eddy_part(pose: Float, directions: Float, limit: float) -> Float | None:
    """What of the poses of a shell's volumes may be eddy currents.

    Args:
        pose: (n, 6) mm: translations along the image axes, and rotations about them at the head's radius.
        directions: (n, 3) of the gradients.
        limit: mm, of displacement at this b.

    Returns:
        (n, 6) mm: with directions enough, of the shift and of the rotations that shearing looks like, the part that
        goes with the directions; with few, all of the shift; None where it is no eddy current.
    """
    axis = int(np.argmax(np.ptp(pose[:, :3], axis=0)))
    across = [a for a in range(3) if a != axis]
    if np.linalg.norm(pose[:, [*across, 3 + axis]], axis=1).max() > OFF_AXIS * limit:
        return None
    shift = pose[:, axis]
    step = _step_share(shift)
    found = np.zeros_like(pose)
    if len(shift) < LEAST_DIRECTIONS:
        if step > STEP:
            return None
        found[:, axis] = shift
        return found
    design = np.column_stack([np.ones(len(shift)), directions])
    linear = design @ np.linalg.lstsq(design, pose, rcond=None)[0]
    if _explained(shift, linear[:, axis]) < max(LINEAR, step):
        return None
    made = [axis, *(3 + a for a in across)]
    found[:, made] = linear[:, made]
    return found


def _explained(values: Float, fit: Float) -> float:
    total = float(np.sum((values - values.mean()) ** 2))
    return 1 - float(np.sum((values - fit) ** 2)) / total if total > 0 else 0.0


def _step_share(values: Float) -> float:
    """Of the variance, explained by one move for good at the best place in time, or of the one volume it suits best."""
    order = np.arange(len(values))
    apart = [order < k for k in range(1, len(values))] + [order == k for k in order[1:-1]]
    fits = (np.where(some, values[some].mean(), values[~some].mean()) for some in apart)
    return max((_explained(values, fit) for fit in fits), default=0.0)
