"""Killed at any moment, the exporter leaves a bundle that is whole, or none."""

import subprocess
import sys
import time

import numpy as np
import pytest

from edge_pigment.prior.bundle import SHIPPED, load_bundle

pytest.importorskip("onnx", reason="the workshop extra is not installed")

WRITER = """
import sys, pathlib, onnx
from edge_pigment.prior.bundle import load_bundle
from edge_pigment_export.write import write_bundle
shipped = load_bundle(pathlib.Path(sys.argv[1]))
manifest = shipped.manifest.model_copy(update={'flavours': {'fp32': 'context.fp32.onnx'}})
model = onnx.load(shipped.model())
print('ready', flush=True)
for n in range(10**6):
    named = manifest.model_copy(update={'version': f'v{n % 2}'})
    write_bundle(pathlib.Path(sys.argv[2]), named, {'fp32': model}, {'log': f'v{n % 2}'.encode() * 100_000})
    print('written', flush=True)
"""


def kill_often(folder, kills, seed):
    rng = np.random.default_rng(seed)
    target, whole = folder / "bundle", 0
    for n in range(kills):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(SHIPPED), str(target)], stdout=subprocess.PIPE, text=True
        )
        assert writer.stdout.readline() == "ready\n"
        for _ in range(n % 3):  # however slow the machine, some are killed after the first bundle
            assert writer.stdout.readline() == "written\n"
        time.sleep(rng.uniform(0, 0.15))
        writer.kill()
        writer.wait()
        if not target.exists():
            continue  # killed before the first, or between moving the old one away and the new one in
        bundle = load_bundle(target)
        whole += 1
        assert (bundle.folder / "log").read_text() == bundle.manifest.version * 100_000
    return whole


def test_a_killed_export_never_leaves_a_wrong_bundle(tmp_path):
    assert kill_often(tmp_path, 3, seed=0)


@pytest.mark.slow
def test_fifty_killed_exports_never_leave_a_wrong_bundle(tmp_path):
    assert kill_often(tmp_path, 50, seed=1) >= 25
