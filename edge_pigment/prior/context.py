"""Step 2, the context prior: summaries of a voxel's surroundings in, a Gaussian over its latent out.

The session runs on ONNX Runtime's CPU provider, which is named, so that no other is ever taken silently.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from edge_pigment.physics.adaptation import PACKED
from edge_pigment.physics.backend import Array, Summary
from edge_pigment.physics.tensor import DIMENSION
from edge_pigment.prior.bundle import Bundle
from edge_pigment.prior.features import to_stack, voxel_features, with_neighbours

SLICES_AT_ONCE = 4
"""Bounds the activations' memory; the result does not depend on it."""
PROVIDER = "CPUExecutionProvider"
"""Named, and the only one given, so that ONNX Runtime cannot choose."""
INPUT = "features"
OUTPUTS = ("mean", "precision_factor")


class ContextSession:
    """The network of a bundle, ready to run.

    Args:
        bundle: opened, so checked.
        threads: of the CPU; None for all of them.
        flavour: one of the bundle's; nothing else is taken in its place.

    Raises:
        BundleError: the bundle lacks the flavour.
    """

    def __init__(self, bundle: Bundle, threads: int | None = None, flavour: str = "fp32") -> None:
        self.flavour = flavour
        self._session = _open(bundle.model(flavour), threads)

    @classmethod
    def of_file(cls, path: Path, threads: int | None = None, flavour: str = "fp32") -> "ContextSession":
        """A network that is in no bundle yet: for the gate that decides whether it will be."""
        session = cls.__new__(cls)
        session.flavour = flavour
        session._session = _open(path, threads)
        return session

    @property
    def device(self) -> str:
        """What the provenance records."""
        return f"ONNX Runtime {ort.__version__}, {self._session.get_providers()[0]}, {self.flavour}"

    def run_slices(self, features: Array) -> tuple[Array, Array]:
        """(B, 45, Y, X) -> mean (B, 7, Y, X) and packed precision factor (B, 28, Y, X)."""
        mean, factor = self._session.run(list(OUTPUTS), {INPUT: features})
        return mean, factor

    def prior(
        self, summary: Summary, mask: NDArray[np.bool_], progress: Callable[[float], None] | None = None
    ) -> tuple[Array, Array]:
        """The prior of each voxel of the mask.

        Args:
            summary: of the V voxels of the mask, in the mask's C order.
            mask: (Z, Y, X).
            progress: called with the share that is done after every few slices.

        Returns:
            mean (7, V) and packed precision factor (28, V).
        """
        box = bounding_box(mask)
        mask = mask[box]
        stack = to_stack(voxel_features(summary), mask)
        mean = np.empty((DIMENSION, summary.theta.shape[1]), np.float32)
        factor = np.empty((PACKED, summary.theta.shape[1]), np.float32)
        done = 0
        for first in range(0, len(mask), SLICES_AT_ONCE):
            last = min(first + SLICES_AT_ONCE, len(mask))
            inside = mask[first:last]
            count = int(inside.sum())
            if count:
                outputs = self.run_slices(with_neighbours(stack, first, last))
                for target, image in zip((mean, factor), outputs, strict=True):
                    for channel in range(len(target)):
                        target[channel, done : done + count] = image[:, channel][inside]
            done += count
            if progress:
                progress(last / len(mask))
        return mean, factor


def _open(path: Path, threads: int | None) -> ort.InferenceSession:
    """The ONNX file on the CPU. The arena stays on: slabs are alike, and their buffers are used again."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads or 0
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.enable_cpu_mem_arena = True
    options.log_severity_level = 3
    return ort.InferenceSession(str(path), sess_options=options, providers=[PROVIDER])


def bounding_box(mask: NDArray[np.bool_]) -> tuple[slice, ...]:
    """The smallest box that holds every true voxel of a non-empty mask."""
    box = []
    for axis in range(mask.ndim):
        other = tuple(a for a in range(mask.ndim) if a != axis)
        where = np.flatnonzero(mask.any(axis=other))
        box.append(slice(int(where[0]), int(where[-1]) + 1))
    return tuple(box)
