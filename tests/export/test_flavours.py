"""FP16 and INT8 files are what they say, and compute about the same."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest

pytest.importorskip("torch", reason="the workshop extra is not installed")

import small

from edge_pigment.errors import DeviceError
from edge_pigment.prior.context import INPUT, OUTPUTS
from edge_pigment.prior.engine import Profile, serialise
from edge_pigment_export.flavours import Quantiser, convolutions, multiply_adds, to_fp16

LAYERS = ["near.2", "far.1"]


@pytest.fixture(scope="module")
def quantiser(tmp_path_factory):
    return Quantiser(small.model(), small.features(), tmp_path_factory.mktemp("quantiser"))


@pytest.fixture(scope="module")
def flavours(quantiser):
    return {
        "fp32": small.model(),
        "fp16": to_fp16(small.model()),
        **{flavour: quantiser(flavour, LAYERS) for flavour in ("int8-cpu", "int8-trt")},
    }


def initialisers(model):
    return {i.name: onnx.numpy_helper.to_array(i) for i in model.graph.initializer}


def run(model, x):
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(list(OUTPUTS), {INPUT: x})


def test_layers_are_named_as_in_the_network():
    counts = multiply_adds(small.model())
    assert list(counts) == convolutions(small.model())
    assert counts["near.1"] == 48 * 48 * 9
    assert list(counts.items())[-1] == ("head.5", 96 * 35)


@pytest.mark.parametrize("flavour", ["fp16", "int8-cpu", "int8-trt"])
def test_a_flavour_computes_about_the_same(flavours, flavour):
    for x in (small.features()[0], small.features()[0][:1, :, :17, :24]):
        expected, found = run(flavours["fp32"], x), run(flavours[flavour], x)
        assert 0 < np.abs(found[0] - expected[0]).max() < (0.002 if flavour == "fp16" else 0.1)
        for e, f in zip(expected, found, strict=True):
            assert f.dtype == np.float32
            assert f.shape == e.shape


def test_half_precision_holds_the_weights_but_not_what_follows_the_last_layer(flavours):
    arrays = initialisers(flavours["fp16"])
    assert arrays["near.0.weight"].dtype == np.float16
    assert arrays["offset"].dtype == np.float32
    assert [n.op_type for n in flavours["fp16"].graph.node].count("Cast") == 2
    assert flavours["fp16"].ByteSize() < 0.55 * flavours["fp32"].ByteSize()


def test_only_the_layers_asked_for_are_quantised(flavours):
    for flavour in ("int8-cpu", "int8-trt"):
        eight = {n for n, a in initialisers(flavours[flavour]).items() if a.dtype == np.int8 and a.ndim == 4}
        assert eight == {"near.2.convolution.weight_quantized", "far.1.convolution.weight_quantized"}


def test_the_cpu_flavour_is_unsigned_and_keeps_to_seven_bits_of_weight(flavours):
    arrays = initialisers(flavours["int8-cpu"])
    assert any(a.dtype == np.uint8 for a in arrays.values())
    assert np.abs(arrays["near.2.convolution.weight_quantized"].astype(int)).max() <= 64
    assert arrays["near.2.convolution.weight_scale"].shape == (48,)


def test_the_tensorrt_flavour_is_symmetric_and_leaves_biases_alone(flavours):
    arrays = initialisers(flavours["int8-trt"])
    assert arrays["near.2.convolution.weight_scale"].shape == (48,)
    assert not any(a.dtype in (np.uint8, np.int32) for a in arrays.values())
    points = [a for n, a in arrays.items() if n.endswith("zero_point")]
    assert points
    assert not any(a.any() for a in points)
    quantised = [n for n in flavours["int8-trt"].graph.node if n.op_type == "QuantizeLinear"]
    assert len(quantised) == len(LAYERS), "a layer's input only, not its output"


@pytest.mark.trt
@pytest.mark.parametrize("flavour", ["fp32", "fp16", "int8-trt"])
def test_tensorrt_rtx_parses_and_builds(flavours, flavour):
    trt = pytest.importorskip("tensorrt_rtx_bindings", reason="tensorrt-rtx-cu13-bindings is not installed")
    assert len(serialise(flavours[flavour].SerializeToString(), trt, Profile())) > 100_000


@pytest.mark.trt
def test_tensorrt_refuses_the_cpu_flavour(flavours):
    trt = pytest.importorskip("tensorrt_rtx_bindings", reason="tensorrt-rtx-cu13-bindings is not installed")
    with pytest.raises(DeviceError, match="refuses the network"):
        serialise(flavours["int8-cpu"].SerializeToString(), trt, Profile())
