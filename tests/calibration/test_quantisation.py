"""The calibration set is simulated scans, the same each time, and named by its hash."""

from dataclasses import replace

import numpy as np
import pytest

from edge_pigment.physics.host import HostBackend
from edge_pigment.prior.features import CHANNELS, VOXEL_CHANNELS
from edge_pigment.simulate import simulate_scan
from edge_pigment_calibration import heads
from edge_pigment_calibration.quantisation import CalibrationSet, calibration_set, cases, scan_features


@pytest.fixture(scope="module")
def small():
    """Features of the first case, on a coarse head."""
    case = cases()[1]
    subject = heads.slab(heads.head(3, 5.0), 5.0, 20.0)
    scan = simulate_scan(subject, case.protocol, case.noise, seed=1)
    return scan_features(scan, HostBackend(1), slices=2)


def test_the_cases_span_low_field_to_clinical_scans():
    fields = [case.name for case in cases()]
    assert fields[:2] == ["0.05T", "64mT"]
    assert "3T" in fields
    snrs = [case.noise.snr for case in cases()]
    assert min(snrs) <= 5
    assert max(snrs) >= 30
    counts = [sum(s.directions for s in case.protocol.shells) for case in cases()]
    assert min(counts) <= 3
    assert max(counts) >= 30


def test_features_are_those_of_a_scan(small):
    assert small.shape[1] == CHANNELS
    assert small.dtype == np.float32
    own = small[:, VOXEL_CHANNELS : 2 * VOXEL_CHANNELS]
    inside = own[:, -1] == 1
    assert inside.any()
    assert not own.transpose(1, 0, 2, 3)[:, ~inside].any(), "0 outside the brain"
    assert 0.2 < own[:, 1:4].transpose(1, 0, 2, 3)[:, inside].std() < 2


def test_the_hash_names_every_byte(small):
    one = CalibrationSet((small,), ("a",))
    assert one.hash == CalibrationSet((small.copy(),), ("a",)).hash
    changed = small.copy()
    changed[0, 0, 0, 0] += np.float32(1e-6)
    assert one.hash != CalibrationSet((changed,), ("a",)).hash
    assert one.describe()["slices"] == len(small)


def test_a_slab_keeps_the_heads_place_and_tissue():
    whole = heads.head(3, 5.0)
    piece = heads.slab(whole, 5.0, 20.0)
    low = round((piece.affine[2, 3] - whole.affine[2, 3]) / 5.0)
    g = np.array([0.0, 0.6, 0.8])
    part = slice(low, low + piece.shape[2])
    # sums of few products, whose order depends on the size of the arrays
    np.testing.assert_allclose(piece.signal(1.0, g), whole.signal(1.0, g)[:, :, part], rtol=1e-5)
    np.testing.assert_array_equal(piece.brain, whole.brain[:, :, part])
    assert replace(piece).shape == piece.shape


@pytest.mark.slow
def test_the_set_is_the_same_each_time():
    assert calibration_set(few=True).hash == calibration_set(few=True).hash
