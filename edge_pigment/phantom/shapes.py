"""Shapes by signed distance, tubes along curves, smooth random textures: what the head phantom is made of.

Coordinates are millimetres, RAS, float32, points (..., 3). Distances are negative inside.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]
"""float32 in fact; NumPy's stubs lose that in arithmetic with Python's floats."""
Point = tuple[float, float, float]
Axes = tuple[Array, Array, Array]
Knots = Sequence[tuple[float, float, float, float]]
"""x, y, z and radius, mm."""


def vector(x: float, y: float, z: float) -> Array:
    """(3,) float32, so that points stay float32."""
    return np.array((x, y, z), np.float32)


def length(v: Array) -> Array:
    """Euclidean length of vectors (..., 3)."""
    norm: Array = np.sqrt(v[..., 0] ** 2 + v[..., 1] ** 2 + v[..., 2] ** 2)
    return norm


def ellipsoid(p: Array, centre: Point, semi_axes: Point) -> Array:
    """Signed distance to an ellipsoid, exact to first order at its surface: k(k-1)/|∇k²|·2 with k = |q/a|."""
    k2, slope2 = np.zeros(p.shape[:-1], np.float32), np.zeros(p.shape[:-1], np.float32)
    for i, (c, a) in enumerate(zip(centre, semi_axes, strict=True)):
        squared = ((p[..., i] - c) / a) ** 2
        k2 += squared
        slope2 += squared / a**2
    k, slope = np.sqrt(k2), np.sqrt(slope2)
    distance: Array = k * (k - 1) / np.maximum(slope, 1e-6)
    return distance


def union(first: Array, second: Array, blend: float) -> Array:
    """Smooth union: the smaller distance, rounded within `blend` mm where both are alike."""
    h = np.maximum((blend) - np.abs(first - second), 0) / (blend)
    joined: Array = np.minimum(first, second) - h * h * (blend / 4)
    return joined


def inside(distance: Array, edge: float) -> Array:
    """Volume fraction inside a surface for a voxel of `edge` mm: 1 deep inside, 0 outside, a ramp between."""
    fraction: Array = np.clip(0.5 - distance / (edge), 0, 1)
    return fraction


def window(u: Array, soft: float = 0.35) -> Array:
    """1 for u < 1 - soft, falling smoothly to 0 at u = 1: the flank of a tract in units of its half-width."""
    t = np.clip((1 - u) / (soft), 0, 1)
    smooth: Array = t * t * (3 - 2 * t)
    return smooth


def _plane_waves(wavelength: float, count: int, rng: np.random.Generator) -> tuple[Array, Array]:
    k = rng.standard_normal((count, 3))
    k *= 2 * np.pi / wavelength / np.linalg.norm(k, axis=1, keepdims=True)
    return k.astype(np.float32), rng.uniform(0, 2 * np.pi, count).astype(np.float32)


def waves(p: Array, wavelength: float, count: int, rng: np.random.Generator) -> Array:
    """A smooth random texture of zero mean and unit variance: `count` plane waves of one wavelength (mm)."""
    total = np.zeros(p.shape[:-1], np.float32)
    for wave, phase in zip(*_plane_waves(wavelength, count, rng), strict=True):
        total += np.cos(p @ wave + phase)
    return total * float(np.sqrt(2 / count))


def grid_waves(axes: Axes, wavelength: float, count: int, rng: np.random.Generator) -> Array:
    """The same on the grid of three axes, (X, Y, Z): quick, since a plane wave is a product there."""
    k, phase = _plane_waves(wavelength, count, rng)
    x, y, z = (np.exp(1j * np.outer(axis, k[:, i])).astype(np.complex64) for i, axis in enumerate(axes))
    plane = (x * np.exp(1j * phase).astype(np.complex64))[:, None] * y
    total = plane.real @ z.real.T - plane.imag @ z.imag.T
    texture: Array = total * float(np.sqrt(2 / count))
    return texture


class Near(NamedTuple):
    """Points near a tube: voxels (K,), indices of the points, u (K,) distance / radius, tangent (K, 3)."""

    voxels: NDArray[np.intp]
    u: Array
    tangent: Array


def _catmull_rom(points: NDArray[np.float64], per_segment: int) -> NDArray[np.float64]:
    """A smooth curve through the points (Catmull & Rom 1974), `per_segment` samples between two of them."""
    padded = np.vstack([2 * points[0] - points[1], points, 2 * points[-1] - points[-2]])
    a, b, c, d = padded[:-3], padded[1:-2], padded[2:-1], padded[3:]
    t = np.arange(per_segment)[:, None, None] / per_segment
    curve = 0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
    return np.vstack([curve.transpose(1, 0, 2).reshape(-1, points.shape[1]), points[-1]])


def tube(p: Array, knots: Knots, per_segment: int = 5) -> Near:
    """Points (V, 3) within a tube whose knots are (x, y, z, radius), with its direction there.

    The tangent of the nearest two samples of the curve is blended, so that directions bend without steps.
    """
    curve = _catmull_rom(np.asarray(knots, float), per_segment).astype(np.float32)
    centres, radii = curve[:, :3], curve[:, 3]
    tangents = np.gradient(centres, axis=0).astype(np.float32)
    tangents /= np.linalg.norm(tangents, axis=1, keepdims=True)
    reach = radii.max()
    box = np.ones(len(p), np.bool_)
    for i in range(3):
        box &= (p[:, i] > centres[:, i].min() - reach) & (p[:, i] < centres[:, i].max() + reach)
    index = np.flatnonzero(box)
    q = p[index]
    best = np.full(len(q), np.inf, np.float32)
    tangent = np.zeros_like(q)
    for i in range(len(centres) - 1):
        step = centres[i + 1] - centres[i]
        t = np.clip((q - centres[i]) @ step / (step @ step), 0, 1)[:, None]
        radius = radii[i] + t[:, 0] * (radii[i + 1] - radii[i])
        u = length(q - centres[i] - t * step) / radius
        nearer = u < best
        best = np.where(nearer, u, best)
        tangent = np.where(nearer[:, None], tangents[i] + t * (tangents[i + 1] - tangents[i]), tangent)
    hit = best < 1
    return Near(index[hit], best[hit], unit(tangent[hit]))


def gradient(field: Array, voxel: Point) -> Array:
    """Slope (X, Y, Z, 3) of a field (X, Y, Z), per mm."""
    slopes = np.empty((*field.shape, 3), np.float32)
    for i in range(3):
        slopes[..., i] = np.gradient(field, voxel[i], axis=i)
    return slopes


def unit(v: Array) -> Array:
    """Vectors (..., 3) to length 1; a zero vector stays zero."""
    normalised: Array = v / np.maximum(length(v), 1e-9)[..., None]
    return normalised
