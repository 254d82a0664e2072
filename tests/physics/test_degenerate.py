"""Voxels that no tensor fits: their maps do not depend on rounding, so that every device makes the same ones."""

from pathlib import Path

import numpy as np
import pytest
from physics_cases import NU, SPOILT, Case, case, judge, protocol, spoilt
from real_voxels import real_voxels

from edge_pigment.physics import adaptation
from edge_pigment.physics.host import HostBackend

PROTOCOLS = {
    "three": protocol(1, (1.0, 3)),
    "six": protocol(1, (1.0, 6)),
    "thirty": protocol(3, (1.0, 30)),
    "shells": protocol(3, (0.7, 10), (2.0, 20), (3.0, 30)),
}


def reference(c: Case, nu: float = NU) -> adaptation.Posterior:
    return adaptation.adapt(c.y, c.b, c.bvecs, c.sigma, c.mean, c.factor, nu)


def check(backend: HostBackend, c: Case, nu: float = NU) -> None:
    with backend.hold(*c.measured()) as scan:
        judge(scan.adapt(*c.prior()[:2], nu), reference(c, nu))


@pytest.mark.parametrize("kind", SPOILT)
@pytest.mark.parametrize("name", PROTOCOLS)
def test_agrees_with_float64(backend: HostBackend, name, kind):
    c = case(503, *PROTOCOLS[name])
    check(backend, c._replace(y=spoilt(kind, c.y, c.b)))


@pytest.mark.parametrize("kind", SPOILT)
def test_agrees_with_float64_with_the_shipped_prior_on_a_real_scan(shared_data: Path, kind):
    c, nu = real_voxels(shared_data, "sub-vanderbilt", every=97)
    check(HostBackend(2), c._replace(y=spoilt(kind, c.y, c.b)), nu)


def test_a_spike_pulls_no_harder_however_loud_it_is(backend: HostBackend):
    c = case(300, *PROTOCOLS["thirty"], snr=(15, 30))
    modes = []
    for loudness in (1, 30):
        y = spoilt("one a spike", c.y, c.b)
        y[:, -1] *= loudness
        modes.append(backend.adapt(*c._replace(y=y).measured(), *c.prior()).mode)
    np.testing.assert_allclose(*modes, atol=2e-4)


def test_rounding_does_not_decide_where_a_voxel_ends():
    """Priors that differ by as much as float32 resolves lead to the same minimum, in float64 itself."""
    rng = np.random.default_rng(5)
    c = case(2000, *PROTOCOLS["six"], seed=5)
    for kind in ("saturated", "negative"):
        y = spoilt(kind, c.y, c.b)
        mean, factor = (a * (1 + 3e-7 * rng.normal(size=a.shape)) for a in (c.mean, c.factor))
        one = adaptation.adapt(y, c.b, c.bvecs, c.sigma, c.mean, c.factor, NU)
        other = adaptation.adapt(y, c.b, c.bvecs, c.sigma, mean, factor, NU)
        assert np.abs(one.mode - other.mode).max() < 1e-3, kind


def test_all_converge():
    """Also what takes longest: more trial points would change nothing."""
    c = case(2000, *PROTOCOLS["shells"], seed=6)
    for kind in SPOILT:
        y = spoilt(kind, c.y, c.b)
        one, more = (
            adaptation.adapt(y, c.b, c.bvecs, c.sigma, c.mean, c.factor, NU, iterations)
            for iterations in (adaptation.ITERATIONS, 1000)
        )
        assert np.abs(one.mode - more.mode).max() < 1e-6, kind
