"""Moments of the scalar maps: against float64, Monte Carlo, and eigenvalues that meet."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from physics_cases import angles, columns, rotations, tissue

from edge_pigment.physics import moments as reference
from edge_pigment.physics import tensor
from edge_pigment.physics.adaptation import pack
from edge_pigment.physics.host import HostBackend

ROW = {name: i for i, name in enumerate(reference.COLUMNS)}


def posteriors(count: int, seed: int, sd: tuple[float, float] = (0.02, 0.1)) -> tuple[np.ndarray, np.ndarray]:
    """Modes and packed factors, exact in float32."""
    rng = np.random.default_rng(seed)
    mixing = (np.eye(7) + 0.3 * rng.normal(size=(count, 7, 7))) * rng.uniform(*sd, (count, 1, 1))
    factor = pack(np.linalg.cholesky(np.linalg.inv(mixing @ np.swapaxes(mixing, -1, -2))))
    return tissue(count, rng).astype(np.float32).astype(float), factor.astype(np.float32).astype(float)


def test_agrees_with_float64(backend: HostBackend):
    mode, factor = posteriors(603, 0)
    expected = reference.moments(mode, factor)
    got = backend.moments(columns(mode), columns(factor)).T
    V1 = slice(ROW["V1x"], ROW["V1z"] + 1)
    np.testing.assert_allclose(got[:, : V1.start], expected[:, : V1.start], rtol=1e-4, atol=1e-5)
    certain = expected[:, ROW["V1_sd"]] < 25
    assert angles(got[:, V1], expected[:, V1])[certain].max() < 0.1
    np.testing.assert_allclose(got[certain, ROW["V1_sd"]], expected[certain, ROW["V1_sd"]], atol=0.05)
    np.testing.assert_allclose(np.linalg.norm(got[:, V1], axis=-1), 1, atol=1e-6)


def test_agrees_with_monte_carlo():
    """Student's t with the degrees of freedom that the cubature is made for."""
    rng = np.random.default_rng(1)
    mode, factor = posteriors(6, 2, sd=(0.02, 0.05))
    expected = reference.moments(mode, factor)
    root = np.linalg.inv(np.swapaxes(reference.unpack(factor), -1, -2))
    draws = 40_000
    heavy = np.sqrt(reference.DEGREES_OF_FREEDOM / rng.chisquare(reference.DEGREES_OF_FREEDOM, (draws, 1, 1)))
    z = mode + heavy * np.einsum("vij,svj->svi", root, rng.normal(size=(draws, 6, 7)))
    D = tensor.diffusivity(z)
    values = np.linalg.eigvalsh(tensor.to_matrix(D))
    sampled = {
        "FA": reference.fractional_anisotropy(values),
        "MD": values.mean(-1),
        "AD": values[..., 2],
        "RD": values[..., :2].mean(-1),
    }
    for name, samples in sampled.items():
        np.testing.assert_allclose(expected[:, ROW[name]], samples.mean(0), atol=0.3 * samples.std(0).max())
        np.testing.assert_allclose(expected[:, ROW[f"{name}_sd"]], samples.std(0), rtol=0.5)
    # the rule is exact for polynomials of second degree, such as D
    np.testing.assert_allclose(expected[:, ROW["MD"]], sampled["MD"].mean(0), rtol=0.01)
    np.testing.assert_allclose(expected[:, ROW["Dxx"] : ROW["Dyz"] + 1], D.mean(0), atol=0.01)
    np.testing.assert_allclose(expected[:, ROW["S0"]], np.exp(z[..., 0]).mean(0), rtol=0.01)


eigenvalue = st.floats(0, 4).map(lambda value: value if value > 1e-3 else 0.0)


@given(st.integers(0, 2**32 - 1), eigenvalue, eigenvalue, st.sampled_from(["free", "prolate", "oblate", "isotropic"]))
@settings(deadline=None)
def test_a_certain_tensor_has_its_own_scalars(seed, first, second, kind):
    """Also where eigenvalues meet, or are zero, which is hard in float32."""
    values = {
        "free": [first, second, 0.5 * (first + second)],
        "prolate": [first + second, second, second],
        "oblate": [first + second, first + second, second],
        "isotropic": [first, first, first],
    }[kind]
    values = np.sort(values)
    R = rotations(1, np.random.default_rng(seed))[0]
    D = tensor.from_matrix((R * values) @ R.T)
    mode = columns(tensor.latent(1.0, D)[None])
    factor = columns(pack(1e6 * np.eye(7)[None]))
    got = HostBackend(threads=1).moments(mode, factor)[:, 0]
    exact = np.linalg.eigvalsh(tensor.to_matrix(tensor.diffusivity(mode.T.astype(float))[0]))
    assert got[ROW["MD"]] == pytest.approx(exact.mean(), abs=1e-5)
    assert got[ROW["AD"]] == pytest.approx(exact[2], abs=3e-5)
    assert got[ROW["RD"]] == pytest.approx(exact[:2].mean(), abs=3e-5)
    if exact[2] > 1e-2:
        # the sd of Q, 1e-6, is itself a bias of isotropic tensors' FA
        assert got[ROW["FA"]] == pytest.approx(reference.fractional_anisotropy(exact), abs=1e-3)
    gap = values[2] - values[1]
    if gap > 0.02:
        V1 = got[ROW["V1x"] : ROW["V1z"] + 1]
        assert angles(V1, R[:, 2]) < 0.05 / gap
    assert np.isfinite(got).all()


def test_uncertainty_lowers_nothing_but_the_certainty():
    """The FA of an isotropic tensor is zero; its expectation under uncertainty is not."""
    mode = np.array([[0, 0.9, 0.9, 0.9, 0, 0, 0.0]])
    FA = [reference.moments(mode, pack(np.eye(7)[None] / sd))[0, ROW["FA"]] for sd in (1e-6, 0.03, 0.1)]
    assert FA[0] < 1e-4 < FA[1] < FA[2]
