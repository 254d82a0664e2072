"""The network in other precisions: FP16, and INT8 for ONNX Runtime's CPU and for TensorRT.

- `fp16`: weights and activations in half precision, float32 inputs and outputs. What follows the last convolution (the
  mean's offset, the exponential of the log diagonal) stays in float32: it costs nothing, and e⁶ has few digits in half.
- `int8-cpu`: unsigned asymmetric activations, 7-bit per-channel weights, Q/DQ on convolutions and their outputs, as
  ONNX Runtime's integer kernels need them. Seven bits, because CPUs without VNNI add products of eight with
  saturation: the same file would give other maps on another CPU.
- `int8-trt`: signed symmetric activations and per-channel weights, Q/DQ on a convolution's inputs only, biases in
  float: what TensorRT 10.3 to 11 take as explicit quantisation.
"""

import copy
import logging
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static

from edge_pigment.physics.backend import Array
from edge_pigment.prior.context import INPUT

LAST = "head.5"
"""The last convolution."""
FLAVOURS = {"fp32": ("fp32",), "fp16": ("fp16",), "int8": ("int8-cpu", "int8-trt")}
"""What `--precision` names -> the flavours of the bundle."""
SCHEMES: dict[str, dict[str, Any]] = {
    "int8-cpu": {
        "activation_type": QuantType.QUInt8,
        "weight_type": QuantType.QInt8,
        "reduce_range": True,
        "extra_options": {},
    },
    "int8-trt": {
        "activation_type": QuantType.QInt8,
        "weight_type": QuantType.QInt8,
        "extra_options": {
            "ActivationSymmetric": True,
            "WeightSymmetric": True,
            "QuantizeBias": False,
            "OpTypesToExcludeOutputQuantization": ["Conv"],
        },
    },
}


def name_layers(model: onnx.ModelProto) -> None:
    """Call each convolution as the network does: near.2, not node_conv2d_2."""
    for node in model.graph.node:
        if node.op_type == "Conv":
            node.name = node.input[1].removesuffix(".weight").replace(".convolution", "")


def convolutions(model: onnx.ModelProto) -> list[str]:
    """Names of the layers that may be quantised, in order."""
    return [node.name for node in model.graph.node if node.op_type == "Conv"]


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


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    """Feeds the calibration set to ONNX Runtime's quantiser."""

    def __init__(self, features: Sequence[Array]) -> None:
        self._left: Iterator[Array] = iter(features)

    def get_next(self) -> dict[str, Array] | None:
        """The next input, or None."""
        x = next(self._left, None)
        return None if x is None else {INPUT: x}


class Quantiser:
    """Quantises any choice of layers; the ranges are found once.

    Args:
        model: FP32, its convolutions named.
        features: the calibration set's inputs.
        folder: for intermediate files.
    """

    def __init__(self, model: onnx.ModelProto, features: Sequence[Array], folder: Path) -> None:
        self._model, self._features, self._folder = model, features, folder

    def __call__(self, flavour: str, layers: Sequence[str]) -> onnx.ModelProto:
        """The network with these layers in 8 bits, by the flavour's scheme."""
        scheme = SCHEMES[flavour]
        with _quiet(), tempfile.NamedTemporaryFile(suffix=".onnx", dir=self._folder) as out:
            quantize_static(
                copy.deepcopy(self._model),  # the quantiser changes what it is given
                out.name,
                _Reader(self._features),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=["Conv"],
                nodes_to_quantize=list(layers),
                per_channel=True,
                calibrate_method=CalibrationMethod.MinMax,
                calibration_cache_path=self._ranges(),
                **scheme,
            )
            model = onnx.load(out.name)
        del model.metadata_props[:]
        return model

    def _ranges(self) -> Path:
        """The cached ranges of every convolution's inputs and outputs, found on first use."""
        cache = self._folder / "ranges.json"
        if not cache.exists():
            with tempfile.NamedTemporaryFile(suffix=".onnx", dir=self._folder) as out:
                quantize_static(
                    copy.deepcopy(self._model),
                    out.name,
                    _Reader(self._features),
                    op_types_to_quantize=["Conv"],
                    calibrate_method=CalibrationMethod.MinMax,
                    calibration_cache_path=cache,
                )
        return cache


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the quantiser's advice to optimise first: the exporter's graph is already plain."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
