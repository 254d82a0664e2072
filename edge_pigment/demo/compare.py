"""What the demo measures: weighted least squares and edge-pigment against the truth, and the table."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_pigment.phantom import LESIONS, TISSUES, Phantom
from edge_pigment.physics.moments import fractional_anisotropy
from edge_pigment.physics.tensor import to_matrix
from edge_pigment.simulate import SimulatedScan
from edge_pigment.wls import clip_negative, wls

Image = NDArray[np.float32]
Mask = NDArray[np.bool_]

NORMAL_90 = 1.6449
"""Half-width of a central 90 % interval of the normal distribution, in sd."""


class Maps(NamedTuple):
    """One method's maps: FA, MD in µm²/ms (X, Y, Z), V1 (X, Y, Z, 3); sd of FA and MD where it knows them."""

    FA: Image
    MD: Image
    V1: Image
    FA_sd: Image | None = None
    MD_sd: Image | None = None


class Regions(NamedTuple):
    """Where it is judged, masks (X, Y, Z): tissue, grey, white, true FA > 0.3, lesions, around them."""

    tissue: Mask
    grey: Mask
    white: Mask
    tracts: Mask
    lesions: Mapping[str, Mask]
    around: Mapping[str, Mask]


def wls_maps(scan: SimulatedScan) -> Maps:
    """Maps by weighted least squares, negative eigenvalues set to zero."""
    shape = scan.signal.shape[:3]
    theta = wls(scan.signal.reshape(-1, scan.signal.shape[3]), scan.bvals / 1000, scan.bvecs)
    values, vectors = np.linalg.eigh(to_matrix(clip_negative(theta[:, 1:])))
    FA, MD, V1 = fractional_anisotropy(values), values.mean(-1), vectors[..., 2]
    return Maps(*(m.astype(np.float32).reshape(*shape, *m.shape[1:]) for m in (FA, MD, V1)))


def our_maps(maps: Mapping[str, Any]) -> Maps:
    """Maps of a `pipeline.Result`, whose diffusivities are in mm²/s."""
    return Maps(maps["FA"], 1000 * maps["MD"], maps["V1"], maps["FA_sd"], 1000 * maps["MD_sd"])


def regions(phantom: Phantom, scan: SimulatedScan, mask: Mask) -> Regions:
    """Regions within the mask, by the phantom's tissues averaged to the scan's voxels."""
    share = {name: scan.resample(phantom.fractions[..., i]) for i, name in enumerate(TISSUES)}
    lesion = {name: scan.resample(image) for name, image in phantom.lesions.items()}
    hurt = np.sum(list(lesion.values()), axis=0)
    grey, white = share["cortex"] + share["deep grey"], share["white matter"]
    tissue = mask & (grey + white > 0.5)
    centres = {item.name: np.array(item.centre) for item in LESIONS}
    around = {name: mask & (white > 0.9) & (hurt == 0) & (_distance(scan, centres[name]) < 18) for name in lesion}
    return Regions(
        tissue,
        tissue & (grey > 0.6),
        tissue & (white > 0.9) & (hurt == 0),
        tissue & (scan.truth.FA > 0.3),
        {name: mask & (image > 0.5) for name, image in lesion.items()},
        around,
    )


def _distance(scan: SimulatedScan, point: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distance (X, Y, Z) of every voxel from a point, mm."""
    indices = np.moveaxis(np.indices(scan.truth.brain.shape), 0, -1)
    offset = indices @ scan.affine[:3, :3].T + scan.affine[:3, 3] - point
    distance: NDArray[np.float64] = np.linalg.norm(offset, axis=-1)
    return distance


def angle(first: Image, second: Image) -> NDArray[np.float64]:
    """Angle between axes (..., 3), degrees, 0 to 90."""
    cosine = np.abs(np.sum(first.astype(float) * second, axis=-1))
    degrees: NDArray[np.float64] = np.degrees(np.arccos(np.clip(cosine, 0, 1)))
    return degrees


def measure(maps: Maps, scan: SimulatedScan, where: Regions) -> dict[str, float]:
    """Errors of one method; MD in µm²/ms, angles in degrees, lesions as share of the true contrast in MD."""
    truth = scan.truth
    FA_error, MD_error = maps.FA - truth.FA, maps.MD - truth.MD
    numbers = {
        "FA error": float(np.abs(FA_error[where.tissue]).mean()),
        "MD error": float(np.abs(MD_error[where.tissue]).mean()),
        "V1 error": float(np.median(angle(maps.V1, truth.V1)[where.tracts])),
        "FA bias, grey": float(FA_error[where.grey].mean()),
        "FA bias, white": float(FA_error[where.white].mean()),
    }
    for name, lesion in where.lesions.items():
        ring = where.around[name]
        contrast = maps.MD[lesion].mean() - maps.MD[ring].mean()
        true = truth.MD[lesion].mean() - truth.MD[ring].mean()
        numbers[f"lesion, {name}"] = float(contrast / true)
    for name, error, sd in (("FA", FA_error, maps.FA_sd), ("MD", MD_error, maps.MD_sd)):
        if sd is not None:
            inside = np.abs(error) <= NORMAL_90 * sd
            numbers[f"{name} in 90 % interval"] = float(inside[where.tissue].mean())
    return numbers


_ROWS = (
    # key, wording, format
    ("FA error", "FA, mean absolute error", "{:.3f}"),
    ("MD error", "MD, mean absolute error (um2/ms)", "{:.3f}"),
    ("V1 error", "V1, median error where FA > 0.3 (degrees)", "{:.1f}"),
    ("FA bias, grey", "FA bias, grey matter", "{:+.3f}"),
    ("FA bias, white", "FA bias, white matter", "{:+.3f}"),
    ("lesion, raised MD", "lesion with raised MD, contrast shown", "{:.0%}"),
    ("lesion, lowered MD", "lesion with lowered MD, contrast shown", "{:.0%}"),
    ("FA in 90 % interval", "truth within the 90 % interval, FA", "{:.0%}"),
    ("MD in 90 % interval", "truth within the 90 % interval, MD", "{:.0%}"),
)


def table(methods: Mapping[str, Mapping[str, float]]) -> str:
    """The comparison as text, one column a method; the last column is last over first, for errors."""
    names = list(methods)
    head = f"{'':44}" + "".join(f"{name:>16}" for name in names) + f"{'ratio':>8}"
    lines = [head, "-" * len(head)]
    for key, words, form in _ROWS:
        cells = [form.format(m[key]) if key in m else "-" for m in methods.values()]
        first, last = methods[names[0]].get(key), methods[names[-1]].get(key)
        ratio = f"{last / first:.2f}" if key.endswith("error") and first and last is not None else ""
        lines.append(f"{words:44}" + "".join(f"{cell:>16}" for cell in cells) + f"{ratio:>8}")
    return "\n".join(line.rstrip() for line in lines)
