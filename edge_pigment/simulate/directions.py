"""Direction schemes: the good ones, the clinical ones and the bad ones that scanners do write.

Every scheme is (n, 3) unit vectors; g and -g measure the same. The sign is chosen so that z >= 0 first.
"""

from collections.abc import Callable
from functools import cache

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]

_STEPS = 600


@cache
def _electrostatic(n: int) -> Float:
    g = np.random.default_rng(n).standard_normal((n, 3))
    g /= np.linalg.norm(g, axis=1, keepdims=True)
    step = 0.1
    best, lowest = g, np.inf
    for _ in range(_STEPS):
        apart = np.stack([g[:, None] - g[None], g[:, None] + g[None]])  # every charge has its antipode
        distance = np.linalg.norm(apart, axis=-1)
        distance[:, np.arange(n), np.arange(n)] = np.inf
        energy = float(np.sum(1 / distance))
        if energy < lowest:
            best, lowest, step = g, energy, step * 1.1
        else:
            step *= 0.5
        force = np.sum(apart / distance[..., None] ** 3, axis=(0, 2))
        force -= np.sum(force * g, axis=1, keepdims=True) * g  # along the sphere
        g = best + step * force / max(float(np.abs(force).max()), 1e-12)
        g /= np.linalg.norm(g, axis=1, keepdims=True)
    return best


def electrostatic(n: int, rng: np.random.Generator | None = None) -> Float:
    """n directions that repel each other and each other's antipodes (Jones et al. 1999, MRM 42:515).

    3 are orthogonal, 4 tetrahedral, 6 the icosahedron's axes, to the accuracy of the descent. The scheme of
    n is always the same; rng is not used.
    """
    return upright(_electrostatic(n))


def orthogonal(n: int = 3, rng: np.random.Generator | None = None) -> Float:
    """The three image axes, as clinical diffusion-weighted imaging uses them."""
    return np.eye(3)[: _expect(n, 3, "orthogonal")]


def tetrahedral(n: int = 4, rng: np.random.Generator | None = None) -> Float:
    """Four directions with all gradients at full strength (Conturo et al. 1996, MRM 35:399)."""
    _expect(n, 4, "tetrahedral")
    diagonals: Float = np.array([[1, 1, 1], [-1, -1, 1], [1, -1, -1], [-1, 1, -1]]) / np.sqrt(3)
    return diagonals


def dual(n: int = 6, rng: np.random.Generator | None = None) -> Float:
    """Six directions with two gradients at a time (Basser & Pierpaoli 1998, MRM 39:928)."""
    _expect(n, 6, "dual")
    pairs: Float = np.array([[1, 0, 1], [-1, 0, 1], [0, 1, 1], [0, 1, -1], [1, 1, 0], [-1, 1, 0]]) / np.sqrt(2)
    return pairs


def random(n: int, rng: np.random.Generator) -> Float:
    """Uniform on the sphere, drawn without looking at each other: some pairs lie close."""
    g = rng.standard_normal((n, 3))
    return upright(g / np.linalg.norm(g, axis=1, keepdims=True))


def cone(n: int, rng: np.random.Generator) -> Float:
    """Bad: all within 35 degrees of one axis."""
    return _around(n, rng, 0.0, 35.0)


def coplanar(n: int, rng: np.random.Generator) -> Float:
    """Bad: all within 10 degrees of one plane, so that one axis is hardly measured."""
    return _around(n, rng, 80.0, 90.0)


SCHEMES: dict[str, Callable[[int, np.random.Generator], Float]] = {
    "electrostatic": electrostatic,
    "orthogonal": orthogonal,
    "tetrahedral": tetrahedral,
    "dual": dual,
    "random": random,
    "cone": cone,
    "coplanar": coplanar,
}
"""By the name that a protocol gives. 'trace' is no scheme: it is one image made of three."""


def upright(g: Float) -> Float:
    """The same axes, each with z >= 0."""
    return np.where(g[:, 2:] < 0, -g, g)


def _around(n: int, rng: np.random.Generator, nearest: float, furthest: float) -> Float:
    axis, side, other = np.linalg.qr(rng.standard_normal((3, 3)))[0].T
    low, high = np.cos(np.radians([furthest, nearest]))
    height, turn = rng.uniform(low, high, n), rng.uniform(0, 2 * np.pi, n)
    radius = np.sqrt(1 - height**2)
    g = height[:, None] * axis + (radius * np.cos(turn))[:, None] * side + (radius * np.sin(turn))[:, None] * other
    return upright(g)


def _expect(n: int, wanted: int, scheme: str) -> int:
    if n != wanted:
        raise ValueError(f"the {scheme} scheme has {wanted} directions, not {n}")
    return n
