"""What the kernels need to know of a protocol: constants of its b-values and directions, once per scan, in float64.

The tensor model is linear in θ = (log S0, D): log S = x · θ with x = (1, -b r(g)). So the sums over directions that
least squares needs, Σ c x and Σ w x xᵀ, multiply a voxel's weights with constants of the protocol. r rᵀ holds the
products of four components of g, of which only 15 differ. A trace image's has none: r = (⅓, ⅓, ⅓, 0, 0, 0).
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edge_pigment.physics.summarise import PRIOR_MEAN, PRIOR_PRECISION
from edge_pigment.physics.tensor import Float, is_trace, quadratic_form

Array = NDArray[np.float32]

QUARTIC = (
    "xxxx", "yyyy", "zzzz", "xxxy", "xxxz", "xyyy", "yyyz", "xzzz", "yzzz", "xxyy", "xxzz", "yyzz",
    "xxyz", "xyyz", "xyzz",
)  # fmt: skip
"""The monomials of degree four in the components of g, in the order in which the kernels sum them."""
_AXES = np.array([["xyz".index(axis) for axis in monomial] for monomial in QUARTIC])
NEGLIGIBLE = 1e-6
"""Directions of θ that the protocol measures less than this, relative to the best measured one, are not measured."""


class SummaryBasis(NamedTuple):
    """Coordinates φ of θ = mean + basis φ in which the summary's normal equations are well conditioned.

    table (N, 36), per measurement: x' = x · basis (7), x · mean, and x' x'ᵀ, a packed lower triangle (28); basis
    (7, 7); mean (7,).
    """

    table: Array
    basis: Array
    mean: Array

    @property
    def packed(self) -> Array:
        """As the kernels read it: basis, mean, table, one after the other."""
        return np.concatenate([part.ravel() for part in (self.basis, self.mean, self.table)])


def tensor_table(b: ArrayLike, bvecs: ArrayLike) -> Array:
    """`exact_tensor_table` in float32: (N, 22)."""
    return exact_tensor_table(b, bvecs).astype(np.float32)


def exact_tensor_table(b: ArrayLike, bvecs: ArrayLike) -> Float:
    """-b r(g), then b² times the monomials of degree four, then b² where it is a trace image and 0 else: (N, 22).

    Args:
        b: (N,) ms/µm².
        bvecs: (N, 3) unit directions, zero for a trace image (any vector where b = 0).
    """
    b = np.asarray(b, float)[:, None]
    quartic = np.prod(np.asarray(bvecs, float)[:, _AXES], axis=-1)
    squared = b**2 * np.concatenate([quartic, is_trace(bvecs)[:, None]], axis=1)
    return np.ascontiguousarray(np.concatenate([-b * quadratic_form(bvecs), squared], axis=1))


def summary_basis(b: ArrayLike, bvecs: ArrayLike) -> SummaryBasis:
    """A basis in which φ is a priori N(0, 1) each, and the normal equations of the prior's mean tensor are diagonal.

    Without it, float32 could not hold the prior's precision (1) beside that of N measurements of SNR 100 (10⁴ N), and
    what was not measured would come out with a wrong sd. In it, what was not measured is an axis of its own.

    Args:
        b: (N,) ms/µm².
        bvecs: (N, 3) unit directions, zero for a trace image (any vector where b = 0).
    """
    b = np.asarray(b, float)
    X = np.concatenate([np.ones((len(b), 1)), -b[:, None] * quadratic_form(bvecs)], axis=1)
    prior_sd = 1 / np.sqrt(PRIOR_PRECISION)
    expected = np.exp(X @ PRIOR_MEAN)[:, None]  # √weight, up to a factor
    _, singular, Vt = np.linalg.svd(expected * X * prior_sd)
    basis = prior_sd[:, None] * Vt.T
    measured = np.zeros(len(PRIOR_MEAN), bool)
    measured[: len(singular)] = singular > NEGLIGIBLE * max(singular.max(initial=0), 1e-30)
    x = np.where(measured, X @ basis, 0)
    rows, columns = np.tril_indices(len(PRIOR_MEAN))
    table = np.concatenate([x, (X @ PRIOR_MEAN)[:, None], x[:, rows] * x[:, columns]], axis=1)
    return SummaryBasis(
        np.ascontiguousarray(table, np.float32),
        np.ascontiguousarray(basis, np.float32),
        PRIOR_MEAN.astype(np.float32),
    )
