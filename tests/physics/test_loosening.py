"""A loosened prior beside dense float64 algebra, in NumPy as in torch."""

import numpy as np
import pytest

from edge_pigment.physics.adaptation import DIAGONAL, unpack
from edge_pigment.physics.loosening import LEAST_MD, along_log_md, loosened, mean_diffusivity, precision_of_log_md
from edge_pigment.physics.tensor import diffusivity


def priors(dtype=np.float64):
    rng = np.random.default_rng(0)
    mean, factor = rng.normal(size=(7, 200)), 5 * rng.normal(size=(28, 200))
    factor[list(DIAGONAL)] = np.exp(rng.uniform(-2, 5, (7, 200)))
    factor[:, :20] *= 0.01  # voxels of which the prior knows less already
    return mean.astype(dtype), factor.astype(dtype)


def precision(factor):
    L = unpack(np.asarray(factor).T)
    return L @ np.swapaxes(L, -1, -2)


@pytest.mark.parametrize(("dtype", "close"), [(np.float64, 1e-9), (np.float32, 2e-3)])
def test_precision_is_taken_away_along_md_and_nowhere_else(dtype, close):
    sd = 0.25
    mean, factor = priors(dtype)
    before, after = precision(factor), precision(loosened(list(mean), list(factor), dtype(sd)))
    v = 0.5 * mean.T.astype(float)
    v[:, 0] = 0
    known = np.einsum("vi,vij,vj->v", v, before, v)
    np.testing.assert_allclose(np.einsum("vi,vij,vj->v", v, after, v), np.minimum(known, 1 / sd**2), rtol=close)
    assert (known < 1 / sd**2).sum() > 5
    lost = before @ v[:, :, None]
    beta = (1 - np.minimum(1, 1 / (sd**2 * known))) / known
    expected = before - beta[:, None, None] * (lost @ np.swapaxes(lost, 1, 2))
    scale = np.abs(before).max(axis=(1, 2), keepdims=True)
    np.testing.assert_allclose(after / scale, expected / scale, atol=close)


def test_no_sd_changes_nothing():
    mean, factor = priors()
    np.testing.assert_array_equal(loosened(list(mean), list(factor), 0.0), factor)


def test_what_is_known_of_md_is_what_the_dense_precision_says():
    mean, factor = priors()
    w = np.array(along_log_md(list(mean), list(factor)))
    v = 0.5 * mean.T
    v[:, 0] = 0
    np.testing.assert_allclose(w.T, np.einsum("vji,vj->vi", unpack(factor.T), v), rtol=1e-9)
    expected = np.einsum("vi,vij,vj->v", v, precision(factor), v)
    np.testing.assert_allclose(precision_of_log_md(list(mean), list(factor)), expected, rtol=1e-9)


def test_md_is_a_third_of_the_trace():
    mean, _ = priors()
    expected = np.maximum(diffusivity(mean.T)[:, :3].mean(1), LEAST_MD)
    np.testing.assert_allclose(mean_diffusivity(list(mean)), expected, rtol=1e-12)


def test_torch_says_the_same():
    torch = pytest.importorskip("torch")
    mean, factor = priors()
    found = loosened(torch.tensor(mean).unbind(0), torch.tensor(factor).unbind(0), torch.tensor(0.25))
    np.testing.assert_allclose(torch.stack(found).numpy(), loosened(list(mean), list(factor), 0.25), rtol=1e-6)
