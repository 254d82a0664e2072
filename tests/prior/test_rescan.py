"""A reference scanned again: the tensor's signal, and Rician noise about it."""

import numpy as np

from edge_pigment.physics.tensor import latent, signal
from edge_pigment_prior.rescan import rician, spread_directions

B = np.r_[0.0, np.ones(6)]
THETA = np.array([0.2, 1.4, 0.6, 0.5, 0.2, 0.0, -0.1])


def test_without_noise_it_is_the_tensors_signal():
    bvecs = np.concatenate([np.zeros((1, 3)), spread_directions(6, np.random.default_rng(0))])
    y = rician(THETA[:, None], B, bvecs, 0.0, np.random.default_rng(1))
    z = latent(np.exp(THETA[:1]), THETA[None, 1:])
    np.testing.assert_allclose(y.T, signal(z, B, bvecs), rtol=1e-10)


def test_its_noise_is_rician():
    sigma = 0.5
    bvecs = np.zeros((7, 3))
    y = rician(np.repeat(THETA[:, None], 40_000, axis=1), 0 * B, bvecs, sigma, np.random.default_rng(2))
    # E[y²] = S² + 2 σ²
    assert abs(np.mean(y**2) - (np.exp(2 * THETA[0]) + 2 * sigma**2)) < 0.01
