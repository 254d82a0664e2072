"""Killed at any moment, `build` leaves an engine that is whole, or none: never one that loads and is wrong."""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from edge_pigment.errors import DeviceError
from edge_pigment.hardware import Driver, Gpu
from edge_pigment.prior import engine
from edge_pigment.prior.bundle import load_bundle

BUILDER = """
import sys
sys.path.append(sys.argv[1])
from stand_in_tensorrt import stand_in
from typer.testing import CliRunner
from edge_pigment import hardware, network
from edge_pigment.cli import app
from edge_pigment.prior import engine
sys.modules["tensorrt"] = stand_in()
engine.cuda_driver = lambda: hardware.Driver(13000, (hardware.Gpu("Thor", 110, 2**37),))
network._network = lambda *arguments: None  # the engine is stored here, not run
network.compare = lambda *arguments: dict.fromkeys(("MD_bias_percent", "FA_MAE", "V1_median_deg", "coverage_points"), 0)
whole = engine.serialise
print("ready", flush=True)
for n in range(10**6):
    engine.serialise = lambda *arguments: whole(*arguments) + bytes([n % 2]) * 2_000_000
    assert CliRunner().invoke(app, ["build", "--precision", "fp32"]).exit_code == 0
    print("built", flush=True)
"""


def kill_often(cache, kills, seed, monkeypatch):
    """How many of the kills left an engine, each of which was whole."""
    monkeypatch.setenv("EDGE_PIGMENT_CACHE", str(cache))
    monkeypatch.setattr(engine, "cuda_driver", lambda: Driver(13000, (Gpu("Thor", 110, 2**37),)))
    bundle = load_bundle()
    trt = type(sys)("tensorrt")
    trt.__version__ = "10.3.0"
    key, content = engine.key_here(bundle, "fp32", trt), bundle.model("fp32").read_bytes()
    rng, whole = np.random.default_rng(seed), 0
    for n in range(kills):
        builder = subprocess.Popen(
            [sys.executable, "-c", BUILDER, str(Path(__file__).parent)],
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"EDGE_PIGMENT_CACHE": str(cache)},
        )
        assert builder.stdout.readline() == "ready\n"
        for _ in range(n % 3):  # however slow the machine, some are killed after the first engine
            assert builder.stdout.readline() == "built\n"
        time.sleep(rng.uniform(0, 0.15))
        builder.kill()
        builder.wait()
        if not engine.entries():
            with pytest.raises(DeviceError, match="No fp32 engine was built"):
                engine.find(key)
            continue
        plan = engine.find(key)
        whole += 1
        assert plan.endswith(content + plan[-1:] * 2_000_000)
        assert len(set(plan[-2_000_000:])) == 1
    return whole


def test_a_killed_build_never_leaves_a_wrong_engine(tmp_path, monkeypatch):
    assert kill_often(tmp_path, 4, 0, monkeypatch)


@pytest.mark.slow
def test_fifty_killed_builds_never_leave_a_wrong_engine(tmp_path, monkeypatch):
    assert kill_often(tmp_path, 50, 1, monkeypatch) >= 25
