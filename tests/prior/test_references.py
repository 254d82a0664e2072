"""References: all measurements that a tensor describes, fitted without a prior."""

import numpy as np
import pytest

pytest.importorskip("torch", reason="the workshop extra is not installed")

from edge_pigment.acquisition import Acquisition
from edge_pigment.gradients import GradientTable
from edge_pigment.physics.host import HostBackend
from edge_pigment.physics.tensor import quadratic_form
from edge_pigment_prior.references import Reference, fit_reference
from edge_pigment_prior.schemes import repel

SHAPE = (6, 5, 4)
D = np.array([1.4, 0.5, 0.4, 0.1, -0.05, 0.15])  # µm²/ms, xx yy zz xy xz yz
KURTOSIS = 0.15
"""ms²/µm⁴ of b² in log S: the signal falls less at high b, as tissue's does."""


def scan(bvals, sigma, kurtosis=0.0, seed=0):
    rng = np.random.default_rng(seed)
    b = np.asarray(bvals, float)
    directions = repel(rng.normal(size=(int((b > 0).sum()), 3)))
    bvecs = np.zeros((len(b), 3))
    bvecs[b > 0] = directions
    log_s = -b / 1000 * (quadratic_form(bvecs) @ D) + kurtosis * (b / 1000) ** 2
    S = np.broadcast_to(np.exp(log_s), (*SHAPE, len(b)))
    y = np.hypot(S + sigma * rng.standard_normal(S.shape), sigma * rng.standard_normal(S.shape))
    return Acquisition(y.astype(np.float32), GradientTable(b, bvecs), np.diag([2.0, 2.0, 3.0, 1.0]))


def fit(bvals, sigma, kurtosis=0.0):
    return fit_reference(scan(bvals, sigma, kurtosis), "made", HostBackend(1), np.ones(SHAPE, bool))


def test_the_fit_finds_tensors_and_the_noise():
    found = fit([0] * 4 + [1000] * 30, 0.02)
    np.testing.assert_allclose(found.theta[1:].mean((1, 2, 3)), D, atol=0.01)
    assert found.sigma == pytest.approx(0.02, rel=0.15)
    assert found.voxel_size == (2, 2, 3)
    spread = found.theta[1:4].std((1, 2, 3)).mean()  # the fit's own error bar is that of its scatter
    assert found.sd == pytest.approx(spread, rel=0.3)


def test_high_shells_are_left_out_where_there_is_enough_without_them():
    with_high = fit([0] * 4 + [1000] * 30 + [2500] * 60, 0.005, KURTOSIS)
    without = fit([0] * 4 + [1000] * 30, 0.005, KURTOSIS)
    np.testing.assert_allclose(with_high.theta.mean((1, 2, 3)), without.theta.mean((1, 2, 3)), atol=0.01)
    only_high = fit([0] * 4 + [2500] * 30, 0.005, KURTOSIS)
    assert only_high.theta[1:4].mean() < without.theta[1:4].mean() - 0.1  # all there is, and it shows


def test_too_few_volumes_are_refused():
    with pytest.raises(ValueError, match="needs 12"):
        fit([0] + [1000] * 6, 0.02)


def test_a_reference_survives_its_file(tmp_path):
    found = fit([0] * 2 + [1000] * 15, 0.02)
    found.save(tmp_path / "made.npz")
    again = Reference.load(tmp_path / "made.npz")
    np.testing.assert_allclose(again.theta, found.theta, atol=2e-3)
    assert (again.name, again.sigma, again.sd, again.voxel_size) == ("made", found.sigma, found.sd, found.voxel_size)
