"""Voxels that no tensor fits, on the CPU's float32 and in float64: how many end beyond the bars, by kind of spoiling.

    python benchmarks/degenerate.py [--voxels 5000] [--data ../shared/data]

Simulated tissue (SNR 5 to 30, drawn priors), as the tests have it, and with --data the scans for validation with the
shipped prior. Each voxel is spoilt in every way.
"""

import sys
from collections import Counter
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests" / "physics"))

from physics_cases import FA, LATENT, NU, SPOILT, V1_DEGREES, Case, angles, case, protocol, spoilt
from real_voxels import real_voxels

from edge_pigment.physics import adaptation, moments
from edge_pigment.physics.host import HostBackend

PROTOCOLS = {
    "3 directions": protocol(1, (1.0, 3)),
    "6 directions": protocol(1, (1.0, 6)),
    "30 directions": protocol(3, (1.0, 30)),
    "3 shells": protocol(3, (0.7, 10), (2.0, 20), (3.0, 30)),
}
ROW = {name: i for i, name in enumerate(moments.COLUMNS)}


def beyond(c: Case, nu: float) -> tuple[Counter[str], dict[str, float]]:
    """How many voxels are beyond each bar, and the largest differences."""
    expected = adaptation.adapt(c.y, c.b, c.bvecs, c.sigma, c.mean, c.factor, nu)
    maps = moments.moments(expected.mode, expected.factor)
    with HostBackend(1).hold(*c.measured()) as scan:
        got = scan.adapt(*c.prior()[:2], nu)
    axes = slice(ROW["V1x"], ROW["V1z"] + 1)
    has_axis = (maps[:, ROW["FA"]] > 0.1) & (maps[:, ROW["V1_sd"]] < 50)
    errors = {
        "latent": np.abs(got.mode.T - expected.mode).max(-1),
        "FA": np.abs(got.moments[ROW["FA"]] - maps[:, ROW["FA"]]),
        "V1": np.where(has_axis, angles(got.moments[axes].T, maps[:, axes]), 0),
    }
    bars = {"latent": LATENT, "FA": FA, "V1": V1_DEGREES}
    inside = np.abs(c.factor).max(-1) < 1e6  # what the kernels clip the prior to
    counts = Counter({name: int((error[inside] > bars[name]).sum()) for name, error in errors.items()})
    counts["voxels"] = int(inside.sum())
    return counts, {name: float(error[inside].max()) for name, error in errors.items()}


def main(
    voxels: Annotated[int, typer.Option(help="Of each protocol.")] = 5000,
    data: Annotated[Path | None, typer.Option(help="The folder with validation/.")] = None,
    every: Annotated[int, typer.Option(help="Of the real voxels, one in so many.")] = 20,
) -> None:
    """Count, and print a table."""
    cases = [(name, case(voxels, *p, seed=21), NU) for name, p in PROTOCOLS.items()]
    if data:
        for subject in ("sub-hcplike", "sub-uih", "sub-vanderbilt"):
            cases.append((subject, *real_voxels(data, subject, every)))
    print("| voxels | spoilt | voxels | latent > 1e-4 | FA > 1e-4 | V1 > 0.1° | largest: latent | FA | V1 |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name, c, nu in cases:
        for kind in ("as they are", *SPOILT):
            y = c.y if kind == "as they are" else spoilt(kind, c.y, c.b)
            n, largest = beyond(c._replace(y=y), nu)
            cells = [name, kind, n["voxels"], n["latent"], n["FA"], n["V1"], *(f"{e:.1g}" for e in largest.values())]
            print("| " + " | ".join(str(cell) for cell in cells) + " |", flush=True)


if __name__ == "__main__":
    typer.run(main)
