"""The network runs where it was asked to, on an engine that was built, tried and kept, or says what to do.

TensorRT and the GPU are stand-ins here (prior/stand_in_tensorrt.py): ONNX Runtime computes what the engine would.
`test_the_real_bindings_have_these_calls` holds the names against tensorrt-rtx's real bindings where they are installed;
a real engine is run by tests/gpu where there is a GPU.
"""

import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

sys.path.append(str(Path(__file__).parent / "prior"))

from stand_in_tensorrt import StandInGpu, stand_in

from conftest import opening
from edge_pigment import errors as texts
from edge_pigment import hardware, network
from edge_pigment.cli import app
from edge_pigment.errors import DeviceError, InputError
from edge_pigment.network import NetworkWithFallback, build_engine, open_engine, open_network
from edge_pigment.physics.cuda import CudaBackend
from edge_pigment.physics.host import HostBackend
from edge_pigment.prior import engine
from edge_pigment.prior.bundle import load_bundle
from edge_pigment.prior.context import ContextSession

THOR = hardware.Driver(13000, (hardware.Gpu("Thor", 110, 2**37),))


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """A machine with a GPU, an empty cache, and a function that installs a TensorRT."""
    monkeypatch.setenv("EDGE_PIGMENT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(engine, "cuda_driver", lambda: THOR)
    monkeypatch.setattr(network, "open_gpu", StandInGpu)

    def install(**options):
        module = stand_in(**options)
        monkeypatch.setitem(sys.modules, "tensorrt", module)
        return module

    install()
    return install


@pytest.fixture
def quick(monkeypatch):
    """Without the trial on maps, which has a test of its own."""
    monkeypatch.setattr(network, "compare", lambda *arguments: dict.fromkeys(errors_allowed(), 0.0))


def errors_allowed():
    from edge_pigment.agreement import LIMITS

    return LIMITS


def features(shape=(2, 45, 17, 24)):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def test_an_engine_is_built_tried_on_maps_and_then_used(machine):
    bundle = load_bundle()
    with pytest.raises(DeviceError, match="edge-pigment build --precision fp32"):
        open_engine(bundle, "fp32")
    built = build_engine(bundle, "fp32")
    for kind, error in built.errors.items():
        # one network in two programs; but the angle between equal vectors, in float32, is not quite 0
        assert error <= (0.5 if kind == "V1_median_deg" else 0.05) * errors_allowed()[kind]
    x = features()
    on_gpu = open_engine(bundle, "fp32")
    for expected, found in zip(ContextSession(bundle, 1).run_slices(x), on_gpu.run_slices(x), strict=True):
        np.testing.assert_array_equal(found, expected)
    assert on_gpu.device.startswith("TensorRT 10.3.0, CUDA 13.0, sm_110, fp32")


def test_an_engine_whose_maps_differ_is_thrown_away(machine):
    machine(change=1.01)
    with pytest.raises(DeviceError, match="makes other maps than ONNX Runtime"):
        build_engine(load_bundle(), "fp32")
    assert engine.entries() == []


def test_nothing_is_built_unless_it_is_allowed(machine, quick):
    bundle, told = load_bundle(), []
    with pytest.raises(DeviceError, match=opening(texts.ENGINE_MISSING)):
        open_network(bundle, "tensorrt")
    found, notes = open_network(bundle, "auto", backend=HostBackend(1))
    assert isinstance(found, ContextSession)
    assert notes == []
    assert engine.entries() == []
    open_network(bundle, "tensorrt", build=True, tell=told.append)
    assert len(told) == 1
    assert "minutes" in told[0]
    assert len(engine.entries()) == 1
    open_network(bundle, "tensorrt", build=True, tell=told.append)
    assert len(told) == 1, "what is there is not built again"


def on_gpu():
    return object.__new__(CudaBackend)


def test_with_a_gpu_auto_takes_an_engine_or_says_how_to_build_one(machine, quick):
    bundle = load_bundle()
    found, notes = open_network(bundle, "auto", backend=on_gpu())
    assert isinstance(found, ContextSession)
    assert len(notes) == 1
    assert "edge-pigment build --precision fp32" in notes[0]
    build_engine(bundle, "fp32")
    found, notes = open_network(bundle, "auto", backend=on_gpu())
    assert notes == []
    assert found.device.startswith("TensorRT")


def test_an_engine_that_fails_under_auto_is_told_and_the_cpu_finishes(machine, quick, monkeypatch):
    bundle, x = load_bundle(), features()
    build_engine(bundle, "fp32")
    found, _ = open_network(bundle, "auto", backend=on_gpu())
    assert isinstance(found, NetworkWithFallback)
    found.run_slices(x)
    assert not found.failure
    monkeypatch.setattr(sys.modules["tensorrt"].engines[-1].context, "execute_async_v3", lambda stream: False)
    expected = ContextSession(bundle, 1).run_slices(x)
    for e, f in zip(expected, found.run_slices(x), strict=True):
        np.testing.assert_allclose(f, e, rtol=1e-5, atol=1e-6)
    assert "does not run" in found.failure
    assert "after it failed ONNX Runtime" in found.device
    asked, _ = open_network(bundle, "tensorrt")
    monkeypatch.setattr(sys.modules["tensorrt"].engines[-1].context, "execute_async_v3", lambda stream: False)
    with pytest.raises(DeviceError, match="does not run"):
        asked.run_slices(x)


def test_an_engine_of_another_version_says_which_and_the_mend(machine, quick):
    build_engine(load_bundle(), "fp32")
    machine(version="11.0.0")
    with pytest.raises(DeviceError, match=r"made by TensorRT 10\.3\.0.*here is TensorRT 11\.0\.0.*edge-pigment build"):
        open_network(load_bundle(), "tensorrt")
    machine(loads=False)
    with pytest.raises(DeviceError, match=r"made by TensorRT 10\.3\.0.*does not load it.*edge-pigment build"):
        open_network(load_bundle(), "tensorrt")


def test_the_calls_of_a_run(machine, quick):
    build_engine(load_bundle(), "fp32")
    open_engine(load_bundle(), "fp32").run_slices(features())
    calls = sys.modules["tensorrt"].engines[-1].context.calls
    assert calls[0] == ("set_input_shape", "features", (2, 45, 17, 24))
    assert [c[1] for c in calls[1:4]] == ["features", "mean", "precision_factor"]
    assert calls[4] == ("execute_async_v3", StandInGpu.stream.handle)


def test_a_scan_that_an_engine_was_not_built_for(machine, quick):
    build_engine(load_bundle(), "fp32")
    with pytest.raises(DeviceError, match="--network cpu"):
        open_engine(load_bundle(), "fp32").run_slices(np.zeros((1, 45, 8, 321), np.float32))


def test_an_engine_of_something_else_is_refused(machine, quick, monkeypatch):
    from stand_in_tensorrt import Engine

    build_engine(load_bundle(), "fp32")
    monkeypatch.setattr(Engine, "names", ("image", "mean", "precision_factor"))
    with pytest.raises(DeviceError, match="its inputs and outputs are image"):
        open_engine(load_bundle(), "fp32")


def test_an_unknown_network_is_refused():
    with pytest.raises(InputError, match="choose from auto, cpu, ort-cuda, ort-tensorrt, tensorrt"):
        open_network(load_bundle(), "tpu")


def test_the_verbs(machine, quick, write_scan, tmp_path):
    scan = str(write_scan())
    run = ["run", scan, "-o", str(tmp_path / "maps"), "--network", "tensorrt", "--precision", "fp16"]
    refused = CliRunner().invoke(app, run)
    assert refused.exit_code == 3
    assert "edge-pigment build --precision fp16" in refused.output
    dry = CliRunner().invoke(app, [*run, "--dry-run"])
    assert dry.exit_code == 3, "a dry run refuses what a run would"
    built = CliRunner().invoke(app, ["build", "--precision", "fp16"])
    assert built.exit_code == 0, built.output
    assert "differ from ONNX Runtime's by" in built.output
    assert CliRunner().invoke(app, [*run, "--dry-run"]).exit_code == 0
    unknown = CliRunner().invoke(app, ["run", scan, "-o", str(tmp_path / "maps"), "--network", "tpu"])
    assert unknown.exit_code == 2
    assert "--network 'tpu' is not known" in unknown.output
    assert not (tmp_path / "maps").exists()


@pytest.mark.trt
def test_the_real_bindings_have_these_calls():
    trt = pytest.importorskip("tensorrt_rtx_bindings", reason="tensorrt-rtx-cu13-bindings is not installed")
    for owner, names in {
        "Runtime": ["deserialize_cuda_engine"],
        "ICudaEngine": ["num_io_tensors", "get_tensor_name", "get_tensor_profile_shape", "create_execution_context"],
        "IExecutionContext": ["set_input_shape", "set_tensor_address", "execute_async_v3"],
    }.items():
        for name in names:
            assert hasattr(getattr(trt, owner), name), f"{owner}.{name}"
