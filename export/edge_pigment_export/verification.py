"""What the gate judges by: simulated scans of known truth, none of which the prior or its ranges have seen.

A digital head with other folds and other noise than the calibration's, and, where a folder of validation scans is
given, the tensors fitted to all volumes of each. Six directions and one b=0, at three noise levels.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge_pigment.acquisition import Acquisition, read_acquisition
from edge_pigment.adapt import Measurements, adapt, gather
from edge_pigment.gradients import GradientTable
from edge_pigment.maps import voxel_maps
from edge_pigment.physics.backend import Array, Backend
from edge_pigment.prior.context import ContextSession
from edge_pigment.simulate import Noise, Protocol, Shell, Subject, simulate_scan
from edge_pigment_calibration.heads import head, slab

SNRS = (5.0, 10.0, 20.0)
"""Of b=0 in the median voxel of the brain."""
HEAD_SEED = 101
"""Of the folds; the calibration's head has another."""
HEAD_VOXEL, HEAD_CENTRE, HEAD_SLAB = 1.75, 8.0, 48.0
"""mm: the head's grid, and the slab of it that is scanned."""
SCAN_VOXEL = (2.5, 2.5, 4.0)
SLICES = 16
"""Middle slices of each validation scan."""
DIRECTIONS, B = 6, 1000.0
Voxel = tuple[float, float, float]
"""Edges, mm."""


@dataclass(frozen=True, eq=False)
class VerificationScan:
    """Measurements of V voxels with their truth: fa, md (V,), md in µm²/ms."""

    name: str
    snr: float
    measurements: Measurements
    fa: Array
    md: Array


def simulated(subject: Subject, name: str, voxel: Voxel, snr: float, seed: int) -> VerificationScan:
    """One scan of a subject; mask and σ are the simulation's own."""
    protocol = Protocol(voxel=voxel, shells=(Shell(b=B, directions=DIRECTIONS),), b0=1)
    scan = simulate_scan(subject, protocol, Noise(snr=snr), seed=seed)
    mask = scan.truth.brain > 0.5
    acquisition = Acquisition(scan.signal, GradientTable(scan.bvals, scan.bvecs), scan.affine)
    measurements = gather(acquisition, mask, float(scan.sigma[mask].mean()))
    inside = measurements.mask
    return VerificationScan(name, snr, measurements, scan.truth.FA.T[inside], scan.truth.MD.T[inside])


def subjects(folder: Path | None) -> list[tuple[str, Subject, Voxel]]:
    """Name, subject and voxel of the scan: the head, and the tensors of a BIDS folder's scans."""
    piece = slab(head(HEAD_SEED, HEAD_VOXEL), HEAD_CENTRE, HEAD_SLAB)
    found: list[tuple[str, Subject, Voxel]] = [(f"digital head {HEAD_SEED}", piece, SCAN_VOXEL)]
    if folder is None:
        return found
    from edge_pigment_prior.references import find_scans, fit_reference

    for path in find_scans(folder):
        name = path.name.removesuffix("_dwi.nii.gz")
        reference = fit_reference(read_acquisition(path), name)
        first = max((len(reference.mask) - SLICES) // 2, 0)
        middle = slice(first, first + SLICES)
        inside = reference.mask[middle].T
        theta = reference.theta[:, middle].T
        S0 = np.where(inside, np.exp(np.clip(theta[..., 0], -4, 4)), 0)
        affine = np.diag([*reference.voxel_size, 1.0])
        found.append((name, Subject.from_tensor(S0, theta[..., 1:], affine, inside), reference.voxel_size))
    return found


def verification_set(folder: Path | None = None, snrs: tuple[float, ...] = SNRS) -> list[VerificationScan]:
    """Every subject at every noise level.

    Args:
        folder: BIDS folder of validation scans, or None for the digital head alone.
        snrs: noise levels.

    Raises:
        InputError: a scan of the folder cannot be read.
        ValueError: a scan has too few volumes for its tensors to be known.
    """
    return [
        simulated(subject, name, voxel, snr, seed=5000 + 10 * number + level)
        for number, (name, subject, voxel) in enumerate(subjects(folder))
        for level, snr in enumerate(snrs)
    ]


def maps_of(scan: VerificationScan, backend: Backend, session: ContextSession, nu: float) -> dict[str, Array]:
    """The whole adaptation on one scan; diffusivities in µm²/ms, else as `maps.voxel_maps`."""
    outcome = adapt(scan.measurements, backend, session, nu).outcome
    maps = voxel_maps(outcome, scan.measurements.scale, nu)
    return maps | {name: maps[name] * np.float32(1000) for name in ("MD", "MD_sd")}
