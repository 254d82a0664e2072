"""The phantom's white-matter tracts: where they run and in which direction, as fields over points.

Each tract is a family of analytic curves, so that its direction is their tangent and crossings are real:
callosum, corticospinal tract and superior longitudinal fasciculus share the voxels of the centrum semiovale.
Points have |x| for x; the caller mirrors the directions. Millimetres, RAS.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from edge_pigment.phantom.anatomy import brainstem, callosum
from edge_pigment.phantom.shapes import Array, Knots, ellipsoid, tube, unit, vector, window


class Bundle(NamedTuple):
    """share (V,), 0 to 1, of a voxel's fibres that a tract would take if alone; direction (V, 3), unit."""

    share: Array
    direction: Array


CALLOSAL_RADIUS = 42.0
"""mm; callosal fibres leave the mid-plane sideways and bend away from the arch along parabolas x²/2R."""

_CST = np.array(
    # z, centre x, centre y, half-width in x, half-width in y
    [
        (-75, 5, -29, 4, 4),
        (-45, 5, -24, 4, 4),
        (-28, 7, -20, 5, 5),
        (-12, 13, -18, 4.5, 7),
        (0, 19, -13, 4.5, 10),
        (12, 23, -10, 5, 16),
        (24, 26, -12, 7, 20),
        (40, 30, -15, 13, 24),
        (58, 34, -18, 21, 28),
        (75, 38, -20, 29, 31),
    ]
)


def corpus_callosum(p: Array) -> Bundle:
    """Commissural fibres: body up to the vertex, genu forwards (forceps minor), splenium backwards."""
    x, y, z = p[:, 0], p[:, 1], p[:, 2]
    outward = unit(np.stack([0 * y, (y + 4) / 33**2, (z + 2) / 26**2], axis=-1))
    lift = x**2 / (2 * CALLOSAL_RADIUS)
    origin = p - lift[:, None] * outward  # where the fibre crossed the mid-plane, to first order
    height, half = callosum(origin)
    spread = half + 1.5 + 0.2 * x
    share = window(np.abs(height) / spread) * window(x / 52, 0.5) * (half > 0)
    direction = unit(outward * (x / (CALLOSAL_RADIUS))[:, None] + vector(1, 0, 0))
    return Bundle(share, direction)


def corticospinal(p: Array) -> Bundle:
    """Projection fibres: pyramid, peduncle, internal capsule (both limbs, a sheet), corona radiata, a fan."""
    level = np.arange(-80, 80, 0.5)
    knots = np.stack([np.interp(level, _CST[:, 0], column) for column in _CST[:, 1:].T])
    kernel = np.hanning(25) / np.hanning(25).sum()
    smooth = np.stack([np.convolve(np.pad(k, 12, mode="edge"), kernel, "valid") for k in knots])
    slope = np.gradient(smooth, level, axis=1)
    z = np.clip(p[:, 2], -78, 78)
    cx, cy, wx, wy = (np.interp(z, level, k).astype(np.float32) for k in smooth)
    dcx, dcy, dwx, dwy = (np.interp(z, level, k).astype(np.float32) for k in slope)
    u, v = (p[:, 0] - cx) / wx, (p[:, 1] - cy) / wy
    direction = unit(np.stack([dcx + u * dwx, dcy + v * dwy, np.ones_like(u)], axis=-1))
    return Bundle(window(np.hypot(u, v)), direction)


# Courses of tubes: (x, y, z, radius).
_SLF = [(34, 30, 34, 5), (33, 5, 38, 6), (32, -25, 38, 6), (31, -52, 30, 6)]
# Front to back, then round the end of the lateral fissure down into the temporal lobe.
_ARCUATE = [(33, 42, 14, 5), (36, 22, 25, 6), (36, -5, 29, 7), (37, -30, 25, 7)]
_ARCUATE += [(41, -46, 12, 6), (45, -36, -4, 5), (46, -16, -10, 5)]
# Over the callosum, round the splenium, into the parahippocampal gyrus.
_CINGULUM = [(7, 30, -8, 3.5), (8, 40, 8, 3.5), (8, 30, 26, 4), (8, 5, 35, 4), (8, -20, 34, 4)]
_CINGULUM += [(9, -40, 22, 4), (13, -46, 6, 4), (22, -36, -12, 4), (26, -16, -20, 4)]
_ILF = [(42, 14, -28, 5), (42, -10, -20, 6), (40, -36, -10, 6), (33, -60, -4, 6), (18, -84, -2, 5)]
_IFOF = [(24, 52, 0, 6), (29, 30, -2, 5), (32, 8, -7, 4), (35, -14, -5, 4)]
_IFOF += [(35, -40, 0, 5), (28, -64, 2, 6), (14, -86, 8, 5)]
# Forwards over the temporal horn (Meyer's loop), then back to the calcarine cortex.
_OPTIC = [(23, -24, -3, 4), (30, -16, -8, 4), (36, -22, -9, 4.5), (36, -40, 2, 5)]
_OPTIC += [(31, -58, 6, 5), (20, -74, 6, 5), (10, -86, 4, 5)]
_UNCINATE = [(38, 16, -28, 4), (31, 12, -14, 4), (27, 24, -10, 4), (22, 42, -6, 5)]
_FORNIX = [(3, 8, -4, 2.5), (2, 8, 8, 2.5), (3, -6, 17, 2.5), (8, -24, 15, 2.5), (20, -36, 4, 2.5)]
_PONTINE = [(0, -11, -29, 7), (12, -14, -29, 7), (19, -27, -31, 6), (22, -42, -36, 6), (26, -54, -38, 6)]


def _strongest(p: Array, courses: Sequence[Knots]) -> Bundle:
    """Tubes that do not mix: each voxel belongs to the one whose axis is nearest."""
    share, direction = np.zeros(len(p), np.float32), np.zeros_like(p)
    for knots in courses:
        near = tube(p, knots)
        weight = window(near.u)
        stronger = weight > share[near.voxels]
        index = near.voxels[stronger]
        share[index], direction[index] = weight[stronger], near.tangent[stronger]
    return Bundle(share, direction)


def association(p: Array) -> Bundle:
    """Fibres within a hemisphere: the fasciculi, cingulum, optic radiation, fornix."""
    return _strongest(p, (_ARCUATE, _SLF, _CINGULUM, _ILF, _IFOF, _OPTIC, _UNCINATE, _FORNIX))


def pontine(p: Array) -> Bundle:
    """Transverse fibres of the pons, and the middle cerebellar peduncle behind it."""
    return _strongest(p, (_PONTINE,))


def radiating(p: Array, normal: Array) -> Bundle:
    """What is left: fibres that enter the gyri along the cortical normal, and up the brain stem."""
    stem = np.clip(-brainstem(p) / 4, 0, 1)[:, None]
    outward = unit(p - vector(18, -10, 8))
    core = np.clip(ellipsoid(p, (0, -4, 10), (45, 60, 40)) / 15, 0, 1)[:, None]
    # Deep inside, the nearest cortex says little: fan out from the internal capsule there.
    aligned = normal * np.sign(np.sum(normal * outward, axis=-1, keepdims=True) + 1e-6)
    direction = unit((1 - core) * outward + core * aligned)
    direction = unit((1 - stem) * direction + stem * vector(0, 0.15, 1))
    return Bundle(np.ones(len(p), np.float32), direction)


TRACTS: dict[str, Callable[[Array], Bundle]] = {
    "corpus callosum": corpus_callosum,
    "corticospinal": corticospinal,
    "association": association,
    "pontine": pontine,
}
"""Every named tract; what they leave of a voxel belongs to `radiating`."""
