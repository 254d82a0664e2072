"""A noisy target is the truth and an error of known size, in the loss as in the patch."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the workshop extra is not installed")

from scipy.stats import multivariate_normal, multivariate_t

from edge_pigment.physics.adaptation import DIAGONAL, unpack
from edge_pigment.physics.tensor import from_matrix, latent
from edge_pigment_prior.network import student_nll
from edge_pigment_prior.own_error import averaging, latent_variance, noisy_nll
from edge_pigment_prior.patches import _new_grid, draw_truth
from edge_pigment_prior.references import Reference


def cases(count=20):
    rng = np.random.default_rng(0)
    factor = rng.normal(size=(count, 28))
    factor[:, list(DIAGONAL)] = rng.uniform(0.5, 3, (count, 7))
    return rng.normal(size=(count, 7)), factor, rng.normal(size=(count, 7)), rng.uniform(0, 1, (count, 7))


@pytest.mark.parametrize("nu", [5.0, 1e7])
def test_the_density_has_both_covariances(nu):
    mean, factor, z, variance = cases()
    found = noisy_nll(*(torch.from_numpy(a) for a in (mean, factor, z)), nu, torch.from_numpy(variance)).numpy()
    for i, L in enumerate(unpack(factor)):
        shape = np.linalg.inv(L @ L.T) + np.diag(variance[i])
        law = multivariate_t(mean[i], shape, nu) if nu < 100 else multivariate_normal(mean[i], shape)
        constant = law.logpdf(mean[i]) + 0.5 * np.linalg.slogdet(shape)[1]
        assert found[i] == pytest.approx(constant - law.logpdf(z[i]), rel=1e-5, abs=1e-5)


def test_without_an_error_it_is_the_plain_loss_and_its_derivative_is_right():
    mean, factor, z, variance = (torch.from_numpy(a) for a in cases())
    plain = student_nll(mean, factor, z, 5.0)
    assert torch.allclose(noisy_nll(mean, factor, z, 5.0, torch.zeros_like(z)), plain, rtol=1e-10)
    few = tuple(t[:3].requires_grad_() for t in (mean, factor))
    assert torch.autograd.gradcheck(lambda m, f: noisy_nll(m, f, z[:3], 5.0, variance[:3]), few)


def test_an_error_of_the_tensor_moves_its_root_as_much():
    rng, sd = np.random.default_rng(0), 0.02
    D = np.diag([0.9, 0.7, 0.8])
    noise = rng.normal(size=(4000, 6)) * sd * np.r_[1, 1, 1, [np.sqrt(0.5)] * 3]
    z = latent(np.ones(4000), from_matrix(D) + noise)
    said = latent_variance(torch.from_numpy(z), torch.full((4000,), sd))[0].sqrt().numpy()
    np.testing.assert_allclose(z[:, 1:].std(0), said[1:], rtol=0.1)
    assert said[0] == 0


def noise_reference(voxel, sd, seed):
    """Nothing but white noise around an isotropic tensor."""
    rng = np.random.default_rng(seed)
    shape = (24, 48, 48)
    theta = np.zeros((7, *shape), np.float32)
    theta[1:4] = 0.8
    theta[1:] += sd * rng.standard_normal((6, *shape)) * np.sqrt(np.r_[1, 1, 1, [0.5] * 3])[:, None, None, None]
    return Reference("noise", theta.astype(np.float32), np.ones(shape, bool), voxel, 0.05, sd)


@pytest.mark.parametrize("voxel", [(2.0, 2.0, 2.0), (1.0, 1.0, 1.0), (1.0, 1.0, 3.0)])
def test_a_patch_knows_how_well_its_tensors_are_known(voxel):
    reference = noise_reference(voxel, 0.03, 0)
    coarse = []
    for n in range(40):
        truth = _new_grid(reference, np.random.default_rng(n))
        inner = truth.theta[1:4, 1][:, truth.mask[1]]
        assert inner.std(1).mean() == pytest.approx(truth.sd, rel=0.3)
        coarse.append(truth.sd / reference.sd)
    assert min(coarse) < 0.35, "some of many old voxels"
    own = draw_truth([reference], np.ones(1), np.random.default_rng(3), changes=False)
    assert own.sd > 0


def test_a_few_points_leave_noise_however_large_the_voxel():
    assert averaging((8, 8, 8), (1, 1, 1), 6) == pytest.approx((2 / 3) ** 3 / 6, rel=0.05)
    assert averaging((1, 1, 1), (1, 1, 1), 6) > averaging((2, 2, 2), (1, 1, 1), 6)
