"""Did the real scans move? DIPY's registration beside `edge_pigment.quality.motion`, and the scans aligned by it.

    python benchmarks/motion.py --data DATA_FOLDER --aligned aligned/

Each diffusion-weighted volume is registered to the mean of its shell by mutual information, affine (eddy currents
stretch and shear), on voxels averaged to some 5 mm. Displacements are root mean squares over the brain, each
from the pose that most volumes share. What is real to DIPY is gone from its aligned scan; what is measured there all
the same is an error of the measure. Aligned scans are what `benchmarks/quality.py --aligned` takes its references
from: a tensor fitted to a head that moved has edges that move with the direction, and a scan simulated of it is not
still.
"""

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from dipy.align import affine_registration
from dipy.align.imaffine import AffineMap

from edge_pigment.acquisition import Acquisition, read_acquisition
from edge_pigment.brainmask import brain_mask
from edge_pigment.gradients import GradientTable
from edge_pigment.quality.motion import measure_motion
from edge_pigment_prior.references import find_scans

Array = np.ndarray[Any, Any]
FINE_MM, COARSE_MM = 3.8, 6.0
"""Voxels are averaged by whole factors to sizes below: of aligned scans, and for the registration."""
MOST_VOLUMES = 34
"""Of a scan: enough for a reference."""
LEAST_SLICES = 10


def find_all(folder: Path) -> list[Path]:
    """Scans of the data sets in a folder, and of the folder itself."""
    return [path for part in [folder, *sorted(p for p in folder.iterdir() if p.is_dir())] for path in find_scans(part)]


def name_of(path: Path) -> str:
    """sub-x_acq-y."""
    return path.name.removesuffix("_dwi.nii.gz")


def fewer(acquisition: Acquisition) -> Acquisition:
    """Volumes beyond MOST_VOLUMES left out."""
    b0 = acquisition.gradients.is_b0
    return acquisition.subset(np.sort(np.r_[np.flatnonzero(b0), np.flatnonzero(~b0)[: MOST_VOLUMES - 1]]))


def averaged(acquisition: Acquisition, mm: float) -> Acquisition:
    """In voxels below a size, where a whole factor makes them larger."""
    factor = np.maximum((mm / acquisition.voxel_size).astype(int), 1)
    image = acquisition.signal
    for axis, f in enumerate(factor):
        end = image.shape[axis] // f * f
        image = sum(np.take(image, np.arange(k, end, f), axis) for k in range(f)) / np.float32(f)
    affine = acquisition.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ ((factor - 1) / 2)
    affine[:3, :3] *= factor
    return Acquisition(image, acquisition.gradients, affine)


def register(scan: Acquisition) -> tuple[Acquisition, Array]:
    """The scan with the volumes of each shell aligned, and displacements (N,) mm, NaN where there is nothing alike."""
    coarse = averaged(scan, COARSE_MM)
    mask = brain_mask(coarse.mean_b0, coarse.mean_dwi, coarse.voxel_size).mask
    points = np.argwhere(mask) @ coarse.affine[:3, :3].T + coarse.affine[:3, 3]
    signal = scan.signal.copy(order="F")
    displacement = np.full(len(scan.gradients), np.nan)
    for group in scan.gradients.alike:
        if len(group) < 2:
            continue
        static = coarse.signal[..., group].mean(-1)
        places = []
        for n in group:
            _, found = affine_registration(
                coarse.signal[..., n], static, moving_affine=coarse.affine, static_affine=coarse.affine,
                pipeline=["rigid", "affine"], level_iters=[40, 20], sigmas=[1.0, 0.0], factors=[2, 1],
            )  # fmt: skip
            whole = scan.signal.shape[:3]
            signal[..., n] = AffineMap(found, whole, scan.affine, whole, scan.affine).transform(scan.signal[..., n])
            places.append(points @ found[:3, :3].T + found[:3, 3])
        away = np.array([[np.sqrt(((p - q) ** 2).sum(1).mean()) for q in places] for p in places])
        displacement[group] = away[np.argmin(away.sum(1))]
    return Acquisition(np.maximum(signal, 0), scan.gradients, scan.affine), displacement


def measured(scan: Acquisition) -> Array:
    """Displacements as `edge_pigment.quality` finds them: largest and median, mm."""
    found = measure_motion(scan, brain_mask(scan.mean_b0, scan.mean_dwi, scan.voxel_size).mask).displacement
    return np.array([np.nanmax(found), np.nanmedian(found)])


def main(
    data: Annotated[Path, typer.Option(help="Folder of BIDS datasets with real scans.")],
    aligned: Annotated[Path, typer.Option(help="Where aligned scans are kept; those that are there are not redone.")],
    only: Annotated[str, typer.Option(help="Part of the scans' names.")] = "",
) -> None:
    """Print the table."""
    aligned.mkdir(parents=True, exist_ok=True)
    print("| scan | DIPY: largest mm | median mm | here: largest mm | median mm | here, aligned by DIPY | median mm |")
    print("|---" * 7 + "|")
    for path in find_all(data):
        file = aligned / f"{name_of(path)}.npz"
        if only not in name_of(path):
            continue
        if not file.exists():
            acquisition = read_acquisition(path)
            if min(acquisition.signal.shape[:3]) < LEAST_SLICES:
                continue
            scan = averaged(fewer(acquisition), FINE_MM)
            still, theirs = register(scan)
            mm = np.r_[np.nanmax(theirs), np.nanmedian(theirs), measured(scan)]
            parts = {"signal": still.signal, "bvals": still.gradients.bvals, "bvecs": still.gradients.bvecs}
            np.savez(file, **parts, affine=still.affine, mm=mm)
        still, mm = load(file)
        print(f"| {name_of(path)} | " + " | ".join(f"{v:.2f}" for v in np.r_[mm, measured(still)]) + " |", flush=True)


def load(file: Path) -> tuple[Acquisition, Array]:
    """An aligned scan, and how far its volumes lay apart."""
    with np.load(file) as f:
        return Acquisition(f["signal"], GradientTable(f["bvals"], f["bvecs"]), f["affine"]), f["mm"]


if __name__ == "__main__":
    typer.run(main)
