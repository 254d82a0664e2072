"""Reference tensors of a training scan: all of its measurements, fitted voxel by voxel, no denoising.

The fit is the adaptation itself with a prior too wide to matter, started from the summary: non-linear least squares
with the Rician floor. Nothing of the context prior enters, so that the prior never learns from its own output.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_pigment.acquisition import Acquisition, read_acquisition
from edge_pigment.adapt import gather
from edge_pigment.brainmask import brain_mask
from edge_pigment.physics.adaptation import DIAGONAL, PACKED
from edge_pigment.physics.backend import Array, Backend, Posterior, Summary
from edge_pigment.physics.host import HostBackend
from edge_pigment.physics.tensor import DIMENSION, diffusivity, latent

LOW_B = 1500.0
"""s/mm². A tensor describes the signal's first fall only; measurements of more are left out of a reference that has
enough without them."""
FLAT_PRECISION = 1.0
"""Precision factor of the reference's own prior: sd 1 for log S0 and for Q, around the voxel's own summary."""
MIN_SPARE = 5
"""Volumes beyond the tensor's seven unknowns."""
SIGMA_GUESS = 0.05
SIGMA_ROUNDS = 3
"""σ from the fit's own residuals, which many volumes afford: guess, fit, and mend the guess."""
NO_STUDENT = 1e6
"""Degrees of freedom that make Student's t a Gaussian."""


@dataclass(frozen=True, eq=False)
class Reference:
    """One scan's tensors.

    theta (7, Z, Y, X): log S0 and D in image axes, µm²/ms; mask (Z, Y, X); voxel size (x, y, z) in mm; sigma, of the
    scaled signal; sd, the fit's own median error of a diagonal element of D, µm²/ms.
    """

    name: str
    theta: Array
    mask: NDArray[np.bool_]
    voxel_size: tuple[float, float, float]
    sigma: float
    sd: float

    def save(self, path: Path) -> None:
        """Write to a .npz; float16 holds four digits, far below the noise of any scan."""
        np.savez(
            path,
            name=self.name,
            theta=self.theta.astype(np.float16),
            mask=self.mask,
            voxel_size=self.voxel_size,
            sigma=self.sigma,
            sd=self.sd,
        )

    @classmethod
    def load(cls, path: Path) -> "Reference":
        """Read what `save` wrote."""
        with np.load(path) as f:
            x, y, z = (float(v) for v in f["voxel_size"])
            theta = f["theta"].astype(np.float32)
            return cls(str(f["name"]), theta, f["mask"], (x, y, z), float(f["sigma"]), float(f["sd"]))


def find_brain(acquisition: Acquisition) -> NDArray[np.bool_]:
    """The brain of a scan, (X, Y, Z)."""
    return brain_mask(acquisition.mean_b0, acquisition.mean_dwi, acquisition.voxel_size).mask


def unaided(y: Array, b: Array, bvecs: Array, sigma: Array, backend: Backend) -> tuple[Summary, Posterior]:
    """Summary and posterior of measurements that no context prior helps; arguments as of `Backend.summarise`."""
    summary = backend.summarise(y, b, bvecs, sigma)
    start = latent(np.exp(np.clip(summary.theta[0], -3, 3)), summary.theta[1:].T).T.astype(np.float32)
    factor = np.zeros((PACKED, y.shape[1]), np.float32)
    factor[list(DIAGONAL)] = FLAT_PRECISION
    return summary, backend.adapt(y, b, bvecs, sigma, np.ascontiguousarray(start), factor, NO_STUDENT)


def fit_reference(
    acquisition: Acquisition, name: str, backend: Backend | None = None, mask: NDArray[np.bool_] | None = None
) -> Reference:
    """Fit all measurements of a scan.

    Args:
        acquisition: the scan.
        name: what the log calls it.
        backend: kernels to use; the host's by default.
        mask: (X, Y, Z); found if not given.

    Raises:
        ValueError: too few volumes for residuals to tell the noise.
    """
    if len(acquisition.gradients) < DIMENSION + MIN_SPARE:
        raise ValueError(f"{name}: {len(acquisition.gradients)} volumes; a reference needs {DIMENSION + MIN_SPARE}")
    low = np.flatnonzero(acquisition.gradients.bvals <= LOW_B)
    if np.sum(~acquisition.gradients.is_b0[low]) >= DIMENSION - 1 + MIN_SPARE:
        acquisition = acquisition.subset(low)
    backend = backend or HostBackend(None)
    if mask is None:
        mask = find_brain(acquisition)
    m = gather(acquisition, mask, SIGMA_GUESS)  # only the signal and the table are used; σ is found below
    y, b, g, in_brain = m.y, m.b, m.bvecs, m.mask
    sigma = SIGMA_GUESS
    for _ in range(SIGMA_ROUNDS):
        summary, fit = unaided(y, b, g, np.full(y.shape[1], sigma, np.float32), backend)
        sigma *= float(np.median(fit.residual)) * np.sqrt(len(y) / (len(y) - DIMENSION))
    z = fit.mode
    theta = np.zeros((len(z), *in_brain.shape), np.float32)
    theta[0][in_brain] = z[0]
    for i, D in enumerate(diffusivity(z.T).T):
        theta[1 + i][in_brain] = D
    size = (float(acquisition.voxel_size[0]), float(acquisition.voxel_size[1]), float(acquisition.voxel_size[2]))
    sd = float(np.median(np.sqrt(np.mean(summary.sd[1:4] ** 2, axis=0))))
    return Reference(name, theta, in_brain, size, sigma, sd)


def find_scans(folder: Path) -> list[Path]:
    """All diffusion scans below a folder in BIDS layout, sorted."""
    return sorted(folder.glob("sub-*/**/dwi/*_dwi.nii.gz"))


def references(scans: list[Path], cache: Path) -> list[Reference]:
    """Fit, or read from the cache, the references of scans."""
    cache.mkdir(parents=True, exist_ok=True)
    out = []
    for scan in scans:
        name = scan.name.removesuffix("_dwi.nii.gz")
        path = cache / f"{name}.npz"
        if not path.exists():
            fit_reference(read_acquisition(scan), name).save(path)
        out.append(Reference.load(path))
    return out
