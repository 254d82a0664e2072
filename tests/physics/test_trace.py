"""Trace images, which have no direction: the model, its derivative, and the kernels against float64."""

import numpy as np
import pytest
from physics_cases import NU, SPOILT, Case, case, judge, protocol, rotate_latent, rotations, spoilt, tissue

from edge_pigment.physics import adaptation, summarise, tensor
from edge_pigment.physics.host import HostBackend

B_TRACE, NO_DIRECTIONS = np.array([0, 1.0]), np.zeros((2, 3))
B_SIX, SIX = protocol(1, (2.0, 6))
PROTOCOLS = {
    "one": (B_TRACE, NO_DIRECTIONS),
    "two b": (np.array([0, 0, 0.5, 1, 1]), np.zeros((5, 3))),
    "beside six": (np.concatenate([B_TRACE, B_SIX]), np.concatenate([NO_DIRECTIONS, SIX])),
}


def test_a_trace_image_is_the_geometric_mean_of_any_three_orthogonal_directions():
    rng = np.random.default_rng(0)
    z = tissue(50, rng)
    trace = tensor.signal(z, [0.7], np.zeros((1, 3)))[:, 0]
    for R in rotations(3, rng):
        three = tensor.signal(z, np.full(3, 0.7), R)
        np.testing.assert_allclose(trace, np.exp(np.log(three).mean(-1)), rtol=1e-12)
    np.testing.assert_allclose(trace, np.exp(z[:, 0] - 0.7 * tensor.diffusivity(z)[:, :3].mean(-1)), rtol=1e-12)


@pytest.mark.parametrize("name", PROTOCOLS)
def test_its_derivative(name):
    b, bvecs = PROTOCOLS[name]
    z, step = tissue(20, np.random.default_rng(1)), 1e-6
    ends = [np.log(tensor.signal(z + way * step * e, b, bvecs)) for e in np.eye(7) for way in (1, -1)]
    numeric = np.stack([(up - down) / (2 * step) for up, down in zip(ends[::2], ends[1::2], strict=True)], axis=-1)
    np.testing.assert_allclose(tensor.log_jacobian(z, b, bvecs), numeric, atol=1e-8)


@pytest.mark.parametrize("name", PROTOCOLS)
def test_the_kernels_products_agree_with_float64(backend: HostBackend, name):
    b, bvecs = PROTOCOLS[name]
    c = case(300, b, bvecs)
    got = backend.products(*c.measured(), np.ascontiguousarray(c.mean.T, np.float32))
    F = tensor.signal(c.mean, b, bvecs)
    model = np.hypot(F, c.sigma[:, None])
    r = (c.y - model) / c.sigma[:, None]
    J = (F**2 / (model * c.sigma[:, None]))[..., None] * tensor.log_jacobian(c.mean, b, bvecs)
    gradient, information = np.einsum("vni,vn->vi", J, r), adaptation.pack(np.swapaxes(J, -1, -2) @ J)
    scale = np.einsum("vni,vn->vi", np.abs(J), np.abs(r)).max(-1, keepdims=True)
    assert (np.abs(got.gradient.T - gradient) < 1e-4 * scale).all()
    assert got.information is not None
    assert (np.abs(got.information.T - information) < 1e-5 * np.abs(information).max(-1, keepdims=True)).all()


@pytest.mark.parametrize("name", PROTOCOLS)
def test_the_summary_agrees_with_float64(backend: HostBackend, name):
    c = case(503, *PROTOCOLS[name])
    expected, got = summarise.summarise(c.y, c.b, c.bvecs, c.sigma), backend.summarise(*c.measured())
    np.testing.assert_allclose(got.theta.T, expected.theta, atol=1e-4)
    np.testing.assert_allclose(got.sd.T, expected.sd, rtol=1e-4)
    if name != "beside six":  # MD is measured, and nothing else of the tensor
        sd_MD = np.sqrt(np.mean(expected.sd[:, 1:4] ** 2, axis=-1))
        assert (expected.sd[:, 4:] > 0.99 / np.sqrt(2)).all()
        assert (sd_MD > 0.8).all()


@pytest.mark.parametrize("kind", ["as they are", *SPOILT])
@pytest.mark.parametrize("name", PROTOCOLS)
def test_the_adaptation_agrees_with_float64(backend: HostBackend, name, kind):
    c = case(203, *PROTOCOLS[name])
    if kind != "as they are":
        c = c._replace(y=spoilt(kind, c.y, c.b))
    with backend.hold(*c.measured()) as scan:
        got = scan.adapt(*c.prior())
    judge(got, adaptation.adapt(c.y, c.b, c.bvecs, c.sigma, c.mean, c.factor, NU))


def test_turning_the_prior_turns_the_posterior():
    """Trace images know no direction."""
    c = case(100, *PROTOCOLS["two b"])
    T = rotate_latent(rotations(1, np.random.default_rng(1))[0])
    L = adaptation.unpack(c.factor)
    precision = np.linalg.inv(T).T @ (L @ np.swapaxes(L, -1, -2)) @ np.linalg.inv(T)
    turned = c._replace(mean=c.mean @ T.T, factor=adaptation.pack(np.linalg.cholesky(precision)))
    one, other = (adaptation.adapt(d.y, d.b, d.bvecs, d.sigma, d.mean, d.factor, NU) for d in (c, turned))
    np.testing.assert_allclose(other.mode, one.mode @ T.T, atol=1e-6)
    np.testing.assert_allclose(other.share, one.share, atol=1e-5)


def test_many_trace_images_determine_two_coordinates():
    b = np.concatenate([np.zeros(20), np.full(40, 1.0)])
    c: Case = case(100, b, np.zeros((60, 3)), snr=(29, 31))
    share = adaptation.adapt(c.y, c.b, c.bvecs, c.sigma, c.mean, c.factor, NU).share
    assert 1.5 < np.median(share[:, 0]) <= 2
