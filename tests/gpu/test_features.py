"""The network's input made on a GPU, and its outputs taken there, against prior/features.py."""

import numpy as np
import pytest
from gpu_device import MARKS, cuda, device, same, standin_library
from physics_cases import case, protocol

from edge_pigment.physics.backend import Summary
from edge_pigment.prior.features import CHANNELS, to_stack, voxel_features, with_neighbours

pytestmark = MARKS


def on_gpu(cuda, *arrays):
    """Copies, and room for more; device allocations."""
    with cuda.gpu.current():
        return [cuda.gpu.driver.to_device(a) for a in arrays]


@pytest.mark.parametrize("shape", [(1, 5, 7), (2, 9, 8), (6, 11, 13)])
def test_features_and_priors_as_on_the_cpu(cuda, shape):
    rng = np.random.default_rng(1)
    mask = rng.random(shape) < 0.6
    V = int(mask.sum())
    c = case(V, *protocol(1, (1.0, 6)))
    where = np.full(shape, -1, np.int32)
    where[mask] = np.arange(V)
    Z, Y, X = shape
    mean_slices, factor_slices = (rng.normal(size=(Z, rows, Y, X)).astype(np.float32) for rows in (7, 28))
    factor_slices[:, [row * (row + 3) // 2 for row in range(7)]] = 5
    stack = np.full((Z, CHANNELS, Y, X), np.nan, np.float32)
    with cuda.hold(*c.measured()) as scan:
        summary = scan.summarise()
        where_gpu, stack_gpu, mean_gpu, factor_gpu = on_gpu(cuda, where, stack, mean_slices, factor_slices)
        scan.start_features(int(where_gpu), shape, int(stack_gpu))
        scan.start_gather(int(where_gpu), shape, int(mean_gpu), int(factor_gpu))
        found = scan.finish_adapt(8.0)
        with cuda.gpu.current():
            stack = cuda.gpu.driver.from_device_like(stack_gpu, stack)
        mean, factor = (np.moveaxis(a, 1, 0)[:, mask] for a in (mean_slices, factor_slices))
        same(found, scan.adapt(mean, factor, 8.0))
    expected = with_neighbours(to_stack(voxel_features(Summary(*summary)), mask))
    np.testing.assert_allclose(stack, expected, atol=1e-5)


def test_a_prior_that_is_not_finite_is_refused(cuda):
    c = case(300, *protocol(1, (1.0, 6)))
    mean, factor, nu = c.prior()
    with cuda.hold(*c.measured()) as scan:
        for spoilt in (np.nan, np.inf):
            for array in (mean, factor):
                kept, array[3, 200] = array[3, 200], spoilt
                with pytest.raises(ValueError, match="not finite"):
                    scan.adapt(mean, factor, nu)
                array[3, 200] = kept
        assert np.isfinite(scan.adapt(mean, factor, nu).residual).all()
