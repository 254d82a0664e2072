"""Head motion between volumes: a rigid registration by least squares on coarse images.

Volumes of one shell look alike but for contrast between fibres, so each is registered to their mean: the image is
taken as gain times the template moved by six small parameters (Gauss-Newton on intensities, as Friston et al. 1995,
Hum. Brain Mapp. 3:165), twice over with the template made anew of the aligned volumes. Coarse voxels make it quick
and reach further; they are an average of dozens, so that the noise hardly matters.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_pigment.acquisition import Acquisition
from edge_pigment.quality.eddy import eddy_part

Float = NDArray[np.float64]
Image = NDArray[np.float32]

COARSE_MM = 6.0
"""Voxels are averaged up to about this size: some ten thousand are left of a head."""
SWEEPS = 3
"""Of all volumes of a shell, each with a new template."""
STILL_MM = 0.05
"""The largest change of a sweep below which it has converged."""
HEAD_MM = 50.0
"""Radius at which a rotation counts as a displacement (Power et al. 2012, NeuroImage 59:2142)."""
MM = np.array([1.0, 1.0, 1.0, HEAD_MM, HEAD_MM, HEAD_MM])
"""Of a pose's elements, mm and radians."""
LEAST_PULL_MM = 0.6
"""Volumes displaced less stay as they are: interpolation would blur them more than it aligns."""
WARN_MM = 1.5
"""Root mean square over the brain, above which the user is told, at b = 1000 and below. Fibres' contrast alone makes
0.5 mm; it grows with b, and so does the limit: at b = 2000 scans simulated of heads that are still have up to 2.2 mm
(benchmarks/quality.py), and eddy currents come in, which blur the maps like motion."""
WARN_SLAB_MM = 3.0
"""The same for a slab. Where the top and the bottom of the head are not in the image no edge holds a volume upright,
and fibres' contrast makes up to 2.3 mm in scans simulated of one that is still (benchmarks/quality.py)."""
SLAB_SHARE = 0.4
"""Of the largest cross-section, at both ends of an axis, from which the brain is cut there. A whole head has a neck or
a vertex at one end."""
MOST_LOST = 0.5
"""Share of a coarse voxel's part of the brain that may lack a measurement; dark brain holds single zeros at high b."""
LEAST_COARSE = 4
"""Coarse voxels along an axis; in fewer no motion along it is seen."""


class Motion(NamedTuple):
    """Of each volume against the pose that most volumes of its shell are nearest to.

    translation (N, 3) mm along the image axes; rotation (N, 3) degrees about them; displacement (N,) mm, root mean
    square over the brain. NaN where a volume has no like. limits (N,) of displacement in mm, beyond which the user is
    told. eddy (N, 6) mm: what of translation and of rotation, at the head's radius, may be eddy currents.
    """

    translation: Float
    rotation: Float
    displacement: Float
    limits: Float
    eddy: Float

    @property
    def moved(self) -> tuple[int, ...]:
        """Volumes beyond their limit."""
        known = np.nan_to_num(self.displacement)
        return tuple(int(n) for n in np.flatnonzero(known > self.limits))

    @property
    def largest(self) -> float:
        """mm, of the volume furthest from that pose; NaN where nothing could be compared."""
        known = self.displacement[np.isfinite(self.displacement)]
        return float(known.max()) if len(known) else float("nan")

    @property
    def span(self) -> float:
        """mm, of the two volumes furthest apart, as translations go; NaN where nothing could be compared."""
        known = self.translation[np.isfinite(self.displacement)]
        return max(_span(known), self.largest) if len(known) else float("nan")

    @property
    def span_without_eddy(self) -> float:
        """The same without what may be eddy currents; NaN where nothing could be compared."""
        known = np.isfinite(self.displacement)
        if not known.any():
            return float("nan")
        left = np.hstack([self.translation, HEAD_MM * np.radians(self.rotation)])[known] - self.eddy[known]
        touched = self.eddy[known].any(1)
        apart = np.where(touched, np.linalg.norm(left, axis=1), self.displacement[known])
        return max(_span(left[:, :3]), float(apart.max()))


def _span(translation: Float) -> float:
    """mm, of the two of (n, 3) furthest apart: over the directions of a coarse sphere, which is linear in n."""
    sphere = np.random.default_rng(0).standard_normal((64, 3))
    along = translation @ (sphere / np.linalg.norm(sphere, axis=1, keepdims=True)).T
    return float(np.ptp(along, axis=0).max())


def measure_motion(acquisition: Acquisition, mask: NDArray[np.bool_], leave_out: tuple[int, ...] = ()) -> Motion:
    """Register the volumes of each shell.

    Args:
        acquisition: the scan.
        mask: (X, Y, Z) the brain.
        leave_out: volumes that are damaged otherwise, and would be taken for moved.
    """
    count = len(acquisition.gradients)
    limits = (WARN_SLAB_MM if _cut_axes(mask) else WARN_MM) * np.maximum(acquisition.gradients.bvals / 1000, 1)
    unknown = np.full((count, 3), np.nan)
    found = Motion(unknown, unknown.copy(), unknown[:, 0].copy(), limits, np.zeros((count, 6)))
    table = acquisition.gradients
    factor = np.maximum(np.rint(COARSE_MM / acquisition.voxel_size), 1).astype(int)
    size = acquisition.voxel_size * factor
    inside = _coarse(mask.astype(np.float32), factor) > 0.5
    if min(inside.shape) < LEAST_COARSE or inside.sum() < 100:
        return found
    without_edges = _cut_axes(mask) > 1
    for group in table.alike:
        chosen = [int(n) for n in group if n not in leave_out]
        if len(chosen) < 2 or (without_edges and not table.is_b0[chosen[0]]):
            continue
        images, known = _coarse_series(acquisition.signal, mask, chosen, factor)
        pose, points = _register(images, known, inside, size)
        if not np.isfinite(pose).all():  # values of damaged images whose squares are too large
            continue
        pose -= pose[_medoid(pose)]
        moved = pose[:, None, :3] + np.cross(pose[:, None, 3:], points[None])
        found.translation[chosen] = pose[:, :3]
        found.rotation[chosen] = np.degrees(pose[:, 3:])
        found.displacement[chosen] = np.sqrt((moved**2).sum(-1).mean(1))
        if not table.is_b0[chosen[0]]:
            eddy = eddy_part(pose * MM, table.bvecs[chosen], float(limits[chosen].min()))
            found.eddy[chosen] = 0 if eddy is None else eddy
    return found


def _coarse_series(
    signal: NDArray[np.float32], mask: NDArray[np.bool_], chosen: list[int], factor: NDArray[np.intp]
) -> tuple[Image, NDArray[np.bool_]]:
    """(n, X, Y, Z) coarse images, and where each is known; elsewhere it is the others' median.

    Not known is what in this volume, and in less than half of the others, is no positive number within the
    brain: rims that a correction moved out of the field of view, or values that were left out before.
    """
    images = np.stack([_coarse_known(signal[..., n], mask, factor) for n in chosen])
    known = np.ones(images.shape, bool)
    lost = [mask & ~(signal[..., n] > 0) for n in chosen]
    if not any(where.any() for where in lost):
        return images, known
    often = np.sum(lost, axis=0, dtype=np.int32) * 2 >= len(chosen)
    part = np.maximum(_coarse(mask.astype(np.float32), factor), 1e-6)
    for i, where in enumerate(lost):
        share = _coarse((where & ~often).astype(np.float32), factor) / part
        if (share > MOST_LOST).any():
            known[i] = ~_grown(share > MOST_LOST)
    gap = ~known
    if gap.any():
        # in units of each volume's level, so that a gap has no edge
        level = np.array([float(np.median(image[is_known])) for image, is_known in zip(images, known, strict=True)])
        level = np.maximum(level, 1e-30)[:, None, None, None]
        like = np.nanmedian(np.where(known, images / level, np.nan), axis=0) if known.any(0).all() else None
        usual = np.nan_to_num(like) if like is not None else np.median(images / level, axis=0)
        images = np.where(gap, usual * level, images).astype(np.float32)
    return images, known


def _coarse_known(volume: NDArray[np.float32], mask: NDArray[np.bool_], factor: NDArray[np.intp]) -> Image:
    """Means over blocks, without what is no number in the brain; around it that is 0."""
    finite = np.isfinite(volume)
    if finite.all():
        return _coarse(volume, factor)
    counts = _coarse((finite | ~mask).astype(np.float32), factor)
    return np.asarray(_coarse(np.where(finite, volume, 0), factor) / np.maximum(counts, 1e-6), np.float32)


def _cut_axes(mask: NDArray[np.bool_]) -> int:
    """Axes at both ends of which the brain is cut: one in a slab, more in a field of view inside of the brain."""
    areas = [mask.sum(axis=tuple({0, 1, 2} - {axis})) for axis in range(3)]
    return sum(bool(min(area[0], area[-1]) > SLAB_SHARE * area.max()) for area in areas)


def _medoid(pose: Float) -> int:
    """The pose nearest to all others, the earliest of equals: if the head moved once, one that most volumes share."""
    mm = pose * MM
    apart = np.linalg.norm(mm[:, None] - mm[None], axis=-1).sum(1)
    return int(np.flatnonzero(apart <= 1.1 * apart.min())[0])


def _grown(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """With the neighbours by faces."""
    grown = mask.copy()
    for axis in range(3):
        for way in (1, -1):
            grown |= np.roll(mask, way, axis)
    return grown


def _register(
    images: Image, known: NDArray[np.bool_], inside: NDArray[np.bool_], size: Float
) -> tuple[Float, Float]:
    """Poses (n, 6), translations in mm and small rotations in radians, of images (n, X, Y, Z) where they are known, and
    the points (V, 3) mm that they were found at."""
    grown = _grown(inside)
    where = np.stack(np.nonzero(grown), axis=1)
    points = (where - where.mean(0)) * size
    # a template needs its slopes, so a box around the head is pulled along
    corner, end = np.maximum(where.min(0) - 1, 0), np.minimum(where.max(0) + 2, inside.shape)
    grid = np.stack(np.meshgrid(*[np.arange(a, b) for a, b in zip(corner, end, strict=True)], indexing="ij"), -1)
    box = tuple(slice(a, b) for a, b in zip(corner, end, strict=True))
    pose, moved = np.zeros((len(images), 6)), images[(slice(None), *box)].copy()
    gaps = [(n, is_known[grown]) for n, is_known in enumerate(known) if not is_known[grown].all()]
    for _ in range(SWEEPS):
        template = np.median(moved, axis=0) if len(moved) > 2 else moved.mean(0)
        slope = np.stack(np.gradient(template), -1)[grown[box]] / size
        # y(x) = T(x - u), u = t + w × p, so y - T = -u·∇T; (w × p)·∇T = w·(p × ∇T)
        design = np.concatenate([-slope, -np.cross(points, slope), template[grown[box]][:, None]], axis=1)
        scale = np.sqrt((design**2).mean(0)) + 1e-12
        design /= scale
        normal = design.T @ design + 1e-6 * len(design) * np.eye(7)
        solved = np.linalg.solve(normal, design.T @ moved[:, grown[box]].T) / scale[:, None]
        for n, rows in gaps:
            some, target = design[rows], moved[n, grown[box]][rows]
            normal = some.T @ some + 1e-6 * len(design) * np.eye(7)
            solved[:, n] = np.linalg.solve(normal, some.T @ target) / scale
        step = (solved[:6] / np.maximum(solved[6], 0.1)).T
        step /= np.maximum(np.linalg.norm(step[:, :3], axis=1, keepdims=True) / size.max(), 1)
        pose += step
        if np.abs(step[:, :3]).max() < STILL_MM:
            break
        away = np.flatnonzero(np.abs(pose[:, :3]).max(1) > LEAST_PULL_MM)
        if not len(away):
            break
        for i in away:
            shift = (pose[i, :3] + np.cross(pose[i, 3:], (grid - where.mean(0)) * size)) / size
            moved[i] = _interpolated(images[i], grid + shift)
    return pose, points


def _interpolated(image: Image, at: Float) -> Image:
    """Values (...) of an image at voxel coordinates (..., 3), trilinear; beyond the edge, the edge's."""
    shape = np.array(image.shape)
    at = np.clip(at, 0, shape - 1)
    low = np.minimum(at.astype(np.intp), np.maximum(shape - 2, 0))
    share = np.moveaxis((at - low).astype(np.float32), -1, 0)
    x, y, z = ((1 - s, s) for s in share)
    strides = (int(shape[1] * shape[2]), int(shape[2]), 1)
    flat, base, total = image.reshape(-1), low @ np.array(strides), np.zeros(low.shape[:-1], np.float32)
    for i, j, k in np.ndindex(2, 2, 2):
        corner = base + (i * strides[0] + j * strides[1] + k)
        total += x[i] * y[j] * z[k] * flat[np.minimum(corner, flat.size - 1)]
    return total


def _coarse(image: NDArray[np.float32], factor: NDArray[np.intp]) -> Image:
    """Means of blocks of `factor` voxels; what is left over at the far ends is cut off."""
    small = image.T  # contiguous, so that summing along the first axes is quick
    for axis, f in enumerate(factor[::-1]):
        end = small.shape[axis] // f * f
        lead = (slice(None),) * axis
        small = np.asarray(sum(small[(*lead, slice(k, end, f))] for k in range(f)))
    return np.asarray(small.T / np.float32(np.prod(factor)), np.float32)
