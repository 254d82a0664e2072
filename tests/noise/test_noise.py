"""The noise estimate: against known σ for many protocols, interpolated images, and a real scan thinned."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import AFFINE_LAS, DIRECTIONS_6, Head, scan_head
from edge_pigment.acquisition import Acquisition, find_bids, read_acquisition
from edge_pigment.brainmask import brain_mask
from edge_pigment.gradients import GradientTable
from edge_pigment.noise import (
    CLEANEST_SNR,
    estimate_sigma,
    even_polynomials,
    rician_variance,
    sigma_of_magnitudes,
)


def spiral(count: int) -> np.ndarray:
    """Directions spread over a hemisphere."""
    i = np.arange(count) + 0.5
    z, azimuth = 1 - i / count, np.pi * (1 + np.sqrt(5)) * i
    r = np.sqrt(1 - z * z)
    return np.stack([r * np.cos(azimuth), r * np.sin(azimuth), z], 1)


def scan(head: Head, directions: np.ndarray, snr: float, bval: float = 1000.0, b0: int = 1) -> Acquisition:
    bvals = np.concatenate([np.zeros(b0), np.full(len(directions), bval)])
    return scan_head(head, bvals, np.concatenate([np.zeros((b0, 3)), directions]), 1 / snr)


@pytest.mark.parametrize("snr", [3, 5, 20])
@pytest.mark.parametrize(
    ("directions", "method"),
    [
        (DIRECTIONS_6, "spatial details"),
        (np.eye(3), "spatial details"),
        (np.tile(np.eye(3), (4, 1)), "angular residuals"),
        (np.tile(DIRECTIONS_6, (2, 1)), "angular residuals"),
        (spiral(9), "angular residuals"),
        (spiral(30), "angular residuals"),
        (np.zeros((8, 3)), "angular residuals"),
    ],
    ids=["6+1", "3+1", "3x4+1", "6x2+1", "9+1", "30+1", "8 trace images+1"],
)
def test_sigma_is_found_for_every_protocol(head, directions, method, snr):
    estimate = estimate_sigma(scan(head, directions, snr), head.brain)
    assert estimate.method == method
    assert estimate.note == ""
    assert estimate.sigma == pytest.approx(1000 / snr, rel=0.1)
    median = np.median(head.S0[head.brain])
    assert estimate.snr_b0 == pytest.approx(median * snr, rel=0.15)


def zero_filled(acquisition: Acquisition, share: float, sigma: float) -> tuple[Acquisition, float]:
    """The scan as if only this share of k-space had been measured along both axes of a slice, and its σ."""
    rng = np.random.default_rng(1)
    image = acquisition.signal + sigma * (
        rng.standard_normal(acquisition.signal.shape) + 1j * rng.standard_normal(acquisition.signal.shape)
    )
    kept = [np.abs(np.fft.fftfreq(n)) <= share / 2 for n in image.shape[:2]]
    k = np.fft.fft2(image, axes=(0, 1)) * (kept[0][:, None] & kept[1])[:, :, None, None]
    image = np.abs(np.fft.ifft2(k, axes=(0, 1)))
    sigma *= np.sqrt(kept[0].mean() * kept[1].mean())
    return Acquisition(image, acquisition.gradients, acquisition.affine), sigma


@pytest.mark.parametrize("snr", [5, 10])
@pytest.mark.parametrize("share", [0.5, 0.75])
def test_zero_filling_is_noticed(head, share, snr):
    clean = scan(head, DIRECTIONS_6, 1e6)
    interpolated, sigma = zero_filled(clean, share, 1000 / snr)
    estimate = estimate_sigma(interpolated, head.brain)
    assert estimate.note
    assert estimate.sigma == pytest.approx(sigma, rel=0.15)


@settings(max_examples=8, deadline=None)
@given(st.floats(1e-3, 1e4))
def test_sigma_goes_with_the_unit_of_the_signal(scale):
    rng = np.random.default_rng(0)
    signal = np.hypot(1 + 0.1 * rng.standard_normal((24, 24, 6, 7)), 0.1 * rng.standard_normal((24, 24, 6, 7)))
    table = GradientTable(np.array([0.0] + [1000.0] * 6), np.concatenate([np.zeros((1, 3)), DIRECTIONS_6]))
    mask = np.ones(signal.shape[:3], bool)
    one = estimate_sigma(Acquisition(signal, table, AFFINE_LAS), mask)
    other = estimate_sigma(Acquisition(signal * scale, table, AFFINE_LAS), mask)
    assert other.sigma == pytest.approx(one.sigma * scale, rel=1e-3)
    assert one.sigma == pytest.approx(0.1, rel=0.1)


def test_a_scan_without_noise_gets_a_floor(head):
    estimate = estimate_sigma(scan(head, np.tile(DIRECTIONS_6, (2, 1)), 1e9), head.brain)
    median = 1000 * np.median(head.S0[head.brain])
    assert estimate.sigma == pytest.approx(median / CLEANEST_SNR, rel=1e-3)
    assert "No noise" in estimate.note


@pytest.mark.parametrize("directions", [DIRECTIONS_6, spiral(30)], ids=["6", "30"])
def test_what_should_not_happen_does_not_end_a_run(head, directions):
    noisy = scan(head, directions, 10)
    nothing = np.zeros_like(head.brain)
    voxel = nothing.copy()
    voxel[24, 30, 16] = True
    holed = Acquisition(np.where(head.eyes[..., None], np.nan, noisy.signal), noisy.gradients, noisy.affine)
    corner = Acquisition(noisy.signal[:3, :1, :1], noisy.gradients, noisy.affine)
    for one, mask in ((noisy, nothing), (noisy, voxel), (holed, head.brain), (corner, nothing[:3, :1, :1])):
        estimate = estimate_sigma(one, mask)
        assert 0 < estimate.sigma < 1e4
        assert np.isfinite(estimate.snr_b0)


def test_the_variance_of_rician_magnitudes():
    rng = np.random.default_rng(0)
    for snr in (0.0, 0.5, 1, 2, 5):
        m = np.hypot(snr + rng.standard_normal(400_000), rng.standard_normal(400_000))
        assert rician_variance(snr) == pytest.approx(m.var(), rel=0.01)
        assert sigma_of_magnitudes(m.std(), np.mean(m**2)) == pytest.approx(1, rel=0.02)
    assert rician_variance(0.0) == pytest.approx(2 - np.pi / 2)
    assert rician_variance(100.0) == pytest.approx(1, rel=2e-3)


def test_degree_4_holds_degree_2():
    g = spiral(40)
    two, four = even_polynomials(g, 2), even_polynomials(g, 4)
    assert (two.shape[1], four.shape[1]) == (6, 15)
    assert np.linalg.matrix_rank(np.concatenate([two, four], 1)) == 15


@pytest.mark.parametrize(("part", "name"), [("validation", "hcplike"), ("train", "nottingham")])
def test_six_real_directions_agree_with_the_whole_protocol(shared_data, part, name):
    (path,) = find_bids(shared_data / part, name)
    whole = read_acquisition(path)
    mask = brain_mask(whole.mean_b0, whole.mean_dwi, whole.voxel_size).mask
    table = whole.gradients
    chosen = [int(np.flatnonzero(table.is_b0)[0])]
    for direction in DIRECTIONS_6:
        order = np.argsort(-np.abs(table.bvecs @ direction))
        chosen.append(next(int(n) for n in order if n not in chosen))
    full, thin = estimate_sigma(whole, mask), estimate_sigma(whole.subset(chosen), mask)
    assert (full.method, thin.method) == ("angular residuals", "spatial details")
    assert thin.sigma == pytest.approx(full.sigma, rel=0.15)
