"""The phantom's tissues: head, folded cortex, white matter, ventricles, deep nuclei, cerebellum, brain stem.

Millimetres in a RAS frame whose origin lies between the thalami; sizes are an adult's, rounded.
The shapes are drawn by hand to be brain-like: a cartoon with known truth, not an atlas.
"""

from typing import NamedTuple

import numpy as np

from edge_pigment.phantom.shapes import (
    Array,
    Axes,
    Point,
    ellipsoid,
    gradient,
    grid_waves,
    inside,
    length,
    tube,
    union,
    unit,
    vector,
    waves,
)

TISSUES = ("scalp", "skull", "csf", "cortex", "deep grey", "white matter")
"""Order of the tissue fractions; a voxel's label is 1 + the index of its largest fraction, 0 in air."""
SCALP, SKULL, CSF, CORTEX, DEEP_GREY, WHITE = range(6)

CORTEX_THICKNESS = 2.7
"""mm; the mean of the human cortex is about 2.5 (Fischl & Dale 2000, PNAS 97:11050)."""
SULCUS_DEPTH = 15.0
FOLD_WAVELENGTH = 23.0
"""mm; neighbouring sulci are half of it apart, a gyrus's width."""


class Anatomy(NamedTuple):
    """fractions (X, Y, Z, 6) in the order of TISSUES; normal (X, Y, Z, 3), unit, towards the cortex."""

    fractions: Array
    normal: Array


def _fissure(p: Array) -> Array:
    """Distance to the sheet of CSF between the hemispheres, the plane x = 0.

    It ends at the callosum's arch and at what joins the hemispheres below it, thalamus to midbrain.
    """
    flat = p * vector(0, 1, 1)
    arch = ellipsoid(flat, (0, -4, 0), (1, 37, 29))
    base = ellipsoid(flat, (0, -8, -8), (1, 34, 24))
    distance: Array = np.hypot(p[..., 0], 3 * np.maximum(-np.minimum(arch, base), 0))
    return distance


def _sylvian(p: Array) -> Array:
    """Distance to the lateral fissure, a sheet from the side in to the insula, rising backwards."""
    x, y, z = np.abs(p[..., 0]), p[..., 1], p[..., 2]
    height = (z + 2 + 0.45 * (y - 3) - 2 * np.sin(y / 7)) / 1.1
    deeper = np.maximum(37 - x, 0)
    behind = np.maximum(-34 - y, 0) + np.maximum(y - 34, 0)
    distance: Array = np.sqrt(height**2 + deeper**2 + behind**2)
    return distance


def _cerebrum(p: Array) -> Array:
    """Signed distance to the smooth hull of both hemispheres, fissures not yet cut."""
    q = p.copy()
    q[..., 0] = np.abs(p[..., 0]) * (1 + 0.0022 * (p[..., 1] + 20))  # frontal lobes are narrower
    upper = ellipsoid(q, (0, -4, 10), (68, 85, 60))
    lower = ellipsoid(q, (0, -4, 10), (68, 85, 38))
    vault = np.where(p[..., 2] > 10, upper, lower)
    temporal = ellipsoid(q, (40, -6, -20), (22, 42, 21))
    return union(vault, temporal, 7)


def _pial_depth(p: Array, cerebrum: Array, axes: Axes, voxel: Point, rng: np.random.Generator) -> Array:
    """Depth below the folded surface of the cerebrum, in mm; negative in the CSF of sulci and fissures.

    Sulci are the zeros of a random field that is constant along the normal of the hull, so that they cut in
    at right angles; |f|/|∇f| is their distance to first order.
    """
    sheets = np.minimum(_fissure(p), _sylvian(p)) - 0.5
    smooth = union(-cerebrum, sheets, 6)
    slopes = gradient(smooth, voxel)
    steepness = length(slopes)
    surface = p - smooth[..., None] * unit(slopes)
    # Left and right are nearly, not quite, alike.
    surface[..., 0] = np.abs(surface[..., 0]) + 0.05 * p[..., 0]
    near = (smooth > -4) & (smooth < SULCUS_DEPTH + 8)
    field = np.full(smooth.shape, 3, np.float32)
    field[near] = waves(surface[near], FOLD_WAVELENGTH, 28, rng)
    slope = length(gradient(field, voxel))
    depth = SULCUS_DEPTH + 3 * grid_waves(axes, 50, 6, rng)
    beside = np.abs(field) / np.maximum(slope, 0.02)
    beyond = np.maximum(smooth - depth, 0)
    gape = 0.05 + 0.45 * np.clip(1 - smooth / depth, 0, 1)
    # Where two walls are equally near, the normal jumps and the field with it: no sulcus there.
    seam = 20 * np.clip(0.9 - steepness, 0, 1)
    folded: Array = np.minimum(smooth, np.hypot(beside, beyond) - gape + seam)
    return folded


def _ventricles(p: Array, edge: float) -> Array:
    """Volume fraction of lateral, third and fourth ventricles; p with |x|."""
    horn = [(8, 33, 4, 2.5), (9, 26, 10, 5), (10, 12, 16, 4.5)]
    body = [*horn, (12, -10, 20, 4), (17, -30, 18, 5.5), (25, -42, 8, 6)]
    temporal = [(25, -42, 8, 6), (32, -36, -6, 3.5), (34, -22, -14, 2.8), (32, -8, -18, 2.2)]
    occipital = [(25, -42, 8, 5.5), (25, -52, 6, 4), (22, -64, 5, 2)]
    distance = np.full(p.shape[:-1], 9, np.float32)
    flat = distance.reshape(-1)
    for knots in (body, temporal, occipital):
        wide = [(x, y, z, r + 4) for x, y, z, r in knots]
        near = tube(p.reshape(-1, 3), wide)
        radius = 8.0  # u is in units of the widened radius: about this everywhere
        flat[near.voxels] = np.minimum(flat[near.voxels], near.u * radius - (radius - 4))
    third = np.maximum(ellipsoid(p, (0, -6, -2), (30, 16, 11)), p[..., 0] - 1.8)
    fourth = ellipsoid(p, (0, -40, -36), (7, 4.5, 10))
    return inside(np.minimum(np.minimum(distance, third), fourth), edge)


def _deep_grey(p: Array) -> Array:
    """Signed distance to thalamus, caudate, putamen and pallidum; p with |x|."""
    thalamus = ellipsoid(p, (10.5, -17, 5), (8, 14, 9))
    caudate = union(ellipsoid(p, (13.5, 18, 7), (5, 9, 9)), ellipsoid(p, (16.5, -1, 20), (3, 16, 4)), 3)
    putamen = ellipsoid(p, (26, 3, 2), (5, 15, 10))
    pallidum = ellipsoid(p, (19.5, 0, -1), (4, 8, 6))
    nearest: Array = np.minimum(np.minimum(thalamus, caudate), np.minimum(putamen, pallidum))
    return nearest


def callosum(p: Array) -> tuple[Array, Array]:
    """Distance outward from the callosum's arch in the mid-sagittal plane, and half its thickness, mm."""
    flat = p * vector(0, 1, 1)
    outward = ellipsoid(flat, (0, -4, -2), (1, 33, 26))
    ends = np.clip((np.abs(p[..., 1] + 4) - 15) / 18, 0, 1)  # genu and splenium are thicker
    thickness = 2.8 + 3.2 * ends
    thickness = np.where(p[..., 2] < -4, 0, thickness)  # the arch is open below
    return outward.astype(np.float32), thickness.astype(np.float32)


def brainstem(p: Array) -> Array:
    """Signed distance to midbrain, pons and medulla; p with |x|."""
    midbrain = ellipsoid(p, (0, -21, -9), (15, 12, 14))
    pons = ellipsoid(p, (0, -21, -29), (17, 13, 14))
    axis_y = -28 + 0.12 * (p[..., 2] + 60)
    medulla = np.maximum(np.hypot(p[..., 0], p[..., 1] - axis_y) - 9, p[..., 2] + 30)
    return union(union(midbrain, pons, 5), medulla, 8)


def _cerebellum(p: Array, axes: Axes, rng: np.random.Generator) -> tuple[Array, Array]:
    """Signed distance to the cerebellum's hull, and depth below its folia; p with |x|."""
    hull = union(ellipsoid(p, (22, -56, -37), (28, 27, 20)), ellipsoid(p, (0, -54, -34), (12, 24, 20)), 6)
    stack = p[..., 2] + 0.45 * p[..., 1] + 2 * grid_waves(axes, 40, 5, rng)
    folium = np.abs(np.mod(stack, 7.5) - 3.75)  # every 7.5 mm, parallel as folia are
    beyond = np.maximum(-hull - 8, 0)
    return hull, np.minimum(-hull, np.hypot(3.75 - folium, beyond) - 0.4)


def build(p: Array, axes: Axes, rng: np.random.Generator) -> Anatomy:
    """Tissue fractions at the points p (X, Y, Z, 3) of the regular grid of three axes, mm."""
    voxel = (float(axes[0][1] - axes[0][0]), float(axes[1][1] - axes[1][0]), float(axes[2][1] - axes[2][0]))
    edge = float(np.cbrt(np.prod(voxel)))
    q = p.copy()
    q[..., 0] = np.abs(p[..., 0])
    cerebrum, stem = _cerebrum(p), brainstem(q)
    depth = _pial_depth(p, cerebrum, axes, voxel, rng)
    thickness = CORTEX_THICKNESS + 0.3 * grid_waves(axes, 60, 6, rng)
    cerebellum, folia = _cerebellum(q, axes, rng)

    brain = union(union(cerebrum, cerebellum, 12), stem, 12)
    face, neck = ellipsoid(p, (0, 4, -34), (58, 78, 52)), ellipsoid(p, (0, -10, -60), (55, 65, 40))
    head = union(union(brain, face, 30), neck, 30)
    outward, half = callosum(p)
    bridge = np.maximum(np.abs(outward) - half, q[..., 0] - 14)
    cistern = ellipsoid(p, (0, -41, -3), (13, 4, 7))

    normal = -unit(gradient(np.minimum(depth, 12), voxel))
    fractions = np.zeros((*p.shape[:-1], len(TISSUES)), np.float32)

    def paint(tissue: int, share: Array) -> None:
        fractions[...] *= (1 - share)[..., None]
        fractions[..., tissue] += share

    paint(SCALP, inside(head - 14, edge))
    paint(SKULL, inside(np.maximum(head, brain) - 9, edge))
    paint(CSF, inside(brain - 1.5, edge))
    paint(CORTEX, inside(-folia, edge))
    paint(WHITE, inside(1.8 - folia, edge))
    paint(CSF, inside(cerebrum - 1, edge))
    paint(CORTEX, inside(-depth, edge))
    paint(WHITE, inside(thickness - depth, edge))
    paint(WHITE, inside(bridge, edge))
    paint(CSF, inside(cistern, edge))
    paint(WHITE, inside(stem, edge))
    paint(DEEP_GREY, inside(_deep_grey(q), edge))
    paint(CSF, _ventricles(q, edge))
    return Anatomy(fractions, normal)
