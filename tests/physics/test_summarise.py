"""The summary: against float64, protocols that measure little, and rotations."""

import numpy as np
import pytest
from physics_cases import case, columns, protocol, rotations

from edge_pigment.physics import summarise, tensor
from edge_pigment.physics.host import HostBackend

PROTOCOLS = {
    "b=0 alone": protocol(3),
    "one direction": protocol(1, (1.0, 1)),
    "three": protocol(1, (1.0, 3)),
    "six": protocol(1, (1.0, 6)),
    "thirty": protocol(3, (1.0, 30)),
    "shells": protocol(3, (0.7, 10), (2.0, 20), (3.0, 30)),
    "no b=0": protocol(0, (1.0, 12)),
    "in a plane": (
        np.array([0, 1, 1, 1, 1.0]),
        np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0.6, 0.8, 0], [0.8, -0.6, 0]]),
    ),
    "nothing": (np.zeros(0), np.zeros((0, 3))),
}


@pytest.mark.parametrize("name", PROTOCOLS)
@pytest.mark.parametrize("snr", [(5, 30), (900, 1100)], ids=["SNR 5-30", "SNR 1000"])
def test_agrees_with_float64(backend: HostBackend, name, snr):
    c = case(203, *PROTOCOLS[name], snr=snr)
    expected = summarise.summarise(c.y, c.b, c.bvecs, c.sigma)
    got = backend.summarise(*c.measured())
    np.testing.assert_allclose(got.sd.T, expected.sd, rtol=1e-4)
    assert (np.abs(got.theta.T - expected.theta) < 1e-4 * np.maximum(expected.sd, 1)).all()


@pytest.mark.parametrize("name", ["three", "six", "thirty"])
def test_agrees_with_float64_where_measurements_are_unknown(backend: HostBackend, name):
    c = case(203, *PROTOCOLS[name])
    c.y[::2, -1] = np.nan
    c.y[::3, 0] = np.inf
    expected = summarise.summarise(c.y, c.b, c.bvecs, c.sigma)
    got = backend.summarise(*c.measured())
    np.testing.assert_allclose(got.sd.T, expected.sd, rtol=3e-4)
    assert (np.abs(got.theta.T - expected.theta) < 3e-4 * np.maximum(expected.sd, 1)).all()


def test_what_is_not_measured_comes_out_as_the_prior(backend: HostBackend):
    c = case(50, *PROTOCOLS["nothing"])
    got = backend.summarise(*c.measured())
    np.testing.assert_allclose(got.theta.T, np.tile(summarise.PRIOR_MEAN, (50, 1)), atol=1e-6)
    np.testing.assert_allclose(got.sd.T, np.tile(summarise.PRIOR_PRECISION**-0.5, (50, 1)), rtol=1e-6)


def test_an_unknown_measurement_is_as_one_not_made(backend: HostBackend):
    b, bvecs = PROTOCOLS["thirty"]
    c = case(40, b, bvecs)
    for nothing in (np.nan, np.inf, -np.inf, 1e20):
        y = c.y.copy()
        y[:, 5] = nothing
        got = backend.summarise(columns(y), *c.measured()[1:])
        without = c._replace(y=np.delete(c.y, 5, 1), b=np.delete(b, 5), bvecs=np.delete(bvecs, 5, 0))
        expected = backend.summarise(*without.measured())
        np.testing.assert_allclose(got.theta, expected.theta, atol=2e-5)
        np.testing.assert_allclose(got.sd, expected.sd, rtol=2e-5)


def test_recovers_the_tensor_of_a_good_scan():
    b, bvecs = protocol(3, (1.0, 60))
    c = case(50, b, bvecs, snr=(999, 1001))
    got = summarise.summarise(tensor.signal(c.z, b, bvecs), b, bvecs, c.sigma)
    np.testing.assert_allclose(got.theta[:, 1:], tensor.diffusivity(c.z), atol=2e-3)


def test_turning_the_gradients_turns_the_summary():
    b, bvecs = protocol(2, (1.0, 15))
    c = case(20, b, bvecs)
    R = rotations(1, np.random.default_rng(1))[0]
    expected = summarise.summarise(c.y, b, bvecs, c.sigma).theta
    got = summarise.summarise(c.y, b, bvecs @ R.T, c.sigma).theta
    turned = R @ tensor.to_matrix(expected[:, 1:]) @ R.T
    np.testing.assert_allclose(tensor.to_matrix(got[:, 1:]), turned, atol=1e-9)
    np.testing.assert_allclose(got[:, 0], expected[:, 0], atol=1e-9)


def test_directions_need_not_be_many(backend: HostBackend):
    """A thousand volumes pass through tiles as ten do."""
    b, bvecs = protocol(10, (1.0, 990))
    c = case(9, b, bvecs)
    expected = summarise.summarise(c.y, b, bvecs, c.sigma)
    got = backend.summarise(*c.measured())
    np.testing.assert_allclose(got.theta.T, expected.theta, atol=1e-4)
    np.testing.assert_allclose(got.sd.T, expected.sd, rtol=2e-4)
