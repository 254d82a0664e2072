"""How far noise is alike: told for every kernel, along any axis, and never of white noise."""

import numpy as np
import pytest

from conftest import DIRECTIONS_6, scan_head
from edge_pigment.acquisition import Acquisition
from edge_pigment.gradients import GradientTable
from edge_pigment.noise.correlation import Correlation, noise_correlation
from edge_pigment.noise.measure import OVER_DISTANCES, measure_noise
from edge_pigment.noise.rician import sigma_of_magnitudes

BVALS = np.r_[0, np.full(6, 1000.0)]
BVECS = np.concatenate([np.zeros((1, 3)), DIRECTIONS_6])
SIGMA = 0.08


def clean(head):
    return scan_head(head, BVALS, BVECS, 0.0).signal / 1000


def zero_filled(head, factors):
    """The head with complex noise of SIGMA, on factors times as many voxels; its brain."""
    S = clean(head)
    rng = np.random.default_rng(0)
    image = S + SIGMA * (rng.standard_normal(S.shape) + 1j * rng.standard_normal(S.shape))

    def fill(x):
        for axis, factor in enumerate(factors):
            n = x.shape[axis]
            more = round(n * factor / 2) * 2
            space = np.moveaxis(np.fft.fftshift(np.fft.fft(x, axis=axis), axes=axis), axis, 0)
            big = np.zeros((more, *space.shape[1:]), complex)
            big[more // 2 - n // 2 : more // 2 - n // 2 + n] = space
            x = np.moveaxis(np.fft.ifft(np.fft.ifftshift(big, axes=0), axis=0), 0, axis) * more / n
        return x

    return Acquisition(np.abs(fill(image)), GradientTable(BVALS, BVECS), np.eye(4)), np.abs(fill(head.brain)) > 0.9


def upsampled(head, axis):
    """Magnitudes with twice as many voxels along an axis, by linear interpolation; the brain."""
    S = clean(head)
    rng = np.random.default_rng(0)
    noisy = np.hypot(S + SIGMA * rng.standard_normal(S.shape), SIGMA * rng.standard_normal(S.shape))

    def twice(x):
        x = np.moveaxis(x, axis, 0).astype(float)
        ahead = np.concatenate([x[1:], x[-1:]])
        pair = np.stack([0.75 * x + 0.25 * np.concatenate([x[:1], x[:-1]]), 0.75 * x + 0.25 * ahead], axis=1)
        return np.moveaxis(pair.reshape(-1, *x.shape[1:]), 0, axis)

    return Acquisition(twice(noisy), GradientTable(BVALS, BVECS), np.eye(4)), twice(head.brain) > 0.9


@pytest.mark.parametrize("snr", [3, 8, 20, 40, 200])
def test_white_noise_is_left_alone(head, snr):
    assert noise_correlation(scan_head(head, BVALS, BVECS, 1 / snr), head.brain) == Correlation()


@pytest.mark.parametrize(
    ("factors", "steps"),
    [((2, 2, 1), (2, 2, 1)), ((3, 3, 1), (3, 3, 1)), ((4, 4, 1), (4, 4, 1)), ((1, 2, 1), (1, 2, 1))],
)
def test_zero_filling_is_found_along_each_axis(head, factors, steps):
    found = noise_correlation(*zero_filled(head, factors))
    assert found.steps == steps
    assert found.sigma == pytest.approx(SIGMA, rel=0.3)
    assert 1 <= found.excess < 1.3


@pytest.mark.parametrize("factor", [1.5, 2.67, 3.2])
def test_sigma_is_right_for_factors_that_are_no_whole_numbers(head, factor):
    noise = measure_noise(*zero_filled(head, (factor, factor, 1)))
    assert noise.method == OVER_DISTANCES
    assert noise.sigma == pytest.approx(SIGMA, rel=0.3)
    assert noise.correlation.steps[:2] in {(2, 2), (3, 3)}


def test_slices_that_were_interpolated_are_told(head):
    scan, brain = upsampled(head, 2)
    noise = measure_noise(scan, brain)
    assert noise.correlation.steps[2] >= 2
    assert len(noise.findings) == 1


@pytest.mark.parametrize("shape", [(3, 3, 1), (1, 60, 4), (40, 40, 1), (20, 20, 2)])
def test_small_images_do_not_end_a_run(shape):
    rng = np.random.default_rng(0)
    scan = Acquisition(rng.random((*shape, 7)) + 1, GradientTable(BVALS, BVECS), np.eye(4))
    assert noise_correlation(scan, np.ones(shape, bool)).excess >= 1
    assert noise_correlation(scan, np.zeros(shape, bool)) == Correlation()


def test_a_given_sigma_is_kept(head):
    noise = measure_noise(*zero_filled(head, (2, 2, 1)), given=0.5)
    assert noise.sigma == 0.5
    assert noise.correlation.steps == (2, 2, 1)


def test_sigma_of_no_signal_is_that_of_rayleigh_noise():
    assert sigma_of_magnitudes(np.sqrt(2 - np.pi / 2), 2.0) == pytest.approx(1, rel=1e-2)
