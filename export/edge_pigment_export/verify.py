"""ONNX Runtime against torch on random and on extreme features: the numbers go into the manifest."""

from pathlib import Path

import numpy as np
import onnxruntime as ort
import torch
from numpy.typing import NDArray

from edge_pigment.prior.context import INPUT, OUTPUTS
from edge_pigment.prior.features import CHANNELS
from edge_pigment_prior.network import ContextPrior

TOLERANCE = {"mean": 1e-4, "precision_factor": 1e-3}
"""Largest absolute error of the mean, largest relative error of the factor (relative to its largest entry in the
voxel): float32 sums of 200 terms, a hundred times below the prior's own sd."""


def compare(model: ContextPrior, path: Path, seed: int = 0) -> dict[str, dict[str, float]]:
    """Errors of an ONNX file against torch: output -> {max, mean, q99}.

    Shapes odd and even, a single slice, all-zero input and features ten times as large as any scan's.
    """
    rng = np.random.default_rng(seed)
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    errors: dict[str, list[NDArray[np.float64]]] = {name: [] for name in OUTPUTS}
    for shape, scale in (((2, 40, 48), 1), ((1, 33, 57), 1), ((3, 16, 16), 0), ((2, 64, 64), 10)):
        x = (scale * rng.standard_normal((shape[0], CHANNELS, *shape[1:]))).astype(np.float32)
        with torch.no_grad():
            expected = [t.numpy().astype(float) for t in model(torch.from_numpy(x))]
        found = session.run(list(OUTPUTS), {INPUT: x})
        errors["mean"].append(np.abs(found[0] - expected[0]).ravel() / max(scale, 1))
        largest = np.abs(expected[1]).max(axis=1, keepdims=True)
        errors["precision_factor"].append((np.abs(found[1] - expected[1]) / largest).ravel())
    out = {}
    for name, parts in errors.items():
        e = np.concatenate(parts)
        out[name] = {"max": float(e.max()), "mean": float(e.mean()), "q99": float(np.quantile(e, 0.99))}
    return out


def passes(errors: dict[str, dict[str, float]]) -> bool:
    """Whether every error is within its tolerance."""
    return all(errors[name]["max"] <= TOLERANCE[name] for name in TOLERANCE)
