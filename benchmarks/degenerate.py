"""Voxels that no tensor fits, on the CPU against float64: how many end beyond the bars, by kind of spoiling.

    python benchmarks/degenerate.py [--voxels 5000] [--seed 21] [--data ../shared/data]

Simulated tissue (SNR 5 to 30, drawn priors), as the tests have it, and with --data the scans for validation with the
shipped prior. Each voxel is spoilt in every way. In float32 alone, and as it is done: with float64 where float32 does
not decide (`physics/doubt.py`). Of the real scans as they are, also what the voxels in float64 cost.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests" / "physics"))

from physics_cases import FA, LATENT, NU, SPOILT, V1_DEGREES, Case, beyond, case, protocol, spoilt
from real_voxels import real_voxels

from edge_pigment.physics import adaptation
from edge_pigment.physics.host import HostBackend

PROTOCOLS = {
    "3 directions": protocol(1, (1.0, 3)),
    "6 directions": protocol(1, (1.0, 6)),
    "30 directions": protocol(3, (1.0, 30)),
    "3 shells": protocol(3, (0.7, 10), (2.0, 20), (3.0, 30)),
}
SCAN_VOXELS = 250_000
SUBJECTS = ("sub-hcplike", "sub-uih", "sub-vanderbilt")
BARS = {"latent": LATENT, "FA": FA, "V1": V1_DEGREES}
WIDTHS = {"usual": ((0.05, 0.2), (0.1, 0.3)), "wide": ((0.1, 0.6), (0.2, 0.9)), "sharp": ((0.02, 0.1), (0.03, 0.2))}
"""sd of Q and of log S0 in the drawn priors."""


def row(c: Case, nu: float) -> list[object]:
    """Voxels, share in float64, those beyond the bars in float32 alone and as it is done, largest differences."""
    backend = HostBackend(1)
    expected = adaptation.adapt(c.y, c.b, c.bvecs, c.sigma, c.mean, c.factor, nu)
    inside = np.abs(c.factor).max(-1) < 1e6  # what the kernels clip the prior to
    mean, factor, _ = c.prior()
    posterior = backend.adapt(*c.measured(), mean, factor, nu)
    alone = beyond(posterior.mode, backend.moments(posterior.mode, posterior.factor), expected)
    with backend.hold(*c.measured()) as scan:
        got = scan.adapt(mean, factor, nu)
    done = beyond(got.mode, got.moments, expected)
    counts = [" / ".join(str(int((times[inside] >= 1).sum())) for times in of.values()) for of in (alone, done)]
    largest = [f"{times[inside].max() * BARS[name]:.1g}" for name, times in done.items()]
    return [int(inside.sum()), f"{len(got.exact) / len(c.y):.2%}", *counts, *largest]


def cost(c: Case, nu: float, rounds: int = 11) -> tuple[float, float]:
    """CPU seconds of adaptation and moments in float32 alone, and what float64 adds: the best of rounds in turns.

    Of the voxels over and over, as many as a scan has.
    """
    backend = HostBackend(1)
    (y, b, bvecs, sigma), (mean, factor, _) = c.measured(), c.prior()
    y, sigma, mean, factor = (np.tile(a, SCAN_VOXELS // len(sigma)) for a in (y, sigma, mean, factor))
    scan, prior = (y, b, bvecs, sigma), (mean, factor, nu)

    def alone() -> None:
        posterior = backend.adapt(*scan, *prior)
        backend.moments(posterior.mode, posterior.factor)

    def whole() -> None:
        with backend.hold(*scan) as held:
            held.adapt(*prior)

    def seconds(run: Callable[[], None]) -> float:
        began = time.process_time()
        run()
        return time.process_time() - began

    one, all_ = np.min([[seconds(alone), seconds(whole)] for _ in range(rounds)], axis=0)
    return float(one), float(all_ - one)


def main(
    voxels: Annotated[int, typer.Option(help="Of each protocol.")] = 5000,
    data: Annotated[Path | None, typer.Option(help="The folder with validation/.")] = None,
    every: Annotated[int, typer.Option(help="Of the real voxels, one in so many.")] = 20,
    seed: Annotated[int, typer.Option(help="Of the simulated voxels.")] = 21,
    priors: Annotated[str, typer.Option(help=f"Of the simulated voxels: {', '.join(WIDTHS)}.")] = "usual",
) -> None:
    """Count, and print a table."""
    sd_q, sd_log_s0 = WIDTHS[priors]
    cases = [(name, case(voxels, *p, sd_q=sd_q, sd_log_s0=sd_log_s0, seed=seed), NU) for name, p in PROTOCOLS.items()]
    if data:
        for subject in SUBJECTS:
            cases.append((subject, *real_voxels(data, subject, every)))
    print("| voxels | spoilt | voxels | in float64 | latent / FA / V1 beyond the bar, float32 alone ", end="")
    print("| as it is done | largest: latent | FA | V1 |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name, c, nu in cases:
        for kind in ("as they are", *SPOILT):
            y = c.y if kind == "as they are" else spoilt(kind, c.y, c.b)
            cells = [name, kind, *row(c._replace(y=y.astype(np.float32).astype(float)), nu)]
            print("| " + " | ".join(str(cell) for cell in cells) + " |", flush=True)
    for subject in SUBJECTS if data else ():
        c, nu = real_voxels(data, subject, 1)
        alone, more = cost(c, nu)
        size = f"{len(c.y)} voxels x {len(c.b)} over and over"
        print(f"{subject}, {size}: {1e3 * alone:.0f} ms, and {more / alone:.1%} for float64")


if __name__ == "__main__":
    typer.run(main)
