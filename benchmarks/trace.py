"""Scans of one trace image per b-value: what of their maps is measured, and what is the prior's guess.

    python benchmarks/trace.py

Simulated scans of the digital head, a b=0 and a trace image (the geometric mean of three noisy orthogonal directions),
against the known truth; beside MD the plain ADC, log(S0/S)/b. White matter: true FA above 0.4; grey: below 0.2, MD
below 1.2 µm²/ms.
"""

from typing import Annotated

import numpy as np
import typer

from edge_pigment.acquisition import Acquisition
from edge_pigment.gradients import GradientTable
from edge_pigment.phantom import make_phantom
from edge_pigment.pipeline import RunOptions, run
from edge_pigment.simulate import Noise, Protocol, Shell, simulate_scan

SNRS = (5.0, 10.0, 20.0)
COVERED = 1.645
"""Standard deviations either way that hold 90 %."""
COLUMNS = (
    "SNR", "σ found / true", "MD error", "ADC error", "MD bias", "MD 90 % white", "grey", "FA white, true", "found",
    "FA 90 % white", "grey", "V1 degrees off", "V1_sd",
)  # fmt: skip


def row(snr: float, b: float, seed: int) -> list[float]:
    """One simulated scan; diffusivities in µm²/ms."""
    protocol = Protocol(voxel=(2.5, 2.5, 4.0), shells=(Shell(b=b, directions=1, scheme="trace"),), b0=1)
    scan = simulate_scan(make_phantom(seed=seed).subject, protocol, Noise(snr=snr), seed=seed)
    result = run(Acquisition(scan.signal, GradientTable(scan.bvals, scan.bvecs), scan.affine), RunOptions(threads=1))
    truth, brain = scan.truth, result.mask & (scan.truth.brain > 0.99)
    maps = {name: image[brain].astype(float) for name, image in result.maps.items()}
    MD, MD_sd = 1e3 * maps["MD"], 1e3 * maps["MD_sd"]
    FA_true, MD_true = truth.FA[brain], truth.MD[brain]
    white, grey = FA_true > 0.4, (FA_true < 0.2) & (MD_true < 1.2)
    S = np.maximum(scan.signal[brain], 1e-3 * scan.signal[brain].max())
    ADC = 1e3 * np.log(S[:, 0] / S[:, 1]) / b
    cosine = np.abs(np.sum(maps["V1"] * truth.V1[brain], axis=-1))[white]
    holds = {
        "MD": np.abs(MD - MD_true) < COVERED * MD_sd,
        "FA": np.abs(maps["FA"] - FA_true) < COVERED * maps["FA_sd"],
    }
    return [
        snr, result.provenance["Noise"]["Sigma"] / float(scan.sigma[truth.brain > 0.5].mean()),
        np.abs(MD - MD_true).mean(), np.abs(ADC - MD_true).mean(), (MD - MD_true).mean(),
        holds["MD"][white].mean(), holds["MD"][grey].mean(), FA_true[white].mean(), maps["FA"][white].mean(),
        holds["FA"][white].mean(), holds["FA"][grey].mean(),
        float(np.degrees(np.median(np.arccos(np.clip(cosine, 0, 1))))), float(np.median(maps["V1_sd"][white])),
    ]  # fmt: skip


def main(
    b: Annotated[float, typer.Option("--b", help="Of the trace image, s/mm².")] = 1000.0,
    seed: Annotated[int, typer.Option(help="Of the head and of everything random.")] = 7,
) -> None:
    """Simulate, run, compare, and print a table."""
    print("| " + " | ".join(COLUMNS) + " |\n|" + "---|" * len(COLUMNS))
    for snr in SNRS:
        print("| " + " | ".join(f"{value:.3g}" for value in row(snr, b, seed)) + " |", flush=True)


if __name__ == "__main__":
    typer.run(main)
