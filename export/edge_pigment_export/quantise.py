"""The network with some convolutions in 8 bits; what flows between them stays in float.

Each channel of a quantised layer's input has its own step, which the weights that read it take up, and each channel
of its output its own step and offset, which weights and bias take up: one step for a whole tensor wastes most of its
levels on the channel with the largest values (V1 moved four times as much). Weights are rounded by `rounding`, layer
after layer, each seeing what the quantised layers before it give.

- `int8-cpu`: unsigned, `QLinearConv` of 8-bit input and output. The input is quantised to 0 and above, which is the
  ReLU. The reshapes cost nothing; they keep ONNX Runtime from moving its transpositions into the float part.
- `int8-trt`: signed symmetric, explicit Q/DQ before each convolution, bias and output in float: what TensorRT 10.3 to
  11 take.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import ArrayLike, NDArray
from onnx import helper, numpy_helper

from edge_pigment.physics.backend import Array
from edge_pigment.prior.context import INPUT
from edge_pigment.prior.features import VOXEL_CHANNELS
from edge_pigment_export.rounding import round_weights

SAMPLES = 30_000
"""Voxels of the calibration set that weights are rounded by: many times the 1200 inputs of the largest layer."""
SCHEMES = ("int8-cpu", "int8-trt")
SILENT = 0.01
"""Least range of a channel, of the layer's largest: what is silent in the calibration set may speak in another scan."""
FLAT, IMAGE = "flat_shape", "image_shape"


@dataclass(frozen=True)
class Site:
    """A convolution, the tensor that it reads (before its ReLU, if there is one), and the residual sum that its output
    goes into (else the output itself)."""

    node: onnx.NodeProto
    source: str
    relu: bool
    total: str


def site(graph: onnx.GraphProto, name: str) -> Site:
    """Find a convolution's surroundings by its name."""
    node = next(n for n in graph.node if n.name == name)
    made = {out: n for n in graph.node for out in n.output}
    before = made.get(node.input[0])
    relu = before is not None and before.op_type == "Relu"
    users = [n for n in graph.node if node.output[0] in n.input]
    total = node.output[0]
    # a sum of two activations is a residual; one with a constant is not
    if len(users) == 1 and users[0].op_type == "Add" and all(i in made for i in users[0].input):
        total = users[0].output[0]
    source = before.input[0] if relu and before is not None else node.input[0]
    return Site(node, source, relu, total)


def sums_after(graph: onnx.GraphProto, tensor: str) -> list[str]:
    """A tensor and the residual sums that it goes into, one after the other, if nothing but ReLUs reads them; else
    none."""
    made = {out for n in graph.node for out in n.output}
    found = []
    while tensor:
        found.append(tensor)
        users = [n for n in graph.node if tensor in n.input]
        joined = [n for n in graph.node for u in users if u.op_type == "Concat" and u.output[0] in n.input]
        if any(n.op_type not in ("Relu", "Add", "Concat") for n in users) or any(n.op_type != "Relu" for n in joined):
            return []
        adds = [n for n in users if n.op_type == "Add"]
        if len(adds) > 1 or any(i not in made for n in adds for i in n.input):
            return []
        tensor = adds[0].output[0] if adds else ""
    return found


class Quantiser:
    """Quantises any choice of layers of one network.

    Args:
        model: FP32, its convolutions named.
        features: the calibration set's inputs, each (B, 45, Y, X).
    """

    def __init__(self, model: onnx.ModelProto, features: Sequence[Array]) -> None:
        self._model, self._features = model, features
        self._weights = {i.name: numpy_helper.to_array(i) for i in model.graph.initializer}
        self._float: dict[str, list[Array]] = {}
        self._chosen = _sample(features, SAMPLES)

    def __call__(self, flavour: str, layers: Sequence[str]) -> onnx.ModelProto:
        """The network with these layers, in the order of the graph, in 8 bits by the flavour's scheme."""
        model = copy.deepcopy(self._model)
        done = False
        for name in [n.name for n in self._model.graph.node if n.op_type == "Conv"]:
            if name in layers:
                self._quantise(model, site(model.graph, name), flavour, done)
                done = True
        _tidy(model)
        onnx.checker.check_model(model, full_check=True)
        return model

    def _quantise(self, model: onnx.ModelProto, at: Site, flavour: str, changed: bool) -> None:
        """Put one layer into 8 bits; `changed`: earlier layers were, so that its input is not that of the network."""
        name = at.node.name
        cpu = flavour == "int8-cpu"
        inputs = self._values(at.source)
        step = _steps(inputs, at.relu, cpu)
        zero = 0 if at.relu or not cpu else 128
        low, high = (0, 255) if cpu else (0 if at.relu else -128, 127)
        seen = _run(model, at.source, self._features) if changed else inputs
        weight = self._weights[at.node.input[1]].astype(float)
        columns = self._columns([_quantised(x, step, zero, low, high) for x in seen], at.node, weight.shape[2:])
        wanted = self._picked(self._values(at.node.output[0]))
        count = len(weight)
        # the order in which CPUs multiply: tap by tap, channels neighbouring
        flat = (weight * step[None, :, None, None]).transpose(0, 2, 3, 1).reshape(count, -1)
        if cpu:
            out_step, offset = self._output_steps(at)
        else:
            out_step, offset = np.ones(count), np.zeros(count)
        rounded = round_weights(columns, wanted / out_step + offset, flat / out_step[:, None], pairs=cpu)
        integers = rounded.weight.reshape(count, *weight.shape[2:], -1).transpose(0, 3, 1, 2)
        graft = _Graft(model, at, name)
        if cpu:
            graft.integer(integers, rounded.scale, rounded.bias, step, zero, out_step, offset)
        else:
            graft.explicit(integers, rounded.scale, rounded.bias, step)

    def _columns(self, images: list[Array], node: onnx.NodeProto, kernel: tuple[int, ...]) -> NDArray[np.float64]:
        """What a convolution multiplies at the chosen voxels: (M, taps * C), tap by tap."""
        pad, dilation = _attributes(node)
        parts = [_columns(x, kernel, pad, dilation, at) for x, at in zip(images, self._chosen, strict=True)]
        return np.concatenate(parts)

    def _output_steps(self, at: Site) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Step and zero point of each output channel.

        Values so low that no ReLU after them ever opens need no levels of their own: where the largest of the sums that
        the output goes into is -m, it may as well be larger by m.
        """
        low, high = np.zeros(len(self._values(at.total)[0][0])), np.zeros(len(self._values(at.total)[0][0]))
        outputs = self._values(at.node.output[0])
        sums = [self._values(tensor) for tensor in sums_after(self._model.graph, at.total)]
        for n, y in enumerate(outputs):
            largest = np.max([s[n] for s in sums], axis=0) if sums else np.zeros_like(y)
            low = np.minimum(low, (y - np.minimum(largest, 0)).min(axis=(0, 2, 3)))
            high = np.maximum(high, np.where(largest < 0, 0, y).max(axis=(0, 2, 3)))
        step = np.maximum(high - low, SILENT * (high - low).max()) / 255
        return step, np.round(-low / step)

    def _values(self, tensor: str) -> list[Array]:
        """A tensor of the float network on the calibration set."""
        if tensor not in self._float:
            self._float[tensor] = _run(self._model, tensor, self._features)
        return self._float[tensor]

    def _picked(self, images: list[Array]) -> NDArray[np.float64]:
        """Values at the chosen voxels: (M, C)."""
        parts = [image[b, :, y, x].astype(float) for image, (b, y, x) in zip(images, self._chosen, strict=True)]
        return np.concatenate(parts)


Places = tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]


def _sample(features: Sequence[Array], count: int) -> list[Places]:
    """Voxels of the mask, a like share of each input."""
    rng = np.random.default_rng(0)
    chosen = []
    for x in features:
        inside = np.argwhere(x[:, 2 * VOXEL_CHANNELS - 1] > 0)
        most = min(len(inside), max(count // len(features), 1))
        b, y, x_ = inside[rng.choice(len(inside), most, replace=False)].T
        chosen.append((b, y, x_))
    return chosen


def _run(model: onnx.ModelProto, tensor: str, features: Sequence[Array]) -> list[Array]:
    """Values of any tensor of a network."""
    if tensor == INPUT:
        return list(features)
    probe = copy.deepcopy(model)
    del probe.graph.output[:]
    probe.graph.output.append(helper.make_tensor_value_info(tensor, onnx.TensorProto.FLOAT, None))
    options = ort.SessionOptions()
    options.log_severity_level = 3
    session = ort.InferenceSession(probe.SerializeToString(), sess_options=options, providers=["CPUExecutionProvider"])
    return [session.run([tensor], {INPUT: x})[0] for x in features]


def _steps(inputs: list[Array], relu: bool, cpu: bool) -> NDArray[np.float64]:
    """Step of each channel: its largest value takes the last level, and one that is silent here has levels, too."""
    largest = np.max([x.max(axis=(0, 2, 3)) for x in inputs], axis=0).astype(float)
    if not relu:
        largest = np.maximum(largest, -np.min([x.min(axis=(0, 2, 3)) for x in inputs], axis=0))
    largest = np.maximum(largest, SILENT * largest.max())
    return largest / (255 if relu and cpu else 127)


def _quantised(x: Array, step: NDArray[np.float64], zero: int, low: int, high: int) -> Array:
    """The input in steps, zero at 0."""
    levels = np.round(np.divide(x, step[None, :, None, None], dtype=np.float32))
    return np.clip(levels, low - zero, high - zero)


def _attributes(node: onnx.NodeProto) -> tuple[int, int]:
    """Padding and dilation, the same on all sides here."""
    found = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    return int(found.get("pads", [0])[0]), int(found.get("dilations", [1])[0])


def _columns(x: Array, kernel: tuple[int, ...], pad: int, dilation: int, places: Places) -> NDArray[np.float64]:
    """What a convolution multiplies at some voxels: (M, taps * C), tap by tap."""
    padded = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    b, y, x_ = places
    taps = [padded[b, :, y + dilation * i, x_ + dilation * j] for i in range(kernel[0]) for j in range(kernel[1])]
    return np.concatenate(taps, axis=1).astype(float)


class _Graft:
    """Puts the nodes of a quantised layer in place of its convolution."""

    def __init__(self, model: onnx.ModelProto, at: Site, name: str) -> None:
        self._graph, self._at, self._name = model.graph, at, name
        self._nodes: list[onnx.NodeProto] = []
        self._place = [n.name for n in model.graph.node].index(name)

    def _constant(self, name: str, values: ArrayLike) -> str:
        full = name if name in (FLAT, "one", "zero_u8", "zero_s8") else f"{self._name}.{name}"
        if full not in {i.name for i in self._graph.initializer}:
            self._graph.initializer.append(numpy_helper.from_array(np.array(values, order="C"), full))
        return full

    def _add(self, kind: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        full = output if output == self._at.node.output[0] else f"{self._name}.{output}"
        label = self._name if kind.endswith("Conv") else f"{self._name}.{output}"
        self._nodes.append(helper.make_node(kind, list(inputs), [full], name=label, **attributes))
        return full

    def _finish(self) -> None:
        old = list(self._graph.node)
        old[self._place : self._place + 1] = self._nodes
        del self._graph.node[:]
        self._graph.node.extend(old)

    def _kernel(self) -> dict[str, Any]:
        return {a.name: helper.get_attribute_value(a) for a in self._at.node.attribute}

    def integer(
        self,
        weight: NDArray[np.int8],
        scale: NDArray[np.float64],
        bias: NDArray[np.float64],
        step: NDArray[np.float64],
        zero: int,
        out_step: NDArray[np.float64],
        offset: NDArray[np.float64],
    ) -> None:
        """Quantise, QLinearConv, dequantise."""
        if IMAGE not in {name for n in self._graph.node for name in n.output}:
            self._shape()
        one = self._constant("one", np.float32(1))
        none = self._constant("zero_u8", np.uint8(0))
        flat = self._constant(FLAT, np.array([0, 0, -1], np.int64))
        zeros = np.full(len(step), zero, np.uint8)
        wide = self._add("Reshape", [self._at.source, flat], "in_flat")
        scales = [self._constant("in_scale", step.astype(np.float32)), self._constant("in_zero", zeros)]
        q = self._add("QuantizeLinear", [wide, *scales], "in_flat_q", axis=1)
        q = self._add("Reshape", [q, IMAGE], "in_q")
        weights = [
            self._constant("weight_quantized", weight),
            self._constant("weight_scale", scale.astype(np.float32)),
            self._constant("weight_zero_point", np.zeros(len(scale), np.int8)),
        ]
        integers = self._constant("bias_quantized", np.round(bias / scale).astype(np.int32))
        zero_in = self._constant("in_zero_point", np.uint8(zero))
        y = self._add("QLinearConv", [q, one, zero_in, *weights, one, none, integers], "out_q", **self._kernel())
        y = self._add("Reshape", [y, flat], "out_flat_q")
        scales = [
            self._constant("out_scale", out_step.astype(np.float32)),
            self._constant("out_zero", offset.astype(np.uint8)),
        ]
        y = self._add("DequantizeLinear", [y, *scales], "out_flat", axis=1)
        self._add("Reshape", [y, IMAGE], self._at.node.output[0])
        self._finish()

    def explicit(
        self,
        weight: NDArray[np.int8],
        scale: NDArray[np.float64],
        bias: NDArray[np.float64],
        step: NDArray[np.float64],
    ) -> None:
        """Scale each channel, Q, DQ, and a convolution of dequantised weights."""
        one = self._constant("one", np.float32(1))
        none = self._constant("zero_s8", np.int8(0))
        level = self._constant("in_level", (1 / step).astype(np.float32)[None, :, None, None])
        x = self._add("Mul", [self._at.node.input[0], level], "in_level_out")
        x = self._add("DequantizeLinear", [self._add("QuantizeLinear", [x, one, none], "in_q"), one, none], "in")
        weights = [
            self._constant("weight_quantized", weight),
            self._constant("weight_scale", scale.astype(np.float32)),
            self._constant("weight_zero_point", np.zeros(len(scale), np.int8)),
        ]
        w = self._add("DequantizeLinear", weights, "weight_float", axis=0)
        b = self._constant("bias_float", bias.astype(np.float32))
        self._add("Conv", [x, w, b], self._at.node.output[0], **self._kernel())
        self._finish()

    def _shape(self) -> None:
        """(0, 0, Y, X): slices and channels as they are, the image as the input's."""
        for name, values in (("image_axes", [2]), ("image_end", [4]), ("image_rest", [0, 0])):
            self._graph.initializer.append(numpy_helper.from_array(np.array(values, np.int64), name))
        first = [
            helper.make_node("Shape", [INPUT], ["input_shape"], name="input_shape"),
            helper.make_node("Slice", ["input_shape", "image_axes", "image_end"], ["image_edges"], name="image_edges"),
            helper.make_node("Concat", ["image_rest", "image_edges"], [IMAGE], name=IMAGE, axis=0),
        ]
        rest = list(self._graph.node)
        del self._graph.node[:]
        self._graph.node.extend([*first, *rest])
        self._place += len(first)


def _tidy(model: onnx.ModelProto) -> None:
    """Without nodes and constants that nothing reads any more."""
    graph = model.graph
    while True:
        read = {name for n in graph.node for name in n.input} | {o.name for o in graph.output}
        idle = [n for n in graph.node if not read & set(n.output)]
        if not idle:
            break
        for n in idle:
            graph.node.remove(n)
    kept = [i for i in graph.initializer if i.name in read]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    del graph.value_info[:]
