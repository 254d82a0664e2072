"""Is what a run says true of scans as users have them? Coverage, bias, σ and verdict, by kind of treatment.

    python benchmarks/honesty.py VALIDATION TRAIN -o honesty/

Six heads (tensors fitted to real scans), each scanned by simulation and then treated as consoles and pipelines treat
scans (`spoil.py`); the whole pipeline runs on each, and its maps are held against the noise-free scan's. A row is wrong
where 90 % intervals of FA or MD cover less than .80 or more than .97, or where MD is off by more than 5 %; it is at
fault where it is wrong and called usable.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from edge_pigment.acquisition import read_acquisition
from edge_pigment.errors import InputError
from edge_pigment.findings import USABLE
from edge_pigment.physics.moments import fractional_anisotropy
from edge_pigment.physics.tensor import to_matrix
from edge_pigment.pipeline import RunOptions, Tools, open_tools, run
from edge_pigment.wls import wls
from scores import NORMAL_90
from spoil import Head, Noisy, complex_zero_filled, denoised, moved, resampled, scanned, treated, with_volumes

Array = np.ndarray[Any, Any]
HEADS = {
    "hcplike": "validation/sub-hcplike/dwi/sub-hcplike_acq-2p5mm_dwi.nii.gz",
    "vanderbilt": "validation/sub-vanderbilt/dwi/sub-vanderbilt_acq-3mm_dwi.nii.gz",
    "uih": "validation/sub-uih/dwi/sub-uih_acq-AP9134431_dwi.nii.gz",
    "trio": "validation/sub-trio/dwi/sub-trio_acq-2mm_dwi.nii.gz",
    "elition": "train/sub-elition/dwi/sub-elition_acq-2mm_dwi.nii.gz",
    "prisma": "train/sub-prisma01/dwi/sub-prisma01_acq-ortho_dwi.nii.gz",
}
COVERED = (0.80, 0.97)
"""What 90 % intervals may cover."""
BIAS = 0.05
"""Of MD's median ratio to the truth."""
FLUID = 2.2
"""µm²/ms; above, partial volume and pulsation are not what is judged."""
Kind = Callable[[Head, np.random.Generator], Noisy]


def _trace(scan: Noisy) -> Array:
    return np.exp(np.log(np.maximum(scan.signal[..., 1:], 1)).mean(-1, keepdims=True))


def _g_factor(head: Head) -> Array:
    x, y, _ = np.meshgrid(*(np.linspace(-1, 1, n) for n in head.brain.shape), indexing="ij")
    return 1 + 2 * np.exp(-((x / 0.4) ** 2 + (y / 0.4) ** 2))


def _zeros(scan: Noisy) -> Noisy:
    """The front of the head out of view in a fourth of the volumes."""
    signal = scan.signal.copy()
    front = slice(int(0.66 * signal.shape[1]), None)
    signal[:, front, :, 2::4] = 0
    return scan._replace(signal=signal)


def _saturated(scan: Noisy, quantile: float) -> Noisy:
    top = np.quantile(scan.signal[..., 0][scan.judged], quantile)
    return treated(scan, lambda y: np.minimum(np.round(y * 4095 / top), 4095))


def kinds() -> dict[str, Kind]:
    """Treatments by name; the clean ones first."""
    zero = np.zeros((1, 3))

    def copied(head: Head, rng: np.random.Generator) -> Noisy:
        s = scanned(head, rng)
        return with_volumes(s, s.signal[..., 3:4], s.bvals[3:4], s.bvecs[3:4])

    def averaged(head: Head, rng: np.random.Generator) -> Noisy:
        s = scanned(head, rng)
        return with_volumes(s, s.signal[..., 1:].mean(-1, keepdims=True), [1000.0], np.full((1, 3), 3**-0.5))

    def traced(head: Head, rng: np.random.Generator) -> Noisy:
        s = scanned(head, rng)
        return with_volumes(s, _trace(s), [1100.0], zero)

    def twice(head: Head, rng: np.random.Generator) -> Noisy:
        s = scanned(head, rng)
        return with_volumes(s, s.signal, s.bvals, s.bvecs)

    def shells(head: Head, rng: np.random.Generator) -> Noisy:
        return scanned(head, rng, 30, 2, bvals=np.r_[np.zeros(2), np.full(12, 1000.0), np.full(18, 3000.0)], snr=30)

    def chained(head: Head, rng: np.random.Generator) -> Noisy:
        return scanned(head, rng, 30, 1, bvals=np.r_[0, np.linspace(100, 1200, 30)], snr=25)

    found: dict[str, Kind] = {
        "clean 6+1, SNR 20": lambda h, r: scanned(h, r),
        "clean 6+1, SNR 8": lambda h, r: scanned(h, r, snr=8),
        "clean 30+3, SNR 15": lambda h, r: scanned(h, r, 30, 3, snr=15),
        "one volume twice": copied,
        "series twice": twice,
        "mean of all appended": averaged,
        "trace in its own shell": traced,
        "MP-PCA 16+2, SNR 12": lambda h, r: denoised(scanned(h, r, 16, 2, snr=12), "MP-PCA", 0),
        "MP-PCA 30+3, SNR 15": lambda h, r: denoised(scanned(h, r, 30, 3, snr=15), "MP-PCA", 0),
        "NLM 6+1, SNR 12": lambda h, r: denoised(scanned(h, r, snr=12), "NLM", 1000 / 12),
        "NLM 30+3, SNR 15": lambda h, r: denoised(scanned(h, r, 30, 3, snr=15), "NLM", 1000 / 15),
        "moved, linear 6+1": lambda h, r: moved(scanned(h, r), 1),
        "moved, spline 12+1": lambda h, r: moved(scanned(h, r, 12), 3),
        "moved, linear 30+3": lambda h, r: moved(scanned(h, r, 30, 3), 1),
        "g-factor 6+1": lambda h, r: scanned(h, r, snr=30, gain=_g_factor(h)),
        "g-factor 30+3": lambda h, r: scanned(h, r, 30, 3, snr=30, gain=_g_factor(h)),
        "8 coils 12+1, b=2000, SNR 12": lambda h, r: scanned(h, r, 12, b=2000.0, snr=12, coils=8),
        "8 coils 6+1, SNR 20": lambda h, r: scanned(h, r, coils=8),
        "zeros in a fourth": lambda h, r: _zeros(scanned(h, r, 12)),
        "saturated 10 %": lambda h, r: _saturated(scanned(h, r), 0.9),
        "saturated 40 %": lambda h, r: _saturated(scanned(h, r), 0.6),
        "shells to 3000": shells,
        "b from 100 to 1200": chained,
    }
    for factor in (1.25, 1.5, 2.0, 2.67, 3.2):
        found[f"zero-filled x{factor:g}"] = lambda h, r, f=factor: complex_zero_filled(scanned(h, r), r, f, 15)
    found["linear x2 in 3D"] = lambda h, r: resampled(scanned(h, r, snr=15), (2, 2, 2), 1)
    found["linear x1.5 in plane"] = lambda h, r: resampled(scanned(h, r, snr=15), (1.5, 1.5, 1), 1)
    found["cubic x2 in plane"] = lambda h, r: resampled(scanned(h, r, snr=15), (2, 2, 1), 3)
    found["linear x1.25 in 3D 30+3"] = lambda h, r: resampled(scanned(h, r, 30, 3, snr=15), (1.25, 1.25, 1.25), 1)
    return found


def judge(scan: Noisy, tools: Tools) -> dict[str, Any]:
    """Run the pipeline; what it says, and whether it is true."""
    try:
        result = run(scan.acquisition, RunOptions(device="cpu"), tools=tools)
    except InputError as error:
        return {"verdict": "refused", "said": [str(error)], "wrong": False, "fault": False}
    b = scan.clean.shape[3]
    low = scan.bvals[:b] <= 1500 if (scan.bvals[:b] > 1500).sum() < (scan.bvals[:b] > 50).sum() else np.ones(b, bool)
    where = result.mask & scan.judged & (scan.clean[..., 0] > 0)
    D = wls(np.maximum(scan.clean[where][:, low], 1e-3), scan.bvals[:b][low] / 1000, scan.bvecs[:b][low])
    values = np.linalg.eigvalsh(to_matrix(D[:, 1:]))
    fa, md = fractional_anisotropy(np.maximum(values, 0)), values.mean(-1)
    good = (values[:, 0] > 0) & (md < FLUID)
    row: dict[str, Any] = {}
    for key, true, unit in (("FA", fa, 1.0), ("MD", md, 1e3)):
        error, sd = (unit * result.maps[k][where][good] for k in (key, f"{key}_sd"))
        error = error - true[good]
        row[f"{key} covered"] = float(np.mean(np.abs(error) < NORMAL_90 * sd))
        row[f"{key} z"] = float(np.sqrt(np.mean(np.clip(error / sd, -15, 15) ** 2)))
    row["MD ratio"] = float(np.median(1e3 * result.maps["MD"][where][good] / md[good]))
    row["mask"] = float(where.sum() / scan.judged.sum())
    told = result.provenance
    row |= {"SNR": told["Noise"]["SNRb0"], "verdict": told["Quality"]["Verdict"], "said": told["Quality"]["Reasons"]}
    row["noise"] = {k: v for k, v in told["Noise"].items() if k not in ("Sigma", "SNRb0")}
    covered = [row[f"{key} covered"] for key in ("FA", "MD")]
    row["wrong"] = bool(min(covered) < COVERED[0] or max(covered) > COVERED[1] or abs(row["MD ratio"] - 1) > BIAS)
    row["fault"] = row["wrong"] and row["verdict"] == USABLE
    return row


def line(kind: str, head: str, row: dict[str, Any]) -> str:
    """Of the table."""
    if "SNR" not in row:
        return f"| {kind} | {head} | refused | | | | | {row['said'][0][:80]} |"
    mark = " **fault**" if row["fault"] else " (wrong)" if row["wrong"] else ""
    figures = f"{row['FA covered']:.2f} ({row['FA z']:.2f}) | {row['MD covered']:.2f} ({row['MD z']:.2f})"
    said = "; ".join(text[:60] for text in row["said"])
    start = f"| {kind} | {head} | {row['verdict']}{mark} | {row['SNR']:.1f}"
    return f"{start} | {figures} | {row['MD ratio']:.3f} | {said} |"


def main(
    data: Annotated[Path, typer.Argument(help="Folder with the sets validation and train.")],
    heads: Annotated[str, typer.Option(help="Names, by commas; all by default.")] = ",".join(HEADS),
    only: Annotated[str, typer.Option(help="Parts of the kinds' names, separated by semicolons.")] = "",
    output: Annotated[Path | None, typer.Option("-o", help="Folder for honesty.jsonl and honesty.md.")] = None,
) -> None:
    """Print the table."""
    tools = open_tools(RunOptions(device="cpu"))
    lines = ["| kind | head | verdict | SNR said | FA 90 % covers (z) | MD 90 % covers (z) | MD ratio | said |"]
    lines.append("|---" * 8 + "|")
    print("\n".join(lines), flush=True)
    rows = []
    loaded = {name: Head.of(read_acquisition(data / HEADS[name]), name) for name in heads.split(",")}
    for kind, make in kinds().items():
        if not any(part in kind for part in only.split(";")):
            continue
        for name, head in loaded.items():
            row = judge(make(head, np.random.default_rng([len(kind), *name.encode()])), tools)
            rows.append({"kind": kind, "head": name} | row)
            lines.append(line(kind, name, row))
            print(lines[-1], flush=True)
    faults = sum(row["fault"] for row in rows)
    clean = [row for row in rows if row["kind"].startswith("clean")]
    alarms = sum(row["verdict"] != USABLE for row in clean)
    lines.append(f"\n{len(rows)} rows, {faults} at fault; of {len(clean)} clean ones {alarms} are not called usable.")
    print(lines[-1])
    if output:
        output.mkdir(parents=True, exist_ok=True)
        (output / "honesty.md").write_text("\n".join(lines) + "\n")
        (output / "honesty.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


if __name__ == "__main__":
    typer.run(main)
