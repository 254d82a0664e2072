"""Whole processes, side by side: `edge-pigment run` and DIPY's weighted least squares on the same file.

    python benchmarks/runtime.py SCAN.nii.gz --slices 60 --volumes 33

Each is a fresh process with its imports, its mask, its fit and its files; wall time and peak memory are the
operating system's. Runs alternate, so that whatever else the machine does falls on both; the median counts.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import nibabel as nib
import numpy as np
import typer

from edge_pigment.acquisition import read_acquisition
from edge_pigment.gradients import GradientTable

OURS = [str(Path(sys.executable).with_name("edge-pigment")), "run", "--quiet"]
PEER = [sys.executable, str(Path(__file__).with_name("peer_dipy.py"))]


def crop(scan: Path, folder: Path, slices: int, volumes: int) -> Path:
    """The scan's middle slices, its b=0 and first volumes, as int16 like the scanner's."""
    acquisition = read_acquisition(scan)
    table = acquisition.gradients
    chosen = np.sort(np.r_[np.flatnonzero(table.is_b0), np.flatnonzero(~table.is_b0)][:volumes])
    first = max((acquisition.signal.shape[2] - slices) // 2, 0)
    signal = acquisition.signal[:, :, first : first + slices, chosen]
    image = nib.Nifti1Image(np.round(signal).astype(np.int16), acquisition.affine)
    path = folder / "scan_dwi.nii.gz"
    nib.save(image, path)
    GradientTable(table.bvals[chosen], table.bvecs[chosen]).write_fsl(
        folder / "scan_dwi.bval", folder / "scan_dwi.bvec", acquisition.affine
    )
    return path


# A child's peak memory counts its parent's at the fork, so a small parent starts it.
LAUNCHER = """
import os, subprocess, sys, time
began = time.perf_counter()
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
_, status, usage = os.wait4(process.pid, 0)
print(status, time.perf_counter() - began, usage.ru_maxrss / 1024)
"""


def measure(command: list[str], threads: int) -> tuple[float, float]:
    """Seconds and peak MiB of a process."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    environment = os.environ | dict.fromkeys(names, str(threads))
    launched = [sys.executable, "-S", "-c", LAUNCHER, *command]
    answer = subprocess.run(launched, env=environment, capture_output=True, text=True, check=True).stdout
    status, seconds, peak = answer.split()
    if status != "0":
        raise RuntimeError(f"{' '.join(command)} ended with status {status}")
    return float(seconds), float(peak)


def main(
    scan: Annotated[Path, typer.Argument(help="A diffusion scan with .bval and .bvec beside it.")],
    slices: Annotated[int, typer.Option(help="Slices to keep.")] = 60,
    volumes: Annotated[int, typer.Option(help="Volumes to keep.")] = 33,
    threads: Annotated[int, typer.Option(help="Of both.")] = 2,
    repeats: Annotated[int, typer.Option(help="Runs of each; the median counts.")] = 3,
    output: Annotated[Path | None, typer.Option("--json", help="Where to write the figures.")] = None,
) -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        image = crop(scan, folder, slices, volumes)
        shape = "x".join(str(n) for n in nib.load(image).shape)
        taken: dict[str, list[tuple[float, float]]] = {"edge-pigment": [], "DIPY WLS": []}
        for _ in range(repeats):
            ours = [*OURS, str(image), "-o", str(folder / "ours"), "--threads", str(threads)]
            taken["edge-pigment"].append(measure(ours, threads))
            taken["DIPY WLS"].append(measure([*PEER, str(image), str(folder / "peer")], threads))
            provenance = next((folder / "ours").rglob("*provenance.json"), None)
            steps = json.loads(provenance.read_text()).get("Seconds", {}) if provenance else {}
            shutil.rmtree(folder / "ours")
            shutil.rmtree(folder / "peer")
    rows = {}
    print(f"{shape}, {threads} threads, median of {repeats}")
    print("| process | seconds | ratio | peak MiB |\n|---|---|---|---|")
    peer = float(np.median([s for s, _ in taken["DIPY WLS"]]))
    for name, pairs in taken.items():
        seconds, memory = float(np.median([s for s, _ in pairs])), max(m for _, m in pairs)
        rows[name] = {"seconds": seconds, "ratio": seconds / peer, "peak_MiB": memory}
        print(f"| {name} | {seconds:.2f} | {seconds / peer:.2f} | {memory:.0f} |")
    print("edge-pigment's steps, s:", ", ".join(f"{k} {v:.2f}" for k, v in steps.items()))
    if output:
        output.write_text(json.dumps({"shape": shape, "threads": threads, "rows": rows, "steps": steps}, indent=1))


if __name__ == "__main__":
    typer.run(main)
