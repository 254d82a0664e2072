"""Summary, network and adaptation at once on the GPU make what the separate steps make.

The network is an ONNX file that a stand-in for TensorRT executes where the GPU is a stand-in, too; on a real GPU the
real TensorRT has to be there (`test_tensorrt.py`).
"""

import sys
from pathlib import Path

import numpy as np
import pytest
from gpu_device import FOLDER, cuda, device, standin, standin_library

sys.path.append(str(Path(__file__).resolve().parents[1] / "prior"))

from stand_in_tensorrt import stand_in

from edge_pigment import hardware, network
from edge_pigment.adapt import adapt
from edge_pigment.agreement import trial
from edge_pigment.errors import DeviceError
from edge_pigment.innovation import innovation, step_back
from edge_pigment.network import NetworkWithFallback, build_engine, open_engine
from edge_pigment.physics.fallback import FallbackBackend
from edge_pigment.physics.host import HostBackend
from edge_pigment.prior import engine
from edge_pigment.prior.bundle import load_bundle
from edge_pigment.prior.context import ContextSession

NU = 5.0


@pytest.fixture
def engine_here(cuda, monkeypatch, tmp_path):
    """The shipped network as an engine, and the GPU's backend."""
    if FOLDER:
        monkeypatch.setitem(sys.modules, "tensorrt", stand_in(wait=cuda.gpu.synchronise))
        thor = hardware.Driver(13000, (hardware.Gpu("Thor", 110, 2**37),))
        monkeypatch.setattr(engine, "cuda_driver", lambda: thor)
    else:
        pytest.importorskip("tensorrt", reason="TensorRT's Python bindings are not installed")
    monkeypatch.setenv("EDGE_PIGMENT_CACHE", str(tmp_path))
    monkeypatch.setattr(network, "open_gpu", lambda: cuda.gpu)
    monkeypatch.setattr(network, "compare", lambda *arguments: dict.fromkeys(network_limits(), 0.0))
    build_engine(load_bundle(), "fp32")
    return open_engine(load_bundle(), "fp32"), cuda


def network_limits():
    from edge_pigment.agreement import LIMITS

    return LIMITS


pytestmark = [] if FOLDER else [pytest.mark.gpu]
CLOSE = {"rtol": 1e-3, "atol": 2e-3} if FOLDER else {"rtol": 0.05, "atol": 0.05}
"""The kernels' logarithm and sums differ in rounding; a real TensorRT multiplies with ten bits of mantissa."""


def test_what_lies_on_the_gpu_is_adapted_there(engine_here, monkeypatch):
    on_gpu, backend = engine_here
    measurements = trial().measurements
    expected = adapt(measurements, HostBackend(2), ContextSession(load_bundle(), 2), NU)
    monkeypatch.setattr(on_gpu, "run_slices", None)  # the way over the host is not taken
    found = adapt(measurements, backend, on_gpu, NU)
    assert "adapt" not in found.seconds
    assert abs(len(found.outcome.exact) - len(expected.outcome.exact)) <= 2
    for name in found.outcome._fields[:5]:
        ours, theirs = getattr(found.outcome, name), getattr(expected.outcome, name)
        close = np.isclose(ours, theirs, **CLOSE)
        assert close.mean() > 0.999, name
    with backend.hold(*scan_of(measurements)) as scan:
        summary = scan.summarise()

        def revise(mean, factor):
            return step_back(mean, factor, innovation(summary, mean, factor, measurements.mask))

        first = on_gpu.adapt_in_place(scan, measurements.mask, NU, revise)
        other = on_gpu.adapt_in_place(scan, measurements.mask, NU, lambda mean, factor: 0.5 * factor)
    np.testing.assert_array_equal(first.mode, found.outcome.mode)
    assert not np.allclose(other.mode, first.mode, atol=1e-3)  # what is revised is what is adapted


def scan_of(m):
    return m.y, m.b, m.bvecs, m.sigma


def test_a_few_slices_at_a_time_are_the_same(engine_here, monkeypatch):
    on_gpu, backend = engine_here
    measurements = trial().measurements
    whole = adapt(measurements, backend, on_gpu, NU).outcome
    largest = (5, *on_gpu.runner._largest[1:])
    monkeypatch.setattr(on_gpu.runner, "_largest", largest)
    np.testing.assert_allclose(adapt(measurements, backend, on_gpu, NU).outcome.mode, whole.mode, atol=1e-4)


def test_what_does_not_lie_on_the_gpu_goes_over_the_host(engine_here):
    on_gpu, _ = engine_here
    measurements = trial().measurements
    with HostBackend(1).hold(*scan_of(measurements)) as held:
        assert on_gpu.adapt_in_place(held, measurements.mask, NU, None) is None
    assert "adapt" in adapt(measurements, HostBackend(1), on_gpu, NU).seconds


def test_an_engine_that_fails_in_place_is_told_and_the_cpu_finishes(engine_here, monkeypatch):
    on_gpu, backend = engine_here
    measurements = trial().measurements
    expected = adapt(measurements, backend, ContextSession(load_bundle(), 2), NU).outcome

    def fail(*arguments):
        raise DeviceError("it does not run")

    monkeypatch.setattr(on_gpu.runner, "infer", fail)
    both = NetworkWithFallback(on_gpu, ContextSession(load_bundle(), 2))
    found = adapt(measurements, FallbackBackend(backend, HostBackend(2)), both, NU).outcome
    assert both.failure == "it does not run"
    np.testing.assert_array_equal(found.mode, expected.mode)
