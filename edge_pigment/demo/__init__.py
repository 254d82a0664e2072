"""The demo: a digital head, a simulated 64 mT scan of it, maps, and an honest comparison with the truth."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edge_pigment.acquisition import read_acquisition
from edge_pigment.demo import compare, figure
from edge_pigment.outputs.bids import ScanName
from edge_pigment.outputs.nifti import write_nifti
from edge_pigment.outputs.staging import Staging, refuse_if_in_use
from edge_pigment.outputs.target import check_target, place_of
from edge_pigment.outputs.write import write_dataset_files, write_json
from edge_pigment.outputs.write import write_scan as write_maps
from edge_pigment.phantom import Phantom, label, make_phantom
from edge_pigment.pipeline import Result, RunOptions, run
from edge_pigment.simulate import Noise, Protocol, Shell, SimulatedScan, simulate_scan, write_scan

PROTOCOL = Protocol(voxel=(2.5, 2.5, 5.0), shells=(Shell(b=900.0, directions=6),), b0=1)
"""About what a portable 64 mT scanner does in ten minutes; see simulate/profiles/64mT.json."""
NOISE = Noise(snr=10.0)
FIGURE, NUMBERS = "comparison.png", "comparison.json"


@dataclass(frozen=True)
class DemoResult:
    """table: text for the terminal; figure: path of the picture; json: numbers, protocol, seconds."""

    table: str
    figure: Path
    json: dict[str, Any]


def run_demo(
    output: Path,
    seed: int = 0,
    threads: int | None = None,
    bundle: Path | None = None,
    progress: Callable[[str], None] | None = None,
) -> DemoResult:
    """Make the head, scan it, run edge-pigment on the files, compare with the truth; write everything.

    Args:
        output: folder to make; an older result of edge-pigment there is replaced.
        seed: of the head's folds and of the noise.
        threads: CPU threads; default: every core.
        bundle: of the prior; default: the one that came with edge-pigment.
        progress: called with the name of each step when it starts.

    Raises:
        InputError: output cannot be written, or holds something else.
        BundleError: the bundle is damaged or not for this version.
    """
    check_target(output, overwrite=True)
    refuse_if_in_use(place_of(output), None, output)
    seconds: dict[str, float] = {}
    clock = _Clock(seconds, progress or (lambda step: None))
    with Staging(output) as stage:
        clock("head")
        phantom = make_phantom(seed=seed)
        clock("scan")
        scan = simulate_scan(phantom.subject, PROTOCOL, NOISE, seed=seed)
        path = write_scan(scan, stage.path / "scan" / "sub-demo" / "dwi" / "sub-demo_dwi")
        _write_truth(phantom, scan, stage.path / "truth")
        clock("maps")
        result = run(read_acquisition(path), RunOptions(bundle=bundle, device="cpu", threads=threads))
        clock("compare")
        wls, ours = compare.wls_maps(scan), compare.our_maps(result.maps)
        where = compare.regions(phantom, scan, result.mask)
        both = {"WLS": wls, "edge-pigment": ours}
        methods = {name: compare.measure(maps, scan, where) for name, maps in both.items()}
        clock("write")
        figure.draw(scan, wls, ours, result.mask, _title(seed)).save(stage.path / FIGURE)
        source = path.relative_to(stage.path / "scan").as_posix()
        name = ScanName("sub-demo", Path("sub-demo", "dwi"), source, output / "scan")
        write_maps(result, name, stage.path, threads)
        write_dataset_files(stage.path, name, output)
        clock("end")
        numbers = _numbers(methods, where, scan, result, seconds)
        write_json(stage.path / NUMBERS, numbers)
        stage.publish()
    return DemoResult(_text(methods, numbers, seed), output / FIGURE, numbers)


class _Clock:
    """Called at the start of each step: tells the user, and keeps the seconds that the last one took."""

    def __init__(self, seconds: dict[str, float], tell: Callable[[str], None]) -> None:
        self._seconds, self._tell = seconds, tell
        self._name, self._since = "", time.perf_counter()

    def __call__(self, name: str) -> None:
        now = time.perf_counter()
        if self._name:
            self._seconds[self._name] = round(now - self._since, 2)
        self._name, self._since = name, now
        self._tell(name)


def _title(seed: int) -> str:
    shell = PROTOCOL.shells[0]
    x, y, z = PROTOCOL.voxel
    return (
        f"Simulated 64 mT scan of a digital head: {shell.directions} directions, b = {shell.b:g} s/mm^{{2}}, "
        f"{PROTOCOL.b0} b=0, SNR {NOISE.snr:g}, {x:g} x {y:g} x {z:g} mm, seed {seed}"
    )


def _write_truth(phantom: Phantom, scan: SimulatedScan, folder: Path) -> None:
    """The known truth on the scan's grid; MD in mm²/s as the maps are."""
    folder.mkdir()
    tissues = np.stack([scan.resample(f) for f in np.moveaxis(phantom.fractions, -1, 0)], axis=-1)
    lesions = np.zeros(scan.truth.FA.shape, np.uint8)
    for number, lesion in enumerate(phantom.lesions.values(), start=1):
        lesions[scan.resample(lesion) > 0.5] = number
    images = {
        "FA": scan.truth.FA,
        "MD": scan.truth.MD / np.float32(1000),
        "labels": label(tissues),
        "lesions": lesions,
    }
    for name, image in images.items():
        about = f"truth of a simulation: {name}"
        write_nifti(folder / f"sub-demo_{name}.nii.gz", image, scan.affine, None, about)


def _numbers(
    methods: dict[str, dict[str, float]],
    where: compare.Regions,
    scan: SimulatedScan,
    result: Result,
    seconds: dict[str, float],
) -> dict[str, Any]:
    inside = scan.truth.brain > 0.5
    return {
        "Simulated": True,
        "Seed": scan.seed,
        "Protocol": scan.protocol.model_dump(mode="json"),
        "Noise": scan.noise.model_dump(mode="json"),
        "Methods": methods,
        "Voxels": {
            "tissue": int(where.tissue.sum()),
            "tracts": int(where.tracts.sum()),
            **{f"lesion, {name}": int(mask.sum()) for name, mask in where.lesions.items()},
        },
        "BrainFoundByMask": float((result.mask & inside).sum() / inside.sum()),
        "TrueSigma": float(scan.sigma[inside].mean()),
        "EstimatedSigma": result.provenance["Noise"]["Sigma"],
        "Bundle": result.provenance["Bundle"],
        "Warnings": list(result.warnings),
        "Seconds": seconds,
    }


def _text(methods: dict[str, dict[str, float]], numbers: dict[str, Any], seed: int) -> str:
    title = _title(seed).replace("mm^{2}", "mm2")
    voxels = numbers["Voxels"]["tissue"]
    note = (
        f"In {voxels} voxels of grey and white matter; truth: the tensor of 30 noise-free directions at the "
        "same b. WLS: weighted least squares, as toolboxes fit it. "
        f"{sum(numbers['Seconds'].values()):.0f} s in all."
    )
    return f"{title}\n\n{compare.table(methods)}\n\n{note}"
