"""Step 2, the context prior: summaries of a voxel's surroundings in, a Gaussian over its latent out.

The network runs in ONNX Runtime, on the one provider that is asked for (the CPU's by default) and named to it, so that
no other is ever taken silently; `prior.runner` runs it in TensorRT.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from edge_pigment import errors as texts
from edge_pigment.boxes import bounding_box
from edge_pigment.errors import DeviceError
from edge_pigment.physics.adaptation import PACKED
from edge_pigment.physics.backend import Array, Held, Outcome, Summary
from edge_pigment.physics.tensor import DIMENSION
from edge_pigment.prior.bundle import Bundle
from edge_pigment.prior.features import to_stack, voxel_features, with_neighbours

SLICES_AT_ONCE = 4
"""Bounds the activations' memory; the result does not depend on it."""
CPU = "CPUExecutionProvider"
PROVIDERS = {"cpu": CPU, "ort-cuda": "CUDAExecutionProvider", "ort-tensorrt": "TensorrtExecutionProvider"}
"""What `--network` calls ONNX Runtime's providers -> what ONNX Runtime does."""
INPUT = "features"
OUTPUTS = ("mean", "precision_factor")


Revise = Callable[[Array, Array], Array]


class Network:
    """A network that makes priors; how it computes a few slices is its subclass's."""

    device: str
    """What the provenance records."""
    reach: int | None = None
    """In-plane voxels from which a prior may depend, either way; None: not known."""

    def run_slices(self, features: Array) -> tuple[Array, Array]:
        """(B, 45, Y, X) -> mean (B, 7, Y, X) and packed precision factor (B, 28, Y, X)."""
        raise NotImplementedError

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
        mask = mask[bounding_box(mask)]
        stack = to_stack(voxel_features(summary), mask)
        mean = np.empty((DIMENSION, summary.theta.shape[1]), np.float32)
        factor = np.empty((PACKED, summary.theta.shape[1]), np.float32)
        done = 0
        for first in range(0, len(mask), SLICES_AT_ONCE):
            last = min(first + SLICES_AT_ONCE, len(mask))
            inside = mask[first:last]
            if inside.any():
                rows, columns = self._window(inside)
                found = self.run_slices(with_neighbours(stack[:, :, rows, columns], first, last))
                for number, image in enumerate(inside[:, rows, columns]):
                    voxels = np.flatnonzero(image)
                    for target, values in zip((mean, factor), found, strict=True):
                        flat = values[number].reshape(len(target), -1)
                        np.take(flat, voxels, axis=1, out=target[:, done : done + len(voxels)], mode="clip")
                    done += len(voxels)
            if progress:
                progress(last / len(mask))
        return mean, factor

    def adapt_in_place(self, held: Held, mask: NDArray[np.bool_], nu: float, revise: Revise) -> Outcome | None:
        """Prior and adaptation of a summarised scan on the GPU, if network and scan both lie there.

        Args:
            held: the scan.
            mask: (Z, Y, X).
            nu: degrees of freedom of the prior.
            revise: makes of the prior's mean (7, V) and factor (28, V) the factor that is adapted.

        Returns:
            the outcome, or None: then `prior` and `held.adapt` are to do it.
        """
        return None

    def _window(self, inside: NDArray[np.bool_]) -> tuple[slice, slice]:
        """The part of some slices that their voxels' priors depend on: what lies beyond need not be computed."""
        if self.reach is None:
            return slice(None), slice(None)
        rows, columns = (
            slice(max(part.start - self.reach, 0), part.stop + self.reach)
            for part in bounding_box(np.asarray(inside.any(axis=0)))
        )
        return rows, columns


class ContextSession(Network):
    """The network of a bundle in ONNX Runtime.

    Args:
        bundle: opened, so checked.
        threads: of the CPU; None for all of them.
        flavour: one of the bundle's; nothing else is taken in its place.
        provider: a key of PROVIDERS; nothing else is taken in its place.

    Raises:
        BundleError: the bundle lacks the flavour.
        DeviceError: this ONNX Runtime lacks the provider, or the provider does not start.
    """

    def __init__(
        self, bundle: Bundle, threads: int | None = None, flavour: str = "fp32", provider: str = "cpu"
    ) -> None:
        self.flavour = flavour
        self.reach = bundle.manifest.reach
        self._session = _open(bundle.model(flavour), threads, provider)

    @classmethod
    def of_file(cls, path: Path, threads: int | None = None, flavour: str = "fp32") -> "ContextSession":
        """A network that is in no bundle yet: for the gate that decides whether it will be."""
        session = cls.__new__(cls)
        session.flavour = flavour
        session._session = _open(path, threads, "cpu")
        return session

    @property
    def device(self) -> str:  # type: ignore[override]
        """What the provenance records."""
        return f"ONNX Runtime {ort.__version__}, {self._session.get_providers()[0]}, {self.flavour}"

    def run_slices(self, features: Array) -> tuple[Array, Array]:
        """(B, 45, Y, X) -> mean (B, 7, Y, X) and packed precision factor (B, 28, Y, X)."""
        mean, factor = self._session.run(list(OUTPUTS), {INPUT: features})
        return mean, factor


def _open(path: Path, threads: int | None, provider: str) -> ort.InferenceSession:
    """The ONNX file on one provider. The arena stays on: slabs are alike, and their buffers are used again."""
    name = PROVIDERS[provider]
    if name not in ort.get_available_providers():
        have = ", ".join(ort.get_available_providers())
        raise DeviceError(texts.PROVIDER_MISSING.format(network=provider, provider=name, have=have))
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads or 0
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.enable_cpu_mem_arena = True
    options.log_severity_level = 3
    # threads that wait by spinning take the cores from the kernels' threads, and gain nothing on whole slices
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # ONNX Runtime adds its CPU provider for what another does not do; that a provider did not start must be told
    try:
        session = ort.InferenceSession(str(path), sess_options=options, providers=[name])
    except Exception as error:  # ONNX Runtime raises its own kinds, which have no common base
        if name == CPU:
            raise
        why = str(error).splitlines()[0]
        raise DeviceError(texts.PROVIDER_FAILED.format(network=provider, provider=name, why=why)) from error
    if session.get_providers()[0] != name:
        why = f"it took {session.get_providers()[0]} in its place"
        raise DeviceError(texts.PROVIDER_FAILED.format(network=provider, provider=name, why=why))
    return session
