"""The real TensorRT on a real GPU: engines are built, tried on maps, found again, and run on device memory."""

import numpy as np
import pytest

from edge_pigment.agreement import LIMITS
from edge_pigment.errors import DeviceError
from edge_pigment.network import build_engine, open_engine
from edge_pigment.physics.gpu import FLOAT, open_gpu
from edge_pigment.prior.bundle import load_bundle
from edge_pigment.prior.context import ContextSession

pytestmark = pytest.mark.gpu
SHAPE = (3, 45, 60, 72)
TOLERANCE = {"fp32": 1e-2, "fp16": 0.1, "int8-trt": 0.1}
"""Of the mean; TensorRT multiplies float32 with ten bits of mantissa (TF32) unless told not to."""


@pytest.fixture
def cache(monkeypatch, tmp_path):
    pytest.importorskip("tensorrt", reason="TensorRT's Python bindings are not installed")
    try:
        open_gpu()
    except DeviceError as error:
        pytest.skip(f"no GPU: {error}")
    monkeypatch.setenv("EDGE_PIGMENT_CACHE", str(tmp_path))


@pytest.mark.parametrize("flavour", TOLERANCE)
def test_an_engine_makes_onnx_runtimes_maps(cache, flavour):
    bundle = load_bundle()
    if flavour not in bundle.manifest.flavours:
        pytest.skip(f"the shipped bundle has no {flavour} flavour")
    built = build_engine(bundle, flavour)
    assert all(built.errors[kind] <= limit for kind, limit in LIMITS.items())
    network = open_engine(bundle, flavour)
    x = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    expected, found = ContextSession(bundle, None, flavour).run_slices(x), network.run_slices(x)
    np.testing.assert_allclose(found[0], expected[0], atol=TOLERANCE[flavour])


def test_an_engine_runs_on_the_memory_and_the_stream_of_others(cache):
    bundle = load_bundle()
    build_engine(bundle, "fp32")
    network, gpu = open_engine(bundle, "fp32"), open_gpu()
    x = np.random.default_rng(1).normal(size=SHAPE).astype(np.float32)
    voxels = SHAPE[0] * SHAPE[2] * SHAPE[3]
    mean, factor = np.empty((3, 7, 60, 72), np.float32), np.empty((3, 28, 60, 72), np.float32)
    with gpu.current():
        driver, stream = gpu.driver, gpu.driver.Stream()
        memory = [driver.mem_alloc(FLOAT * voxels * channels) for channels in (45, 7, 28)]
        driver.memcpy_htod_async(memory[0], x, stream)
        network.runner.infer(int(memory[0]), SHAPE, int(memory[1]), int(memory[2]), int(stream.handle))
        driver.memcpy_dtoh_async(mean, memory[1], stream)
        driver.memcpy_dtoh_async(factor, memory[2], stream)
        stream.synchronize()
    for expected, found in zip(network.run_slices(x), (mean, factor), strict=True):
        np.testing.assert_array_equal(found, expected)
