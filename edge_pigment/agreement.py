"""How far the maps of two networks are apart: what a flavour or an engine is judged by before it is taken.

An error of a tensor in the middle of the network says little: the adaptation divides it by what the measurements
know. So a network runs through the whole adaptation of a simulated scan and is held against another one there.
"""

from dataclasses import dataclass

import numpy as np

from edge_pigment.acquisition import Acquisition
from edge_pigment.adapt import Measurements, adapt, gather
from edge_pigment.gradients import GradientTable
from edge_pigment.maps import voxel_maps
from edge_pigment.phantom import make_phantom
from edge_pigment.physics.backend import Array, Backend
from edge_pigment.prior.context import Network
from edge_pigment.simulate import Noise, Protocol, Shell, Subject, simulate_scan

LIMITS = {"MD_bias_percent": 0.1, "FA_MAE": 0.002, "V1_median_deg": 0.2, "coverage_points": 0.5}
"""Largest differences that are let through."""
WHITE_FA = 0.3
"""True FA above which a voxel has a direction worth judging."""
NORMAL_90 = 1.6449
DIRECTIONS, B = 6, 1000.0
TRIAL_VOXEL, TRIAL_SNR, TRIAL_SEED = (3.0, 3.0, 4.0), 5.0, 77
"""The scan that an engine is tried on: noisy, where the network has most to say."""
Voxel = tuple[float, float, float]
"""Edges, mm."""


@dataclass(frozen=True, eq=False)
class KnownScan:
    """Measurements of V voxels with their truth: fa, md (V,), md in µm²/ms."""

    name: str
    snr: float
    measurements: Measurements
    fa: Array
    md: Array


def simulated(subject: Subject, name: str, voxel: Voxel, snr: float, seed: int) -> KnownScan:
    """One scan of a subject, six directions and one b=0; mask and σ are the simulation's own."""
    protocol = Protocol(voxel=voxel, shells=(Shell(b=B, directions=DIRECTIONS),), b0=1)
    scan = simulate_scan(subject, protocol, Noise(snr=snr), seed=seed)
    mask = scan.truth.brain > 0.5
    acquisition = Acquisition(scan.signal, GradientTable(scan.bvals, scan.bvecs), scan.affine)
    measurements = gather(acquisition, mask, float(scan.sigma[mask].mean()))
    inside = measurements.mask
    return KnownScan(name, snr, measurements, scan.truth.FA.T[inside], scan.truth.MD.T[inside])


def trial() -> KnownScan:
    """A scan of the digital head, small enough to be quick."""
    subject = make_phantom(TRIAL_VOXEL[0], seed=TRIAL_SEED).subject
    return simulated(subject, "digital head", TRIAL_VOXEL, TRIAL_SNR, TRIAL_SEED)


def maps_of(scan: KnownScan, backend: Backend, network: Network, nu: float) -> dict[str, Array]:
    """The whole adaptation on one scan; diffusivities in µm²/ms, else as `maps.voxel_maps`."""
    outcome = adapt(scan.measurements, backend, network, nu).outcome
    maps = voxel_maps(outcome, scan.measurements.scale, nu)
    return maps | {name: maps[name] * np.float32(1000) for name in ("MD", "MD_sd")}


def difference(scan: KnownScan, expected: dict[str, Array], found: dict[str, Array]) -> dict[str, float]:
    """What two networks' maps of one scan differ by, in the terms of LIMITS."""
    white = scan.fa > WHITE_FA
    cosine = np.abs(np.sum(expected["V1"][white] * found["V1"][white], axis=-1, dtype=float))
    moved = [
        abs(covered(found, key, truth) - covered(expected, key, truth))
        for key, truth in (("FA", scan.fa), ("MD", scan.md))
    ]
    mean, mean_expected = (float(np.mean(maps["MD"], dtype=float)) for maps in (found, expected))
    return {
        "MD_bias_percent": 100 * abs(mean / mean_expected - 1),
        "FA_MAE": float(np.mean(np.abs(found["FA"] - expected["FA"]), dtype=float)),
        "V1_median_deg": float(np.degrees(np.median(np.arccos(np.clip(cosine, 0, 1))))),
        "coverage_points": float(100 * max(moved)),
    }


def covered(maps: dict[str, Array], key: str, truth: Array) -> float:
    """Share of voxels whose 90 % interval holds the truth."""
    return float(np.mean(np.abs(maps[key] - truth) < NORMAL_90 * maps[f"{key}_sd"]))


def exceeded(errors: dict[str, float]) -> list[str]:
    """The kinds of error that are not within their limits (not a number is not)."""
    return [key for key, limit in LIMITS.items() if not errors[key] <= limit]
