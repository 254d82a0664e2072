"""Weights -> ONNX, with the blind spot's mask folded into the weights."""

import copy
import tempfile
from pathlib import Path

import onnx
import torch

from edge_pigment.prior.context import INPUT, OUTPUTS
from edge_pigment.prior.features import CHANNELS
from edge_pigment_export.flavours import name_layers
from edge_pigment_prior.network import ContextPrior, MaskedConvolution

OPSET = 18


def fold_mask(model: ContextPrior) -> ContextPrior:
    """The same network with plain convolutions: the masked taps are zeros in the weights."""
    model = copy.deepcopy(model)
    for branch in (model.near, model.far):
        masked = branch[0]
        assert isinstance(masked, MaskedConvolution)
        plain = torch.nn.Conv2d(
            masked.in_channels, masked.out_channels, masked.kernel_size[0], padding=masked.kernel_size[0] // 2
        )
        with torch.no_grad():
            plain.weight.copy_(masked.weight * masked.tap)
            assert masked.bias is not None
            assert plain.bias is not None
            plain.bias.copy_(masked.bias)
        branch[0] = plain
    return model.eval()


def to_onnx(model: ContextPrior) -> onnx.ModelProto:
    """The network as ONNX with dynamic batch, height and width."""
    example = torch.zeros(2, CHANNELS, 40, 48)
    dynamic = {0: torch.export.Dim("slices", min=1), 2: torch.export.Dim("height", min=8),
               3: torch.export.Dim("width", min=8)}  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        torch.onnx.export(
            fold_mask(model),
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
    onnx.checker.check_model(proto)
    return proto
