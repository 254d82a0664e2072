"""Accuracy against known truth and against fuller scans, beside what a user would pick instead.

    python benchmarks/accuracy.py BIDS_FOLDER --output results/

Simulated: a reference tensor image is fitted to all volumes of a scan (no denoising; the reference's own noise is
part of the truth that every method is judged by), a scan of it is simulated with Rician noise, and every method
sees the same simulated measurements, σ and mask. Real: a scan's sub-sampled volumes against the least-squares fit of
its other volumes, whose own standard deviation is added to the intervals: it is as noisy as what it judges.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from edge_pigment.acquisition import Acquisition, read_acquisition
from edge_pigment_prior import rescan
from edge_pigment_prior.references import Reference, find_scans, fit_reference
from edge_pigment_prior.rescan import spread_directions
from methods import (
    METHODS,
    Estimate,
    Scan,
    UndefinedError,
    full_fit,
    of_reference,
    subset_directions,
)
from scores import biases, bootstrap, figure, intervals, judge, main_rows, markdown, tenfold

Array = np.ndarray[Any, Any]
REAL = "real 6+1 vs rest"


@dataclass(frozen=True)
class Cell:
    """One protocol and noise level of the table."""

    directions: int
    b0s: int
    snr: float
    b: float = 1000.0

    @property
    def name(self) -> str:
        """As the tables print it."""
        return f"{self.directions}+{self.b0s}, SNR {self.snr:g}"


FEW, MANY = Cell(6, 1, 10), Cell(60, 6, 10)
CELLS = (Cell(6, 1, 5), FEW, Cell(6, 1, 20), Cell(30, 3, 20), MANY)


def simulate(reference: Reference, cell: Cell, seed: int) -> Scan:
    """A Rician scan of a reference."""
    rng = np.random.default_rng(seed)
    bvecs = np.concatenate([np.zeros((cell.b0s, 3)), spread_directions(cell.directions, rng)])
    bvals = np.r_[np.zeros(cell.b0s), np.full(cell.directions, cell.b)]
    return rician(reference, bvals, bvecs, 1 / cell.snr, rng)


def rician(reference: Reference, bvals: Array, bvecs: Array, sigma: float, rng: np.random.Generator) -> Scan:
    """A scan of a reference with any table, bvals (N,) in s/mm² and bvecs (N, 3), and noise."""
    signal = np.zeros((len(bvals), *reference.mask.shape), np.float32)
    signal[:, reference.mask] = rescan.rician(reference.theta[:, reference.mask], bvals / 1000, bvecs, sigma, rng)
    return Scan(signal.T, bvals, bvecs, reference.mask.T, sigma, np.array(reference.voxel_size))


def slab(mask: Array, slices: int) -> Array:
    """The mask's middle slices only: where every method is judged (and the slow ones fitted)."""
    where = mask.copy()
    middle = int(np.median(np.nonzero(mask.any((0, 1)))[0]))
    where[:, :, : max(middle - slices // 2, 0)] = False
    where[:, :, middle + (slices + 1) // 2 :] = False
    return where


def cases(data: Path, only: str, slices: int) -> Iterator[tuple[str, Acquisition, Reference, Estimate, Array]]:
    """Name, scan, reference, truth and the voxels that are judged, (X, Y, Z), of the scans whose name has a part."""
    for path in find_scans(data):
        name = path.name.removesuffix("_dwi.nii.gz")
        if only not in name:
            continue
        acquisition = read_acquisition(path)
        reference = fit_reference(acquisition, name)
        yield name, acquisition, reference, of_reference(reference), slab(reference.mask.T, slices)


def main(
    data: Annotated[Path, typer.Argument(help="BIDS folder of scans to take references from.")],
    output: Annotated[Path, typer.Option(help="Folder for accuracy.json, .md and .png.")] = Path("accuracy"),
    methods: Annotated[str, typer.Option(help="Comma-separated.")] = "WLS,edge-pigment",
    slices: Annotated[int, typer.Option(help="Middle slices that are judged.")] = 12,
    bundle: Annotated[Path | None, typer.Option(help="Bundle; the shipped one by default.")] = None,
    only: Annotated[str, typer.Option(help="Part of the scans' names.")] = "",
    real: Annotated[bool, typer.Option(help="Also sub-sample the real volumes.")] = True,
    seed: Annotated[int, typer.Option(help="Of noise and directions.")] = 0,
) -> None:
    """Make the tables."""
    rows: list[dict[str, Any]] = []
    chosen: dict[str, Callable[[Scan, Array], Estimate]] = {m: METHODS(m, bundle) for m in methods.split(",")}
    for name, acquisition, reference, truth, where in cases(data, only, slices):
        typer.echo(f"{name}: {int(where.sum())} voxels judged, reference SNR {1 / reference.sigma:.1f}")
        trials = [(cell.name, simulate(reference, cell, seed), truth) for cell in CELLS]
        if real and len(acquisition.gradients) >= 15:
            few, rest = subset_directions(acquisition.gradients, 6)
            fuller = full_fit(acquisition.subset(rest), reference)
            trials.append((REAL, Scan.of(acquisition.subset(few), reference), fuller))
        for cell_name, scan, known in trials:
            for method, estimate in chosen.items():
                try:
                    figures = judge(estimate(scan, where), known, where)
                except UndefinedError as why:
                    typer.echo(f"  {cell_name:16} {method:14} left out: {why}")
                    continue
                rows.append({"scan": name, "cell": cell_name, "method": method, **figures})
                typer.echo(f"  {cell_name:16} {method:14} " + "  ".join(f"{k} {v:.3f}" for k, v in figures.items()))
    summary = bootstrap(rows)
    output.mkdir(parents=True, exist_ok=True)
    (output / "accuracy.json").write_text(json.dumps({"rows": main_rows(summary), "all": summary, "scans": rows}))
    parts = [markdown(summary), tenfold(summary, FEW.name, MANY.name), intervals(summary), biases(summary)]
    (output / "accuracy.md").write_text("\n\n".join(part for part in parts if part) + "\n")
    figure(summary, output / "accuracy.png")
    typer.echo("\n\n".join(parts[:2]))


if __name__ == "__main__":
    typer.run(main)
