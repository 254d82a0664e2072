"""What the network sees in practice: summaries of simulated scans, from which quantisation ranges are taken.

Never random numbers: the range of an activation decides the step of its 8 bits, and only real anatomy, protocols and
noise give the range that scans will have. Low-field and clinical field profiles of the simulator, and protocols of
few and of many directions, on the digital head; patches of training references too where they are at hand. The head
that the gate judges by (`edge_pigment_export.verification`) is another one, with other noise.
"""

import hashlib
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from edge_pigment.acquisition import Acquisition
from edge_pigment.adapt import gather
from edge_pigment.boxes import bounding_box
from edge_pigment.gradients import GradientTable
from edge_pigment.physics.backend import Array
from edge_pigment.physics.host import HostBackend
from edge_pigment.prior.features import CONTRACT, to_stack, voxel_features, with_neighbours
from edge_pigment.simulate import Noise, Protocol, Shell, SimulatedScan, read_profile, simulate_scan
from edge_pigment_calibration.heads import head, slab

HEAD_SEED = 11
"""Of the digital head's folds; the gate's head has another seed."""
HEAD_VOXEL = 2.5
"""mm; the subject's grid. Ranges of activations need no finer partial volume."""
SLAB = 30.0
"""mm of each head that is simulated, at another height for each scan."""
HEIGHTS = (-20.0, 5.0, 30.0)
"""mm; centres of the slabs."""
SLICES = 5
"""Taken from each scan, spread over the slab."""
SIDE = 96
"""Largest in-plane edge of what is kept of a slice: ranges need variety, not area."""


class Case(NamedTuple):
    """One scan to simulate."""

    name: str
    protocol: Protocol
    noise: Noise


def _simple(directions: int, b: float, snr: float, voxel: tuple[float, float, float]) -> Case:
    protocol = Protocol(voxel=voxel, shells=(Shell(b=b, directions=directions),), b0=1 + directions // 10)
    return Case(f"{directions} directions, b {b:g}, SNR {snr:g}", protocol, Noise(snr=snr))


def cases() -> tuple[Case, ...]:
    """The protocols and noise levels of the set: the field profiles, and what lies between and beyond them."""
    profiles = [read_profile(name) for name in ("0.05T", "64mT", "0.55T", "1.5T", "3T")]
    return (
        *(Case(p.name, p.protocol, p.noise) for p in profiles),
        _simple(3, 900.0, 8.0, (3.0, 3.0, 6.0)),
        _simple(6, 1000.0, 4.0, (2.5, 2.5, 5.0)),
        _simple(6, 700.0, 20.0, (2.5, 2.5, 2.5)),
        _simple(12, 2000.0, 12.0, (2.5, 2.5, 4.0)),
        _simple(30, 1000.0, 40.0, (2.5, 2.5, 2.5)),
    )


@dataclass(frozen=True, eq=False)
class CalibrationSet:
    """features: inputs of the network, each (B, 45, Y, X) float32; sources: what they are, for the manifest."""

    features: tuple[Array, ...]
    sources: tuple[str, ...]

    @property
    def hash(self) -> str:
        """SHA-256 over the contract, and every input's shape and bytes, in order."""
        digest = hashlib.sha256(CONTRACT.encode())
        for x in self.features:
            digest.update(repr(x.shape).encode())
            digest.update(np.ascontiguousarray(x).tobytes())
        return digest.hexdigest()

    def describe(self) -> dict[str, Any]:
        """Hash, number of slices and sources: what a manifest records."""
        return {"sha256": self.hash, "slices": sum(len(x) for x in self.features), "sources": self.sources}


def scan_features(scan: SimulatedScan, backend: HostBackend, slices: int = SLICES) -> Array:
    """The network's input for some slices of a simulated scan, as `run` would make it: (B, 45, Y, X).

    Mask and σ are the simulation's own: the ranges shall not depend on how well they are estimated.
    """
    mask = scan.truth.brain > 0.5
    acquisition = Acquisition(scan.signal, GradientTable(scan.bvals, scan.bvecs), scan.affine)
    m = gather(acquisition, mask, float(scan.sigma[mask].mean()))
    inside = m.mask[bounding_box(m.mask)]
    stack = to_stack(voxel_features(backend.summarise(m.y, m.b, m.bvecs, m.sigma)), inside)
    chosen = np.unique(np.linspace(0, len(stack) - 1, slices + 2).round().astype(int)[1:-1])
    Y, X = stack.shape[2:]
    y0, x0 = max((Y - SIDE) // 2, 0), max((X - SIDE) // 2, 0)
    whole = [with_neighbours(stack, z, z + 1)[:, :, y0 : y0 + SIDE, x0 : x0 + SIDE] for z in chosen]
    return np.ascontiguousarray(np.concatenate(whole))


def calibration_set(patches: tuple[Array, ...] = (), few: bool = False, seed: int = 0) -> CalibrationSet:
    """Simulate the set.

    Args:
        patches: further inputs (B, 45, Y, X), such as patches of training references.
        few: every third case only, for tests.
        seed: of schemes and noise.
    """
    backend = HostBackend()
    features, sources = [], []
    for number, case in enumerate(cases()[:: 3 if few else 1]):
        piece = slab(head(HEAD_SEED, HEAD_VOXEL), HEIGHTS[number % len(HEIGHTS)], SLAB)
        scan = simulate_scan(piece, case.protocol, case.noise, seed=1000 * seed + number)
        features.append(scan_features(scan, backend))
        sources.append(f"digital head {HEAD_SEED}: {case.name}")
    for number, patch in enumerate(patches):
        features.append(np.ascontiguousarray(patch, np.float32))
        sources.append(f"patches of training references, {number}")
    return CalibrationSet(tuple(features), tuple(sources))
