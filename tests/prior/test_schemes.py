"""Protocols to train on: what they are made of, and what a fault of the gradients does to them."""

import numpy as np
import pytest

pytest.importorskip("torch", reason="the workshop extra is not installed")

from edge_pigment_prior.receivers import SCALE_SD, faulty
from edge_pigment_prior.schemes import MOST_TRACE, TRACE, direction_bank, random_scheme


def drawn(count):
    bank = direction_bank(0)
    return [random_scheme(np.random.default_rng(seed), bank) for seed in range(count)]


def test_every_protocol_has_a_b0_and_unit_directions_or_only_trace_images():
    schemes = drawn(600)
    traces = [s for s in schemes if not s.bvecs.any()]
    assert len(traces) == pytest.approx(600 * TRACE, abs=18)
    assert {int((s.b > 0).sum()) for s in traces} == set(range(1, MOST_TRACE + 1))
    for s in schemes:
        assert s.b.min() == 0
        assert s.b.max() >= 0.5
        if s.bvecs.any():
            np.testing.assert_allclose(np.linalg.norm(s.bvecs[s.b > 0], axis=1), 1)


def test_gradients_that_are_off_change_b_by_little_trace_images_too():
    changed = 0
    for seed, s in enumerate(drawn(200)):
        played = faulty(s, np.random.default_rng(seed))
        np.testing.assert_allclose(played.b, s.b, rtol=6 * SCALE_SD)
        changed += bool((played.b != s.b).any())
    assert changed > 10
