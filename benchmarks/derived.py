"""Volumes that are no measurement of their own, appended to real scans: what is left out, and what σ becomes.

    python benchmarks/derived.py SCAN.nii.gz ...

`sigma` is that of the screened scan over that of the scan as it was; `unscreened` the same without screening. A row is
right where no appended volume stays, no other goes, and sigma is within a fifth of 1; for copies of a whole series by
motion correction it does not matter which of the two stays.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from scipy import ndimage

from edge_pigment.acquisition import Acquisition, read_acquisition
from edge_pigment.brainmask import brain_mask
from edge_pigment.errors import InputError
from edge_pigment.gradients import GradientTable
from edge_pigment.noise import estimate_sigma
from edge_pigment.screening.derived import drop_derived

Array = np.ndarray[Any, Any]
NONE, OBLIQUE = np.zeros(3), np.ones(3) / np.sqrt(3)
ADC_LARGEST = 4000.0
"""1e-6 mm²/s; where consoles clip."""


def moved(volume: Array, order: int, rng: np.random.Generator) -> Array:
    """By up to 0.3 voxel and 0.6 degrees about each axis, as motion correction does."""
    turn = np.eye(3)
    for axes in ((0, 1), (0, 2), (1, 2)):
        angle = np.deg2rad(rng.uniform(-0.6, 0.6))
        step = np.eye(3)
        step[axes, axes] = np.cos(angle)
        step[axes], step[axes[::-1]] = -np.sin(angle), np.sin(angle)
        turn = turn @ step
    centre = (np.array(volume.shape) - 1) / 2
    offset = centre - turn @ centre + rng.uniform(-0.3, 0.3, 3)
    return np.maximum(ndimage.affine_transform(volume, turn, offset, order=order, mode="nearest"), 0)


def variants(scan: Acquisition) -> Iterator[tuple[str, list[Array], list[float], list[Array]]]:
    """Name, appended volumes, their b-values and directions."""
    rng = np.random.default_rng(0)
    y, table = scan.signal.astype(float), scan.gradients
    shell, first = table.shells[0].indices, int(np.flatnonzero(table.is_b0)[0])
    b, k = float(table.shells[0].bval), int(table.shells[0].indices[1])
    positive = np.maximum(y, 1)
    trace = np.exp(np.log(positive[..., shell]).mean(-1))
    adc = np.clip(np.log(positive[..., first] / np.maximum(trace, 1)) * 1e6 / b, 0, ADC_LARGEST)
    for factor in (1.0, 0.5, 2.0, 1.37):
        yield f"copy x {factor:g}", [factor * y[..., k]], [table.bvals[k]], [table.bvecs[k]]
    yield "b=0 twice", [y[..., first]], [0.0], [NONE]
    everything = list(np.moveaxis(y, -1, 0)), list(table.bvals), list(table.bvecs)
    yield "series twice", *everything
    yield "mean of the shell", [y[..., shell].mean(-1)], [b], [OBLIQUE]
    yield "mean of three", [y[..., shell[:3]].mean(-1)], [b], [table.bvecs[shell[0]]]
    for at in (0.0, b - 100, b + 100):
        yield f"trace, b {at:.0f}", [trace], [at], [NONE]
    for at in (0.0, b - 200, b + 100, b + 1000):
        yield f"ADC, b {at:.0f}", [adc], [at], [NONE]
    yield "exponential ADC", [1000 * trace / positive[..., first]], [b + 500], [NONE]
    for order in (1, 3):
        yield f"motion-corrected, order {order}", [moved(v, order, rng) for v in everything[0]], *everything[1:]
    yield "smoothed copy", [ndimage.gaussian_filter(y[..., k], 1)], [table.bvals[k]], [table.bvecs[k]]
    yield "smoothed series", [ndimage.gaussian_filter(v, 1) for v in everything[0]], *everything[1:]


def main(scans: Annotated[list[Path], typer.Argument(help="Diffusion scans with .bval and .bvec.")]) -> None:
    """Print a table for each scan."""
    for path in scans:
        plain = read_acquisition(path)
        mask = brain_mask(plain.mean_b0, plain.mean_dwi, plain.voxel_size).mask
        sigma = estimate_sigma(plain, mask).sigma
        kept, findings = drop_derived(plain)
        typer.echo(f"\n{path.name}: {len(kept)} of {len(plain.gradients)} volumes kept, {len(findings)} findings")
        for name, volumes, bvals, bvecs in variants(plain):
            signal = np.concatenate([plain.signal, np.rint(np.stack(volumes, -1))], axis=-1)
            try:
                table = GradientTable(
                    np.append(plain.gradients.bvals, bvals), np.concatenate([plain.gradients.bvecs, bvecs])
                )
                scan = Acquisition(signal, table, plain.affine)
                kept, findings = drop_derived(scan)
            except InputError as error:
                typer.echo(f"  {name:28s} refused: {error}")
                continue
            right = len(kept) == len(plain.gradients) and (len(volumes) > 1 or kept[-1] < len(kept))
            after, before = (estimate_sigma(s, mask).sigma / sigma for s in (scan.subset(kept), scan))
            ok = right and abs(after - 1) < 0.2
            said = findings[0].level if findings else "nothing"
            typer.echo(
                f"  {name:28s} {'right' if ok else 'WRONG'}  sigma {after:.2f}, unscreened {before:.2f}; said: {said}"
            )


if __name__ == "__main__":
    typer.run(main)
