"""Simulated lesions change what they say, and leave tensors that a tensor can be."""

import numpy as np
import pytest

pytest.importorskip("torch", reason="the workshop extra is not installed")

from edge_pigment.physics.tensor import to_matrix
from edge_pigment_prior import changes, receivers
from edge_pigment_prior.schemes import Scheme

GRID = (3, 64, 64)


def tissue():
    theta = np.zeros((7, *GRID), np.float32)
    theta[1:] = np.array([1.5, 0.4, 0.4, 0, 0, 0], np.float32)[:, None, None, None]
    return theta


def test_scaling_scales_md_and_shape_apart():
    theta = tissue()
    one = np.ones(GRID, np.float32)
    changes.scale(theta, 0.5 * one, one)
    np.testing.assert_allclose(theta[1:, 0, 0, 0], [0.75, 0.2, 0.2, 0, 0, 0], atol=1e-6)
    changes.scale(theta, one, 0 * one)
    np.testing.assert_allclose(theta[1:, 0, 0, 0], [23 / 60] * 3 + [0] * 3, atol=1e-6)


def test_nothing_diffuses_faster_than_water():
    theta = tissue()
    changes.scale(theta, np.full(GRID, 9, np.float32), np.ones(GRID, np.float32))
    np.testing.assert_allclose(theta[1:4].mean(0), changes.FREE_WATER, rtol=1e-5)


@pytest.mark.parametrize("seed", range(20))
def test_tensors_stay_positive_and_weights_mark_what_changed(seed):
    theta, before = tissue(), tissue()
    weight = changes.insert(theta, np.random.default_rng(seed), 0.5, 3)
    assert np.linalg.eigvalsh(to_matrix(theta[1:].reshape(6, -1).T)).min() > 0
    assert weight.min() >= 1
    assert weight.max() <= 3
    if (weight > 1).any() and np.ptp(theta[1:4, weight == 1].mean(0)) == 0:  # lesions without a smooth field
        np.testing.assert_array_equal(theta[:, weight == 1], before[:, weight == 1])
        assert np.abs(theta - before)[:, weight > 1].max() > 0


def test_noise_has_the_variance_that_it_should(monkeypatch):
    for name in ("MANY_COILS", "GAINS", "BLANKED", "MOVED", "SHADED", "SMOOTHED_PART"):
        monkeypatch.setattr(receivers, name, 0)
    mask = np.ones(GRID, bool)
    sigma = np.full(mask.sum(), 0.05, np.float32)
    y = receivers.magnitudes(np.ones((2, mask.sum()), np.float32), sigma, mask, np.random.default_rng(0))
    assert y.std() == pytest.approx(0.05, rel=0.02)
    monkeypatch.setattr(receivers, "MANY_COILS", 1)
    y = receivers.magnitudes(np.zeros((2, mask.sum()), np.float32), sigma, mask, np.random.default_rng(0))
    L = (y**2).mean() / (2 * 0.05**2)  # E y² = 2 L σ² without signal
    assert pytest.approx(round(L), rel=0.02) == L
    assert round(L) > 1


def test_gradients_of_wrong_strength_are_played_as_unit_directions():
    g = np.random.default_rng(0).normal(size=(9, 3))
    scheme = Scheme(np.full(9, 1.0), g / np.linalg.norm(g, axis=1, keepdims=True), 0.1)
    played = [receivers.faulty(scheme, np.random.default_rng(seed)) for seed in range(40)]
    errors = np.array([p.b / scheme.b - 1 for p in played if p is not scheme])
    assert 2 < len(errors) < 20
    assert 0.003 < errors.std() < 0.05
    for p in played:
        np.testing.assert_allclose(np.linalg.norm(p.bvecs, axis=1), 1, rtol=1e-6)


def test_water_diffuses_faster_and_tissue_stays(monkeypatch):
    monkeypatch.setattr(changes, "FIELDS", 0)
    monkeypatch.setattr(changes, "FLUID", 1)
    theta = np.zeros((7, *GRID), np.float32)
    theta[1:4] = np.linspace(0.4, 2.5, 64, dtype=np.float32)
    before = theta[1].copy()
    changes.insert(theta, np.random.default_rng(1), 0, 1)
    slow = before <= changes.TISSUE_MD
    np.testing.assert_allclose(theta[1][slow], before[slow], rtol=1e-6)
    assert (theta[1][~slow] > before[~slow]).all()
    assert np.diff(theta[1], axis=-1).min() > -1e-6
    assert theta[1].max() <= changes.FREE_WATER * (1 + 1e-6)


@pytest.mark.parametrize("filled", [1.0, 1.5])
def test_zero_filled_noise_is_alike_between_neighbours_only_in_plane(filled):
    mask = np.ones((3, 64, 64), bool)
    noise = receivers._noise((4, mask.sum()), mask, filled, np.random.default_rng(0)).reshape(4, 3, 64, 64)
    assert noise.std() == pytest.approx(1, rel=0.02)
    alike = (noise[..., 1:] * noise[..., :-1]).mean(), (noise[:, 1:] * noise[:, :-1]).mean()
    # the spectrum's band is 1/filled of the sampling rate, so that neighbours correlate by sinc(1/filled)
    assert alike[0] == pytest.approx(np.sinc(1 / filled), abs=0.04)
    assert alike[1] == pytest.approx(0, abs=0.03)


def test_motion_shifts_each_volume_by_less_than_a_voxel():
    mask = np.ones((3, 64, 64), bool)
    ramp = np.broadcast_to(np.arange(64, dtype=np.float32), mask.shape)
    S = np.repeat(ramp[mask][None], 5, axis=0)
    receivers._move(S, mask, np.random.default_rng(0))
    moved = (S - ramp[mask]).reshape(5, *mask.shape)[..., 1:]  # the first column has taken the last one's place
    shifts = moved[:, 0, 1, 0]
    np.testing.assert_allclose(moved, np.broadcast_to(shifts[:, None, None, None], moved.shape), atol=1e-4)
    assert len(set(shifts.round(4))) == 5
    assert (shifts <= 0).all()
    assert (shifts >= -receivers.MOST_MOVED).all()
