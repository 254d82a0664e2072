"""What has no weight, filled for the comparison of volumes: a zone that one volume lacks would look like motion."""

import numpy as np
from numpy.typing import NDArray

from edge_pigment.gradients import GradientTable

Array = NDArray[np.float32]


def filled(values: Array, table: GradientTable) -> Array:
    """The values, those that are not finite replaced by the mean of the volumes alike; the same array if none is.

    Args:
        values: (N, ...) of the N volumes.
        table: of the N volumes.

    Returns:
        (N, ...): 0 where no volume alike has a value.
    """
    lacking = {n for n in range(len(values)) if not np.isfinite(values[n]).all()}
    if not lacking:
        return values
    out = values.copy()
    for group in table.alike:
        here = [int(n) for n in group if int(n) in lacking]
        if not here:
            continue
        total = np.zeros(values.shape[1:], np.float32)
        count = np.zeros_like(total)
        for n in group:
            known = np.isfinite(values[n])
            total += np.where(known, values[n], np.float32(0))
            count += known
        mean = total / np.maximum(count, 1)
        for n in here:
            np.copyto(out[n], mean, where=~np.isfinite(values[n]))
    return out
