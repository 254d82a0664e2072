"""How much a voxel's surroundings tell of it: the prior alone, against the truth.

    python benchmarks/surroundings.py BIDS_FOLDER --output surroundings.md

Scans of reference tensors are simulated as in `accuracy.py`, up to some so clean that only the tissue itself can make
a voxel differ from what its neighbours say. Beside the prior stand what the voxel's own measurements say (WLS), what
both give together, and how far the reference is from itself when its own scan is simulated and fitted again: noise of
the truth, which no surroundings can tell. Without `--bundle` the shipped prior is asked.
"""

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from accuracy import Cell, cases, rician, simulate
from edge_pigment.acquisition import Acquisition
from edge_pigment.maps import to_image
from edge_pigment.physics.host import HostBackend
from edge_pigment.physics.tensor import diffusivity
from edge_pigment.prior.bundle import load_bundle
from edge_pigment.prior.context import ContextSession
from edge_pigment_prior.references import Reference, fit_reference
from methods import METHODS, Estimate, Scan, measured, of_reference, of_tensors
from scores import judge

CELLS = (Cell(6, 1, 5), Cell(6, 1, 10), Cell(6, 1, 20), Cell(30, 3, 20), Cell(60, 6, 200))
"""The last is as good as free of noise."""
MEASURES = {"V1 median deg": "V1_median_deg", "FA MAE": "FA_MAE", "MD MAE": "MD_MAE"}


def prior_alone(scan: Scan, session: ContextSession) -> Estimate:
    """What a voxel is expected to be before its own measurements are looked at."""
    m = measured(scan)
    mean, _ = session.prior(HostBackend(None).summarise(m.y, m.b, m.bvecs, m.sigma), m.mask)
    return of_tensors(to_image(diffusivity(mean.T), m.mask))


def fitted_again(acquisition: Acquisition, reference: Reference) -> Estimate:
    """The reference's fit of a simulated scan of the reference, of its own protocol and noise."""
    table = acquisition.gradients
    scan = rician(reference, table.bvals, table.bvecs, reference.sigma, np.random.default_rng(0))
    again = Acquisition(scan.signal, table, acquisition.affine)
    return of_reference(fit_reference(again, "again", mask=reference.mask.T))


def main(
    data: Annotated[Path, typer.Argument(help="BIDS folder of scans to take references from.")],
    output: Annotated[Path, typer.Option(help="Markdown table to write.")] = Path("surroundings.md"),
    bundle: Annotated[Path | None, typer.Option(help="Bundle; the shipped one by default.")] = None,
    only: Annotated[str, typer.Option(help="Part of the scans' names.")] = "",
    slices: Annotated[int, typer.Option(help="Middle slices that are judged.")] = 12,
) -> None:
    """Make the table: means over the scans."""
    session = ContextSession(load_bundle(bundle))
    others = {name: METHODS(name, bundle) for name in ("WLS", "edge-pigment")}
    rows: dict[tuple[str, str], list[dict[str, float]]] = {}
    for name, acquisition, reference, truth, where in cases(data, only, slices):
        rows.setdefault(("the reference's own scan", "fitted again"), []).append(
            judge(fitted_again(acquisition, reference), truth, where)
        )
        for cell in CELLS:
            scan = simulate(reference, cell, 0)
            found = {"WLS": others["WLS"](scan, where), "the prior alone": prior_alone(scan, session)}
            found["both (edge-pigment)"] = others["edge-pigment"](scan, where)
            for who, estimate in found.items():
                rows.setdefault((cell.name, who), []).append(judge(estimate, truth, where))
        typer.echo(name)
    lines = ["| surroundings and voxel | told by | " + " | ".join(MEASURES) + " |", "|" + "---|" * (2 + len(MEASURES))]
    for (cell_name, who), group in rows.items():
        means = (np.mean([row[key] for row in group]) for key in MEASURES.values())
        lines.append(f"| {cell_name} | {who} | " + " | ".join(f"{value:.3f}" for value in means) + " |")
    output.write_text("\n".join(lines) + "\n")
    typer.echo("\n".join(lines))


if __name__ == "__main__":
    typer.run(main)
