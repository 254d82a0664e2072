"""The kernels on a GPU against the float64 reference, and against themselves in slabs."""

import numpy as np
import pytest
from gpu_device import MARKS, cuda, device, same, standin_library
from physics_cases import NU, SPOILT, Case, case, judge, protocol, spoilt
from real_voxels import real_voxels

from edge_pigment.physics import adaptation, summarise
from edge_pigment.physics import cuda as cuda_module
from edge_pigment.physics.backend import Backend
from edge_pigment.physics.cuda import CudaBackend
from edge_pigment.physics.host import HostBackend

pytestmark = MARKS

TRACE, SIX = np.array([0, 2.0]), protocol(1, (1.0, 6))
PROTOCOLS = {
    "trace": (TRACE, np.zeros((2, 3))),
    "trace beside six": (np.concatenate([TRACE, SIX[0]]), np.concatenate([np.zeros((2, 3)), SIX[1]])),
    "three": protocol(1, (1.0, 3)),
    "six": protocol(1, (1.0, 6)),
    "thirty": protocol(3, (1.0, 30)),
    "shells": protocol(3, (0.7, 10), (2.0, 20), (3.0, 30)),
}


@pytest.mark.parametrize("name", PROTOCOLS)
@pytest.mark.parametrize("snr", [(5, 10), (10, 20), (20, 30)], ids=lambda s: f"SNR {s[0]}-{s[1]}")
def test_agrees_with_float64_on_simulated_scans(cuda: CudaBackend, name, snr):
    c = case(2003, *PROTOCOLS[name], snr=snr)
    expected = summarise.summarise(c.y, c.b, c.bvecs, c.sigma)
    with cuda.hold(*c.measured()) as scan:
        found = scan.summarise()
        np.testing.assert_allclose(found.theta.T, expected.theta, atol=1e-4)
        np.testing.assert_allclose(found.sd.T, expected.sd, rtol=1e-4)
        got = scan.adapt(*c.prior())
    posterior = adaptation.adapt(c.y, c.b, c.bvecs, c.sigma, c.mean, c.factor, NU)
    judge(got, posterior)
    np.testing.assert_allclose(got.share.T, posterior.share, atol=1e-3)
    np.testing.assert_allclose(got.residual, posterior.residual, atol=1e-4)


@pytest.mark.parametrize("backend", [lambda: HostBackend(2), CudaBackend], ids=["host", "cuda"])
@pytest.mark.usefixtures("device")
def test_agrees_with_float64_on_a_real_scan(shared_data, backend):
    """With the shipped prior; every eleventh voxel of some slices."""
    c, nu = real_voxels(shared_data, "sub-vanderbilt", every=11)
    expected = adaptation.adapt(c.y, c.b, c.bvecs, c.sigma, c.mean, c.factor, nu)
    with backend().hold(*c.measured()) as scan:
        judge(scan.adapt(*c.prior()[:2], nu), expected)


@pytest.mark.parametrize("kind", SPOILT)
@pytest.mark.parametrize("name", PROTOCOLS)
def test_degenerate_voxels_come_out_as_from_float64(cuda: CudaBackend, name, kind):
    """Zeros, saturated, of no attenuation or growing signal (negative eigenvalues), negative, absurd, not finite."""
    c = case(503, *PROTOCOLS[name])
    c = c._replace(y=spoilt(kind, c.y, c.b))
    with cuda.hold(*c.measured()) as scan:
        summary, got = scan.summarise(), scan.adapt(*c.prior())
    assert all(np.isfinite(result).all() for result in summary)
    judge(got, adaptation.adapt(c.y, c.b, c.bvecs, c.sigma, c.mean, c.factor, NU))
    if kind in ("unknown", "absurd"):  # nothing measured: the prior, and no share of the data
        np.testing.assert_allclose(got.mode.T, c.mean, atol=1e-6)
        np.testing.assert_allclose(got.share, 0, atol=1e-4)
        assert (got.residual == 0).all()


@pytest.mark.parametrize("kind", SPOILT)
def test_degenerate_voxels_of_a_real_scan_come_out_as_from_float64(cuda: CudaBackend, shared_data, kind):
    c, nu = real_voxels(shared_data, "sub-vanderbilt", every=97)
    c = c._replace(y=spoilt(kind, c.y, c.b))
    expected = adaptation.adapt(c.y, c.b, c.bvecs, c.sigma, c.mean, c.factor, nu)
    with cuda.hold(*c.measured()) as scan:
        judge(scan.adapt(*c.prior()[:2], nu), expected)


def everything(backend: Backend, c: Case) -> list[np.ndarray]:
    with backend.hold(*c.measured()) as scan:
        held = [*scan.summarise(), *scan.adapt(*c.prior())[:5]]
    posterior = backend.adapt(*c.measured(), *c.prior())
    return [*held, *backend.summarise(*c.measured()), *posterior, backend.moments(posterior.mode, posterior.factor)]


@pytest.mark.parametrize("voxels_at_once", [128, 1280, 2560])
def test_slabs_change_no_bit(cuda: CudaBackend, voxels_at_once):
    c = case(2601, *PROTOCOLS["six"])
    c.y[::3] = spoilt("growing", c.y, c.b)[::3]  # float64's
    # floats of a voxel, and of the protocol
    memory = 4 * (voxels_at_once * (7 + 1 + 14 + 35 + 39 + 20) + 2000)
    small = CudaBackend(memory=memory)
    with small.hold(*c.measured()) as scan:
        assert not scan.resident
        assert scan.size <= voxels_at_once + 128
    same(everything(cuda, c), everything(small, c))


@pytest.mark.parametrize("directions", [440, 460, 900])
def test_a_protocol_that_is_too_long_for_constant_memory_makes_no_difference(cuda: CudaBackend, directions):
    """16 384 floats hold 453 measurements of the summary and 744 of the adaptation."""
    c = case(300, *protocol(2, (1.0, directions)))
    with cuda.hold(*c.measured()) as scan:
        assert np.abs(scan.summarise().theta - HostBackend(1).summarise(*c.measured()).theta).max() < 1e-4
        judge(scan.adapt(*c.prior()), adaptation.adapt(c.y, c.b, c.bvecs, c.sigma, c.mean, c.factor, NU))


@pytest.mark.parametrize("voxels", [0, 1, 127, 129])
def test_any_number_of_voxels(cuda: CudaBackend, voxels):
    c = case(200, *PROTOCOLS["six"])
    few = c._replace(**{name: getattr(c, name)[:voxels] for name in ("y", "sigma", "mean", "factor", "z")})
    for whole, part in zip(everything(cuda, c), everything(cuda, few), strict=True):
        np.testing.assert_array_equal(whole[..., :voxels], part)


def test_what_is_held_is_what_single_calls_give(cuda: CudaBackend):
    c = case(700, *PROTOCOLS["thirty"])
    theta, sd, mode, residual, distance, share, maps, *single = everything(cuda, c)
    same((theta, sd, mode, residual, distance, share, maps), (*single[:3], *single[4:8]))


def test_two_scans_at_once_keep_their_protocols_apart(cuda: CudaBackend):
    one, other = case(300, *PROTOCOLS["six"]), case(300, *PROTOCOLS["thirty"])
    expected = [everything(cuda, c)[:7] for c in (one, other)]
    with cuda.hold(*one.measured()) as first, cuda.hold(*other.measured()) as second:
        summaries = [scan.summarise() for scan in (first, second)]
        outcomes = [scan.adapt(*c.prior()) for scan, c in ((first, one), (second, other))]
    for summary, outcome, alone in zip(summaries, outcomes, expected, strict=True):
        same((*summary, *outcome[:5]), alone)


@pytest.mark.parametrize("taken", [2**16, 70])
@pytest.mark.parametrize("kind", ["as they are", "growing"])
def test_pointers_serve_another_library(cuda: CudaBackend, monkeypatch, kind, taken):
    """Summaries stay on the GPU, a prior is written there by someone else, and only the outcome comes back.

    And the prior of what float32 does not decide, some voxels at a time.
    """
    monkeypatch.setattr(cuda_module, "TAKEN", taken)
    c = case(300, *PROTOCOLS["six"])
    if kind != "as they are":
        c = c._replace(y=spoilt(kind, c.y, c.b))
    mean, factor, nu = c.prior()
    with cuda.hold(*c.measured()) as scan:
        expected = scan.adapt(mean, factor, nu)
        summary = scan.summarise()
    assert (len(expected.exact) > 140) == (kind == "growing")
    with cuda.hold(*c.measured()) as scan:
        scan.start_summarise()
        with cuda.gpu.current():
            driver, stream = cuda.gpu.driver, cuda.gpu.stream
            theta = np.empty_like(summary.theta)
            driver.memcpy_dtoh_async(theta, scan.pointer("theta"), stream)
            driver.memcpy_htod_async(scan.pointer("mean"), mean, stream)
            driver.memcpy_htod_async(scan.pointer("factor"), factor, stream)
        found = scan.finish_adapt(nu)
    np.testing.assert_array_equal(theta, summary.theta)
    same(found, expected)


def test_what_does_not_fit_is_refused(cuda: CudaBackend):
    c = case(20, *PROTOCOLS["six"])
    mean, factor, nu = c.prior()
    with cuda.hold(*c.measured()) as scan:
        for wrong in (
            (mean[:, 1:], factor, nu),
            (mean, factor[1:], nu),
            (mean, factor, -1.0),
            (mean * np.nan, factor, nu),
        ):
            with pytest.raises(ValueError, match=r"."):
                scan.adapt(*wrong)
    y, b, bvecs, sigma = c.measured()
    with pytest.raises(ValueError, match="sigma"):
        cuda.summarise(y, b, bvecs, -sigma)
