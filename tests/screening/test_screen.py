"""Screening as a whole: what is left, what it is called, and what a run makes of it."""

from dataclasses import replace

import numpy as np
import pytest

from conftest import opening, scan_head
from edge_pigment import errors as texts
from edge_pigment.adapt import gather
from edge_pigment.findings import CARE, NOTE
from edge_pigment.gradients import GradientTable
from edge_pigment.pipeline import RunOptions, run
from edge_pigment.screening import screen
from edge_pigment.simulate.directions import electrostatic

SIX = electrostatic(6)


def table(*bvals):
    """Volumes without a direction, then six directions for each b."""
    b0, shells = [b for b in bvals if b < 200], [b for b in bvals if b >= 200]
    return (
        np.concatenate([b0, np.repeat(np.array(shells, float), 6)]),
        np.concatenate([np.zeros((len(b0), 3)), *[SIX] * len(shells)]),
    )


def test_volumes_keep_their_numbers(head):
    """Volumes above the shells that are used are gone, and what comes after them is named as in the file."""
    bvals, bvecs = table(0, 3000, 1000)
    scan = scan_head(head, bvals, bvecs, 0.03)
    signal = scan.signal.copy(order="F")
    signal[:, 45:, :, 9] = 0
    found = screen(replace(scan, signal=signal))
    np.testing.assert_array_equal(found.volumes, [0, *range(7, 13)])
    np.testing.assert_array_equal(found.acquisition.gradients.bvals, [0] + [1000] * 6)
    assert [finding.level for finding in found.findings] == [NOTE, CARE]
    assert "Volume 1, 2, 3, 4, 5, 6 " in found.findings[0].text
    assert "(9)" in found.findings[1].text
    assert found.as_dict()["VolumesUsed"] == [0, *range(7, 13)]


def test_what_stands_for_b0_is_told_and_has_its_own_b(head):
    bvals, bvecs = table(60, 65, 1000)
    scan = replace(scan_head(head, bvals, bvecs, 0.03), gradients=GradientTable(bvals, bvecs)).with_b0_threshold()
    found = screen(scan)
    assert [finding.level for finding in found.findings] == [NOTE]
    assert opening(texts.LOWEST_B_IS_B0).replace("\\", "") in found.findings[0].text
    np.testing.assert_allclose(gather(scan, head.brain, 30.0).b[:3], [0.06, 0.065, 1], rtol=1e-6)


@pytest.mark.parametrize("value", [0.0, np.nan])
def test_a_run_takes_what_was_moved_out_of_view_for_not_measured(head, value):
    """The maps there are those of the other volumes, no voxel is lost, and the verdict says what happened."""
    bvals = np.r_[0.0, np.full(12, 1000.0)]
    scan = scan_head(head, bvals, np.concatenate([np.zeros((1, 3)), electrostatic(12)]), 0.04)
    zone = np.broadcast_to((np.arange(head.brain.shape[1]) > 44)[None, :, None], head.brain.shape)
    gone = [3, 6, 9]
    signal = scan.signal.copy(order="F")
    signal[..., gone] = np.where(zone[..., None], np.float32(value), signal[..., gone])
    options = RunOptions(device="cpu", sigma=40.0)
    spoilt = run(replace(scan, signal=signal), options)
    without = run(scan.subset(np.setdiff1d(np.arange(13), gone)), options)
    inside = zone & without.mask
    assert (spoilt.mask & inside).sum() > 0.98 * inside.sum()
    inside &= spoilt.mask
    assert np.median(np.abs(spoilt.maps["FA"] - without.maps["FA"])[inside]) < 0.02
    assert spoilt.provenance["Quality"]["Verdict"] == CARE
    assert spoilt.provenance["Quality"]["MotionMm"]["Moved"] == []
    assert spoilt.provenance["Quality"]["Volumes"]["Outliers"] == []
    assert "(3, 6, 9)" in " ".join(spoilt.warnings)
