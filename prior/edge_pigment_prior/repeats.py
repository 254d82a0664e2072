"""Several series of one head joined into one reference.

Every series is registered to the first (rigid, mutual information of the mean diffusion-weighted images, DIPY's
`AffineRegistration`; Mattes et al. 2003, IEEE Trans. Med. Imaging 22:120, doi:10.1109/TMI.2003.809072), its signals are
interpolated once, by cubic splines, onto the first's grid, its directions are turned along, its level is set to the
first's, and one tensor is fitted to all volumes. A series that does not agree with the first is left out; those left
out are tried among themselves, so that one head may have two references, e.g. one for each phase-encoding axis.

What joining gains was measured on volumes left out of the first series: how well its own other volumes foretell them
(alone), and those together with the other series (joined). Median error, in units of the signal at b=0:

                                    white matter         the whole brain
                                    alone   joined       alone   joined
    five series, 3 mm, SNR 74       0.0204  0.0192       0.0173  0.0221
    two series, 2.7 mm, SNR 41      0.0344  0.0292       0.0310  0.0281
    two others of that head         0.0400  0.0353       0.0350  0.0330

Over the whole brain the series with the least noise lose: most within three voxels of the brain's edge (0.0171 alone,
0.0292 joined), some in what lies deeper and is not white matter (0.0168, 0.0190 where MD < 1 µm²/ms). Distortion that
turns with the head would do that, but was not measured. So joining is off by default.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_pigment.acquisition import Acquisition, read_acquisition
from edge_pigment.boxes import bounding_box
from edge_pigment.brainmask import SLAB_SLICES
from edge_pigment.gradients import GradientTable
from edge_pigment.physics.backend import Array, Backend
from edge_pigment.physics.host import HostBackend
from edge_pigment_prior.references import Reference, find_brain, fit_reference, references

Float = NDArray[np.float64]
Mask = NDArray[np.bool_]
Tell = Callable[[str], None]

LEVELS = {"level_iters": [50, 25], "sigmas": [3.0, 1.0], "factors": [4, 2]}
"""Of the registration's pyramid. A third level, unsmoothed and at the image's own resolution, stuck where grids
coincide: interpolation blurs everywhere else, and mutual information takes that for disagreement (Pluim et al. 2000,
Comput. Vis. Image Underst. 77:211)."""
MARGIN = 4
"""Voxels around the brain that the registration sees; beyond there is nothing to align."""
AGREEMENT = 0.7
"""Least `agreement_of`, over the brain, between a series and the first, both fitted alone. Between what was measured
(3 T, 20 directions, uncorrected EPI): 0.84-0.96 between series of one phase-encoding axis, 0.48-0.51 between two, and
0.13-0.31 where one gradient axis is mirrored or two are exchanged."""
SPLINE = 3
"""Order of the interpolation's splines. Linear ones (1) blur: they lose what joining gains in white matter, where the
first series of the module's docstring has an FA of 0.53 alone, 0.47 joined linearly and 0.53 by cubic splines. That is
interpolation, not movement: half a voxel along three axes and back takes that series alone to 0.35 (linear) or 0.50
(cubic). Nor is it the noise that interpolation averages away: twice its variance adds but 0.003."""
LARGEST_STEP = 1.25
"""Largest ratio of voxel edges. Finer voxels interpolated at coarser points are smaller samples of
tissue, not the same."""
LEAST_COMMON = 0.5
"""Least part of the first's brain that all series of a reference must show."""
JOINED = "_desc-joined"
"""In the name of a joined reference, after the subject."""


@dataclass(frozen=True, eq=False)
class Series:
    """One series on the first's grid.

    name; acquisition, interpolated; seen (X, Y, Z), the part of the first's brain that it shows; alone, the reference
    of it alone; agreement, the correlation of its tensors with the first's.
    """

    name: str
    acquisition: Acquisition
    seen: Mask
    alone: Reference
    agreement: float = 1.0


def rotation_of(matrix: Float) -> Float:
    """The rotation (or reflection) nearest to a matrix (3, 3): its orthogonal polar factor."""
    u, _, v = np.linalg.svd(matrix)
    nearest: Float = u @ v
    return nearest


def turn(gradients: GradientTable, source: Float, transform: Float, target: Float) -> GradientTable:
    """Directions along the axes of another image.

    Args:
        gradients: directions along the axes of the source image.
        source: (4, 4) affine of that image.
        transform: (4, 4) scanner mm of the target -> scanner mm of the source, as `register` finds it.
        target: (4, 4) affine of the image whose axes are wanted.

    Returns:
        the same b-values; g -> M_target' R' M_source g with orthogonal factors M and R, which holds for axes of either
        handedness, since no file's convention of signs is left in a table.
    """
    to_target = rotation_of(target[:3, :3]).T @ rotation_of(transform[:3, :3]).T @ rotation_of(source[:3, :3])
    return GradientTable(gradients.bvals, gradients.bvecs @ to_target.T)


def register(fixed: Acquisition, moving: Acquisition) -> Float:
    """Rigid registration of two series of one head.

    Starts where the affines say, or with the centres of the brains laid upon each other where that makes the images
    more alike: tables move between series, and some files do not say so.

    Returns:
        (4, 4): scanner mm of `fixed` -> scanner mm of `moving`.
    """
    from dipy.align.imaffine import AffineMap, AffineRegistration, MutualInformationMetric
    from dipy.align.transforms import RigidTransform3D

    f, f_affine, f_mask = _around_brain(fixed)
    m, m_affine, m_mask = _around_brain(moving)
    centred = np.eye(4)
    centred[:3, 3] = _centre(m_mask, m_affine) - _centre(f_mask, f_affine)

    def likeness(start: Float) -> float:
        there = AffineMap(start).transform(
            m, image_grid2world=m_affine, sampling_grid_shape=f.shape, sampling_grid2world=f_affine
        )
        return float(np.corrcoef(f[f_mask], there[f_mask])[0, 1]) if np.ptp(there[f_mask]) else -1.0

    start = max(np.eye(4), centred, key=likeness)
    registration = AffineRegistration(metric=MutualInformationMetric(nbins=32), verbosity=0, **LEVELS)
    found = registration.optimize(
        f,
        m,
        RigidTransform3D(),
        None,
        static_grid2world=f_affine,
        moving_grid2world=m_affine,
        starting_affine=start,
        static_mask=f_mask.astype(np.int32),
    )
    transform: Float = found.affine
    return transform


def _around_brain(acquisition: Acquisition) -> tuple[Float, Float, Mask]:
    """Mean diffusion-weighted image, affine and mask of the box around the brain."""
    mask = find_brain(acquisition)
    box = tuple(slice(max(part.start - MARGIN, 0), part.stop + MARGIN) for part in bounding_box(mask))
    shift = np.eye(4)
    shift[:3, 3] = [part.start for part in box]
    return acquisition.mean_dwi[box].astype(np.float64), acquisition.affine @ shift, mask[box]


def _centre(mask: Mask, affine: Float) -> Float:
    centre: Float = affine[:3, :3] @ np.argwhere(mask).mean(0) + affine[:3, 3]
    return centre


def interpolate(moving: Acquisition, transform: Float, fixed: Acquisition) -> tuple[Acquisition, Mask]:
    """A series' signals, interpolated by cubic splines on another's grid, and its directions along the other's axes.

    Args:
        moving: the series.
        transform: (4, 4) scanner mm of `fixed` -> scanner mm of `moving`.
        fixed: series whose grid is wanted.

    Returns:
        the series on that grid, and (X, Y, Z) where it was measured; elsewhere its signal means nothing.
    """
    from scipy.ndimage import affine_transform

    shape = fixed.signal.shape[:3]
    index = np.linalg.inv(moving.affine) @ transform @ fixed.affine
    signal = np.empty((*shape, moving.signal.shape[3]), np.float32, order="F")
    for n in range(signal.shape[3]):
        volume = moving.signal[..., n].astype(np.float64)
        there = affine_transform(volume, index[:3, :3], index[:3, 3], shape, order=SPLINE, mode="mirror")
        signal[..., n] = np.maximum(there, 0)  # splines overshoot beside steps
    at = np.einsum("ij,jxyz->ixyz", index[:3, :3], np.indices(shape)) + index[:3, 3, None, None, None]
    last = np.array(moving.signal.shape[:3])[:, None, None, None] - 1
    inside: Mask = np.all((at >= 0) & (at <= last), axis=0)
    gradients = turn(moving.gradients, moving.affine, transform, fixed.affine)
    return Acquisition(signal, gradients, fixed.affine), inside


def agreement_of(D1: Array, D2: Array) -> float:
    """Correlation of the anisotropic parts (D - MD I) / |D| of two tensor images (6, V), over voxels and elements.

    FA alone would not see directions that are mirrored or exchanged. FA is what the norm of this part is but for a
    factor; without the division, one voxel in a hundred, at the brain's rim, would hold up to half of the sum.
    """
    parts = []
    for D in (D1, D2):
        part = D.astype(np.float64)
        part[3:] *= np.sqrt(2)  # twice in the matrix
        norm = np.sqrt(np.sum(part**2, axis=0))
        part[:3] -= part[:3].mean(axis=0)
        parts.append(part / np.where(norm > 0, norm, 1))
    product, own1, own2 = (float(np.sum(a * b)) for a, b in ((parts[0], parts[1]), (parts[0],) * 2, (parts[1],) * 2))
    return product / float(np.sqrt(own1 * own2))


def onto_first(fixed: Acquisition, name: str, moving: Acquisition, first: Reference, backend: Backend) -> Series:
    """Register and interpolate a series, set its level to the first's, and fit it alone."""
    there, inside = interpolate(moving, register(fixed, moving), fixed)
    common = first.mask.T & inside & (there.mean_b0 > 0)
    gain = np.float32(np.median(fixed.mean_b0[common] / there.mean_b0[common]))
    there = Acquisition(there.signal * gain, there.gradients, there.affine)
    alone = fit_reference(there, name, backend, common)
    at = common.T
    return Series(name, there, common, alone, agreement_of(first.theta[1:, at], alone.theta[1:, at]))


def spread_of(alone: Sequence[Reference], mask: Mask) -> Array:
    """(V,) sd between series of a diagonal element of D, µm²/ms, in each voxel of a mask (Z, Y, X)."""
    D = np.stack([r.theta[1:4, mask] for r in alone])
    spread: Array = np.sqrt(np.mean(np.var(D, axis=0, ddof=1), axis=0))
    return spread


def fit_joined(series: Sequence[Series], name: str, backend: Backend) -> Reference:
    """One reference of series on one grid.

    Its sd is measured: what the series, each fitted alone, differ by in the median voxel, over the root of their
    number. That counts noise, and also what is left of movement, distortion and interpolation; the fit's own
    error would count noise alone, and too little of that, since interpolation averages neighbours' noise.
    It does not count the blur that all interpolated series share.
    """
    common: Mask = np.all([s.seen for s in series], axis=0)
    signal = np.concatenate([s.acquisition.signal for s in series], axis=3)
    bvals = np.concatenate([s.acquisition.gradients.bvals for s in series])
    bvecs = np.concatenate([s.acquisition.gradients.bvecs for s in series])
    together = Acquisition(signal, GradientTable(bvals, bvecs), series[0].acquisition.affine)
    joined = fit_reference(together, name, backend, common)
    spread = float(np.median(spread_of([s.alone for s in series], common.T)))
    # the median of a sample variance with few degrees of freedom is too small (Wilson & Hilferty 1931)
    freedom = 3 * (len(series) - 1)
    spread /= (1 - 2 / (9 * freedom)) ** 1.5
    return replace(joined, sd=max(spread / float(np.sqrt(len(series))), joined.sd))


@dataclass(frozen=True, eq=False)
class Joined:
    """A joined reference and the names of its series."""

    reference: Reference
    members: tuple[str, ...]


def join(
    scans: Sequence[tuple[str, Acquisition]], backend: Backend | None = None, tell: Tell = lambda line: None
) -> list[Joined]:
    """Join the series of one head.

    Args:
        scans: names and series; the first of those that agree gives the grid.
        backend: kernels to use; the host's by default.
        tell: is called with a line on every series that is joined or left out, and on every reference.

    Returns:
        one for each group of at least two series that agree; none where no two do.
    """
    backend = backend or HostBackend(None)
    left = list(scans)
    found: list[Joined] = []
    while len(left) > 1:
        (name, fixed), *others = left
        group = _agreeing(name, fixed, others, backend, tell)
        members = tuple(s.name for s in group)
        left = [scan for scan in others if scan[0] not in members]
        if len(group) > 1:
            called = name.split("_")[0] + JOINED + (str(len(found) + 1) if found else "")
            reference = fit_joined(group, called, backend)
            found.append(Joined(reference, members))
            alone = group[0].alone.sd
            tell(f"{called}: {len(group)} series; sd of D {reference.sd:.4f}, of the first's noise alone {alone:.4f}")
    return found


def _agreeing(
    name: str, fixed: Acquisition, others: Sequence[tuple[str, Acquisition]], backend: Backend, tell: Tell
) -> list[Series]:
    """A series and those that agree with it, on its grid."""
    alike = [(n, a) for n, a in others if _same_sampling(name, fixed, n, a, tell)]
    if not alike:
        return []
    mask = find_brain(fixed)
    first = fit_reference(fixed, name, backend, mask)
    group = [Series(name, fixed, mask, first)]
    for other, moving in alike:
        series = onto_first(fixed, other, moving, first, backend)
        shown = series.seen.sum() / mask.sum()
        agrees = series.agreement >= AGREEMENT and shown >= LEAST_COMMON
        verdict = "joined to" if agrees else "left out, does not agree with"
        tell(f"{other}: {verdict} {name}; tensors correlate by {series.agreement:.3f} in {shown:.0%} of the brain")
        if agrees:
            group.append(series)
    return group


def _same_sampling(name: str, fixed: Acquisition, other: str, moving: Acquisition, tell: Tell) -> bool:
    step = np.sort(moving.voxel_size) / np.sort(fixed.voxel_size)
    largest = max(step.max(), 1 / step.min())
    slices = min(*fixed.signal.shape[:3], *moving.signal.shape[:3])
    if largest > LARGEST_STEP:
        tell(f"{other}: left out, its voxels' edges differ from {name}'s by a factor of {largest:.2f}")
    elif slices < SLAB_SLICES:
        tell(f"{other}: left out, {slices} slices are too few to register to {name}")
    return largest <= LARGEST_STEP and slices >= SLAB_SLICES


def joined_references(scans: list[Path], cache: Path, tell: Tell = lambda line: None) -> list[Reference]:
    """As `references`, with a joined reference in place of the series that it is made of; from the cache if there.

    Args:
        scans: images; those of one folder are of one head.
        cache: folder; holds each reference (.npz), and for each head what was joined (.json).
        tell: see `join`.
    """
    cache.mkdir(parents=True, exist_ok=True)
    out: list[Reference] = []
    for _, of_head in groupby(sorted(scans), key=lambda scan: scan.parent):
        series = {scan.name.removesuffix("_dwi.nii.gz"): scan for scan in of_head}
        members = _joined_members(series, cache, tell)
        out += [Reference.load(cache / f"{name}.npz") for name in members]
        inside = {name for names in members.values() for name in names}
        out += references([scan for name, scan in series.items() if name not in inside], cache)
    return out


def _joined_members(series: dict[str, Path], cache: Path, tell: Tell) -> dict[str, list[str]]:
    """What is joined of one head: the reference's name -> its series; the references are in the cache then."""
    record = cache / f"{next(iter(series)).split('_')[0]}{JOINED}.json"
    if record.exists():
        known = json.loads(record.read_text())
        if known["tried"] == list(series):
            members: dict[str, list[str]] = known["joined"]
            return members
    scans = [(name, read_acquisition(scan)) for name, scan in series.items()] if len(series) > 1 else []
    found = join(scans, tell=tell)
    for joined in found:
        joined.reference.save(cache / f"{joined.reference.name}.npz")
    members = {joined.reference.name: list(joined.members) for joined in found}
    record.write_text(json.dumps({"tried": list(series), "joined": members}))
    return members
