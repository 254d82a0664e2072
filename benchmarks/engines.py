"""The flavours of a bundle side by side: size, speed of the context prior on this CPU, errors on maps.

    python benchmarks/engines.py BUNDLE --threads 2

Speed: slabs of a simulated 64 mT scan; flavours take turns of several slabs, and the fastest turn of each counts: what
else the machine does only ever slows. A turn's first slab is not timed: the caches still hold another network's
activations, which happens to no scan.
Errors: the largest that the gate found when the bundle was made (gate.json), against FP32. FP16 and int8-trt are made
for GPUs; their speed here is ONNX Runtime's on a CPU and says nothing of TensorRT's.
"""

import json
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from edge_pigment import hardware
from edge_pigment.physics.host import HostBackend
from edge_pigment.prior.bundle import load_bundle
from edge_pigment.prior.context import SLICES_AT_ONCE, ContextSession
from edge_pigment.simulate import read_profile, simulate_scan
from edge_pigment_calibration.heads import head, slab
from edge_pigment_calibration.quantisation import scan_features

ERRORS = ("MD_bias_percent", "FA_MAE", "V1_median_deg", "coverage_points")
SLABS = 5
"""Timed in a turn; a scan has some 15."""
GOAL = 1.4
"""int8-cpu over fp32."""


def features(slices: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Input of some slices of a simulated 64 mT scan."""
    profile = read_profile("64mT")
    scan = simulate_scan(slab(head(7, 2.5), 5.0, 30.0), profile.protocol, profile.noise, seed=7)
    return scan_features(scan, HostBackend(None), slices)


def main(
    bundle: Annotated[Path | None, typer.Argument(help="Bundle folder; the shipped one by default.")] = None,
    threads: Annotated[int, typer.Option(help="CPU threads.")] = 2,
    repeats: Annotated[int, typer.Option(help="Turns of each flavour; the fastest counts.")] = 15,
    output: Annotated[Path | None, typer.Option("--json", help="Where to write the figures.")] = None,
) -> None:
    """Print the table."""
    opened = load_bundle(bundle)
    x = features(SLICES_AT_ONCE)
    voxels = len(x) * x.shape[2] * x.shape[3]
    sessions = {flavour: ContextSession(opened, threads, flavour) for flavour in opened.manifest.flavours}
    taken: dict[str, list[float]] = {flavour: [] for flavour in sessions}
    for _ in range(repeats):
        for flavour, session in sessions.items():
            session.run_slices(x)
            began = time.perf_counter()
            for _ in range(SLABS):
                session.run_slices(x)
            taken[flavour].append((time.perf_counter() - began) / SLABS)
    rows = {}
    for flavour in sessions:
        seconds = min(taken[flavour])
        rows[flavour] = {
            "KiB": opened.model(flavour).stat().st_size / 1024,
            "voxels_per_s": voxels / seconds,
            "times_fp32": min(taken["fp32"]) / seconds,
            "layers_in_8_bits": list(opened.manifest.quantised_layers.get(flavour, ())),
            **opened.manifest.gate.get(flavour, {}),
        }
    shape = "x".join(str(n) for n in x.shape)
    print(f"{shape}, {threads} threads, {hardware.cpu_name()} ({', '.join(hardware.cpu_features())})")
    print("| flavour | KiB | voxels/s | x FP32 | MD bias % | FA MAE | V1 median deg | coverage points | 8 bits |")
    print("|---" * 9 + "|")
    for flavour, row in rows.items():
        errors = " | ".join(f"{row[key]:.4f}" if key in row else "" for key in ERRORS)
        layers = " ".join(row["layers_in_8_bits"])
        speed = f"{row['voxels_per_s']:.3g} | {row['times_fp32']:.2f}"
        print(f"| {flavour} | {row['KiB']:.0f} | {speed} | {errors} | {layers} |")
    if "int8-cpu" in rows:
        ratio = rows["int8-cpu"]["times_fp32"]
        print(f"int8-cpu: {ratio:.2f} x FP32, goal {GOAL:g}: {'met' if ratio >= GOAL else 'not met'}")
    if output:
        output.write_text(json.dumps({"shape": shape, "threads": threads, "flavours": rows}, indent=1))


if __name__ == "__main__":
    typer.run(main)
