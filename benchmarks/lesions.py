"""Lesions inserted into simulated scans of real references: contrast that is left, and whether novelty finds them.

    python benchmarks/lesions.py BIDS_FOLDER --only hcplike

Each lesion is a ball in white or grey matter whose tensor is changed; the same scan with the same noise, without the
lesion, is subtracted, so that little of the noise is left. WLS has all of the contrast; what a prior takes away is
shrinkage.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from scipy.ndimage import gaussian_filter

from accuracy import Cell, simulate
from edge_pigment.acquisition import read_acquisition
from edge_pigment.physics.moments import fractional_anisotropy
from edge_pigment.physics.tensor import to_matrix
from edge_pigment.trust import NOVEL
from edge_pigment_prior.references import Reference, find_scans, fit_reference
from methods import METHODS, Estimate, Scan

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Lesion:
    """Factors of MD and of the tensor's deviation from a sphere; fall of log S0; the map that shows it; whether its rim
    is soft, by a Gaussian of RIM voxels."""

    name: str
    mean: float = 1.0
    shape: float = 1.0
    dropout: float = 0.0
    map: str = "md"
    soft: bool = False


LESIONS = (
    Lesion("MD x0.5", 0.5),
    Lesion("MD x0.7", 0.7),
    Lesion("MD x1.3", 1.3),
    Lesion("MD x1.6", 1.6),
    Lesion("MD x2.2", 2.2),
    Lesion("MD x1.6, soft", 1.6, soft=True),
    Lesion("FA lowered", shape=0.4, map="fa"),
    Lesion("FA raised", shape=1.3, map="fa"),
    Lesion("MD x0.7, S0 / 2.7", 0.7, dropout=1.0),
)
RIM = 0.7
"""Voxels: from 10 to 90 % within two voxels."""
RIM_SEEN = 0.1
"""Part of the whole change from which on a voxel of a soft lesion is judged."""
DIAMETERS = (1, 3, 5, 12)
"""In voxels."""
TISSUE_MD = (0.5, 1.1)
"""µm²/ms; lesions are centred where the tissue is neither fluid nor empty."""
MOST = 24


def balls(reference: Reference, diameter: int, rng: np.random.Generator) -> Array:
    """(Z, Y, X) true inside balls of a diameter, apart from each other, in tissue."""
    md = reference.theta[1:4].mean(0)
    tissue = reference.mask & (md > TISSUE_MD[0]) & (md < TISSUE_MD[1])
    grid = np.indices(tissue.shape)
    found = np.zeros(tissue.shape, bool)
    near = ~tissue
    for _ in range(MOST):
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
        brain = reference.mask.T
        for cell in (Cell(6, 1, 10), Cell(6, 1, 20)):
            healthy = ours(simulate(reference, cell, 0), brain)
            assert healthy.novelty is not None
            flagged = float(np.mean(healthy.novelty[brain] > NOVEL))
            print(f"| {name} | {cell.name} | none | | | flagged {100 * flagged:.2f} % |", flush=True)
            rows.append({"scan": name, "protocol": cell.name, "lesion": "none", "flagged": flagged})
            for diameter in DIAMETERS:
                ball = balls(reference, diameter, np.random.default_rng(diameter))
                for lesion in LESIONS:
                    row = {"scan": name, "protocol": cell.name, "lesion": lesion.name, "diameter": diameter}
                    left, auc = judge(ours, reference, cell, healthy, ball, lesion)
                    rows.append(row | {"contrast": left, "novelty_auc": auc})
                    print(f"| {name} | {cell.name} | {lesion.name} | {diameter} | {left:.2f} | {auc:.2f} |", flush=True)
    if output:
        output.write_text(json.dumps(rows, indent=1))


def judge(
    ours: Callable[[Scan, Array], Estimate],
    reference: Reference,
    cell: Cell,
    healthy: Estimate,
    ball: Array,
    lesion: Lesion,
) -> tuple[float, float]:
    """Share of the inserted contrast that is left, and the area under novelty's ROC against the voxels outside."""
    amount = ball.astype(np.float32)
    if lesion.soft:
        amount = gaussian_filter(amount, RIM) * reference.mask
        ball = amount > RIM_SEEN
    theta = reference.theta.copy()
    part, amount = theta[:, ball], amount[ball]
    MD, mean = part[1:4].mean(0), 1 + amount * (lesion.mean - 1)
    part[1:4] -= MD
    part[1:] *= (1 + amount * (lesion.shape - 1)) * mean
    part[1:4] += mean * MD
    part[0] -= amount * lesion.dropout
    theta[:, ball] = part
    brain, where = reference.mask.T, ball.T
    ill = ours(simulate(replace(reference, theta=theta), cell, 0), brain)
    if lesion.map == "md":
        true = (mean - 1) * MD
        found = (ill.md - healthy.md)[where]
    else:
        true = fa_of(theta[:, ball]) - fa_of(reference.theta[:, ball])
        found = (ill.fa - healthy.fa)[where]
    assert ill.novelty is not None
    calm = np.sort(ill.novelty[brain & ~where])
    auc = np.searchsorted(calm, ill.novelty[where]).mean() / len(calm)
    return float(found.sum() / true.sum()), float(auc)


def fa_of(theta: Array) -> Array:
    """FA of theta (7, V)."""
    return fractional_anisotropy(np.linalg.eigvalsh(to_matrix(theta[1:].T.astype(float))))


if __name__ == "__main__":
    typer.run(main)
