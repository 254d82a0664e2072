"""Weights -> ONNX, with the blind spot's mask folded into the weights."""

import copy
import tempfile
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper

from edge_pigment.prior.context import INPUT, OUTPUTS
from edge_pigment.prior.features import CHANNELS
from edge_pigment_export.flavours import name_layers
from edge_pigment_prior.network import ContextPrior, EachSlice, MaskedConvolution

OPSET = 18
BLOCK = 16
"""Channels that AVX-512 convolves at a time; AVX2 takes 8."""


def fold(model: ContextPrior) -> ContextPrior:
    """The same network with plain convolutions: masked taps, and those between slices, are zeros in the weights."""
    model = copy.deepcopy(model)
    for parent in list(model.modules()):
        for name, layer in parent.named_children():
            if isinstance(layer, MaskedConvolution):
                setattr(parent, name, _plain(layer, layer.weight * layer.tap, layer.bias))
            elif isinstance(layer, EachSlice):
                setattr(parent, name, _plain(layer, layer.dense(), layer.dense_bias()))
    return model.eval()


def _plain(layer: torch.nn.Conv2d, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.nn.Conv2d:
    many, few, kernel = weight.shape[:3]
    plain = torch.nn.Conv2d(few, many, kernel, padding=kernel // 2, bias=bias is not None)
    with torch.no_grad():
        plain.weight.copy_(weight)
        if plain.bias is not None and bias is not None:
            plain.bias.copy_(bias)
    return plain


def align_channels(proto: onnx.ModelProto) -> None:
    """Pad the input's channels with zeros to a multiple of the CPU kernels' block, and the weights that read them.

    ONNX Runtime convolves in blocks of 8 or 16 channels, and falls back to a general matrix product where a layer's
    channels do not fill them: with 45 the two first layers took twice as long.
    """
    more = -CHANNELS % BLOCK
    padded = f"{INPUT}_aligned"
    users = [node for node in proto.graph.node if node.op_type == "Conv" and node.input[0] == INPUT]
    names = {node.input[1] for node in users}
    for initialiser in proto.graph.initializer:
        if initialiser.name in names:
            weight = numpy_helper.to_array(initialiser)
            widened = np.pad(weight, ((0, 0), (0, more), (0, 0), (0, 0)))
            initialiser.CopyFrom(numpy_helper.from_array(widened, initialiser.name))
    for node in users:
        node.input[0] = padded
    pads = numpy_helper.from_array(np.array([0, 0, 0, 0, 0, more, 0, 0], np.int64), "channels_to_add")
    proto.graph.initializer.append(pads)
    pad = helper.make_node("Pad", [INPUT, pads.name], [padded], name="align")
    nodes = [pad, *proto.graph.node]
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    del proto.graph.value_info[:]


def to_onnx(model: ContextPrior) -> onnx.ModelProto:
    """The network as ONNX with dynamic batch, height and width."""
    example = torch.zeros(2, CHANNELS, 40, 48)
    dynamic = {0: torch.export.Dim("slices", min=1), 2: torch.export.Dim("height", min=8),
               3: torch.export.Dim("width", min=8)}  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        torch.onnx.export(
            fold(model),
            (example,),
            path,
            input_names=[INPUT],
            output_names=list(OUTPUTS),
            dynamic_shapes=(dynamic,),
            dynamo=True,
            opset_version=OPSET,
            external_data=False,
            verbose=False,
        )
        proto = onnx.load(path)
    for node in proto.graph.node:  # paths of the exporting machine are nobody's business
        del node.metadata_props[:]
    del proto.metadata_props[:]
    name_layers(proto)
    align_channels(proto)
    onnx.checker.check_model(proto)
    return proto


def reach(proto: onnx.ModelProto) -> int:
    """In-plane voxels from which an output may depend, either way: the largest sum of half-widths along a path."""
    widths = {i.name: i.dims for i in proto.graph.initializer}
    far: dict[str, int] = {}
    for node in proto.graph.node:  # in topological order
        before = max((far.get(name, 0) for name in node.input), default=0)
        if node.op_type == "Conv":
            dilations = next((a.ints for a in node.attribute if a.name == "dilations"), (1,))
            before += max(dilations) * (max(widths[node.input[1]][2:]) // 2)
        far |= dict.fromkeys(node.output, before)
    return max(far[output.name] for output in proto.graph.output)
