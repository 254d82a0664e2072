"""The network in other precisions: their names, and the one in half precision.

`fp16`: weights and activations in half precision, float32 inputs and outputs. What follows the last convolution (the
mean's offset, the exponential of the log diagonal) stays in float32: it costs nothing, and e⁶ has few digits in half.
The 8-bit ones are made by `quantise`.
"""

import copy

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edge_pigment.prior.context import INPUT

LAST = "head.5"
"""The last convolution."""
FLAVOURS = {"fp32": ("fp32",), "fp16": ("fp16",), "int8": ("int8-cpu", "int8-trt")}
"""What `--precision` names -> the flavours of the bundle."""
SCHEMES = ("int8-cpu", "int8-trt")
"""The 8-bit flavours; `quantise` says what each is."""


def name_layers(model: onnx.ModelProto) -> None:
    """Call each convolution as the network does: near.2, not node_conv2d_2."""
    for node in model.graph.node:
        if node.op_type == "Conv":
            node.name = node.input[1].removesuffix(".weight").replace(".convolution", "")


def convolutions(model: onnx.ModelProto, flavour: str) -> list[str]:
    """Names of the layers that are worth quantising in a flavour, in order.

    On a CPU a 1x1 convolution costs no more than quantising its input and transposing it does, so only wider ones are.
    """
    wide = {i.name for i in model.graph.initializer if len(i.dims) == 4 and (i.dims[2] > 1 or flavour != "int8-cpu")}
    return [node.name for node in model.graph.node if node.op_type == "Conv" and node.input[1] in wide]


def multiply_adds(model: onnx.ModelProto) -> dict[str, int]:
    """Multiply-adds per voxel of each convolution."""
    sizes = {i.name: i.dims for i in model.graph.initializer}
    counts = {}
    for node in model.graph.node:
        if node.op_type == "Conv":
            counts[node.name] = 1
            for n in sizes[node.input[1]]:
                counts[node.name] *= int(n)
    return counts


def to_fp16(model: onnx.ModelProto) -> onnx.ModelProto:
    """Half precision from the input to the last convolution, whose output is cast back.

    onnxruntime's and onnxconverter's general converters take every tensor that a float32 node hands to another through
    half precision, and so lose digits where this one keeps them.
    """
    half = copy.deepcopy(model)
    body = list(half.graph.node)
    cut = [node.name for node in body].index(LAST) + 1
    last = body[cut - 1].output[0]
    read = {name for node in body[:cut] for name in node.input}
    for initialiser in half.graph.initializer:
        if initialiser.name in read and initialiser.data_type == TensorProto.FLOAT:
            values = numpy_helper.to_array(initialiser).astype(np.float16)
            initialiser.CopyFrom(numpy_helper.from_array(values, initialiser.name))
    for node in body[:cut]:
        node.input[:] = [f"{name}_half" if name == INPUT else name for name in node.input]
    body[cut - 1].output[0] = f"{last}_half"
    down = helper.make_node("Cast", [INPUT], [f"{INPUT}_half"], name="to_half", to=TensorProto.FLOAT16)
    up = helper.make_node("Cast", [f"{last}_half"], [last], name="to_single", to=TensorProto.FLOAT)
    del half.graph.node[:]
    half.graph.node.extend([down, *body[:cut], up, *body[cut:]])
    del half.graph.value_info[:]
    onnx.checker.check_model(half, full_check=True)
    return half
