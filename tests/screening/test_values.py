"""Values that are no measurement get no weight and are told; those of noise and of coarse integers stay."""

from dataclasses import replace

import numpy as np
import pytest

from conftest import opening, scan_head
from edge_pigment import errors as texts
from edge_pigment.findings import CARE, NOTE, REPEAT
from edge_pigment.screening.values import leave_out_values
from edge_pigment.simulate.directions import electrostatic

BVALS = np.r_[0.0, np.full(12, 1000.0)]
BVECS = np.concatenate([np.zeros((1, 3)), electrostatic(12)])
NUMBERS = np.arange(13)


@pytest.fixture(scope="module")
def scan(head):
    """Twelve directions at SNR 20, in integers, as scanners write them."""
    scan = scan_head(head, BVALS, BVECS, 0.05)
    return replace(scan, signal=np.rint(scan.signal))


def spoilt(scan, volumes, zone, value):
    signal = scan.signal.copy(order="F")
    for n in volumes:
        signal[..., n] = np.where(zone, value(signal[..., n]), signal[..., n])
    return replace(scan, signal=signal)


def front(head):
    return np.broadcast_to((np.arange(head.brain.shape[1]) > 44)[None, :, None], head.brain.shape)


def told(found, text):
    return [finding.level for finding in found.findings if opening(text).replace("\\", "")[:20] in finding.text]


def test_a_clean_scan_is_left_as_it_is(scan):
    found = leave_out_values(scan, NUMBERS)
    assert found.acquisition is scan
    assert found.findings == ()


@pytest.mark.parametrize("kind", ["zero", "negative", "nan", "zero, resampled"])
def test_what_was_moved_out_of_view_has_no_weight(scan, head, kind):
    zone, volumes = front(head), (3, 6, 9)
    value = {"zero": np.zeros_like, "nan": lambda v: v * np.nan}.get(kind, lambda v: -0.8 * v)
    if kind.startswith("zero"):
        value = np.zeros_like
    bad = spoilt(scan, volumes, zone, value)
    if "resampled" in kind:  # half a voxel along the axis that the zone ends on
        signal = bad.signal.copy(order="F")
        for n in volumes:
            signal[:, :-1, :, n] = 0.5 * (bad.signal[:, :-1, :, n] + bad.signal[:, 1:, :, n])
        bad = replace(bad, signal=signal)
    found = leave_out_values(bad, NUMBERS + 20)
    lost = ~np.isfinite(found.acquisition.signal)
    inside = zone & head.brain
    for n in volumes:
        assert lost[..., n][inside].mean() > 0.98
        assert lost[..., n][head.brain & ~zone].mean() < 0.02
    assert not lost[..., [n for n in range(13) if n not in volumes]].any()
    assert told(found, texts.VALUES_LOST) == [CARE]
    assert "(23, 26, 29)" in found.findings[0].text


def test_scattered_zeros_have_no_weight(scan, head):
    holes = np.random.default_rng(0).random(head.brain.shape) < 0.02
    found = leave_out_values(spoilt(scan, [5], holes, np.zeros_like), NUMBERS)
    lost = ~np.isfinite(found.acquisition.signal[..., 5])
    strong = head.brain & ~head.ventricles & ~np.isin(head.S0, 0)
    assert lost[holes & strong].mean() > 0.9
    assert not lost[~holes].any()


@pytest.mark.parametrize(("levels", "b"), [(8, 1000.0), (8, 3000.0), (20, 2000.0)])
def test_coarse_integers_keep_their_zeros(head, levels, b):
    scan = scan_head(head, BVALS * b / 1000, BVECS, 0.05)
    coarse = replace(scan, signal=np.rint(scan.signal * levels / 1000))
    assert (coarse.signal[head.brain] == 0).any()
    found = leave_out_values(coarse, NUMBERS)
    assert found.acquisition is coarse


def test_coarse_integers_lose_what_was_moved_out_of_view(head):
    scan = scan_head(head, BVALS, BVECS, 0.05)
    zone = front(head)
    coarse = spoilt(replace(scan, signal=np.rint(scan.signal * 20 / 1000)), [4], zone, np.zeros_like)
    lost = ~np.isfinite(leave_out_values(coarse, NUMBERS).acquisition.signal[..., 4])
    assert lost[zone & head.white].mean() > 0.95
    assert lost[head.brain & ~zone].mean() < 0.02


def test_noise_about_zero_is_not_squared(head):
    """Signed data, as real reconstructions and denoising make them: below zero is zero, and nothing is lost."""
    scan = scan_head(head, BVALS * 3, BVECS, 0.0)
    signal = scan.signal + 50 * np.random.default_rng(0).standard_normal(scan.signal.shape).astype(np.float32)
    found = leave_out_values(replace(scan, signal=signal), NUMBERS)
    assert np.isfinite(found.acquisition.signal[head.brain]).mean() > 0.999
    np.testing.assert_array_equal(found.acquisition.signal.min(), 0)


def test_a_voxel_without_any_b0_or_any_weighted_volume_is_left_out(scan, head):
    zone = front(head)
    for volumes in ([0], range(1, 13)):
        found = leave_out_values(spoilt(scan, volumes, zone, np.zeros_like), NUMBERS)
        left = np.isfinite(found.acquisition.mean_b0)
        assert not left[zone & head.white].any()
        assert left[head.brain & ~zone].mean() > 0.98
        assert told(found, texts.VOXELS_WITHOUT_MEASUREMENT) == [CARE]


def test_an_extracted_brain_keeps_its_surroundings(scan, head):
    found = leave_out_values(replace(scan, signal=scan.signal * head.brain[..., None]), NUMBERS)
    assert not found.findings


@pytest.mark.parametrize(("percentile", "level"), [(99.8, NOTE), (97, CARE), (85, REPEAT)])
def test_saturation_is_found_and_told(scan, head, percentile, level):
    ceiling = np.rint(np.percentile(scan.signal[..., 0][head.brain | head.eyes], percentile))
    clipped = replace(scan, signal=np.minimum(scan.signal, ceiling))
    found = leave_out_values(clipped, NUMBERS)
    assert told(found, texts.VALUES_CLIPPED) == [level]
    np.testing.assert_array_equal(np.isnan(found.acquisition.signal[..., 0]), clipped.signal[..., 0] == ceiling)


def test_spikes_do_not_hide_a_ceiling(scan, head):
    ceiling = np.rint(np.percentile(scan.signal[..., 0][head.brain], 80))
    signal = np.minimum(scan.signal, ceiling)
    signal[10, 20, 3:9, 0] = 9 * ceiling
    found = leave_out_values(replace(scan, signal=signal), NUMBERS)
    assert told(found, texts.VALUES_CLIPPED) == [REPEAT]
