"""Motion, eddy currents, and values that are missing: each told as what it is."""

import re

import numpy as np
import pytest

from conftest import opening
from edge_pigment import errors as texts
from edge_pigment.acquisition import Acquisition
from edge_pigment.adapt import gather
from edge_pigment.convention import Convention
from edge_pigment.gradients import GradientTable
from edge_pigment.phantom import make_phantom
from edge_pigment.physics.host import HostBackend
from edge_pigment.quality import assess
from edge_pigment.quality.eddy import eddy_part
from edge_pigment.quality.motion import measure_motion
from edge_pigment.quality.verdict import CARE, REPEAT, USABLE
from edge_pigment.simulate import Noise, Protocol, Shell, simulate_scan
from edge_pigment.simulate.sampling import move


@pytest.fixture(scope="module", params=[6, 15], ids=["6+1", "15+1"])
def scan(request):
    """A head of 3 x 3 x 4 mm at SNR 15: its acquisition, its brain, and σ."""
    protocol = Protocol(voxel=(3.0, 3.0, 4.0), shells=(Shell(b=1000.0, directions=request.param),))
    found = simulate_scan(make_phantom(3.0).subject, protocol, Noise(snr=15), seed=1)
    acquisition = Acquisition(found.signal, GradientTable(found.bvals, found.bvecs), found.affine)
    return acquisition, found.truth.brain > 0.5, float(np.mean(found.sigma))


def shifted(scan, shifts, turn=None):
    """The scan with each volume moved by its shift (N, 3) mm."""
    acquisition = scan[0]
    signal = acquisition.signal.copy(order="F")
    for n, shift in enumerate(shifts):
        if np.any(shift):
            axes = np.eye(3) if turn is None else turn
            signal[..., n] = move(acquisition.signal[..., n], acquisition.voxel_size, axes, np.asarray(shift, float))
    return Acquisition(signal, acquisition.gradients, acquisition.affine)


def judged(scan, acquisition):
    _, mask, sigma = scan
    m = gather(acquisition, mask, sigma)
    theta = HostBackend(1).summarise(m.y, m.b, m.bvecs, m.sigma).theta
    return assess(acquisition, mask, m, theta, np.zeros(len(m.y)), Convention({}))


def second_half(scan, shift):
    shifts = np.zeros((len(scan[0].gradients), 3))
    shifts[(len(shifts) + 1) // 2 :] = shift
    return shifts


def test_eddy_currents_are_no_reason_to_repeat(scan):
    shifts = np.zeros((len(scan[0].gradients), 3))
    shifts[:, 1] = 5 * scan[0].gradients.bvecs @ [0.6, 0.64, 0.48]
    quality = judged(scan, shifted(scan, shifts))
    assert quality.motion.span > 4
    assert quality.motion.span_without_eddy < 2.5
    assert quality.verdict.level == CARE
    assert re.search(opening(texts.MOVED_BY_EDDY_CURRENTS), quality.verdict.reasons[0])


@pytest.mark.parametrize("shift", [(0, 5, 0), (5, 0, 0), (3, 3, 2.6)])
def test_a_head_that_moved_once_is_to_be_scanned_again(scan, shift):
    """Along the phase-encoding axis, too: it goes with time and not with the gradients."""
    quality = judged(scan, shifted(scan, second_half(scan, shift)))
    assert quality.verdict.level == REPEAT
    assert re.search(opening(texts.MOVED_TOO_FAR), quality.verdict.reasons[0])


def test_one_volume_elsewhere_is_motion(scan):
    shifts = np.zeros((len(scan[0].gradients), 3))
    shifts[3] = [0, 6, 0]
    assert judged(scan, shifted(scan, shifts)).verdict.level == REPEAT


def test_a_turned_head_is_no_eddy_current(scan):
    turn = np.array([[1, 0, 0], [0, np.cos(0.09), -np.sin(0.09)], [0, np.sin(0.09), np.cos(0.09)]])
    quality = judged(scan, shifted(scan, second_half(scan, (0, 4, 1)), turn))
    assert quality.verdict.level == REPEAT


@pytest.mark.parametrize("value", [0.0, np.nan])
def test_values_that_are_missing_are_no_motion(scan, value):
    """The front of the head is out of the field of view in some volumes, after a correction."""
    acquisition, mask, _ = scan
    signal = acquisition.signal.copy(order="F")
    front = np.arange(signal.shape[1]) > 0.65 * signal.shape[1]
    signal[:, front, :, 2::3] = value
    without = measure_motion(Acquisition(signal, acquisition.gradients, acquisition.affine), mask)
    assert without.largest < 1
    moved = shifted(scan, second_half(scan, (4, 0, 0)))
    signal = moved.signal.copy(order="F")
    signal[:, front, :, 2::3] = value
    found = measure_motion(Acquisition(signal, acquisition.gradients, acquisition.affine), mask)
    assert found.span == pytest.approx(4, abs=1)


def test_single_zeros_in_the_brain_change_nothing_much(scan):
    acquisition, mask, _ = scan
    signal = acquisition.signal.copy(order="F")
    signal[np.random.default_rng(0).random(signal.shape) < 0.01] = 0
    found = measure_motion(Acquisition(signal, acquisition.gradients, acquisition.affine), mask)
    assert found.largest == pytest.approx(measure_motion(acquisition, mask).largest, abs=0.3)


def test_in_a_field_of_view_inside_of_the_brain_motion_is_not_measured(scan):
    """Without edges, fibres' contrast would be taken for motion."""
    acquisition, _, sigma = scan
    box = (slice(18, 38), slice(20, 46), slice(12, 24))
    part = Acquisition(acquisition.signal[box], acquisition.gradients, acquisition.affine)
    mask = np.ones(part.signal.shape[:3], bool)
    assert np.isnan(measure_motion(part, mask).largest)
    quality = judged((part, mask, sigma), part)
    assert quality.verdict.level == USABLE
    assert quality.as_dict()["MotionMm"]["Span"] is None


def test_the_part_that_goes_with_the_directions():
    rng = np.random.default_rng(0)
    directions = rng.standard_normal((20, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    pose = 0.1 * rng.standard_normal((20, 6))
    pose[:, 0] += 3 * directions[:, 2]
    found = eddy_part(pose, directions, 1.5)
    np.testing.assert_allclose(found[:, 0], 3 * directions[:, 2], atol=0.3)
    assert not found[:, 1:4].any()
    pose[7, 1] += 4  # along another axis
    assert eddy_part(pose, directions, 1.5) is None
