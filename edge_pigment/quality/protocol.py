"""What a protocol can and cannot identify, before any voxel is looked at."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_pigment import errors as texts
from edge_pigment.gradients import GradientTable
from edge_pigment.physics.tensor import quadratic_form

ILL_CONDITIONED = 10.0
"""Of the tensor's design: the best six directions have 1.6, thirty in a cone of 35 degrees 20."""
RANK_TOLERANCE = 1e-2
"""Of the largest singular value; directions are rounded to two or three decimals in files."""


class Identifiability(NamedTuple):
    """rank of the directions' quadratic forms (6: a tensor); condition number of the tensor's design (inf below rank
    6); limits, sentences for the user on what the protocol leaves to the prior or out of reach."""

    rank: int
    condition: float
    limits: tuple[str, ...]
    warnings: tuple[str, ...]


def identify(table: GradientTable, numbers: NDArray[np.intp] | None = None) -> Identifiability:
    """Judge a protocol.

    Args:
        table: of the scan.
        numbers: (N,) what its volumes are called; from 0 by default.
    """
    called = np.arange(len(table)) if numbers is None else np.asarray(numbers)
    weighted = ~table.is_b0
    # per unit of Frobenius norm, so that no rotation of the axes changes the numbers
    form = quadratic_form(table.bvecs[weighted]) / np.sqrt([1, 1, 1, 2, 2, 2])
    values = np.linalg.svd(form, compute_uv=False)
    rank = int((values > RANK_TOLERANCE * values.max(initial=0)).sum())
    condition = float(values[0] / values[5]) if rank == 6 else float("inf")
    limits, warnings = [], []
    if table.is_trace.any():
        warnings.append(texts.TRACE_IMAGES.format(volumes=texts.listed(called[table.is_trace])))
    if table.is_trace[weighted].all():
        warnings.append(texts.TRACE_ONLY)
    elif rank < 6:
        warnings.append(texts.FEW_DIRECTIONS.format(rank=rank))
    elif condition > ILL_CONDITIONED:
        warnings.append(texts.DIRECTIONS_UNEVEN.format(condition=condition))
    if table.is_b0.sum() == 0:
        warnings.append(texts.WITHOUT_B0)
    elif table.is_b0.sum() == 1:
        limits.append(texts.ONE_B0)
    if len(table.shells) == 1 and not table.is_trace.any():
        limits.append(texts.ONE_SHELL)
    if rank == 6 and int(weighted.sum()) == 6:
        limits.append(texts.NO_SPARE_DIRECTIONS)
    return Identifiability(rank, condition, tuple(limits + warnings), tuple(warnings))
