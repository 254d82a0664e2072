"""Are ruined scans caught, and clean ones left in peace? Detection and false-alarm rates of `edge_pigment.quality`.

    python benchmarks/quality.py --data BIDS_FOLDER --seeds 3 --output results/

Scans: the digital head by several protocols, a new head, noise and fault for each seed; and, where --data is given,
every real scan with six directions or more, whole and cut to six directions and one b=0. Real scans are as they left
the scanner, so what is found in them untouched may be there; it is listed by name.

Faults, drawn by seed: x of the directions negated; one volume x 0.5; one slice of one weighted volume blank; two
weighted volumes exchanged; the head 5 mm elsewhere, in a random direction, in the second half of the volumes (moved by
trilinear interpolation of the noisy image). Only the flip needs the tensors: with --flips it is judged by the whole
pipeline, as a user would see it.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from edge_pigment.acquisition import Acquisition, find_bids, read_acquisition
from edge_pigment.adapt import gather
from edge_pigment.brainmask import brain_mask
from edge_pigment.errors import InputError
from edge_pigment.gradients import CLEARLY, Convention, GradientTable
from edge_pigment.noise import estimate_sigma
from edge_pigment.phantom import make_phantom
from edge_pigment.physics.host import HostBackend
from edge_pigment.pipeline import RunOptions, run
from edge_pigment.quality import Quality, assess
from edge_pigment.quality.motion import WARN_MM
from edge_pigment.simulate import Noise, Protocol, Shell, read_profile, simulate_scan
from edge_pigment.simulate.sampling import move
from methods import subset_directions

Fault = tuple[Acquisition, Callable[[Quality], bool]]
MOVED_MM = 5.0


def protocols() -> dict[str, tuple[Protocol, Noise]]:
    """What the digital head is scanned with."""
    low = read_profile("64mT")
    return {
        "6+1, SNR 10": (Protocol(), Noise(snr=10)),
        "6+1, SNR 20, 2.5 mm": (Protocol(voxel=(2.5, 2.5, 2.5)), Noise(snr=20)),
        "64 mT": (low.protocol, low.noise),
        "6 dual + 1, SNR 12": (Protocol(shells=(Shell(scheme="dual", b=1000.0),), voxel=(2.5, 2.5, 4)), Noise(snr=12)),
        "12+1, SNR 12": (Protocol(shells=(Shell(b=1000.0, directions=12),), voxel=(2.5, 2.5, 4)), Noise(snr=12)),
        "30+3, SNR 20": (Protocol(shells=(Shell(b=1000.0, directions=30),), b0=3, voxel=(2.5, 2.5, 3)), Noise(snr=20)),
    }


def simulated(seed: int, voxel: float) -> Iterator[tuple[str, Acquisition]]:
    """The digital head of this seed by every protocol."""
    subject = make_phantom(voxel, seed=seed).subject
    for name, (protocol, noise) in protocols().items():
        scan = simulate_scan(subject, protocol, noise, seed=seed)
        yield name, Acquisition(scan.signal, GradientTable(scan.bvals, scan.bvecs), scan.affine)


def real(folder: Path) -> Iterator[tuple[str, Acquisition]]:
    """Every scan of the data sets in a folder, whole and as 6+1."""
    for dataset in [folder, *sorted(p for p in folder.iterdir() if p.is_dir())]:
        try:
            paths = find_bids(dataset)
        except InputError:
            continue
        for path in paths:
            acquisition = read_acquisition(path)
            if min(acquisition.signal.shape[:3]) < 10 or len(acquisition.gradients) > 40:
                continue
            name = path.name.removesuffix("_dwi.nii.gz")
            yield name, acquisition
            yield f"{name} 6+1", acquisition.subset(np.sort(subset_directions(acquisition.gradients, 6)[0]))


def look(acquisition: Acquisition) -> Quality:
    """What the pipeline would measure, but for the frame."""
    found, _ = brain_mask(acquisition.mean_b0, acquisition.mean_dwi, acquisition.voxel_size)
    mask = found & (acquisition.mean_b0 > 0)
    m = gather(acquisition, mask, estimate_sigma(acquisition, mask).sigma)
    theta = HostBackend().summarise(m.y, m.b, m.bvecs, m.sigma).theta
    return assess(acquisition, mask, m, theta, np.zeros(len(m.y), np.float32), Convention({}))


def faults(acquisition: Acquisition, rng: np.random.Generator) -> dict[str, Fault]:
    """The scan ruined in each way, and what counts as caught."""
    table, weighted = acquisition.gradients, np.flatnonzero(~acquisition.gradients.is_b0)

    def copy() -> np.ndarray[Any, np.dtype[np.float32]]:
        return acquisition.signal.copy(order="F")

    def scan(signal: Any) -> Acquisition:
        return Acquisition(signal, table, acquisition.affine)

    half = copy()
    n = int(rng.integers(len(table)))
    half[..., n] *= 0.5
    blank = copy()
    v = int(rng.choice(weighted))
    brain, _ = brain_mask(acquisition.mean_b0, acquisition.mean_dwi, acquisition.voxel_size)
    area = brain.sum((0, 1))
    z = int(rng.choice(np.flatnonzero(area > 0.3 * area.max())))
    blank[:, :, z, v] = 0
    swapped = copy()
    i, j = (int(k) for k in np.sort(rng.choice(weighted, 2, replace=False)))
    swapped[..., [i, j]] = swapped[..., [j, i]]
    moved = copy()
    shift = rng.standard_normal(3)
    shift *= MOVED_MM / np.linalg.norm(shift)
    for k in range((len(table) + 1) // 2, len(table)):
        moved[..., k] = move(acquisition.signal[..., k], acquisition.voxel_size, np.eye(3), shift)
    return {
        "volume x0.5": (scan(half), lambda q: n in q.levels.outliers or not q.levels.adc_is_plausible),
        "slice blank": (scan(blank), lambda q: (v, z) in q.levels.dropped),
        "volumes swapped": (scan(swapped), lambda q: q.swap.found),
        "moved 5 mm": (scan(moved), lambda q: bool(q.motion.largest > WARN_MM)),
    }


def alarms(quality: Quality) -> dict[str, bool]:
    """What each check says of a scan."""
    return {
        "volume x0.5": bool(quality.levels.outliers) or not quality.levels.adc_is_plausible,
        "slice blank": bool(quality.levels.dropped),
        "volumes swapped": quality.swap.found,
        "moved 5 mm": bool(quality.motion.largest > WARN_MM),
    }


def flipped(acquisition: Acquisition) -> dict[str, bool]:
    """Whether the frame is doubted, of the scan as it is and with x negated."""
    wrong = Acquisition(acquisition.signal, acquisition.gradients.with_signs((-1, 1, 1)), acquisition.affine)
    clean, caught = (run(scan, RunOptions()).provenance["GradientConvention"] for scan in (acquisition, wrong))
    return {name: frame["LeadInStandardErrors"] > CLEARLY for name, frame in (("clean", clean), ("caught", caught))}


def main(
    data: Annotated[Path | None, typer.Option(help="Folder of BIDS datasets with real scans.")] = None,
    seeds: Annotated[int, typer.Option(help="Heads, noises and faults.")] = 3,
    voxel: Annotated[float, typer.Option(help="Grid of the digital head, mm.")] = 1.5,
    flips: Annotated[bool, typer.Option(help="Also negate x, by the whole pipeline.")] = True,
    output: Annotated[Path, typer.Option(help="Folder for quality.json and quality.md.")] = Path("quality"),
) -> None:
    """Make the table."""
    rows: list[dict[str, Any]] = []

    def scans() -> Iterator[tuple[str, str, int, Acquisition]]:
        for name, acquisition in real(data) if data else ():
            for seed in range(seeds):
                yield "real", name, seed, acquisition
        for seed in range(seeds):
            for name, acquisition in simulated(seed, voxel):
                yield "simulated", name, seed, acquisition

    output.mkdir(parents=True, exist_ok=True)
    for kind, name, seed, acquisition in scans():
        rng = np.random.default_rng([seed, len(name)])
        row: dict[str, Any] = {"kind": kind, "scan": name, "seed": seed}
        if kind == "simulated" or seed == 0:
            row["clean"] = alarms(look(acquisition))
        row["caught"] = {fault: bool(caught(look(scan))) for fault, (scan, caught) in faults(acquisition, rng).items()}
        if flips and (kind == "simulated" or seed == 0):
            flip = flipped(acquisition)
            row["caught"]["x flipped"] = flip["caught"]
            row["clean"]["x flipped"] = flip["clean"]
        rows.append(row)
        typer.echo(f"{kind} {name} {seed}: {row.get('clean', '')} {row['caught']}")
        (output / "quality.json").write_text(json.dumps(rows, indent=1))
        (output / "quality.md").write_text(markdown(rows) + "\n")
    typer.echo(markdown(rows))


def markdown(rows: list[dict[str, Any]]) -> str:
    """The table as a person reads it."""
    names = list(dict.fromkeys(fault for row in rows for fault in row["caught"]))
    lines = ["| scans | | " + " | ".join(names) + " |", "|" + "---|" * (len(names) + 2)]
    groups = list(dict.fromkeys((r["kind"], r["scan"]) for r in rows if r["kind"] == "simulated"))
    parts: list[tuple[str, list[dict[str, Any]]]] = [
        (f"simulated {scan}", [r for r in rows if r["scan"] == scan]) for _, scan in groups
    ]
    parts += [(f"all {kind}", [r for r in rows if r["kind"] == kind]) for kind in ("simulated", "real")]
    for title, some in parts:
        for what in ("caught", "clean"):
            cells = []
            for fault in names:
                told = [row[what][fault] for row in some if fault in row.get(what, {})]
                cells.append(f"{sum(told)}/{len(told)}" if told else "")
            if any(cells):
                label = "caught" if what == "caught" else "false alarms"
                lines.append(f"| {title} | {label} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    typer.run(main)
