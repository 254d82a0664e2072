"""What lies in the simulated scanner: compartments of known tensors, and the signal they give together.

    S(b, g) = Σ_k w_k exp(-b gᵀ D_k g)

A multi-tensor mixture (Tuch et al. 2002, MRM 48:577): with one compartment the tensor model, with several
crossing fibres and partial volume. Units as in `physics`: b in ms/µm², D in µm²/ms, image axes.
"""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edge_pigment.physics.tensor import quadratic_form

Array = NDArray[np.floating[Any]]


@dataclass(frozen=True, eq=False)
class Compartment:
    """One kind of water.

    voxels: (V,) flat C-order indices, each once; weight: (V,) share of S0; D: (V, 6) or (1, 6), µm²/ms.
    """

    voxels: NDArray[np.intp]
    weight: Array
    D: Array


@dataclass(frozen=True, eq=False)
class Subject:
    """Compartments on a grid with its affine (4, 4); image axes are those of the grid.

    brain (X, Y, Z) is the volume fraction of the brain, where SNR is defined and results are judged.
    """

    shape: tuple[int, int, int]
    affine: NDArray[np.float64]
    compartments: tuple[Compartment, ...]
    brain: Array

    @classmethod
    def from_tensor(cls, S0: ArrayLike, D: ArrayLike, affine: ArrayLike, brain: ArrayLike | None = None) -> Self:
        """A subject of one compartment: a tensor image.

        Args:
            S0: (X, Y, Z); voxels with S0 <= 0 or a tensor that is not finite are empty.
            D: (X, Y, Z, 6) µm²/ms, order xx yy zz xy xz yz, image axes.
            affine: (4, 4).
            brain: (X, Y, Z) mask or volume fraction; default: wherever there is signal.
        """
        s0, six = np.asarray(S0, np.float32), np.asarray(D, np.float32)
        if s0.ndim != 3 or six.shape != (*s0.shape, 6):
            raise ValueError(f"S0 must be (X, Y, Z) and D (X, Y, Z, 6), not {s0.shape} and {six.shape}")
        full = (s0 > 0) & np.isfinite(s0) & np.isfinite(six).all(-1)
        inside = full if brain is None else np.asarray(brain)
        voxels = np.flatnonzero(full)
        whole = Compartment(voxels, s0.reshape(-1)[voxels], six.reshape(-1, 6)[voxels])
        shape = (s0.shape[0], s0.shape[1], s0.shape[2])
        return cls(shape, np.asarray(affine, float), (whole,), inside.astype(np.float32))

    @property
    def voxel_size(self) -> NDArray[np.float64]:
        """Edges of a voxel, (3,), mm."""
        size: NDArray[np.float64] = np.linalg.norm(self.affine[:3, :3], axis=0)
        return size

    def signal(self, b: float, direction: ArrayLike) -> Array:
        """Noise-free signal (X, Y, Z) of one measurement: b in ms/µm², direction (3,) unit (any if b = 0)."""
        row = np.float32(-b) * quadratic_form(np.atleast_2d(direction))[0].astype(np.float32)
        total = np.zeros(int(np.prod(self.shape)), np.float32)
        for c in self.compartments:
            total[c.voxels] += c.weight if b == 0 else c.weight * np.exp(c.D @ row)
        return total.reshape(self.shape)
