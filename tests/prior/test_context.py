"""The shipped network as the runtime runs it: blind to the voxel, the same for every slab and thread count."""

import numpy as np
import pytest

from conftest import opening
from edge_pigment import errors as texts
from edge_pigment.boxes import bounding_box
from edge_pigment.errors import BundleError, DeviceError
from edge_pigment.physics.backend import Summary
from edge_pigment.physics.summarise import PRIOR_PRECISION
from edge_pigment.prior import context
from edge_pigment.prior.bundle import load_bundle
from edge_pigment.prior.context import ContextSession
from edge_pigment.prior.features import to_stack, voxel_features, with_neighbours


@pytest.fixture(scope="module")
def session():
    return ContextSession(load_bundle(), threads=1)


def random_summary(count, seed=0):
    rng = np.random.default_rng(seed)
    theta = rng.normal(0, 0.3, (7, count)).astype(np.float32)
    theta[1:4] += 0.8
    sd = (rng.uniform(0.05, 1, (7, count)) / np.sqrt(PRIOR_PRECISION)[:, None]).astype(np.float32)
    return Summary(theta, sd)


def ball(shape=(9, 20, 24)):
    z, y, x = np.ogrid[: shape[0], : shape[1], : shape[2]]
    return ((z - 4) / 4.2) ** 2 + ((y - 10) / 8) ** 2 + ((x - 12) / 9) ** 2 < 1


def test_a_voxel_does_not_enter_its_own_prior(session):
    mask = ball()
    summary = random_summary(int(mask.sum()))
    index = np.zeros(mask.shape, int)
    index[mask] = np.arange(mask.sum())
    for at in ((4, 10, 12), (4, 3, 10), (2, 9, 15)):
        own = index[at]
        changed = Summary(summary.theta.copy(), summary.sd.copy())
        changed.theta[:, own] += 3
        changed.sd[:, own] *= 0.2
        before, after = session.prior(summary, mask), session.prior(changed, mask)
        beside = index[at[0], at[1], at[2] + 1]
        for b, a in zip(before, after, strict=True):
            np.testing.assert_array_equal(b[:, own], a[:, own])
            assert not np.array_equal(b[:, beside], a[:, beside])


def test_no_other_flavour_or_provider_is_taken_silently():
    with pytest.raises(BundleError, match="fp4"):
        ContextSession(load_bundle(), flavour="fp4")
    session = ContextSession(load_bundle(), threads=1)
    assert session._session.get_providers() == ["CPUExecutionProvider"]
    assert "CPUExecutionProvider, fp32" in session.device
    with pytest.raises(DeviceError, match=opening(texts.PROVIDER_MISSING)):
        ContextSession(load_bundle(), provider="ort-cuda")


def test_a_provider_that_does_not_start_is_told(monkeypatch):
    class Fallen:
        """ONNX Runtime's way: it warns, and goes on with the CPU."""

        def __init__(self, *arguments, **options):
            assert options["providers"] == ["CUDAExecutionProvider"]

        def get_providers(self):
            return ["CPUExecutionProvider"]

    monkeypatch.setattr(context.ort, "get_available_providers", lambda: list(context.PROVIDERS.values()))
    monkeypatch.setattr(context.ort, "InferenceSession", Fallen)
    with pytest.raises(DeviceError, match=r"CUDAExecutionProvider does not start here \(it took CPUExecutionProvider"):
        ContextSession(load_bundle(), provider="ort-cuda")

    def refuse(*arguments, **options):
        raise RuntimeError("libcublas.so.12 is missing\nmore")

    monkeypatch.setattr(context.ort, "InferenceSession", refuse)
    with pytest.raises(DeviceError, match=r"does not start here \(libcublas\.so\.12 is missing\)"):
        ContextSession(load_bundle(), provider="ort-cuda")


def test_what_lies_beyond_the_networks_reach_is_left_out(session, monkeypatch):
    mask = np.zeros((9, 60, 70), bool)
    mask[:, 8:52, 10:60] = ball((9, 44, 50))
    mask[5, 58, 66] = True  # the whole volume's box is larger than that of the first slices
    summary = random_summary(int(mask.sum()))
    monkeypatch.setattr(session, "reach", None)
    expected = session.prior(summary, mask)
    sizes = []
    run = session.run_slices
    monkeypatch.setattr(session, "run_slices", lambda x: sizes.append(x.shape) or run(x))
    monkeypatch.setattr(session, "reach", 9)
    for e, f in zip(expected, session.prior(summary, mask), strict=True):
        np.testing.assert_array_equal(f, e)
    assert sizes[0][2] < sizes[1][2]
    monkeypatch.setattr(session, "reach", 4)
    assert any((f != e).any() for e, f in zip(expected, session.prior(summary, mask), strict=True)), "9 is needed"


@pytest.mark.parametrize("flavour", ["fp16", "int8-cpu"])
def test_other_flavours_of_the_shipped_bundle_run(session, flavour):
    bundle = load_bundle()
    if flavour not in bundle.manifest.flavours:
        pytest.skip(f"the shipped bundle has no {flavour} flavour")
    mask = ball()
    summary = random_summary(int(mask.sum()))
    other = ContextSession(bundle, threads=1, flavour=flavour)
    for expected, found in zip(session.prior(summary, mask), other.prior(summary, mask), strict=True):
        assert 0 < np.abs(found - expected).mean() < 0.05 * np.abs(expected).mean()


def test_slices_at_once_do_not_matter(session, monkeypatch):
    mask = ball()
    summary = random_summary(int(mask.sum()))
    expected = session.prior(summary, mask)
    monkeypatch.setattr(context, "SLICES_AT_ONCE", 2)
    for e, f in zip(expected, session.prior(summary, mask), strict=True):
        np.testing.assert_allclose(f, e, rtol=1e-5, atol=1e-6)


def test_the_precision_factor_has_a_positive_diagonal(session):
    mask = ball()
    factor = session.prior(random_summary(int(mask.sum())), mask)[1]
    assert np.all(factor[[row * (row + 3) // 2 for row in range(7)]] > 0)
    assert np.all(np.isfinite(factor))


def test_neighbours_are_the_slices_below_and_above():
    mask = ball()
    stack = to_stack(voxel_features(random_summary(int(mask.sum()))), mask)
    whole = with_neighbours(stack)
    C = stack.shape[1]
    np.testing.assert_array_equal(whole[3, :C], stack[2])
    np.testing.assert_array_equal(whole[3, C : 2 * C], stack[3])
    np.testing.assert_array_equal(whole[3, 2 * C :], stack[4])
    assert not whole[0, :C].any()
    assert not whole[-1, 2 * C :].any()
    for first, last in ((0, 4), (4, 9), (2, 3)):
        np.testing.assert_array_equal(with_neighbours(stack, first, last), whole[first:last])


def test_bounding_box():
    mask = np.zeros((4, 5, 6), bool)
    mask[1:3, 2, 4] = True
    assert bounding_box(mask) == (slice(1, 3), slice(2, 3), slice(4, 5))


def test_progress_rises_slice_by_slice_to_the_whole(session):
    mask, told = ball(), []
    session.prior(random_summary(int(mask.sum())), mask, told.append)
    assert len(told) > 1
    assert told == sorted(told)
    assert told[-1] == 1
