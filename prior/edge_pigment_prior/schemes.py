"""Random protocols to train on: numbers of directions, b-values and noise levels as scanners come.

Directions spread by electrostatic repulsion of axes (Jones, Horsfield & Simmons 1999, MRM 42:515), from random
starts and turned at random; some are left as bad as chance makes them.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]

COUNTS = (3, 4, 6, 9, 12, 15, 20, 30, 64)
WEIGHTS = (0.05, 0.05, 0.32, 0.12, 0.14, 0.1, 0.1, 0.1, 0.02)
"""Chances of the numbers of directions: most for what the toolkit is for, enough of the rest to stay universal."""
BAD = 0.1
"""Chance of directions that nobody spread."""
TRACE, MOST_TRACE = 0.05, 4
"""Protocols of trace images alone, and how many there are at most."""
TWO_SHELLS = 0.1
B_RANGE = (0.5, 2.5)
"""ms/µm²; half of all protocols have b = 1."""
MOST_B0 = 8
SNR_RANGE = (3.0, 50.0)
"""Of b=0 in the median voxel of the brain, log-uniform."""


@dataclass(frozen=True)
class Scheme:
    """b (N,) in ms/µm²; bvecs (N, 3), zero for b=0 and trace images; sigma, where the median b=0 signal is 1."""

    b: Float
    bvecs: Float
    sigma: float


def random_rotation(rng: np.random.Generator) -> Float:
    """(3, 3), uniform (QR of a Gaussian matrix, signs fixed)."""
    q, r = np.linalg.qr(rng.normal(size=(3, 3)))
    q = q * np.sign(np.diag(r))
    return q * np.linalg.det(q)


def repel(directions: Float, iterations: int = 100) -> Float:
    """Spread axes by gradient steps on the electrostatic energy of the directions and their opposites."""
    g = directions
    for step in np.geomspace(0.3, 0.01, iterations):
        force = np.zeros_like(g)
        for sign in (1, -1):
            d = g[:, None] - sign * g[None]
            r = np.linalg.norm(d, axis=-1) + np.where(sign == 1, np.eye(len(g)), 0)
            force += np.sum(d / r[..., None] ** 3, axis=1)
        force -= np.sum(force * g, axis=1, keepdims=True) * g
        g = g + step * force / (1e-9 + np.linalg.norm(force, axis=1).max())
        g /= np.linalg.norm(g, axis=1, keepdims=True)
    return g


class DirectionBank:
    """Spread directions for each count, made once."""

    def __init__(self, seed: int = 0, variants: int = 6) -> None:
        rng = np.random.default_rng(seed)
        self.bank = {n: [repel(rng.normal(size=(n, 3))) for _ in range(variants)] for n in COUNTS}

    def draw(self, rng: np.random.Generator, n: int) -> Float:
        """(n, 3) unit directions, turned at random."""
        if rng.random() < BAD:
            g = rng.normal(size=(n, 3))
            return g / np.linalg.norm(g, axis=1, keepdims=True)
        g = self.bank[n][rng.integers(len(self.bank[n]))]
        return g @ random_rotation(rng).T


@cache
def direction_bank(seed: int) -> DirectionBank:
    """The bank of a seed; making one takes a second."""
    return DirectionBank(seed)


def random_scheme(rng: np.random.Generator, bank: DirectionBank) -> Scheme:
    """A protocol as it might come from any scanner."""
    sigma = float(1 / np.exp(rng.uniform(*np.log(SNR_RANGE))))
    if rng.random() < TRACE:
        images = int(rng.integers(1, MOST_TRACE + 1))
        b = np.concatenate([np.zeros(rng.integers(1, 3)), rng.uniform(*B_RANGE, images)])
        return Scheme(b, np.zeros((len(b), 3)), sigma)
    n = int(rng.choice(COUNTS, p=WEIGHTS))
    b0s = 1 + int(rng.integers(0, min(1 + n // 6, MOST_B0)))
    b = np.full(n, 1.0 if rng.random() < 0.5 else rng.uniform(*B_RANGE))
    if n >= 9 and rng.random() < TWO_SHELLS:
        b[::2] *= rng.uniform(0.3, 0.8)
    bvecs = np.concatenate([np.zeros((b0s, 3)), bank.draw(rng, n)])
    return Scheme(np.concatenate([np.zeros(b0s), b]), bvecs, sigma)
