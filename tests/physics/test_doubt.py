"""Voxels that float32 cannot decide: they are found, they are few, and float64 decides them as the reference does."""

from pathlib import Path

import numpy as np
import pytest
from physics_cases import NU, SPOILT, Case, beyond, case, protocol, spoilt
from real_voxels import real_voxels

from edge_pigment.physics import adaptation, moments
from edge_pigment.physics.backend import Outcome
from edge_pigment.physics.doubt import doubtful
from edge_pigment.physics.host import HostBackend

THREE, SIX = protocol(1, (1.0, 3)), protocol(1, (1.0, 6))


def spoilt_case(kind: str, voxels: int = 503) -> Case:
    """Values that float32 holds exactly, so that both arithmetics are asked the same."""
    c = case(voxels, *SIX)
    y = c.y if kind == "as they are" else spoilt(kind, c.y, c.b)
    return c._replace(y=y.astype(np.float32).astype(float))


def float32_alone(backend: HostBackend, c: Case) -> Outcome:
    p = backend.adapt(*c.measured(), *c.prior())
    return Outcome(p.mode, p.residual, p.distance, p.share, backend.moments(p.mode, p.factor))


@pytest.mark.parametrize("kind", ["as they are", *SPOILT])
def test_float64_is_the_reference(backend: HostBackend, kind):
    c = spoilt_case(kind)
    expected = adaptation.adapt(c.y, c.b, c.bvecs, c.sigma, c.mean, c.factor, NU)
    got = backend.adapt_in_float64(*c.measured(), *c.prior())
    np.testing.assert_allclose(got.mode.T, expected.mode, atol=1e-9)
    np.testing.assert_allclose(got.factor.T, expected.factor, atol=1e-7 * np.abs(expected.factor).max())
    np.testing.assert_allclose(got.residual, expected.residual, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(got.distance, expected.distance, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(got.share.T, expected.share, atol=1e-6)
    maps = moments.moments(expected.mode, expected.factor)
    np.testing.assert_allclose(got.moments[:10].T, maps[:, :10], rtol=1e-6, atol=1e-9)
    for name, times in beyond(got.mode, got.moments, expected).items():
        assert times.max() < 1e-3, name


def test_what_float32_misses_is_doubted_and_mended(backend: HostBackend):
    """Three directions see no tensor that rises or is saturated everywhere: there float32 alone misses the bars."""
    missed = 0
    for kind in ("saturated", "growing", "one a spike"):
        c = case(3000, *THREE, seed=40)
        c = c._replace(y=spoilt(kind, c.y, c.b))
        expected = adaptation.adapt(c.y, c.b, c.bvecs, c.sigma, c.mean, c.factor, NU)
        alone = float32_alone(backend, c)
        worst = np.maximum.reduce(list(beyond(alone.mode, alone.moments, expected).values()))
        doubted = np.zeros(3000, bool)
        doubted[doubtful(alone)] = True
        assert worst[~doubted].max(initial=0) < 0.5
        missed += int((worst >= 1).sum())
        with backend.hold(*c.measured()) as scan:
            got = scan.adapt(*c.prior())
        np.testing.assert_array_equal(got.exact, np.flatnonzero(doubted))
        assert all(times.max() < 0.5 for times in beyond(got.mode, got.moments, expected).values())
    assert missed > 5


def test_what_is_not_doubted_is_float32s(backend: HostBackend):
    c = spoilt_case("a third lost")
    alone = float32_alone(backend, c)
    with backend.hold(*c.measured()) as scan:
        got = scan.adapt(*c.prior())
    kept = np.setdiff1d(np.arange(503), got.exact)
    assert 0 < len(got.exact) < 503
    for one, other in zip(alone[:5], got[:5], strict=True):
        np.testing.assert_array_equal(one[..., kept], other[..., kept])


def test_what_has_not_converged_is_doubted(backend: HostBackend):
    c = case(503, *SIX)
    p = backend.adapt(*c.measured(), *c.prior(), iterations=3)
    late = p.residual < 0
    assert 0 < late.sum() < 503
    whole = backend.adapt(*c.measured(), *c.prior())
    assert (whole.residual > 0).all()
    assert np.abs(p.mode - whole.mode)[:, ~late].max() < 1e-5
    outcome = Outcome(p.mode, p.residual, p.distance, p.share, backend.moments(p.mode, p.factor))
    assert set(np.flatnonzero(late)) <= set(doubtful(outcome))


def test_few_voxels_of_simulated_tissue_are_doubted(backend: HostBackend):
    for voxels_of in (SIX, protocol(3, (1.0, 30))):
        with backend.hold(*(c := case(5000, *voxels_of)).measured()) as scan:
            assert len(scan.adapt(*c.prior()).exact) < 0.005 * 5000


@pytest.mark.parametrize("subject", ["sub-hcplike", "sub-vanderbilt"])
def test_few_voxels_of_a_healthy_scan_are_doubted(shared_data: Path, subject):
    c, nu = real_voxels(shared_data, subject, every=1)
    with HostBackend(2).hold(*c.measured()) as scan:
        assert len(scan.adapt(*c.prior()[:2], nu).exact) < 0.012 * len(c.y)


def test_float64_depends_neither_on_neighbours_nor_on_threads():
    c = spoilt_case("growing", 300)
    one = HostBackend(1).adapt_in_float64(*c.measured(), *c.prior())
    many = HostBackend(3).adapt_in_float64(*c.measured(), *c.prior())
    some = np.array([3, 70, 71, 72, 150, 299])
    y, b, bvecs, sigma = c.measured()
    mean, factor, nu = c.prior()
    few = HostBackend(1).adapt_in_float64(y[:, some], b, bvecs, sigma[some], mean[:, some], factor[:, some], nu)
    for whole, other, part in zip(one, many, few, strict=True):
        np.testing.assert_array_equal(whole, other)
        np.testing.assert_array_equal(whole[..., some], part)
