"""What zero filling does to a prior that must be blind to its voxel, and what taking the slice apart mends.

    python benchmarks/interpolation.py BIDS_FOLDER

Simulated: the noise-free signal of a scan's reference tensors, with complex noise on the acquired matrix, is
zero-filled in both axes of the slices; the truth is the fit of the zero-filled signal without noise. `step` 1 is the
slice as it is, 2 every second voxel by itself, 3 every third; what a run would choose is marked.
"""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from accuracy import Cell
from edge_pigment.acquisition import Acquisition, read_acquisition
from edge_pigment.adapt import adapt, gather
from edge_pigment.gradients import GradientTable
from edge_pigment.maps import voxel_maps
from edge_pigment.noise.correlation import noise_correlation
from edge_pigment.physics.host import HostBackend
from edge_pigment.physics.moments import fractional_anisotropy
from edge_pigment.physics.tensor import quadratic_form, to_matrix
from edge_pigment.prior.bundle import load_bundle
from edge_pigment.prior.context import ContextSession
from edge_pigment_prior.references import Reference, find_scans, fit_reference
from edge_pigment_prior.rescan import spread_directions
from scores import NORMAL_90

Array = np.ndarray[Any, Any]
FACTORS = (1.0, 4 / 3, 1.5, 2.0, 3.0)
CELLS = (Cell(6, 1, 10), Cell(6, 1, 20))
SLICES = 20
INSIDE = 0.9
"""Share of brain in a zero-filled voxel that is judged: the edge rings."""
FLUID = 3.0
"""µm²/ms; ringing makes tensors beyond, which nothing has."""
NOISE_FREE_SNR = 1000.0


def zero_fill(image: Array, factor: float) -> Array:
    """(..., Y, X) complex, interpolated to factor times as many voxels along both axes."""
    Y, X = image.shape[-2:]
    rows, columns = round(Y * factor), round(X * factor)
    filled = np.zeros((*image.shape[:-2], rows, columns), complex)
    y, x = rows // 2 - Y // 2, columns // 2 - X // 2
    filled[..., y : y + Y, x : x + X] = np.fft.fftshift(np.fft.fft2(image), axes=(-2, -1))
    return np.fft.ifft2(np.fft.ifftshift(filled, axes=(-2, -1))) * (rows * columns / (X * Y))


def scan_of(reference: Reference, cell: Cell, factor: float) -> tuple[Acquisition, Acquisition, Array, float]:
    """Noisy and noise-free scan, the mask (X, Y, Z), and σ."""
    rng = np.random.default_rng(0)
    bvecs = np.concatenate([np.zeros((cell.b0s, 3)), spread_directions(cell.directions, rng)])
    bvals = np.r_[np.zeros(cell.b0s), np.full(cell.directions, cell.b)]
    middle = max(int(np.median(np.nonzero(reference.mask)[0])) - SLICES // 2, 0)
    part = slice(middle, middle + SLICES)
    theta, mask = reference.theta[:, part], reference.mask[part]
    S = np.zeros((len(bvals), *mask.shape))
    rows = bvals[:, None] / 1000 * quadratic_form(bvecs)
    S[:, mask] = np.exp(np.clip(theta[0, mask], -4, 4) - rows @ theta[1:, mask])
    noise = (rng.standard_normal(S.shape) + 1j * rng.standard_normal(S.shape)) / cell.snr
    filled = zero_fill(noise, factor)
    where = (zero_fill(mask.astype(float), factor).real > INSIDE).T
    table = GradientTable(bvals, bvecs)
    clean, noisy = np.abs(zero_fill(S, factor)), np.abs(zero_fill(S + noise, factor))
    scans = [Acquisition(image.T, table, np.eye(4)) for image in (noisy, clean)]
    return scans[0], scans[1], where, float(filled.real.std())


def main(
    data: Annotated[Path, typer.Argument(help="BIDS folder of scans to take references from.")],
    only: Annotated[str, typer.Option(help="Part of the scans' names.")] = "",
    bundle: Annotated[Path | None, typer.Option(help="Bundle; the shipped one by default.")] = None,
) -> None:
    """Print the table."""
    opened = load_bundle(bundle)
    network, nu, backend = ContextSession(opened), opened.manifest.nu, HostBackend(None)
    print("| scan | protocol | zero-filled | step | FA MAE | covered by 90 % | MD MAE | covered by 90 % |")
    print("|---|---|---|---|---|---|---|---|")
    for path in find_scans(data):
        name = path.name.removesuffix("_dwi.nii.gz")
        if only not in name:
            continue
        reference = fit_reference(read_acquisition(path), name)
        for cell in CELLS:
            for factor in FACTORS:
                noisy, clean, where, sigma = scan_of(reference, cell, factor)
                still = gather(clean, where, 1 / NOISE_FREE_SNR, backend)
                truth = backend.summarise(still.y, still.b, still.bvecs, still.sigma).theta[1:].T.astype(float)
                values = np.linalg.eigvalsh(to_matrix(truth))
                fa, md = fractional_anisotropy(values), values.mean(-1)
                judged = (values[:, 0] > 0) & (md < FLUID)
                chosen = noise_correlation(noisy, where).steps
                for step in (1, 2, 3):
                    m = replace(gather(noisy, where, sigma, backend), steps=(step, step, 1))
                    found = voxel_maps(adapt(m, backend, network, nu).outcome, m.scale, nu)
                    cells = []
                    for key, true, unit in (("FA", fa, 1.0), ("MD", md, 1000.0)):
                        error = np.abs(unit * found[key] - true)[judged]
                        cells += [error.mean(), np.mean(error < NORMAL_90 * unit * found[f"{key}_sd"][judged])]
                    mark = " *" if (step, step, 1) == chosen else ""
                    figures = " | ".join(f"{c:.3f}" for c in cells)
                    print(f"| {name} | {cell.name} | {factor:.2f} | {step}{mark} | {figures} |", flush=True)


if __name__ == "__main__":
    typer.run(main)
