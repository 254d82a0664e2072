"""ONNX Runtime against torch on random and on extreme features: the numbers go into the manifest."""

import copy
from pathlib import Path

import numpy as np
import onnxruntime as ort
import torch
from numpy.typing import NDArray

from edge_pigment.prior.context import INPUT, OUTPUTS
from edge_pigment.prior.features import CHANNELS
from edge_pigment_prior.network import ContextPrior

TOLERANCE = {"mean": 1e-4, "precision_factor": 1e-3}
"""Largest error of the mean, absolute or relative to the voxel's largest entry where that is beyond 1 (a brain's are
not, what random features make of it is), largest error of the factor relative to its largest entry in the voxel:
float32 sums of 200 terms, a hundred times below the prior's own sd."""

AS_TORCH = 3.0
"""Error of what no scan has (means of 46, of 1200 for the extreme features), in errors of torch's own float32 there:
products of products of it lose digits in any, and the largest loss of one is up to 2.5 times that of the other."""


def compare(model: ContextPrior, path: Path, seed: int = 0) -> dict[str, dict[str, float]]:
    """Errors of an ONNX file against torch in float64: output -> {max, mean, q99}.

    Shapes odd and even, a single slice, all-zero input, features of noise alone and ten times as large as any scan's.
    Where float32 itself loses more than the tolerance, errors are counted in units of that, see `AS_TORCH`.
    """
    rng = np.random.default_rng(seed)
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    exact = copy.deepcopy(model).double()
    errors: dict[str, list[NDArray[np.float64]]] = {name: [] for name in OUTPUTS}
    for shape, scale in (((2, 40, 48), 1), ((1, 33, 57), 1), ((3, 16, 16), 0), ((2, 64, 64), 10)):
        x = (scale * rng.standard_normal((shape[0], CHANNELS, *shape[1:]))).astype(np.float32)
        with torch.no_grad():
            expected = [t.numpy() for t in exact(torch.from_numpy(x).double())]
            own = [t.numpy() for t in model(torch.from_numpy(x))]
        found = session.run(list(OUTPUTS), {INPUT: x})
        largest = [np.abs(e).max(axis=1, keepdims=True) for e in expected]
        units = (np.maximum(largest[0], 1), largest[1])
        for name, unit, true, of_onnx, of_torch in zip(OUTPUTS, units, expected, found, own, strict=True):
            e, lost = np.abs(of_onnx - true) / unit, np.abs(of_torch - true) / unit
            bearable = max(TOLERANCE[name], AS_TORCH * lost.max())
            errors[name].append((e * TOLERANCE[name] / bearable).ravel())
    out = {}
    for name, parts in errors.items():
        e = np.concatenate(parts)
        out[name] = {"max": float(e.max()), "mean": float(e.mean()), "q99": float(np.quantile(e, 0.99))}
    return out


def passes(errors: dict[str, dict[str, float]]) -> bool:
    """Whether every error is within its tolerance."""
    return all(errors[name]["max"] <= TOLERANCE[name] for name in TOLERANCE)
