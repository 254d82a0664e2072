"""Noise that is not one Rician σ: by place, of many coils, denoised; and scans of which nothing must be said."""

import numpy as np
import pytest

from conftest import DIRECTIONS_6, scan_head
from edge_pigment import errors as texts
from edge_pigment.acquisition import Acquisition, find_bids, read_acquisition
from edge_pigment.adapt import gather, spread_above_floor
from edge_pigment.brainmask import brain_mask
from edge_pigment.gradients import GradientTable
from edge_pigment.noise.air import measure_air
from edge_pigment.noise.field import relative_sigma
from edge_pigment.noise.measure import measure_noise
from noise.test_noise import spiral

BVECS_6 = np.concatenate([np.zeros((1, 3)), DIRECTIONS_6])
BVALS_6 = np.r_[0, np.full(6, 1000.0)]
BVECS_30 = np.concatenate([np.zeros((2, 3)), spiral(30)])
BVALS_30 = np.r_[0, 0, np.full(30, 1000.0)]


def coils_scan(head, count, sigma, gain=1.0, bvals=BVALS_6, bvecs=BVECS_6):
    """The root of the sum of squares over coils; gain of the noise by place."""
    S = scan_head(head, bvals, bvecs, 0.0).signal / 1000
    rng = np.random.default_rng(1)
    square = (S + sigma * gain * rng.standard_normal(S.shape)) ** 2
    for _ in range(2 * count - 1):
        square += (sigma * gain * rng.standard_normal(S.shape)) ** 2
    return Acquisition(np.sqrt(square), GradientTable(bvals, bvecs), np.diag([-head.voxel] * 2 + [head.voxel, 1.0]))


def g_factor(head):
    x, y, _ = np.meshgrid(*(np.linspace(-1, 1, n) for n in head.brain.shape), indexing="ij")
    return 1 + 2 * np.exp(-((x / 0.45) ** 2 + (y / 0.45) ** 2))


@pytest.mark.parametrize(("bvals", "bvecs"), [(BVALS_6, BVECS_6), (BVALS_30, BVECS_30)], ids=["6+1", "30+2"])
@pytest.mark.parametrize("snr", [8, 25])
def test_of_a_plain_scan_nothing_is_said(head, bvals, bvecs, snr):
    noise = measure_noise(scan_head(head, bvals, bvecs, 1 / snr), head.brain)
    assert noise.findings == ()
    assert noise.relative is None
    assert noise.floor == 0
    assert noise.correlation.is_white


@pytest.mark.parametrize(("bvals", "bvecs"), [(BVALS_6, BVECS_6), (BVALS_30, BVECS_30)], ids=["6+1", "30+2"])
def test_noise_that_varies_is_measured_by_place(head, bvals, bvecs):
    gain = g_factor(head)
    scan = coils_scan(head, 1, 0.03, gain[..., None], bvals, bvecs)
    noise = measure_noise(scan, head.brain)
    found, true = (noise.sigma * noise.relative)[head.brain], 0.03 * gain[head.brain]
    assert np.corrcoef(found, true)[0, 1] > 0.85
    assert np.quantile(np.abs(found / true - 1), 0.9) < 0.45
    m = gather(scan, head.brain, noise.sigma, relative=noise.relative)
    np.testing.assert_allclose(m.sigma * m.scale, found[np.argsort(_order(head.brain))], rtol=1e-5)


def _order(brain):
    """Where a voxel in the C order of (X, Y, Z) lies in the order of measurements, (Z, Y, X)."""
    number = np.zeros(brain.shape, int)
    number.T[brain.T] = np.arange(brain.sum())
    return number[brain]


@pytest.mark.parametrize("coils", [4, 8, 16])
def test_the_floor_of_many_coils_is_taken_off(head, coils):
    scan = coils_scan(head, coils, 0.05)
    air = measure_air(scan)
    assert air.coils == pytest.approx(coils, rel=0.1)
    noise = measure_noise(scan, head.brain)
    assert noise.floor == pytest.approx((2 * coils - 2) * 0.05**2, rel=0.1)
    clean = scan_head(head, BVALS_6, BVECS_6, 0.0).signal / 1000
    m = gather(scan, head.brain, noise.sigma, floor=noise.floor)
    truth = gather(Acquisition(clean, scan.gradients, scan.affine), head.brain, 1.0)
    assert np.median(m.y * m.scale / np.hypot(truth.y * truth.scale, noise.sigma)) == pytest.approx(1, abs=0.02)


def test_the_spread_above_the_floor_is_that_of_many_draws():
    rng = np.random.default_rng(3)
    sigma, coils = 0.1, 8
    for signal in (0.3, 0.6, 2.0):
        noise = sigma * rng.standard_normal((2 * coils, 200_000))
        noise[0] += signal
        floor = 2 * (coils - 1) * sigma**2
        y = np.sqrt(np.maximum(np.sum(noise**2, axis=0) - floor, 0))
        told = spread_above_floor(np.full((50, 1), np.sqrt(np.mean(y**2))), np.array([sigma]), floor)[0]
        assert y.std() / sigma == pytest.approx(told, rel=0.15)


def test_air_that_is_masked_or_uneven_is_not_believed(head):
    scan = coils_scan(head, 8, 0.05)
    masked = Acquisition(np.where(scan.signal > 0.6, scan.signal, 0), scan.gradients, scan.affine)
    ramp = np.linspace(0.5, 2, scan.signal.shape[1])[None, :, None, None]
    uneven = Acquisition(np.where(head.brain[..., None], scan.signal, scan.signal * ramp), scan.gradients, scan.affine)
    for one in (masked, uneven):
        assert measure_air(one) is None
    assert measure_noise(masked, head.brain).floor == 0


def test_denoised_scans_are_told(head):
    """By DIPY's MP-PCA, as pipelines do it first of all."""
    from dipy.denoise.localpca import mppca

    part = (slice(8, 40), slice(12, 48), slice(12, 20))
    scan = scan_head(head, BVALS_30, BVECS_30, 1 / 15)
    denoised = mppca(scan.signal[part], patch_radius=2)
    noise = measure_noise(Acquisition(denoised, scan.gradients, scan.affine), head.brain[part])
    plain = measure_noise(Acquisition(scan.signal[part], scan.gradients, scan.affine), head.brain[part])
    assert plain.findings == ()
    assert [finding.text for finding in noise.findings] == [texts.NOISE_FILTERED]
    assert noise.sigma > 0.4 * plain.sigma  # of which residuals alone would leave a tenth


@pytest.mark.parametrize("ratio", [0.2, 0.6, 1.0, 4.0])
def test_estimators_that_disagree_are_told(head, ratio):
    gain = np.where(head.S0[..., None] > 0, 1.0, ratio)
    noise = measure_noise(coils_scan(head, 1, 0.05, gain), head.brain)
    told = [finding.text for finding in noise.findings if "disagree" in finding.text]
    assert len(told) == (ratio in (0.2, 4.0))


def test_no_noise_at_all_is_told(head):
    bvecs = np.concatenate([np.zeros((1, 3)), np.tile(DIRECTIONS_6, (2, 1))])
    clean = scan_head(head, np.r_[0, np.full(12, 1000.0)], bvecs, 0.0)
    (finding,) = measure_noise(clean, head.brain).findings
    assert finding.text == texts.NOISE_NOT_FOUND.format(snr=1000.0)


def test_sigma_by_place_is_not_asked_of_crumbs(head):
    scan = scan_head(head, BVALS_6, BVECS_6, 0.05)
    crumb = np.zeros_like(head.brain)
    crumb[20:24, 30:34, 16] = True
    for mask in (crumb, np.zeros_like(crumb)):
        assert relative_sigma(scan, mask) is None


@pytest.mark.parametrize("name", ["hcplike", "vanderbilt", "uih", "trio"])
def test_real_scans_are_neither_interpolated_nor_denoised(shared_data, name):
    scan = read_acquisition(find_bids(shared_data / "validation", name)[0])
    mask = brain_mask(scan.mean_b0, scan.mean_dwi, scan.voxel_size).mask & (scan.mean_b0 > 0)
    noise = measure_noise(scan, mask)
    assert noise.findings == ()
    assert noise.correlation.is_white
    assert noise.floor == 0
