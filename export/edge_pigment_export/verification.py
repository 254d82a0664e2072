"""What the gate judges by: simulated scans of known truth, none of which the prior or its ranges have seen.

A digital head with other folds and other noise than the calibration's, and, where a folder of validation scans is
given, the tensors fitted to all volumes of each. Six directions and one b=0, at three noise levels.
"""

from pathlib import Path

import numpy as np

from edge_pigment.acquisition import read_acquisition
from edge_pigment.agreement import KnownScan, Voxel, simulated
from edge_pigment.simulate import Subject
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


def verification_set(folder: Path | None = None, snrs: tuple[float, ...] = SNRS) -> list[KnownScan]:
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
