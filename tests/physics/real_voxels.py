"""Some voxels of a real scan with the shipped prior, for the tests of the kernels."""

from pathlib import Path

import numpy as np
from physics_cases import Case

from edge_pigment.acquisition import read_acquisition
from edge_pigment.adapt import gather
from edge_pigment.brainmask import brain_mask
from edge_pigment.noise import estimate_sigma
from edge_pigment.physics.host import HostBackend
from edge_pigment.prior.bundle import load_bundle
from edge_pigment.prior.context import ContextSession


def real_voxels(shared_data: Path, subject: str, every: int) -> tuple[Case, float]:
    """Every so-manieth voxel of the subject's first scan, as the float64 reference is slow, and the bundle's ν."""
    path = min((shared_data / "validation").glob(f"{subject}/dwi/*_dwi.nii.gz"))
    acquisition = read_acquisition(path)
    mask = brain_mask(acquisition.mean_b0, acquisition.mean_dwi, acquisition.voxel_size)[0] & (acquisition.mean_b0 > 0)
    middle = mask.shape[2] // 2
    mask[:, :, : middle - 2] = mask[:, :, middle + 2 :] = False
    bundle = load_bundle(None)
    m = gather(acquisition, mask, float(estimate_sigma(acquisition, mask).sigma))
    summary = HostBackend(2).summarise(m.y, m.b, m.bvecs, m.sigma)
    mean, factor = ContextSession(bundle, 2).prior(summary, m.mask)
    y, mean, factor = (np.ascontiguousarray(a[:, ::every].T, float) for a in (m.y, mean, factor))
    b, bvecs, sigma = (np.asarray(a, float) for a in (m.b, m.bvecs, m.sigma[::every]))
    return Case(y, b, bvecs, sigma, mean, factor, np.full_like(mean, np.nan)), bundle.manifest.nu
