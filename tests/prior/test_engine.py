"""Engines are found only where they fit, and whatever is wrong with one is told with its mend.

TensorRT itself is a stand-in here that records the calls, save where a test is marked `trt`: those have the real
tensorrt-rtx parse and build the graphs. No engine is run: that needs a GPU (tests/gpu/test_tensorrt.py).
"""

import types
from dataclasses import replace

import pytest

from conftest import opening
from edge_pigment import errors as texts
from edge_pigment import hardware
from edge_pigment.errors import BundleError, DeviceError
from edge_pigment.prior import engine
from edge_pigment.prior.bundle import load_bundle
from edge_pigment.prior.engine import ENGINE, KEY, EngineKey, Profile, entries, find, key_here, serialise, store

HERE = EngineKey("ab" * 32, "10.3.0", "12.6", 87, Profile(), "fp16")
DRIVER = hardware.Driver(13000, (hardware.Gpu("Thor", 110, 2**37),))


def stand_in(parses=True, plan=b"plan"):
    """A module with the calls that `serialise` makes."""
    calls = []

    class Parser:
        num_errors = 1

        def __init__(self, network, logger):
            calls.append(("parser", network))

        def parse(self, content):
            calls.append(("parse", content))
            return parses

        def get_error(self, index):
            return types.SimpleNamespace(desc=lambda: "node 3\nmore")

    class Builder:
        def __init__(self, logger):
            pass

        def create_network(self, flags):
            calls.append(("network", flags))
            return "network"

        def create_builder_config(self):
            return types.SimpleNamespace(add_optimization_profile=lambda p: calls.append(("profile", p.shape)))

        def create_optimization_profile(self):
            profile = types.SimpleNamespace()
            profile.set_shape = lambda *shape: setattr(profile, "shape", shape)
            return profile

        def build_serialized_network(self, network, config):
            calls.append(("build", network))
            return plan

    class Logger:
        ERROR = 1

        def __init__(self, level):
            pass

    flag = types.SimpleNamespace(STRONGLY_TYPED=1)
    module = types.SimpleNamespace(
        __version__="10.3.0", Logger=Logger, Builder=Builder, OnnxParser=Parser, NetworkDefinitionCreationFlag=flag
    )
    return module, calls


def test_building_asks_for_strong_types_and_dynamic_shapes():
    module, calls = stand_in()
    assert serialise(b"onnx", module, Profile()) == b"plan"
    assert dict(calls)["network"] == 1 << 1
    name, least, usual, largest = dict(calls)["profile"]
    assert name == "features"
    assert least == (1, 45, 1, 1)
    assert all(a <= b <= c for a, b, c in zip(least, usual, largest, strict=True))


@pytest.mark.parametrize("how", [{"parses": False}, {"plan": None}])
def test_what_tensorrt_refuses_is_told(how):
    with pytest.raises(DeviceError, match=r"TensorRT 10\.3\.0 refuses"):
        serialise(b"onnx", stand_in(**how)[0], Profile())


@pytest.mark.trt
@pytest.mark.parametrize("flavour", engine.FLAVOURS)
def test_tensorrt_rtx_builds_every_shipped_graph_with_dynamic_shapes(flavour):
    trt = pytest.importorskip("tensorrt_rtx_bindings", reason="tensorrt-rtx-cu13-bindings is not installed")
    bundle = load_bundle()
    if flavour not in bundle.manifest.flavours:
        pytest.skip(f"the shipped bundle has no {flavour} flavour")
    assert len(serialise(bundle.model(flavour).read_bytes(), trt, Profile())) > 100_000


def test_without_tensorrt_the_mend_is_told(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "tensorrt", None)
    with pytest.raises(DeviceError, match=opening(texts.TENSORRT_MISSING)):
        engine.load_tensorrt()


def test_the_key_holds_all_that_an_engine_depends_on(monkeypatch):
    monkeypatch.setattr(engine, "cuda_driver", lambda: DRIVER)
    key = key_here(load_bundle(), "fp32", types.SimpleNamespace(__version__="11.0.0"))
    assert (key.tensorrt, key.cuda, key.sm, key.precision) == ("11.0.0", "13.0", 110, "fp32")
    changes = {"onnx_sha256": "0", "tensorrt": "0", "cuda": "0", "sm": 0, "precision": "0"}
    others = [replace(key, **{name: value}) for name, value in changes.items()]
    others.append(replace(key, profile=Profile(slices=(1, 1, 1))))
    assert len({k.digest for k in [key, *others]}) == 7


def test_no_gpu_or_a_flavour_that_is_not_for_tensorrt(monkeypatch):
    module = types.SimpleNamespace(__version__="11.0.0")
    with pytest.raises(DeviceError, match="int8-cpu"):
        key_here(load_bundle(), "int8-cpu", module)
    monkeypatch.setattr(engine, "cuda_driver", lambda: replace(DRIVER, gpus=()))
    with pytest.raises(DeviceError, match=opening(texts.ENGINE_NO_GPU)):
        key_here(load_bundle(), "fp32", module)
    with pytest.raises((BundleError, DeviceError)):
        key_here(load_bundle(), "fp4", module)


def test_an_engine_is_stored_once_and_found(tmp_path):
    store(HERE, b"first", tmp_path)
    store(HERE, b"second", tmp_path)
    assert find(HERE, tmp_path) == b"second"
    assert [r["key"]["sm"] for r in entries(tmp_path)] == [87]
    assert [p.name for p in tmp_path.iterdir()] == [HERE.digest]


def test_an_engine_that_is_not_there_names_the_command(tmp_path):
    with pytest.raises(DeviceError, match="edge-pigment build --precision fp16"):
        find(HERE, tmp_path)


def test_an_engine_of_another_version_says_which(tmp_path):
    store(replace(HERE, tensorrt="10.1.0"), b"plan", tmp_path)
    with pytest.raises(DeviceError, match=r"made by TensorRT 10\.1\.0.*here is TensorRT 10\.3\.0.*edge-pigment build"):
        find(HERE, tmp_path)


def test_a_damaged_or_exchanged_engine_is_refused(tmp_path):
    entry = store(HERE, b"plan" * 100, tmp_path)
    for name in (ENGINE, KEY):
        content = (entry / name).read_bytes()
        for at in range(0, len(content), 37):
            (entry / name).write_bytes(content[:at] + bytes([content[at] ^ 4]) + content[at + 1 :])
            with pytest.raises(DeviceError, match="damaged"):
                find(HERE, tmp_path)
        (entry / name).write_bytes(content)
    other = replace(HERE, sm=90)
    entry.rename(tmp_path / other.digest)
    with pytest.raises(DeviceError, match="damaged"):
        find(other, tmp_path)


def test_an_interrupted_store_leaves_nothing(tmp_path, monkeypatch):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    store(HERE, b"old", tmp_path)
    monkeypatch.setattr(engine.Path, "write_text", interrupted)
    with pytest.raises(KeyboardInterrupt):
        store(HERE, b"new", tmp_path)
    monkeypatch.undo()
    assert find(HERE, tmp_path) == b"old"
    assert [p.name for p in tmp_path.iterdir()] == [HERE.digest]


def test_the_cache_is_the_users(monkeypatch, tmp_path):
    monkeypatch.setenv("EDGE_PIGMENT_CACHE", str(tmp_path))
    assert engine.cache_folder() == tmp_path / "engines"
    monkeypatch.delenv("EDGE_PIGMENT_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert engine.cache_folder() == tmp_path / "edge-pigment" / "engines"
