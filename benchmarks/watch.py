"""`edge-pigment watch`: what an update costs, and whether the uncertainty that it promises is the error that is found.

    python benchmarks/watch.py

Simulated: the digital head, six directions and a b=0 averaged again and again. After each repetition the promised sd of
FA in white matter is set beside the error against the truth (median absolute error over 0.6745, which is the sd if
errors are normal), and what the repetition before promised for twice the data beside what twice the data brought.
"""

import time
from typing import Annotated, Any

import numpy as np
import typer

from edge_pigment.acquisition import Acquisition
from edge_pigment.gradients import GradientTable
from edge_pigment.phantom import make_phantom
from edge_pigment.pipeline import RunOptions, run
from edge_pigment.simulate import Noise, Protocol, Shell, simulate_scan
from edge_pigment.watch.precision import WHITE_FA, forecast, measure_precision

Array = np.ndarray[Any, Any]
MEDIAN_TO_SD = 0.6745
REPETITIONS = (1, 2, 4, 8)
COST_SHAPE = (128, 128, 36)
TARGET = 0.03
NOISE_FREE = 1e6


def repeated(snr: float, seed: int) -> tuple[Acquisition, Array]:
    """The head scanned as often as it ever is, same directions, and its true FA (X, Y, Z)."""
    subject = make_phantom(1.5, seed=seed).subject
    clean = simulate_scan(subject, Protocol(voxel=(2.5, 2.5, 4)), Noise(snr=NOISE_FREE), seed=seed)
    sigma = float(np.median(clean.truth.S0[clean.truth.brain > 0.5])) / snr
    rng = np.random.default_rng(seed)
    times = max(REPETITIONS)
    signal = np.concatenate([clean.signal] * times, axis=-1)
    noise = sigma * rng.standard_normal((2, *signal.shape), np.float32)
    table = GradientTable(np.tile(clean.bvals, times), np.tile(clean.bvecs, (times, 1)))
    return Acquisition(np.hypot(signal + noise[0], noise[1]), table, clean.affine), clean.truth.FA


def costs(repeats: int) -> float:
    """Median seconds of an update of 128 x 128 x 36 voxels and 13 volumes."""
    subject = make_phantom(1.5, seed=0).subject
    protocol = Protocol(shells=(Shell(b=1000.0, directions=12),), voxel=(1.8, 1.8, 4))
    scan = simulate_scan(subject, protocol, Noise(snr=15), seed=0)
    signal = np.zeros((*COST_SHAPE, len(scan.bvals)), np.float32, order="F")
    part = tuple(slice(0, min(a, b)) for a, b in zip(scan.signal.shape[:3], COST_SHAPE, strict=True))
    signal[part] = scan.signal[part]
    acquisition = Acquisition(signal, GradientTable(scan.bvals, scan.bvecs), scan.affine)
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        result = run(acquisition, RunOptions())
        measure_precision(result.maps, result.mask)
        seconds.append(time.perf_counter() - began)
    typer.echo(f"{int(result.mask.sum())} voxels of brain in {part}")
    return float(np.median(seconds))


def main(
    snr: Annotated[float, typer.Option(help="Of b=0, of one repetition.")] = 10.0,
    seeds: Annotated[int, typer.Option(help="Heads.")] = 3,
    repeats: Annotated[int, typer.Option(help="Of the timing.")] = 5,
) -> None:
    """Print the tables."""
    typer.echo(f"update of {COST_SHAPE} x 13 volumes: {costs(repeats):.2f} s\n")
    print("| repetitions | promised sd of FA, white | error found | found / promised | foretold | brought |")
    print("|---|---|---|---|---|---|")
    promised: dict[int, list[float]] = {}
    found: dict[int, list[float]] = {}
    ahead: dict[int, list[float]] = {}
    for seed in range(seeds):
        whole, fa = repeated(snr, seed)
        once = len(whole.gradients) // max(REPETITIONS)
        for n in REPETITIONS:
            result = run(whole.subset(np.arange(n * once)), RunOptions())
            precision = measure_precision(result.maps, result.mask)
            white = result.mask & (result.maps["FA"] > WHITE_FA)
            error = float(np.median(np.abs(result.maps["FA"] - fa)[white])) / MEDIAN_TO_SD
            promised.setdefault(n, []).append(precision.white_fa_sd)
            found.setdefault(n, []).append(error)
            ahead.setdefault(2 * n, []).append(forecast(precision, TARGET).doubled)
    for n in REPETITIONS:
        sd, error = float(np.mean(promised[n])), float(np.mean(found[n]))
        before = f"{np.mean(ahead[n]):.4f}" if n in ahead else ""
        print(f"| {n} | {sd:.4f} | {error:.4f} | {error / sd:.2f} | {before} | {sd:.4f} |")


if __name__ == "__main__":
    typer.run(main)
