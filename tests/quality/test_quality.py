"""Ruined scans are caught, each by its own measure; the clean one is left in peace."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest

from conftest import DIRECTIONS_6, opening, scan_head
from edge_pigment import errors as texts
from edge_pigment.acquisition import Acquisition
from edge_pigment.adapt import gather
from edge_pigment.convention import Convention
from edge_pigment.findings import NOTE, Finding
from edge_pigment.gradients import GradientTable
from edge_pigment.outputs.write import plain
from edge_pigment.phantom import make_phantom
from edge_pigment.physics.adaptation import pack
from edge_pigment.physics.host import HostBackend
from edge_pigment.physics.tensor import latent
from edge_pigment.quality import assess
from edge_pigment.quality.levels import measure_levels
from edge_pigment.quality.residuals import misfit_of, residual_z
from edge_pigment.quality.verdict import CARE, REPEAT, USABLE
from edge_pigment.simulate import Noise, Protocol, Shell, simulate_scan
from edge_pigment.simulate.directions import electrostatic

DOUBT = Convention({}, warning="The frame is wrong.")


@pytest.fixture(scope="module", params=[6, 12], ids=["6+1", "12+1"])
def scan(request):
    """A head of 3 x 3 x 4 mm at SNR 15: its acquisition, and the brain as the phantom knows it."""
    protocol = Protocol(voxel=(3.0, 3.0, 4.0), shells=(Shell(b=1000.0, directions=request.param),))
    found = simulate_scan(make_phantom(3.0).subject, protocol, Noise(snr=15), seed=2)
    acquisition = Acquisition(found.signal, GradientTable(found.bvals, found.bvecs), found.affine)
    return acquisition, found.truth.brain > 0.5, float(np.mean(found.sigma))


def look(scan, signal=None, table=None, convention=Convention({}), **details):
    acquisition, mask, sigma = scan
    if signal is not None:
        acquisition = Acquisition(signal, table or acquisition.gradients, acquisition.affine)
    m = gather(acquisition, mask, sigma)
    theta = HostBackend(1).summarise(m.y, m.b, m.bvecs, m.sigma).theta
    return assess(acquisition, mask, m, theta, np.zeros(len(m.y)), convention, **details)


def test_a_clean_scan_is_usable_and_says_nothing(scan):
    quality = look(scan)
    assert quality.verdict == (USABLE, ())
    assert quality.warnings == ()
    assert quality.motion.span < 1
    assert not quality.swap.pairs
    assert 0.6 < quality.levels.adc < 1.3


@pytest.mark.parametrize("volume", [0, 3])
def test_a_volume_of_half_brightness(scan, volume):
    signal = scan[0].signal.copy(order="F")
    signal[..., volume] *= 0.5
    quality = look(scan, signal)
    if volume == 0:  # the only b=0 has no like, but no brain diffuses as it then would
        assert quality.verdict.level == REPEAT
        assert not quality.levels.adc_is_plausible
        assert "mean diffusivity" in quality.verdict.reasons[0]
    else:
        assert quality.levels.outliers == (volume,)
        spare = len(scan[0].gradients) - 1 > 6
        assert quality.verdict.level == (CARE if spare else REPEAT)
        assert f"Volume {volume} " in quality.verdict.reasons[0]
        assert "-5" in quality.verdict.reasons[0]


def test_a_blank_slice(scan):
    signal = scan[0].signal.copy(order="F")
    signal[:, :, 18, 2] = 0
    quality = look(scan, signal)
    assert quality.levels.dropped == ((2, 18),)
    assert quality.verdict.level == CARE
    assert "2/18" in quality.verdict.reasons[0]


def test_exchanged_volumes(scan):
    signal = scan[0].signal.copy(order="F")
    signal[..., [1, 4]] = signal[..., [4, 1]]
    quality = look(scan, signal)
    assert quality.swap.found
    assert (1, 4) in quality.swap.pairs or len(scan[0].gradients) == 7  # half a turn is as good, of six
    assert quality.verdict.level == CARE
    assert "exchanged" in quality.verdict.reasons[0]


def test_a_head_that_moved_is_told_in_mm(scan):
    signal = scan[0].signal.copy(order="F")
    half = (len(scan[0].gradients) + 1) // 2
    signal[..., half:] = np.roll(signal[..., half:], 2, axis=0)  # 6 mm
    quality = look(scan, signal)
    assert quality.motion.span == pytest.approx(6, abs=1.5)
    assert quality.verdict.level == REPEAT
    assert "moved" in quality.verdict.reasons[0]
    assert not quality.swap.told
    assert quality.as_dict()["Volumes"]["Exchanged"] == []


def test_exchanged_volumes_of_a_head_that_moved_are_told_as_a_doubt(scan):
    signal = scan[0].signal.copy(order="F")
    signal[..., [1, 4]] = signal[..., [4, 1]]
    signal[..., -1] = np.roll(signal[..., -1], 2, axis=0)
    quality = look(scan, signal)
    assert quality.verdict.level == REPEAT
    assert "moved" in quality.verdict.reasons[0]
    if quality.swap.found:
        assert any("motion alone may" in reason for reason in quality.verdict.reasons)
        assert not quality.swap.told


def test_a_doubtful_frame_is_a_reason_but_not_told_twice(scan):
    quality = look(scan, convention=DOUBT)
    assert quality.verdict == (CARE, (DOUBT.warning,))
    assert quality.warnings == ()


def ball(voxel, sigma=0.1):
    """A vessel of water at 22 °C, 32 x 32 x 12 voxels."""
    x, y = np.meshgrid(np.arange(32), np.arange(32), indexing="ij")
    inside = np.repeat(((x - 16) ** 2 + (y - 16) ** 2 < 13**2)[..., None], 12, axis=2)
    bvals, bvecs = np.array([0.0] + [1000.0] * 6), np.concatenate([np.zeros((1, 3)), DIRECTIONS_6])
    signal = np.where(inside[..., None], np.exp(-bvals * 2.1e-3), 0)
    noise = sigma * np.random.default_rng(0).standard_normal((2, *signal.shape))
    table = GradientTable(bvals, bvecs)
    return Acquisition(np.hypot(signal + noise[0], noise[1]), table, np.diag([*voxel, 1.0])), inside, sigma


def test_a_phantom_is_told_from_a_brain():
    (reason,) = look(ball((3, 3, 5))).mask_doubts
    assert re.search(opening(texts.UNIFORM_SUBJECT), reason)
    assert reason in look(ball((3, 3, 5))).warnings


def test_a_scan_too_small_for_a_human_head_is_said(scan):
    acquisition, mask, sigma = scan
    affine = acquisition.affine @ np.diag([0.06, 0.06, 0.06, 1])
    quality = look((Acquisition(acquisition.signal, acquisition.gradients, affine), mask, sigma))
    (reason,) = quality.mask_doubts
    assert re.search(opening(texts.SMALL_SUBJECT), reason)
    assert quality.verdict.level == CARE


def test_a_note_is_told_and_leaves_the_verdict_as_it_is(scan):
    findings = (Finding(NOTE, "One volume was sent twice."), Finding(CARE, "The noise is not white."))
    quality = look(scan, findings=findings)
    assert quality.verdict == (CARE, (findings[1].text,))
    assert quality.warnings == (findings[1].text, findings[0].text)
    assert look(scan, findings=findings[:1]).verdict == (USABLE, ())


def test_fewer_than_six_directions_are_said(scan):
    acquisition, mask, sigma = scan
    quality = look((acquisition.subset([0, 1, 2, 3]), mask, sigma))
    assert quality.identifiability.rank == 3
    assert quality.identifiability.condition == np.inf
    assert quality.verdict.level == CARE
    assert "3 of a tensor's 6" in quality.verdict.reasons[0]


def test_everything_fits_into_json(scan):
    told = look(scan).as_dict()
    again = json.loads(json.dumps(plain(told), allow_nan=False))
    assert again["Verdict"] == USABLE
    assert len(again["Volumes"]["LogLevel"]) == len(scan[0].gradients)
    assert again["MotionMm"]["PerVolume"][0] is None  # the only b=0


def test_a_mask_too_large_for_a_brain_is_doubted(scan):
    acquisition, mask, sigma = scan
    quality = look((acquisition, np.ones_like(mask) & (acquisition.mean_b0 > 0), sigma))
    assert any("ml" in reason for reason in quality.verdict.reasons)


def test_the_residual_of_a_bad_volume_stands_out():
    rng = np.random.default_rng(0)
    mode = np.tile(np.array([[0.0, 0.9, 0.9, 0.9, 0, 0, 0]], np.float32).T, (1, 500))
    b = np.r_[np.zeros(2), np.ones(20)].astype(np.float32)
    g = rng.standard_normal((22, 3)).astype(np.float32)
    g /= np.linalg.norm(g, axis=1, keepdims=True)
    y = np.exp(-b * 0.81)[:, None] + 0.02 * rng.standard_normal((22, 500))
    y[7] += 0.1
    z = residual_z(y.astype(np.float32), mode, b, g, np.full(500, 0.02, np.float32))
    assert np.argmax(z) == 7
    assert z[7] > 10
    assert np.abs(np.delete(z, 7)).max() < 5


def test_what_has_no_weight_is_neither_motion_nor_another_brightness(scan):
    """A sixth of the head is missing in three volumes: nothing stands out, whatever is compared."""
    signal = scan[0].signal.copy(order="F")
    signal[: signal.shape[0] // 3, :, :, [2, 4, 5]] = np.nan
    quality = look(scan, signal)
    assert quality.verdict == (USABLE, ())
    assert quality.motion.span < 1


def test_volumes_are_called_by_their_numbers_in_the_file(scan):
    """Volumes 0, 2, 4 ... of a longer scan were used: texts and provenance say so."""
    acquisition = scan[0]
    signal = acquisition.signal.copy(order="F")
    signal[..., 3] *= 0.5
    signal[..., 1] = np.roll(signal[..., 1], 2, axis=0)
    used = 2 * np.arange(len(acquisition.gradients))
    quality = look(scan, signal, volumes=used)
    told = quality.as_dict()
    assert told["Volumes"]["Outliers"] == [6]
    assert 1 in quality.motion.moved
    assert told["MotionMm"]["Moved"] == [2 * n for n in quality.motion.moved]
    assert any("Volume 6 " in reason for reason in quality.verdict.reasons)
    assert any("(volumes 2" in reason for reason in quality.verdict.reasons)
    for values in (told["Volumes"]["LogLevel"], told["MotionMm"]["PerVolume"]):
        assert len(values) == used[-1] + 1
        assert set(values[1::2]) == {None}
    assert told["Volumes"]["LogLevel"][6] < -0.5
    assert json.dumps(plain(told))


def test_residuals_that_speak_against_the_model_reach_the_verdict(scan):
    quality = look(scan, misfit=3.1)
    assert quality.verdict.level == CARE
    assert "3.1 times" in quality.verdict.reasons[0]
    assert look(scan, misfit=1.2).verdict.level == USABLE


def test_no_sign_is_advised_where_volumes_are_out_of_order(scan):
    signal = scan[0].signal.copy(order="F")
    signal[..., [1, 4]] = signal[..., [4, 1]]
    quality = look(scan, signal, convention=Convention({}, warning=texts.SIGNS_DOUBTFUL.format(best="x")))
    assert quality.convention.warning == texts.AXES_UNCLEAR
    assert texts.AXES_UNCLEAR in quality.verdict.reasons


@pytest.mark.parametrize("b", [1000.0, 5000.0])
def test_misfit_is_one_where_a_tensor_fits(b):
    """Of noise about a tensor 1; where two compartments decay, more."""
    rng = np.random.default_rng(0)
    bvals = np.r_[0.0, np.full(15, 1000.0), np.full(15, b)]
    bvecs = np.concatenate([np.zeros((1, 3)), electrostatic(15), electrostatic(15)])
    S = 0.5 * np.exp(-bvals * 1.5e-3) + 0.5 * np.exp(-bvals * (1.5e-3 if b == 1000 else 0.2e-3))
    sigma = 0.02
    y = np.hypot(S[:, None] + sigma * rng.standard_normal((31, 800)), sigma * rng.standard_normal((31, 800)))
    held = (y.astype(np.float32), (bvals * 1e-3).astype(np.float32), bvecs.astype(np.float32))
    mean = np.tile(latent(np.ones(1), np.array([[1.5, 1.5, 1.5, 0, 0, 0]])).T, (1, 800)).astype(np.float32)
    factor = np.tile(pack(np.eye(7)[None]).T, (1, 800)).astype(np.float32)
    with HostBackend(1).hold(*held, np.full(800, sigma, np.float32)) as h:
        misfit = misfit_of(held[0], h.adapt(mean, factor, 5.0))
    assert 0.9 < misfit < 1.1 if b == 1000 else misfit > 2


def test_levels_of_many_b_values_are_compared_along_b(head):
    """b in small steps, as of IVIM: no volume stands out for its b, and one of half brightness does."""
    bvals = np.r_[0.0, np.linspace(80, 1200, 24)]
    scan = scan_head(head, bvals, np.concatenate([np.zeros((1, 3)), electrostatic(24)]), 0.05)
    y = gather(scan, head.brain, 50.0).y
    assert measure_levels(y, head.brain.T, scan.gradients, 0.05).outliers == ()
    for n in (3, 12, 24):
        spoilt = y.copy()
        spoilt[n] *= 0.5
        assert measure_levels(spoilt, head.brain.T, scan.gradients, 0.05).outliers == (n,)


@pytest.mark.parametrize(("factor", "plausible"), [(1.0, True), (0.1, False), (0.25, False), (10.0, False)])
def test_b_values_in_another_unit_are_doubted(scan, factor, plausible):
    """b = 100, 250 and 10 000 s/mm² for 1000: no brain's water diffuses so."""
    table = scan[0].gradients
    wrong = GradientTable(table.bvals * factor, table.bvecs)
    assert look((replace(scan[0], gradients=wrong), *scan[1:])).levels.adc_is_plausible == plausible
