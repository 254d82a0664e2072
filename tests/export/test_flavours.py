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
from edge_pigment_export.flavours import convolutions, multiply_adds, to_fp16
from edge_pigment_export.quantise import Quantiser, site, sums_after
from edge_pigment_export.rounding import PAIR

LAYERS = ["near.2.value", "far.1.gate"]


@pytest.fixture(scope="module")
def quantiser():
    return Quantiser(small.model(), small.features())


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
    assert list(counts) == convolutions(small.model(), "int8-trt")
    wide = [n for n in counts if n.startswith(("near", "far")) and not n.endswith("out")]
    assert wide == convolutions(small.model(), "int8-cpu"), "1x1 gain nothing"
    assert counts["near.1.gate"] == 48 * 32 * 9
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
        assert eight == {f"{layer}.weight_quantized" for layer in LAYERS}
        assert "near.2.value.weight" not in initialisers(flavours[flavour])


def test_the_cpu_flavour_runs_on_integers_that_no_cpu_saturates(flavours):
    model = flavours["int8-cpu"]
    convolutions_in_integers = [n for n in model.graph.node if n.op_type == "QLinearConv"]
    assert [n.name for n in convolutions_in_integers] == LAYERS
    arrays = initialisers(model)
    for layer in LAYERS:
        weight = arrays[f"{layer}.weight_quantized"].astype(int)
        assert np.abs(weight).max() > 64, "eight bits, not seven"
        taps = weight.transpose(0, 2, 3, 1).reshape(len(weight), -1)  # as CPUs multiply: channels side by side
        for part in (np.maximum(taps, 0), np.maximum(-taps, 0)):
            assert (part[:, ::2] + part[:, 1::2]).max() <= PAIR
    assert 255 * PAIR < 2**15


def test_the_cpu_flavour_is_the_same_with_and_without_optimisation(flavours):
    x = small.features()[0]
    plain = ort.SessionOptions()
    plain.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(
        flavours["int8-cpu"].SerializeToString(), sess_options=plain, providers=["CPUExecutionProvider"]
    )
    for expected, found in zip(run(flavours["int8-cpu"], x), session.run(list(OUTPUTS), {INPUT: x}), strict=True):
        # what lies half-way between two levels may fall either way
        assert np.mean(np.abs(found - expected) > 1e-3 * np.abs(expected) + 1e-4) < 0.1


def test_the_tensorrt_flavour_is_symmetric_and_leaves_biases_alone(flavours):
    arrays = initialisers(flavours["int8-trt"])
    assert arrays["near.2.value.weight_scale"].shape == (32,)
    assert not any(a.dtype in (np.uint8, np.int32) for a in arrays.values())
    points = [a for n, a in arrays.items() if "zero" in n]
    assert points
    assert not any(a.any() for a in points)
    nodes = flavours["int8-trt"].graph.node
    quantised = [n for n in nodes if n.op_type == "QuantizeLinear"]
    assert len(quantised) == len(LAYERS), "a layer's input only, not its output"
    assert all(arrays[n.input[1]].shape == () for n in quantised), "one step for the tensor, as TensorRT takes it"


def test_a_convolutions_surroundings():
    graph = small.model().graph
    near, first, last = site(graph, "near.2.value"), site(graph, "near.0"), site(graph, "head.5")
    assert near.relu
    assert near.source == site(graph, "near.1.out").total, "the residual sum before the ReLU"
    assert not first.relu
    assert first.total == first.node.output[0]
    assert last.total == last.node.output[0], "a sum with a constant is no residual"
    assert near.total == near.node.output[0], "a product is no sum"
    assert sums_after(graph, near.total) == []
    assert len(sums_after(graph, first.total)) == 4, "near.0 and what near.1 to near.3 add to it"
    assert sums_after(graph, last.total) == []


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
