"""Lesions inserted into simulated scans of real references: contrast that is left, and whether novelty finds them.

    python benchmarks/lesions.py BIDS_FOLDER --only hcplike

Each lesion is a ball in white or grey matter whose tensor is scaled; the same scan with the same noise, without the
lesion, is subtracted. WLS has, but for noise, all of the contrast; what a prior takes away is shrinkage.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from accuracy import Cell, simulate
from edge_pigment.acquisition import read_acquisition
from edge_pigment_prior.references import Reference, find_scans, fit_reference
from methods import METHODS

FACTORS = {"MD x0.5": 0.5, "MD x0.7": 0.7, "MD x1.3": 1.3, "MD x1.6": 1.6, "MD x2.2": 2.2}
DIAMETERS = (1, 3, 5, 9)
"""In voxels."""
TISSUE_MD = (0.5, 1.1)
"""µm²/ms; lesions are centred where the tissue is neither fluid nor empty."""
LESIONS = 24


def balls(reference: Reference, diameter: int, rng: np.random.Generator) -> np.ndarray[Any, Any]:
    """(Z, Y, X) true inside balls of a diameter, apart from each other, in tissue."""
    md = reference.theta[1:4].mean(0)
    tissue = reference.mask & (md > TISSUE_MD[0]) & (md < TISSUE_MD[1])
    grid = np.indices(tissue.shape)
    found = np.zeros(tissue.shape, bool)
    near = ~tissue
    for _ in range(LESIONS):
        free = np.argwhere(~near)
        if not len(free):
            break
        centre = free[rng.integers(len(free))]
        distance = np.sqrt(sum((g - c) ** 2 for g, c in zip(grid, centre, strict=True)))
        found |= distance <= diameter / 2
        near |= distance <= diameter + 4
    return found & tissue


def main(
    data: Annotated[Path, typer.Argument(help="BIDS folder of scans to take references from.")],
    only: Annotated[str, typer.Option(help="Part of the scans' names.")] = "",
    bundle: Annotated[Path | None, typer.Option(help="Bundle; the shipped one by default.")] = None,
    output: Annotated[Path | None, typer.Option("--json", help="Where to write the figures.")] = None,
) -> None:
    """Print the table."""
    rows = []
    ours = METHODS("edge-pigment", bundle)
    print("| scan | protocol | lesion | across | contrast left | novelty AUC |\n|---|---|---|---|---|---|")
    for path in find_scans(data):
        name = path.name.removesuffix("_dwi.nii.gz")
        if only not in name:
            continue
        reference = fit_reference(read_acquisition(path), name)
        for cell in (Cell(6, 1, 10), Cell(6, 1, 20)):
            healthy = ours(simulate(reference, cell, 0), reference.mask.T)
            for diameter in DIAMETERS:
                lesion = balls(reference, diameter, np.random.default_rng(diameter))
                for label, factor in FACTORS.items():
                    theta = reference.theta.copy()
                    theta[1:, lesion] *= factor
                    ill = ours(simulate(replace(reference, theta=theta), cell, 0), reference.mask.T)
                    where = lesion.T
                    true = (factor - 1) * reference.theta[1:4].mean(0).T[where]
                    left = float((ill.md - healthy.md)[where].sum() / true.sum())
                    assert ill.novelty is not None
                    calm = np.sort(ill.novelty[reference.mask.T & ~where])
                    auc = float(np.searchsorted(calm, ill.novelty[where]).mean() / len(calm))
                    row = {"scan": name, "protocol": cell.name, "lesion": label, "diameter": diameter}
                    rows.append(row | {"contrast": left, "novelty_auc": auc})
                    print(f"| {name} | {cell.name} | {label} | {diameter} | {left:.2f} | {auc:.2f} |", flush=True)
    if output:
        output.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    typer.run(main)
