"""Which simulated lesions does the report point at, and what does it point at in healthy heads?

    python benchmarks/look.py BIDS_FOLDER --only vanderbilt

Subjects are reference tensors fitted to real scans. Each lesion is a ball in tissue whose tensors are scaled, one in a
scan; it is told where the centre of an area of the report lies within its radius and 5 mm. Untouched real scans are
listed with what the report points at in them.
"""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from edge_pigment.acquisition import read_acquisition
from edge_pigment.outputs.report.regions import Area, areas
from edge_pigment.pipeline import Result, RunOptions, open_tools, run
from edge_pigment.simulate import Noise, Protocol, Subject
from edge_pigment_prior.references import find_scans
from quality import subject_of
from reports import scan

FACTORS = (0.5, 0.7, 1.6, 2.2)
DIAMETERS = (9.0, 14.0, 20.0)
"""mm."""
SNRS = (10.0, 20.0)
TISSUE_MD = (0.5, 1.1)
"""µm²/ms."""
NEAR_MM = 5.0
Array = np.ndarray[Any, Any]


def with_ball(subject: Subject, diameter: float, factor: float, seed: int) -> tuple[Subject, Array]:
    """The subject with one lesion, and its centre in scanner mm; of forty places the one that is most in tissue."""
    (whole,) = subject.compartments
    index = np.stack(np.unravel_index(whole.voxels, subject.shape), axis=1)
    where = index @ subject.affine[:3, :3].T + subject.affine[:3, 3]
    md = whole.D[:, :3].mean(1)
    tissue = (md > TISSUE_MD[0]) & (md < TISSUE_MD[1]) & (subject.brain.reshape(-1)[whole.voxels] > 0.5)
    places = where[np.random.default_rng(seed).choice(np.flatnonzero(tissue), 40)]
    balls = [np.linalg.norm(where - centre, axis=1) < diameter / 2 for centre in places]
    best = int(np.argmax([tissue[ball].sum() for ball in balls]))
    D = whole.D.copy()
    D[balls[best] & tissue] *= np.float32(factor)
    return replace(subject, compartments=(replace(whole, D=D),)), places[best]


def pointed_at(result: Result) -> list[Area]:
    """All areas of the report."""
    return [area for some in areas(result.maps, result.mask, result.affine).values() for area in some]


def main(
    data: Annotated[Path, typer.Argument(help="BIDS folder of scans.")],
    only: Annotated[str, typer.Option(help="Part of the scans' names.")] = "",
    bundle: Annotated[Path | None, typer.Option(help="Bundle; the shipped one by default.")] = None,
    seeds: Annotated[int, typer.Option(help="Places of each lesion.")] = 2,
) -> None:
    """Print the table."""
    options = RunOptions(bundle=bundle, device="cpu")
    tools = open_tools(options)
    print("| scan | SNR | MD | areas, healthy | told of 9 mm | 14 mm | 20 mm |\n|---|---|---|---|---|---|---|")
    for path in find_scans(data):
        name = path.name.removesuffix("_dwi.nii.gz")
        if only not in name:
            continue
        real = read_acquisition(path)
        found = pointed_at(run(real, options, tools=tools))
        print(f"| {name} | real | | {', '.join(f'{a.ml:.1f} ml' for a in found) or 0} | | | |", flush=True)
        subject = subject_of(real, name)
        for snr in SNRS:
            protocol, noise = Protocol(voxel=(2.5, 2.5, 3.0)), Noise(snr=snr)
            healthy = len(pointed_at(run(scan(subject, protocol, noise), options, tools=tools)))
            for factor in FACTORS:
                cells = []
                for diameter in DIAMETERS:
                    told = 0
                    for seed in range(seeds):
                        ill, centre = with_ball(subject, diameter, factor, seed)
                        near = diameter / 2 + NEAR_MM
                        result = run(scan(ill, protocol, noise), options, tools=tools)
                        told += any(np.linalg.norm(a.centre - centre) < near for a in pointed_at(result))
                    cells.append(f"{told}/{seeds}")
                print(f"| {name} | {snr:g} | x{factor} | {healthy} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    typer.run(main)
