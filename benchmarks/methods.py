"""What is compared: edge-pigment, and DIPY's fits with and without denoising, all on the same measurements."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from dipy.core.gradients import gradient_table
from dipy.reconst.dti import TensorModel

from edge_pigment.acquisition import Acquisition
from edge_pigment.adapt import Measurements, adapt, gather
from edge_pigment.gradients import GradientTable
from edge_pigment.maps import DIFFUSIVITIES, MM2_PER_S, to_image, voxel_maps, with_altered
from edge_pigment.physics.backend import Outcome
from edge_pigment.physics.host import HostBackend
from edge_pigment.physics.moments import fractional_anisotropy
from edge_pigment.physics.tensor import diffusivity, to_matrix
from edge_pigment.prior.bundle import load_bundle
from edge_pigment.prior.context import ContextSession
from edge_pigment_prior.references import NO_STUDENT, Reference, unaided

Array = np.ndarray[Any, Any]
UNKNOWNS = 7
"""Of a tensor and S0."""


@dataclass(frozen=True, eq=False)
class Scan:
    """signal (X, Y, Z, N), bvals (N,) s/mm², bvecs (N, 3) image axes, mask (X, Y, Z), sigma, voxel size in mm."""

    signal: Array
    bvals: Array
    bvecs: Array
    mask: Array
    sigma: float
    voxel_size: Array

    @classmethod
    def of(cls, acquisition: Acquisition, reference: Reference) -> "Scan":
        """A real scan, with the mask and σ of the reference fit."""
        mask = reference.mask.T
        scale = float(np.median(acquisition.mean_b0[mask]))
        table = acquisition.gradients
        size = np.array(reference.voxel_size)
        return cls(acquisition.signal / scale, table.bvals, table.bvecs, mask, reference.sigma, size)


@dataclass(frozen=True, eq=False)
class Estimate:
    """fa, md (µm²/ms) (X, Y, Z), v1 (X, Y, Z, 3); ad, rd, standard deviations and novelty where the method has them."""

    fa: Array
    md: Array
    v1: Array
    fa_sd: Array | None = None
    md_sd: Array | None = None
    novelty: Array | None = None
    v1_sd: Array | None = None
    """Degrees."""
    ad: Array | None = None
    rd: Array | None = None
    ad_sd: Array | None = None
    rd_sd: Array | None = None


def from_tensors(values: Array, vectors: Array) -> Estimate:
    """Eigenvalues (..., 3) µm²/ms, largest first, and eigenvectors in columns."""
    fa, md, ad, rd = fractional_anisotropy(values), values.mean(-1), values[..., 0], values[..., 1:].mean(-1)
    return Estimate(fa, md, vectors[..., 0], ad=ad, rd=rd)


def of_reference(reference: Reference) -> Estimate:
    """A reference's tensors as an estimate; what noise made negative counts as 0."""
    return of_tensors(reference.theta[1:].T)


def of_tensors(D: Array) -> Estimate:
    """(X, Y, Z, 6) in µm²/ms."""
    values, vectors = np.linalg.eigh(to_matrix(D))
    return from_tensors(np.maximum(values, 0)[..., ::-1], vectors[..., ::-1])


def subset_directions(table: GradientTable, n: int) -> tuple[Array, Array]:
    """Volumes of a b=0 and the n directions of the largest shell that are best conditioned (greedy); the others.

    A b=0 is shared only if there is one.
    """
    b0s = np.flatnonzero(table.is_b0)
    shell = max(table.shells, key=lambda s: len(s.indices)).indices
    best, best_score = shell[:n], np.inf
    rng = np.random.default_rng(0)
    for _ in range(3000):
        trial = rng.choice(shell, n, replace=False)
        g = table.bvecs[trial]
        x = np.stack([g[:, i] * g[:, j] * (1 if i == j else 2) for i in range(3) for j in range(i, 3)], axis=1)
        score = np.linalg.cond(x)
        if score < best_score:
            best, best_score = trial, score
    chosen = np.sort(np.r_[b0s[:1], best])
    rest_b0 = b0s[1:] if len(b0s) > 1 else b0s
    rest = np.sort(np.r_[rest_b0, np.setdiff1d(shell, best)])
    return chosen, rest


class UndefinedError(ValueError):
    """The method has no answer for such a scan."""


def _dipy(method: str, denoise: Callable[[Scan], Array] | None = None) -> Callable[[Scan, Array], Estimate]:
    def estimate(scan: Scan, where: Array) -> Estimate:
        signal = scan.signal if denoise is None else denoise(scan)
        if method == "RESTORE" and len(scan.bvals) <= UNKNOWNS:  # DIPY divides by N - 7
            raise UndefinedError(f"RESTORE judges volumes by their residuals, which {UNKNOWNS} volumes do not leave")
        options = {"sigma": scan.sigma} if method == "RESTORE" else {}
        table = gradient_table(scan.bvals, bvecs=scan.bvecs)
        fit = TensorModel(table, fit_method=method, **options).fit(np.asarray(signal, np.float64), mask=where)
        return from_tensors(fit.evals * 1000, fit.evecs)

    return estimate


def _mppca(scan: Scan) -> Array:
    from dipy.denoise.localpca import mppca

    return np.asarray(mppca(scan.signal, mask=scan.mask, patch_radius=2))


def _nlmeans(scan: Scan) -> Array:
    from dipy.denoise.nlmeans import nlmeans

    return np.asarray(nlmeans(scan.signal, scan.sigma, mask=scan.mask, rician=True, patch_radius=1, block_radius=2))


def _patch2self(scan: Scan) -> Array:
    from dipy.denoise.patch2self import patch2self

    return np.asarray(patch2self(scan.signal, scan.bvals, b0_threshold=50))


def estimate_of(maps: dict[str, Array], mask: Array) -> Estimate:
    """From maps of the mask's voxels (Z, Y, X), as `edge_pigment.maps.voxel_maps` makes them."""
    images = {name: to_image(values, mask) for name, values in maps.items()}
    md, ad, rd, md_sd, ad_sd, rd_sd = (images[name] / MM2_PER_S for name in DIFFUSIVITIES)
    others = (images[name] for name in ("novelty", "V1_sd"))
    return Estimate(images["FA"], md, images["V1"], images["FA_sd"], md_sd, *others, ad, rd, ad_sd, rd_sd)


def full_fit(acquisition: Acquisition, reference: Reference) -> Estimate:
    """What a sub-sampled real scan is judged by: a fit, that no prior helps, of volumes that no method saw.

    By the fit of references: non-linear least squares with the Rician floor, with its own standard deviations. The
    values are the fit's, not its expectations: FA that noise has raised would be raised by it once more.
    """
    backend = HostBackend(None)
    m = gather(acquisition, reference.mask.T, sigma=1.0)
    sigma = np.full_like(m.sigma, reference.sigma)
    fit = unaided(m.y, m.b, m.bvecs, sigma, backend)[1]
    outcome = Outcome(fit.mode, fit.residual, fit.distance, fit.share, backend.moments(fit.mode, fit.factor))
    spread = estimate_of(voxel_maps(outcome, 1.0, NO_STUDENT), m.mask)
    values, vectors = np.linalg.eigh(to_matrix(diffusivity(fit.mode.T)))
    fitted = from_tensors(values[:, ::-1], vectors[:, :, ::-1])
    images = {name: to_image(getattr(fitted, name), m.mask) for name in ("fa", "md", "v1", "ad", "rd")}
    return replace(spread, **images)


def measured(scan: Scan) -> Measurements:
    """A scan as the kernels take it."""
    affine = np.diag([*scan.voxel_size, 1.0])
    acquisition = Acquisition(scan.signal, GradientTable(scan.bvals, scan.bvecs), affine)
    return gather(acquisition, scan.mask, scan.sigma)


def _ours(bundle: Path | None) -> Callable[[Scan, Array], Estimate]:
    opened = load_bundle(bundle)
    session, backend, alteration = ContextSession(opened), HostBackend(None), opened.alteration()

    def estimate(scan: Scan, where: Array) -> Estimate:
        measurements = measured(scan)
        nu, mask = opened.manifest.nu, measurements.mask
        adapted = adapt(measurements, backend, session, nu)
        maps = voxel_maps(adapted.outcome, measurements.scale, nu)
        return estimate_of(with_altered(maps, alteration, adapted.innovation, mask, scan.voxel_size), mask)

    return estimate


def METHODS(name: str, bundle: Path | None) -> Callable[[Scan, Array], Estimate]:
    """An estimator by name."""
    if name == "edge-pigment":
        return _ours(bundle)
    peers: dict[str, Callable[[Scan, Array], Estimate]] = {
        "WLS": _dipy("WLS"),
        "NLLS": _dipy("NLLS"),
        "RESTORE": _dipy("RESTORE"),
        "MP-PCA+WLS": _dipy("WLS", _mppca),
        "NLM+WLS": _dipy("WLS", _nlmeans),
        "P2S+WLS": _dipy("WLS", _patch2self),
    }
    return peers[name]
