"""Volumes that consoles derive are left out; scans without any lose nothing, however clean or noisy they are."""

import numpy as np
import pytest

from conftest import DIRECTIONS_6, draw_head, opening, scan_head
from edge_pigment import errors as texts
from edge_pigment.acquisition import Acquisition, read_acquisition
from edge_pigment.boxes import sums_of_three
from edge_pigment.errors import InputError
from edge_pigment.findings import CARE, NOTE
from edge_pigment.gradients import GradientTable
from edge_pigment.screening import screen
from edge_pigment.screening.derived import drop_derived
from edge_pigment.screening.details import nonnegative

NONE = np.zeros(3)
OBLIQUE = np.ones(3) / np.sqrt(3)
BVALS, BVECS = np.array([0.0] + [1000.0] * 6), np.concatenate([np.zeros((1, 3)), DIRECTIONS_6])


def integers(acquisition):
    return Acquisition(np.rint(acquisition.signal), acquisition.gradients, acquisition.affine)


@pytest.fixture(scope="module")
def plain(head):
    """6+1 at an SNR of 30, in integers."""
    return integers(scan_head(head, BVALS, BVECS, 1 / 30))


def joined(acquisition, volumes, bvals, bvecs):
    """The scan and more volumes, rounded as a console writes them."""
    table = acquisition.gradients
    signal = np.concatenate([acquisition.signal, np.rint(np.stack(volumes, -1))], axis=-1)
    table = GradientTable(np.append(table.bvals, bvals), np.concatenate([table.bvecs, np.atleast_2d(bvecs)]))
    return Acquisition(signal, table, acquisition.affine)


def trace(signal):
    return np.exp(np.log(np.maximum(signal, 1)).mean(-1))


def adc(signal):
    return np.clip(1000 * np.log(np.maximum(signal[..., 0], 1) / np.maximum(trace(signal[..., 1:]), 1)), 0, 4000)


def anisotropy(signal, bvecs):
    """FA of a log-linear fit, in thousandths."""
    x, y, z = bvecs[1:].T
    design = np.stack([x * x, y * y, z * z, 2 * x * y, 2 * x * z, 2 * y * z], 1)
    log = np.log(np.maximum(signal, 1))
    a, b, c, d, e, f = np.moveaxis((log[..., :1] - log[..., 1:]) @ np.linalg.pinv(design).T, -1, 0)
    square = a * a + b * b + c * c + 2 * (d * d + e * e + f * f)
    return 1000 * np.sqrt(np.clip(1.5 * (1 - (a + b + c) ** 2 / 3 / np.maximum(square, 1e-9)), 0, 1))


@pytest.mark.parametrize("factor", [1.0, 0.5, 2.0, 1.37])
def test_a_copy_is_left_out_whatever_its_scale(plain, factor):
    kept, (finding,) = drop_derived(joined(plain, [factor * plain.signal[..., 3]], 1000, BVECS[3]))
    assert kept.tolist() == list(range(7))
    assert finding == (NOTE, texts.VOLUMES_COPIED.format(volumes=7, of=3))


def test_a_normalised_copy_is_left_out(plain):
    """Prescan normalisation: the same volumes once more, times a smooth factor."""
    field = np.linspace(0.6, 1.5, plain.signal.shape[0])[:, None, None, None]
    normalised = list(np.moveaxis(field * plain.signal, -1, 0))
    kept, (finding,) = drop_derived(joined(plain, normalised, BVALS, BVECS))
    assert kept.tolist() == list(range(7))
    assert finding.level == NOTE


def test_the_first_of_two_copies_stays(plain):
    kept, (finding,) = drop_derived(plain.subset([0, 1, 3, 2, 3, 4, 5, 6]))
    assert kept.tolist() == [0, 1, 2, 3, 5, 6, 7]
    assert finding.text == texts.VOLUMES_COPIED.format(volumes=4, of=2)


def test_a_series_sent_twice(plain):
    kept, (finding,) = drop_derived(plain.subset([*range(7), *range(7)]))
    assert kept.tolist() == list(range(7))
    assert finding.level == NOTE


def test_a_copy_with_another_b_value_or_direction_needs_care(plain):
    for b, g in ((1000, BVECS[2]), (500, BVECS[3])):
        kept, (finding,) = drop_derived(joined(plain, [plain.signal[..., 3]], b, g))
        assert kept.tolist() == list(range(7))
        assert finding == (CARE, texts.VOLUMES_COPIED_UNLIKE.format(volumes=7, of=3))


@pytest.mark.parametrize("of", [[1, 2, 3, 4, 5, 6], [2, 4, 5], [1, 6]])
def test_a_mean_is_left_out_and_its_constituents_stay(plain, of):
    kept, (finding,) = drop_derived(joined(plain, [plain.signal[..., of].mean(-1)], 1000, OBLIQUE))
    assert kept.tolist() == list(range(7))
    assert finding == (NOTE, texts.VOLUME_AVERAGED.format(volumes=7, of=texts.listed(of)))


def test_the_mean_of_all_volumes_and_one_weighted_by_averages(plain):
    for mean in (plain.signal.mean(-1), plain.signal[..., [1, 2, 2, 3, 3, 3]].mean(-1)):
        kept, (finding,) = drop_derived(joined(plain, [mean], 1000, OBLIQUE))
        assert kept.tolist() == list(range(7)), finding


def test_two_averages_beside_their_mean(head, plain):
    again = integers(scan_head(head, BVALS, BVECS, 1 / 30, seed=1)).signal[..., 1]
    scan = joined(plain, [again, (plain.signal[..., 1] + again) / 2], [1000, 1000], BVECS[[1, 1]])
    kept, (finding,) = drop_derived(scan)
    assert kept.tolist() == list(range(8))
    assert finding.text == texts.VOLUME_AVERAGED.format(volumes=8, of="1, 7")


@pytest.mark.parametrize("b", [0, 900, 1100, 2000])
def test_a_trace_image_beside_its_directions(plain, b):
    kept, (finding,) = drop_derived(joined(plain, [trace(plain.signal[..., 1:])], b, NONE))
    assert kept.tolist() == list(range(7))
    assert finding == (NOTE, texts.VOLUME_TRACE.format(volumes=7, of="1, 2, 3, 4, 5, 6"))


def test_three_directions_beside_their_trace_stay(plain):
    three = plain.subset([0, 1, 3, 5])
    kept, _ = drop_derived(joined(three, [trace(three.signal[..., 1:])], 900, NONE))
    assert kept.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("b", [0, 800, 1100, 2000])
def test_an_adc_image_under_any_b(plain, b):
    kept, (finding,) = drop_derived(joined(plain, [adc(plain.signal)], b, NONE))
    assert kept.tolist() == list(range(7))
    assert finding == (NOTE, texts.VOLUMES_COMPUTED.format(volumes=7))


def test_maps_within_a_brain_mask_and_an_exponential_adc(head, plain):
    decay = 1000 * trace(plain.signal[..., 1:]) / np.maximum(plain.signal[..., 0], 1)
    for image in (adc(plain.signal) * head.brain, decay, decay * head.brain):
        kept, (finding,) = drop_derived(joined(plain, [image], 1500, NONE))
        assert kept.tolist() == list(range(7))
        assert finding == (NOTE, texts.VOLUMES_COMPUTED.format(volumes=7))


def test_a_map_with_signs_is_no_magnitude(plain):
    difference = plain.signal[..., 1] - plain.signal[..., 2]
    kept, (finding,) = drop_derived(joined(plain, [difference], 1500, NONE))
    assert kept.tolist() == list(range(7))
    assert finding == (CARE, texts.VOLUMES_OF_MAPS.format(volumes=7))


def test_a_trace_stays_that_is_all_there_is_and_its_adc_goes(plain):
    alone = joined(plain.subset([0]), [trace(plain.signal[..., 1:]), adc(plain.signal)], [1000, 2000], [NONE, NONE])
    kept, (finding,) = drop_derived(alone)
    assert kept.tolist() == [0, 1]
    assert finding.text == texts.VOLUMES_COMPUTED.format(volumes=2)


@pytest.mark.parametrize(("b", "direction"), [(0, NONE), (1000, OBLIQUE), (2000, NONE)])
def test_an_fa_map_is_told_by_its_contrast(plain, b, direction):
    kept, (finding,) = drop_derived(joined(plain, [anisotropy(plain.signal, BVECS)], b, direction))
    assert kept.tolist() == list(range(7))
    assert finding == (CARE, texts.VOLUMES_OF_MAPS.format(volumes=7))


def test_a_smoothed_copy_lacks_noise(plain):
    smooth = sums_of_three(sums_of_three(plain.signal[..., 2])) / 9**3
    kept, (finding,) = drop_derived(joined(plain, [smooth], 1000, BVECS[2]))
    assert kept.tolist() == list(range(7))
    assert finding == (CARE, texts.VOLUMES_SMOOTHED.format(volumes=7))


@pytest.mark.parametrize("shift", [0.15, 0.3])
def test_a_resampled_series_beside_the_original(plain, shift):
    """As motion correction makes it, by cubic interpolation (Catmull & Rom) along two axes."""
    t = shift
    kernel = np.array([-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, t**3 - t**2]) / 2
    moved = plain.signal
    for axis in (0, 1):
        moved = sum(weight * np.roll(moved, step, axis) for weight, step in zip(kernel, (-1, 0, 1, 2), strict=True))
    kept, (finding,) = drop_derived(joined(plain, list(np.moveaxis(np.maximum(moved, 0), -1, 0)), BVALS, BVECS))
    assert kept.tolist() == list(range(7))
    text = texts.VOLUMES_RESAMPLED.format(volumes="7, 8, 9, 10, 11, 12, 13", of="0, 1, 2, 3, 4, 5, 6")
    assert finding == (CARE, text)


@pytest.mark.parametrize("snr", [3, 10, 30, 100, 300, 1000])
def test_repeats_that_were_measured_all_stay(head, snr):
    """Averages of each direction and of b=0 differ by noise alone."""
    table = GradientTable(np.tile(BVALS, 3), np.tile(BVECS, (3, 1)))
    scan = scan_head(head, table.bvals, table.bvecs, 1 / snr)
    for signal in (scan.signal, np.rint(scan.signal)):
        kept, findings = drop_derived(Acquisition(signal, table, scan.affine))
        assert kept.tolist() == list(range(21))
        assert findings == ()


@pytest.mark.parametrize("snr", [3, 10, 30, 100, 1000])
@pytest.mark.parametrize("protocol", ["6+1", "30", "shells", "traces", "trace and directions"])
def test_clean_scans_lose_nothing(head, snr, protocol):
    rng = np.random.default_rng(7)
    thirty = rng.standard_normal((30, 3))
    thirty /= np.linalg.norm(thirty, axis=1, keepdims=True)
    bvals, bvecs = {
        "6+1": (BVALS, BVECS),
        "30": ([0] + [1000] * 30, [NONE, *thirty]),
        "shells": ([0, 0] + [700] * 8 + [2000] * 22, [NONE, NONE, *thirty]),
        "traces": ([0, 500, 1000], np.zeros((3, 3))),
        # a trace image that was measured by itself
        "trace and directions": ([0, 1000, 1000, 1000, 1200], [NONE, *np.eye(3), NONE]),
    }[protocol]
    scan = scan_head(head, np.array(bvals, float), np.array(bvecs), 1 / snr)
    kept, findings = drop_derived(scan)
    assert findings == ()
    assert len(kept) == len(bvals)
    assert screen(scan).acquisition is scan


def test_what_is_left_must_be_a_scan(plain):
    """b=0 and its copy under a b-value: nothing is diffusion-weighted."""
    with pytest.raises(InputError, match=opening(texts.NOTHING_MEASURED)):
        drop_derived(joined(plain.subset([0]), [plain.signal[..., 0]], 1000, BVECS[1]))


def test_an_image_too_small_for_details_is_searched_for_equal_volumes():
    rng = np.random.default_rng(0)
    signal = rng.integers(1, 1000, (3, 3, 2, 8)).astype(np.float32)
    signal[..., 7] = signal[..., 4]
    table = GradientTable(np.append(BVALS, 1000), np.concatenate([BVECS, BVECS[4:5]]))
    kept, (finding,) = drop_derived(Acquisition(signal, table, np.eye(4)))
    assert kept.tolist() == list(range(7))
    assert finding.text == texts.VOLUMES_COPIED.format(volumes=7, of=4)


def test_screening_tells_what_it_used(plain):
    screened = screen(joined(plain, [plain.signal[..., 0]], 0, NONE))
    assert screened.as_dict()["VolumesUsed"] == list(range(7))
    assert screened.as_dict()["Findings"] == [texts.VOLUMES_COPIED.format(volumes=7, of=0)]
    assert len(screened.acquisition.gradients) == 7


def test_nonnegative_weights():
    rng = np.random.default_rng(3)
    x = rng.standard_normal((500, 6))
    truth = np.array([0.5, 0, 0, 1.5, 0, 0.2])
    assert np.allclose(nonnegative(x.T @ x, x.T @ (x @ truth)), truth, atol=1e-8)
    # the best of all has a weight below 0: the bound is met, and no gradient leads away from it
    y = x @ np.array([1.0, -2, 0, 0, 0.5, 0])
    weights = nonnegative(x.T @ x, x.T @ y)
    slope = x.T @ (y - x @ weights)
    assert (weights >= 0).all()
    assert np.abs(slope[weights > 0]).max() < 1e-6 * np.abs(x.T @ y).max()
    assert slope[weights == 0].max() <= 1e-6 * np.abs(x.T @ y).max()
    assert not nonnegative(np.eye(2), np.array([-1.0, -2.0])).any()


def test_real_scans_lose_nothing(shared_data):
    for name in ("vanderbilt_acq-3mm", "uih_acq-PA6134431"):
        path = shared_data / "validation" / f"sub-{name.split('_')[0]}" / "dwi" / f"sub-{name}_dwi.nii.gz"
        kept, findings = drop_derived(read_acquisition(path))
        assert findings == ()
        assert len(kept) > 6


def test_the_head_can_be_drawn_at_another_size():
    """Squares of 8x8 voxels do not fit into a small head: details of 2x2 voxels are looked at."""
    small = integers(scan_head(draw_head((24, 30, 16), 6.4), BVALS, BVECS, 1 / 30))
    kept, _ = drop_derived(joined(small, [small.signal[..., 1:].mean(-1)], 1000, OBLIQUE))
    assert kept.tolist() == list(range(7))
