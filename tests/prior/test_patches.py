"""Patches turn tensors with the anatomy, and are reproducible."""

import numpy as np
import pytest

pytest.importorskip("torch", reason="the workshop extra is not installed")

from edge_pigment.physics.tensor import to_matrix
from edge_pigment_prior import patches
from edge_pigment_prior.references import Reference


def striped(direction):
    """Tensors along one direction, log S0 growing along the same direction."""
    v = np.asarray(direction, float) / np.linalg.norm(direction)
    Z, Y, X = 24, 28, 32
    z, y, x = np.meshgrid(np.arange(Z), np.arange(Y), np.arange(X), indexing="ij")
    D = 0.4 * np.eye(3) + 1.2 * np.outer(v, v)
    theta = np.zeros((7, Z, Y, X), np.float32)
    theta[0] = 0.03 * (v[0] * x * 1.5 + v[1] * y * 1.5 + v[2] * z * 2.0)
    theta[1:] = D[[0, 1, 2, 0, 0, 1], [0, 1, 2, 1, 2, 2]][:, None, None, None]
    return Reference("striped", theta, np.ones((Z, Y, X), bool), (1.5, 1.5, 2.0), 0.05, 0.02)


@pytest.mark.parametrize("grid", ["_own_grid", "_new_grid"])
@pytest.mark.parametrize("seed", range(6))
def test_tensors_turn_with_the_anatomy(grid, seed):
    rng = np.random.default_rng(seed)
    reference = striped([3, -2, 1.5])
    truth = getattr(patches, grid)(reference, rng)
    inner = truth.mask[1, 1:-1, 1:-1] & truth.mask[1, :-2, 1:-1] & truth.mask[1, 2:, 1:-1]
    inner &= truth.mask[1, 1:-1, :-2] & truth.mask[1, 1:-1, 2:]
    values, vectors = np.linalg.eigh(to_matrix(truth.theta[1:, truth.mask].T))
    np.testing.assert_allclose(values.mean(0), [0.4, 0.4, 1.6], atol=1e-3)
    axis = vectors[:, :, 2].mean(0) / np.linalg.norm(vectors[:, :, 2].mean(0))
    log_s0 = truth.theta[0, 1]
    dx = (log_s0[1:-1, 2:] - log_s0[1:-1, :-2])[inner]
    dy = (log_s0[2:, 1:-1] - log_s0[:-2, 1:-1])[inner]
    if grid == "_own_grid":  # the flipped and permuted voxel sizes are those of two of the axes
        same_sign = np.sign(np.median(dx) * np.median(dy)) == np.sign(axis[0] * axis[1])
        assert same_sign
    else:
        slope = np.array([np.median(dx), np.median(dy)])
        cosine = slope @ axis[:2] / np.linalg.norm(slope) / np.linalg.norm(axis[:2])
        assert abs(cosine) > 0.99


def test_anisotropy_of_norms_is_that_of_eigenvalues():
    from edge_pigment.physics.moments import fractional_anisotropy

    A = np.random.default_rng(0).normal(size=(50, 3, 3))
    D = A @ np.swapaxes(A, 1, 2)
    packed = D[:, [0, 1, 2, 0, 0, 1], [0, 1, 2, 1, 2, 2]].T
    expected = fractional_anisotropy(np.linalg.eigvalsh(D))
    np.testing.assert_allclose(patches.fractional_anisotropy_of(packed), expected, atol=1e-9)


def test_weights_follow_anisotropy():
    from edge_pigment.physics.host import HostBackend
    from edge_pigment_prior.schemes import direction_bank

    truth = patches.draw_truth([striped([1, 2, 3])], np.ones(1), np.random.default_rng(3), changes=False)
    drawn = [
        patches.draw_example(truth, direction_bank(0), HostBackend(1), np.random.default_rng(3), a) for a in (0.0, 4.0)
    ]
    np.testing.assert_array_equal(drawn[0][0], drawn[1][0])
    brain = drawn[0][2] > 0
    from edge_pigment.physics.moments import fractional_anisotropy

    fa = fractional_anisotropy(np.array([0.4, 0.4, 1.6]))
    np.testing.assert_allclose(drawn[1][2][brain] / drawn[0][2][brain], np.exp(4 * fa), rtol=1e-3)
    assert (drawn[1][2][~brain] == 0).all()
