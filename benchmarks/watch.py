"""`edge-pigment watch`: what an update costs, and whether the uncertainty that it promises is the error that is found.

    python benchmarks/watch.py --data BIDS_FOLDER

Cost: the digital head in 128 x 128 x 36 voxels, a file per volume, put into a watched folder one by one; from the
file's arrival to the advice, reading included. Seconds of CPU are those of all threads together: half of them would
pass on two cores with nothing else to do.

Precision, on simulated scans: the digital head and, with --data, reference tensors fitted to real scans; six directions
and a b=0, repeated. After each repetition the promised medians of sd (FA and MD, white and grey matter) are set beside
the errors against the truth (median absolute error over 0.6745, which is the sd if errors are normal), and what was
foretold for twice the data beside what twice the data brought.
"""

import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import nibabel as nib
import numpy as np
import typer

from edge_pigment.acquisition import Acquisition, read_acquisition
from edge_pigment.gradients import GradientTable, fsl_signs
from edge_pigment.phantom import make_phantom
from edge_pigment.physics.moments import fractional_anisotropy
from edge_pigment.physics.tensor import quadratic_form, to_matrix
from edge_pigment.pipeline import RunOptions, open_tools, run
from edge_pigment.precision import GREY_FA, GREY_MD, WHITE_FA, measure_precision
from edge_pigment.simulate import Noise, Protocol, Shell, simulate_scan
from edge_pigment.simulate.directions import electrostatic
from edge_pigment.watch.outlook import forecast
from edge_pigment.watch.watcher import Watcher
from edge_pigment_prior.references import find_scans, fit_reference

Array = np.ndarray[Any, Any]
MEDIAN_TO_SD = 0.6745
REPETITIONS = (1, 2, 4, 8)
COST_SHAPE = (128, 128, 36)
TIMED_FROM = 7
"""Volumes; before, an update is the same but for the data."""
TARGET = 0.03
NOISE_FREE = 1e6
WITHIN = 0.2
"""The bar: error found over uncertainty promised is 1 within this."""


def cost_scan() -> Acquisition:
    """The head by 12 directions, in the middle of the field of view that is timed."""
    protocol = Protocol(shells=(Shell(b=1000.0, directions=12),), voxel=(1.8, 1.8, 4))
    scan = simulate_scan(make_phantom(1.5, seed=0).subject, protocol, Noise(snr=15), seed=0)
    signal = np.zeros((*COST_SHAPE, len(scan.bvals)), np.float32, order="F")
    part = tuple(slice(0, min(a, b)) for a, b in zip(scan.signal.shape[:3], COST_SHAPE, strict=True))
    signal[part] = 1000 * scan.signal[part]
    return Acquisition(signal, GradientTable(scan.bvals, scan.bvecs), scan.affine)


def put(folder: Path, scan: Acquisition, n: int) -> None:
    """One volume, as a converter writes it: 16 bits, compressed, after its tables."""
    stem = folder / f"vol-{n:03d}"
    stem.with_suffix(".bval").write_text(f"{scan.gradients.bvals[n]:g}\n")
    bvec = scan.gradients.bvecs[n] * fsl_signs(scan.affine)
    stem.with_suffix(".bvec").write_text("\n".join(f"{v:.8f}" for v in bvec))
    nib.save(nib.Nifti1Image(np.rint(scan.signal[..., n]).astype(np.int16), scan.affine), f"{stem}.nii.gz")


def costs(threads: int | None) -> None:
    """Print what updates and looks that find nothing cost."""
    scan = cost_scan()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        watcher = Watcher(folder, TARGET, RunOptions(device="cpu", threads=threads))
        updates, cpu, idle, steps = [], [], [], []
        for n in range(len(scan.gradients)):
            put(folder, scan, n)
            spent = time.process_time()
            update = watcher.look()
            spent = time.process_time() - spent
            began = time.perf_counter()
            watcher.look()
            idle.append(time.perf_counter() - began)
            if update is not None and update.volumes >= TIMED_FROM and watcher.result is not None:
                updates.append(update.seconds)
                cpu.append(spent)
                steps.append(watcher.result.provenance["Seconds"])
        voxels = int(watcher.result.mask.sum()) if watcher.result else 0
    parts = {step: float(np.median([s[step] for s in steps])) for step in steps[0]}
    print(f"update of {COST_SHAPE}, {TIMED_FROM} to {len(scan.gradients)} volumes, {voxels} voxels of brain:")
    print(f"median {np.median(updates):.2f} s, fastest {min(updates):.2f} s, slowest {max(updates):.2f} s; ", end="")
    print(f"{np.median(cpu):.2f} s of CPU; load of the machine {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    print("steps, s: " + ", ".join(f"{step} {seconds:.3f}" for step, seconds in parts.items()))
    print(f"a look that finds nothing new: {1000 * np.median(idle):.1f} ms\n")


def repeated(table: GradientTable, clean: Array, affine: Array, sigma: float, seed: int) -> Acquisition:
    """A scan of noise-free volumes (X, Y, Z, N), as often as it ever is, with Rician noise."""
    rng, times = np.random.default_rng(seed), max(REPETITIONS)
    signal = np.concatenate([clean] * times, axis=-1)
    noise = sigma * rng.standard_normal((2, *signal.shape), np.float32)
    table = GradientTable(np.tile(table.bvals, times), np.tile(table.bvecs, (times, 1)))
    return Acquisition(np.hypot(signal + noise[0], noise[1]), table, affine)


def heads(data: Path | None, snr: float, seeds: int, only: str) -> Iterator[tuple[str, Acquisition, Array, Array]]:
    """Name, scan, true FA and true MD (µm²/ms) (X, Y, Z)."""
    for seed in range(seeds):
        subject = make_phantom(1.5, seed=seed).subject
        clean = simulate_scan(subject, Protocol(voxel=(2.5, 2.5, 4)), Noise(snr=NOISE_FREE), seed=seed)
        sigma = float(np.median(clean.truth.S0[clean.truth.brain > 0.5])) / snr
        scan = repeated(GradientTable(clean.bvals, clean.bvecs), clean.signal, clean.affine, sigma, seed)
        yield "digital head", scan, clean.truth.FA, clean.truth.MD
    for path in find_scans(data) if data else ():
        name = path.name.removesuffix("_dwi.nii.gz")
        if only not in name:
            continue
        real = read_acquisition(path)
        reference = fit_reference(real, name)
        theta = np.where(reference.mask, reference.theta, 0).T
        bvecs = np.concatenate([np.zeros((1, 3)), electrostatic(6)])
        bvals = np.r_[0.0, np.full(6, 1000.0)]
        decay = bvals / 1000 * (theta[..., 1:] @ quadratic_form(bvecs).T)
        clean = np.exp(np.clip(theta[..., :1], -4, 4) - decay) * reference.mask.T[..., None]
        values = np.linalg.eigvalsh(to_matrix(theta[..., 1:].astype(float)))
        fa = fractional_anisotropy(np.maximum(values, 1e-9))
        scan = repeated(GradientTable(bvals, bvecs), clean.astype(np.float32), real.affine, 1 / snr, 0)
        yield name, scan, fa, values.mean(-1)


def main(
    data: Annotated[Path | None, typer.Option(help="BIDS folder of scans to take references from.")] = None,
    only: Annotated[str, typer.Option(help="Part of the scans' names.")] = "",
    snr: Annotated[float, typer.Option(help="Of b=0, of one repetition.")] = 10.0,
    seeds: Annotated[int, typer.Option(help="Digital heads.")] = 3,
    bundle: Annotated[Path | None, typer.Option(help="Bundle; the shipped one by default.")] = None,
    threads: Annotated[int | None, typer.Option(help="CPU threads; all by default.")] = None,
    cost: Annotated[bool, typer.Option(help="Time updates.")] = True,
) -> None:
    """Print the tables."""
    if cost:
        costs(threads)
    options = RunOptions(bundle=bundle, device="cpu", threads=threads)
    tools = open_tools(options)
    print(f"error found / uncertainty promised, SNR {snr:g}; the bar is 1 within {WITHIN}")
    print("| scan | repetitions | sd of FA, white | found / promised: FA white | FA grey | MD white | MD grey", end="")
    print(" | foretold | brought |")
    print("|---" * 9 + "|")
    ratios: list[float] = []
    for name, whole, fa, md in heads(data, snr, seeds, only):
        once, ahead = len(whole.gradients) // max(REPETITIONS), float("nan")
        for n in REPETITIONS:
            result = run(whole.subset(np.arange(n * once)), options, tools=tools)
            promised = measure_precision(result.maps, result.mask)
            white = result.mask & (result.maps["FA"] > WHITE_FA)
            grey = result.mask & (result.maps["FA"] < GREY_FA)
            grey &= (result.maps["MD"] > GREY_MD[0]) & (result.maps["MD"] < GREY_MD[1])
            errors = {"fa": np.abs(result.maps["FA"] - fa), "md": np.abs(result.maps["MD"] - 1e-3 * md)}
            row = []
            for tissue, where in (("white", white), ("grey", grey)):
                for kind, error in errors.items():
                    sd = getattr(promised, f"{tissue}_{kind}_sd")
                    row.append(float(np.median(error[where])) / MEDIAN_TO_SD / sd)
            ratios.append(row[0])
            told = f"{ahead:.4f} | {promised.white_fa_sd:.4f}" if np.isfinite(ahead) else " | "
            figures = " | ".join(f"{row[i]:.2f}" for i in (0, 2, 1, 3))
            print(f"| {name} | {n} | {promised.white_fa_sd:.4f} | {figures} | {told} |", flush=True)
            ahead = forecast(promised, TARGET).doubled
    within = sum(abs(ratio - 1) <= WITHIN for ratio in ratios)
    print(f"\nFA of white matter within {WITHIN:.0%} in {within} of {len(ratios)}, median {np.median(ratios):.2f}")


if __name__ == "__main__":
    typer.run(main)
