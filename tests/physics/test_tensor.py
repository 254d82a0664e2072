"""The tensor model: derivatives against differences, rotations, and the kernels' inner loop against float64."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from physics_cases import Case, case, columns, protocol, rotate_latent, rotations, tissue

from edge_pigment.physics import tensor
from edge_pigment.physics.adaptation import pack
from edge_pigment.physics.host import HostBackend

B, BVECS = protocol(2, (1.0, 12), (2.5, 18))
STEP = 1e-5
seeds = st.integers(0, 2**32 - 1)


def differences(function, z: np.ndarray) -> np.ndarray:
    """Central differences of function(z) (V, ...) along each latent: (V, ..., 7)."""
    steps = STEP * np.eye(7)
    return np.stack([(function(z + s) - function(z - s)) / (2 * STEP) for s in steps], axis=-1)


@given(seeds)
def test_the_jacobian_is_the_derivative(seed):
    z = np.random.default_rng(seed).normal(0.3, 0.5, (5, 7))
    numeric = differences(lambda z: tensor.signal(z, B, BVECS), z)
    np.testing.assert_allclose(tensor.jacobian(z, B, BVECS), numeric, atol=1e-8)
    numeric = differences(lambda z: np.log(tensor.signal(z, B, BVECS)), z)
    np.testing.assert_allclose(tensor.log_jacobian(z, B, BVECS), numeric, atol=1e-7)


@given(seeds)
def test_turning_tensor_and_gradients_together_changes_nothing(seed):
    rng = np.random.default_rng(seed)
    z, R = tissue(5, rng), rotations(1, rng)[0]
    turned = tensor.signal(z @ rotate_latent(R).T, B, BVECS @ R.T)
    np.testing.assert_allclose(turned, tensor.signal(z, B, BVECS), rtol=1e-12)


def test_latent_is_the_square_root_of_the_tensor():
    z = tissue(50, np.random.default_rng(0))
    D = tensor.diffusivity(z)
    again = tensor.latent(np.exp(z[:, 0]), D)
    np.testing.assert_allclose(tensor.diffusivity(again), D, atol=1e-12)
    nothing = tensor.latent(1.0, np.array([-1.0, -2.0, -0.5, 0.1, 0, 0]))
    np.testing.assert_allclose(nothing, 0, atol=1e-12)  # the nearest tensor to a negative one


def test_the_curvature_of_the_square_is_that_of_its_differences():
    rng = np.random.default_rng(0)
    force, z = rng.normal(size=(5, 6)), rng.normal(size=(5, 7))
    found = tensor.curvature(force)

    def slope(z):  # of Σ force · D, by differences that are exact for a quadratic
        return differences(lambda z: np.sum(force * tensor.diffusivity(z), axis=-1), z)[:, 1:]

    for k in range(6):
        step = np.eye(7)[1 + k]
        np.testing.assert_allclose((slope(z + step) - slope(z - step)) / 2, found[:, k], atol=1e-6)


def reference_products(c: Case) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """r, Jᵀr, JᵀJ, and what Jᵀr sums up, |J|ᵀ|r|."""
    s = c.sigma[:, None]
    F = tensor.signal(c.z, c.b, c.bvecs)
    m = np.sqrt(F**2 + s**2)
    known = np.isfinite(c.y)
    r = np.where(known, (np.where(known, c.y, 0) - m) / s, 0)
    J = (known * F**2 / (m * s))[..., None] * tensor.log_jacobian(c.z, c.b, c.bvecs)
    Jt = np.swapaxes(J, -1, -2)
    return r, (Jt @ r[..., None])[..., 0], pack(Jt @ J), (np.abs(Jt) @ np.abs(r)[..., None])[..., 0]


@pytest.mark.parametrize("shells", [((1.0, 30),), ((1.0, 6),), ((1.0, 1),), ((0.7, 20), (2.0, 30), (3.0, 60))])
def test_residual_and_jacobian_products_agree_with_float64(backend: HostBackend, shells):
    c = case(203, *protocol(2, *shells))
    c.y[::7, -1] = np.nan
    r, gradient, information, summands = reference_products(c)
    got = backend.products(*c.measured(), columns(c.z))
    for result, expected, scale in (
        (got.residual, r, r),
        (got.gradient, gradient, summands),
        (got.information, information, information),
    ):
        error = np.abs(result.T - expected).max(-1) / np.abs(scale).max(-1)
        assert error.max() < 1e-4
        assert np.median(error) < 3e-6
    np.testing.assert_allclose(got.rss, np.sum(r**2, axis=-1), rtol=1e-4)
    alone = got._replace(residual=None, gradient=np.zeros_like(got.gradient), information=None)
    backend.products(*c.measured(), columns(c.z), alone)
    assert np.array_equal(alone.gradient, got.gradient)


def test_the_gradient_is_that_of_the_misfit(backend: HostBackend):
    c = case(20, B, BVECS)
    s = c.sigma[:, None]

    def misfit(z):
        return 0.5 * np.sum(((c.y - np.sqrt(tensor.signal(z, B, BVECS) ** 2 + s**2)) / s) ** 2, axis=-1)

    descent = -differences(misfit, c.z)
    error = np.abs(backend.products(*c.measured(), columns(c.z)).gradient.T - descent).max(-1)
    assert (error < 1e-4 * reference_products(c)[3].max(-1)).all()
