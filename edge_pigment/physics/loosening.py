"""A prior that claims to know the logarithm of MD no better than by an sd, and all else as before.

With v the change of z by a unit of log MD (Q grows by half of itself, so that D keeps its shape) and p = vᵀΛv, the
precision is lowered along v to 1/sd² where p is more: Λ' = Λ - β Λv vᵀΛ with β = (1 - 1/(sd² p))/p. With w = Lᵀv that
is L (I - β w wᵀ) Lᵀ, and the Cholesky factor of I - β w wᵀ is known (Gill, Golub, Murray & Saunders 1974, Math.
Comput. 28:505): with t_j = 1 - β Σ_{k≤j} w_k², its diagonal is √(t_j/t_{j-1}), and what is below it
-β w_i w_j / √(t_{j-1} t_j).

Rows go in and out one by one, arrays of NumPy or of torch, which training differentiates.
"""

from collections.abc import Sequence
from typing import Any

from edge_pigment.physics.tensor import DIMENSION

LEAST_KNOWN = 1e-6
"""Precision of log MD below which it is not known at all; keeps what divides by it finite."""
LEAST_MD = 0.1
"""µm²/ms; keeps what divides by an MD finite."""

Rows = Sequence[Any]


def mean_diffusivity(mean: Rows) -> Any:
    """MD in µm²/ms of the 7 rows of a latent, at least `LEAST_MD`: a third of the trace of Q²."""
    diagonal, rest = mean[1:4], mean[4:]
    trace = sum((q * q for q in diagonal[1:]), diagonal[0] * diagonal[0]) + 2 * sum(q * q for q in rest)
    return (trace / 3).clip(min=LEAST_MD)


def along_log_md(mean: Rows, factor: Rows) -> list[Any]:
    """w = Lᵀv, 7 rows; their squares' sum is p.

    Args:
        mean: 7 rows.
        factor: 28 rows, packed lower L of the precision Λ.
    """
    w = []
    for column in range(DIMENSION):
        first = max(column, 1)  # log S0 does not change with MD
        total = factor[_at(first, column)] * mean[first]
        for row in range(first + 1, DIMENSION):
            total = total + factor[_at(row, column)] * mean[row]
        w.append(0.5 * total)
    return w


def precision_of_log_md(mean: Rows, factor: Rows) -> Any:
    """p, at least `LEAST_KNOWN`; arguments as of `along_log_md`."""
    first, *rest = along_log_md(mean, factor)
    return sum((w * w for w in rest), first * first).clip(min=LEAST_KNOWN)


def loosened(mean: Rows, factor: Rows, sd: Any) -> list[Any]:
    """The 28 rows of L'.

    Args:
        mean: 7 rows.
        factor: 28 rows, packed lower L of the precision Λ.
        sd: of log MD, >= 0; 0 changes nothing.
    """
    w = along_log_md(mean, factor)
    after = [0 * w[0]]  # Σ_{k>j} w_k², from the last column back
    for part in reversed(w):
        after.append(after[-1] + part * part)
    p = after[-1].clip(min=LEAST_KNOWN)
    left = 1 / (sd * sd * p).clip(min=1)
    beta = (1 - left) / p
    t = [left + beta * rest for rest in reversed(after)]  # as a sum of what is positive: 1 - β Σ would cancel
    behind: dict[int, Any] = {}
    out: dict[int, Any] = {}
    for column in reversed(range(DIMENSION)):
        diagonal = (t[column + 1] / t[column]) ** 0.5
        below = beta * w[column] / (t[column] * t[column + 1]) ** 0.5
        for row in range(column, DIMENSION):
            old = factor[_at(row, column)]
            new, added = diagonal * old, w[column] * old
            if row in behind:  # Σ w L of the row's later columns
                new, added = new - below * behind[row], behind[row] + added
            out[_at(row, column)], behind[row] = new, added
    return [out[index] for index in range(len(out))]


def _at(row: int, column: int) -> int:
    return row * (row + 1) // 2 + column
