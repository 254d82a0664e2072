"""Reports of six scans, to be looked at: is the verdict right, and its reason named?

    python benchmarks/reports.py SCAN --output reports/

SCAN is a real scan of a head that lay still; tensors fitted to it are scanned in simulation: well, at 64 mT, with two
lesions, with x of the directions negated, with a volume at half its brightness, and with the head five voxels elsewhere
in the second half. Of each, report.html, the seconds it took, its size, the verdict, and, where there is Chromium, a
screenshot of 1280 x 720 pixels and the pages as they print.
"""

import shutil
import subprocess
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from edge_pigment.acquisition import Acquisition, read_acquisition
from edge_pigment.gradients import GradientTable
from edge_pigment.outputs.report import draw_report
from edge_pigment.pipeline import Result, RunOptions, run
from edge_pigment.simulate import Noise, Protocol, Shell, Subject, read_profile, simulate_scan
from quality import subject_of
from ruin import flipped

Array = np.ndarray[Any, Any]
LESIONS = ((0.30, 0.55, 0.62, 14.0, 0.5), (0.68, 0.35, 0.60, 9.0, 2.2))
"""Place as shares of the brain's extent along each axis, diameter in mm, factor of MD: a stroke, and an old one."""
MOVED_VOXELS = 5
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--virtual-time-budget=8000",
)  # fmt: skip


def with_lesions(subject: Subject) -> Subject:
    """The subject with balls whose tensors are scaled."""
    (whole,) = subject.compartments
    where = np.stack(np.unravel_index(whole.voxels, subject.shape), axis=1) * subject.voxel_size
    brain = np.argwhere(subject.brain > 0.5) * subject.voxel_size
    low, high = brain.min(0), brain.max(0)
    D = whole.D.copy()
    for x, y, z, diameter, factor in LESIONS:
        centre = low + (high - low) * np.array([x, y, z])
        D[np.linalg.norm(where - centre, axis=1) < diameter / 2] *= np.float32(factor)
    return replace(subject, compartments=(replace(whole, D=D),))


def scan(subject: Subject, protocol: Protocol, noise: Noise) -> Acquisition:
    """A simulated scan of it."""
    voxel = tuple(float(max(a, b)) for a, b in zip(protocol.voxel, subject.voxel_size, strict=True))
    made = simulate_scan(subject, protocol.model_copy(update={"voxel": voxel}), noise, seed=1)
    return Acquisition(made.signal, GradientTable(made.bvals, made.bvecs), made.affine)


def cases(subject: Subject) -> dict[str, Acquisition]:
    """The six scans."""
    twelve = Protocol(shells=(Shell(b=1000.0, directions=12),), b0=2, voxel=(2.5, 2.5, 3.0))
    six, low = Protocol(voxel=(2.5, 2.5, 3.0)), read_profile("64mT")
    good = scan(subject, twelve, Noise(snr=25))
    dark, moved = good.signal.copy(order="F"), good.signal.copy(order="F")
    dark[..., 6] *= 0.5
    half = len(good.gradients) // 2
    moved[..., half:] = np.roll(moved[..., half:], MOVED_VOXELS, axis=1)
    return {
        "good": good,
        "64mT": scan(subject, low.protocol, low.noise),
        "lesions": scan(with_lesions(subject), six, Noise(snr=20)),
        "flipped-x": flipped(scan(subject, six, Noise(snr=20))),
        "dark-volume": Acquisition(dark, good.gradients, good.affine),
        "moved-5-voxels": Acquisition(moved, good.gradients, good.affine),
    }


def report(name: str, result: Result, output: Path) -> Path:
    """Write it, and say what it says."""
    began = time.perf_counter()
    page = draw_report(result.maps, result.mask, result.affine, name, result.provenance, result.warnings)
    seconds = time.perf_counter() - began
    file = output / f"{name}.html"
    file.write_text(page, "utf-8")
    quality = result.provenance["Quality"]
    print(f"{name}: {quality['Verdict']} ({len(page) / 1e6:.2f} MB in {seconds:.2f} s)")
    for reason in quality["Reasons"]:
        print(f"  - {reason}")
    return file


def photograph(file: Path) -> None:
    """A screenshot and a PDF beside it."""
    browser = next((name for name in CHROMIUM if shutil.which(name)), None)
    if browser is None:
        return
    with tempfile.TemporaryDirectory() as profile:
        command = [browser, *FLAGS, f"--user-data-dir={profile}", "--window-size=1280,720"]
        for option in (f"--screenshot={file.with_suffix('.png')}", f"--print-to-pdf={file.with_suffix('.pdf')}"):
            subprocess.run([*command, option, file.absolute().as_uri()], check=True, capture_output=True, timeout=180)


def main(
    path: Annotated[Path, typer.Argument(metavar="SCAN", help="Real scan whose tensors are the truth.")],
    output: Annotated[Path, typer.Option(help="Folder for the pages.")] = Path("reports"),
    only: Annotated[str, typer.Option(help="Part of the cases' names.")] = "",
    bundle: Annotated[Path | None, typer.Option(help="Bundle; the shipped one by default.")] = None,
) -> None:
    """Make the reports."""
    output.mkdir(parents=True, exist_ok=True)
    for name, acquisition in cases(subject_of(read_acquisition(path), path.name)).items():
        if only in name:
            photograph(report(name, run(acquisition, RunOptions(bundle=bundle, device="cpu")), output))


if __name__ == "__main__":
    typer.run(main)
