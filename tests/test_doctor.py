"""The doctor finds what is there, says how to mend what is not, and never falls ill itself."""

import ctypes
import json
import sys
import types
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from edge_pigment import doctor, hardware
from edge_pigment.cli import app
from edge_pigment.doctor import Finding, examine, healthy
from edge_pigment.errors import DeviceError
from edge_pigment.hardware import DriverError
from edge_pigment.prior import engine
from edge_pigment.prior.bundle import load_bundle


def by_name(findings):
    return {f.name: f for f in findings}


def test_this_machine_can_run_a_scan(monkeypatch, tmp_path):
    monkeypatch.setenv("EDGE_PIGMENT_CACHE", str(tmp_path))
    findings = examine()
    assert healthy(findings)
    named = by_name(findings)
    for needed in ("kernels", "ONNX Runtime", "bundle"):
        assert named[needed].state == "ok"
    assert "CPUExecutionProvider" in named["ONNX Runtime"].found
    assert named["engine cache"].state == "absent"
    assert all(f.mend for f in findings if f.state != "ok")


def test_none_of_the_optional_packages_is_needed(monkeypatch):
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(doctor, "version", raising(doctor.PackageNotFoundError("pycuda")))
    monkeypatch.setattr(hardware, "cuda_driver", raising(DriverError("no driver")))
    findings = examine()
    assert healthy(findings)
    named = by_name(findings)
    assert {named[n].state for n in ("TensorRT", "PyCUDA", "NVIDIA driver", "GPU", "CUDA kernels")} == {"absent"}
    assert all(named[n].mend for n in ("TensorRT", "PyCUDA", "NVIDIA driver", "GPU", "CUDA kernels"))


def test_all_that_a_scan_needs_or_could_use_is_looked_at():
    names = [f.name for f in examine()]
    assert names == [
        "edge-pigment", "CPU", "kernels", "memory", "power mode", "ONNX Runtime", "bundle",
        "NVIDIA driver", "GPU", "TensorRT", "PyCUDA", "CUDA kernels", "engine cache",
    ]  # fmt: skip


THOR = hardware.Driver(13000, (hardware.Gpu("Thor", 110, 2**37),))


def test_a_gpu_that_does_not_compute_is_broken(monkeypatch):
    monkeypatch.setattr(hardware, "cuda_driver", lambda: THOR)
    monkeypatch.setattr(hardware, "driver_release", lambda: "580.65.06")
    monkeypatch.setattr(doctor, "version", lambda name: "2026.1")
    monkeypatch.setitem(sys.modules, "pycuda", types.ModuleType("pycuda"))
    monkeypatch.setitem(sys.modules, "pycuda.driver", types.ModuleType("pycuda.driver"))
    monkeypatch.setattr("edge_pigment.physics.cuda.CudaBackend.__init__", raising(DeviceError("no code for it")))
    named = by_name(examine())
    assert named["NVIDIA driver"].found == "580.65.06, runs CUDA up to 13.0"
    assert named["GPU"].found == "Thor, sm_110, 128 GiB"
    assert (named["PyCUDA"].state, named["PyCUDA"].found) == ("ok", "2026.1")
    assert (named["CUDA kernels"].state, named["CUDA kernels"].found) == ("broken", "no code for it")
    assert named["CUDA kernels"].mend
    monkeypatch.setattr(hardware, "cuda_driver", lambda: hardware.Driver(13000, ()))
    assert by_name(examine())["GPU"].state == "broken"


def test_pycuda_that_does_not_load_says_why(monkeypatch):
    monkeypatch.setattr(doctor, "version", lambda name: "2026.1")
    monkeypatch.setitem(sys.modules, "pycuda.driver", None)
    found = by_name(examine())["PyCUDA"]
    assert found.state == "broken"
    assert "2026.1 does not load" in found.found


def test_engines_that_fit_and_that_do_not(monkeypatch, tmp_path):
    monkeypatch.setenv("EDGE_PIGMENT_CACHE", str(tmp_path))
    monkeypatch.setattr(engine, "cuda_driver", lambda: THOR)
    monkeypatch.setattr(engine, "load_tensorrt", lambda: types.SimpleNamespace(__version__="11.0.0"))
    key = engine.key_here(load_bundle(), "fp16", engine.load_tensorrt())
    engine.store(replace(key, tensorrt="10.3.0"), b"plan")
    found = by_name(examine())["engine cache"]
    assert (found.state, found.mend) == ("broken", "edge-pigment build")
    assert "TensorRT 10.3.0" in found.found
    engine.store(key, b"plan")
    found = by_name(examine())["engine cache"]
    assert found.state == "ok"
    assert found.found.endswith("of use here: fp16")


def raising(error):
    def function(*arguments, **options):
        raise error

    return function


def test_a_damaged_bundle_is_broken_and_named(tmp_path):
    findings = examine(tmp_path)
    assert by_name(findings)["bundle"].state == "broken"
    assert str(tmp_path) in by_name(findings)["bundle"].found
    assert not healthy(findings)


def test_an_optional_thing_that_crashes_is_one_finding(monkeypatch):
    monkeypatch.setattr(hardware, "cuda_driver", raising(OSError("bad\nlibrary")))
    named = by_name(examine())
    assert named["NVIDIA driver"].state == "broken"
    assert named["NVIDIA driver"].found == "OSError: bad library"
    assert healthy(named.values())


def test_a_finding_is_one_line_with_its_mend():
    assert Finding("x", "absent", "gone", "get it").line() == "absent  x: gone  -> get it"
    assert "get it" not in Finding("x", "ok", "here", "get it").line()


def test_the_verb(monkeypatch, tmp_path):
    fine = [Finding("bundle", "ok", "here", needed=True), Finding("PyCUDA", "absent", "gone", "get it")]
    monkeypatch.setattr(doctor, "examine", lambda bundle: fine)
    result = CliRunner().invoke(app, ["doctor"])
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [f.line() for f in fine]
    told = json.loads(CliRunner().invoke(app, ["doctor", "--json"]).stdout)
    assert told["healthy"] is True
    assert told["findings"][1]["mend"] == "get it"
    monkeypatch.setattr(doctor, "examine", lambda bundle: [Finding("bundle", "broken", "gone", needed=True)])
    assert CliRunner().invoke(app, ["doctor"]).exit_code == 1


def test_build_without_tensorrt_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    result = CliRunner().invoke(app, ["build"])
    assert result.exit_code == 3
    assert "TensorRT's Python bindings cannot be imported" in result.output


class FakeCuda:
    """libcuda's calls for one GPU."""

    def __init__(self, status=0):
        self._status = status

    def cuInit(self, flags):
        return self._status

    def __getattr__(self, name):
        values = {"cuDriverGetVersion": 12060, "cuDeviceGetCount": 1, "cuDeviceGet": 0, "cuDeviceTotalMem_v2": 2**35}

        def call(pointer, *rest):
            target = pointer if isinstance(pointer, ctypes.Array) else pointer._obj
            target.value = values.get(name) if name in values else self._other(name, *rest)
            return 0

        return call

    def _other(self, name, *rest):
        return b"Orin" if name == "cuDeviceGetName" else {75: 8, 76: 7}[rest[0]]


def test_the_driver_is_asked_without_a_context(monkeypatch):
    monkeypatch.setattr(hardware.ctypes, "CDLL", lambda name: FakeCuda())
    driver = hardware.cuda_driver()
    assert driver.version == "12.6"
    assert driver.gpus == (hardware.Gpu("Orin", 87, 2**35),)
    monkeypatch.setattr(hardware.ctypes, "CDLL", lambda name: FakeCuda(status=999))
    with pytest.raises(DriverError, match="999"):
        hardware.cuda_driver()


def test_the_power_mode_of_a_jetson(monkeypatch):
    monkeypatch.setattr(hardware.shutil, "which", lambda name: "/usr/sbin/nvpmodel")
    done = types.SimpleNamespace(stdout="NV Power Mode: MAXN\n0\n")
    monkeypatch.setattr(hardware.subprocess, "run", lambda *a, **k: done)
    assert hardware.power_mode() == "MAXN"
    monkeypatch.setattr(hardware.subprocess, "run", raising(OSError("gone")))
    assert hardware.power_mode() is None
