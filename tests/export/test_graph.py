"""The exported graph is the network, with any number of slices and any size."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest

torch = pytest.importorskip("torch", reason="the workshop extra is not installed")

from edge_pigment.prior.context import INPUT, OUTPUTS
from edge_pigment.prior.features import CHANNELS
from edge_pigment_export.graph import BLOCK, align_channels, reach, to_onnx
from edge_pigment_prior.network import ContextPrior


def test_channels_are_aligned_without_changing_the_sum():
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(8, CHANNELS, 3, 3)).astype(np.float32)
    like = onnx.helper.make_tensor_value_info
    convolution = onnx.helper.make_node("Conv", [INPUT, "w"], ["y"], pads=[1, 1, 1, 1])
    ends = [[like(name, onnx.TensorProto.FLOAT, ["b", c, "h", "w"])] for name, c in ((INPUT, CHANNELS), ("y", 8))]
    graph = onnx.helper.make_graph([convolution], "g", *ends, [onnx.numpy_helper.from_array(weight, "w")])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10)
    x = rng.normal(size=(1, CHANNELS, 9, 8)).astype(np.float32)

    def run():
        onnx.checker.check_model(model, full_check=True)
        session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        return session.run(None, {INPUT: x})[0]

    expected = run()
    align_channels(model)
    assert model.graph.initializer[0].dims[1] == 48
    np.testing.assert_allclose(run(), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_the_graph_is_the_network():
    torch.manual_seed(0)
    network = ContextPrior().eval()
    with torch.no_grad():
        network.head[-1].weight.normal_(0, 0.1)
    model = to_onnx(network)
    onnx.checker.check_model(model, full_check=True)
    assert next(n.name for n in model.graph.node if n.op_type == "Conv") == "embedding.value"
    assert reach(model) == 8, "a 5x5 and two 3x3 of dilation 3"
    widths = {i.name: i.dims for i in model.graph.initializer}
    assert widths["embedding.value.weight"][1] % BLOCK == 0
    assert widths["far.0.weight"][1] % BLOCK == 0
    assert not any(node.metadata_props for node in model.graph.node), "no paths of this machine"
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    for shape in ((1, CHANNELS, 9, 30), (3, CHANNELS, 20, 17)):
        x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
        with torch.no_grad():
            expected = network(torch.from_numpy(x))
        for e, f in zip(expected, session.run(list(OUTPUTS), {INPUT: x}), strict=True):
            np.testing.assert_allclose(f, e.numpy(), rtol=1e-4, atol=1e-5)
