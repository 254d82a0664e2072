"""From posterior to images: expectations, deviations and trust maps, in the units of files.

Diffusivities in mm²/s, S0 in the image's own unit, angles in degrees; directions and tensors along image axes.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_pigment.alteration import Alteration
from edge_pigment.innovation import Innovation
from edge_pigment.physics.backend import Array, Outcome
from edge_pigment.physics.moments import COLUMNS
from edge_pigment.trust import data_share, novelty

MM2_PER_S = 1e-3
"""µm²/ms -> mm²/s."""
DIFFUSIVITIES = ("MD", "AD", "RD", "MD_sd", "AD_sd", "RD_sd")
TENSOR = ("Dxx", "Dyy", "Dzz", "Dxy", "Dxz", "Dyz")
V1 = ("V1x", "V1y", "V1z")


def voxel_maps(outcome: Outcome, scale: float, nu: float) -> dict[str, Array]:
    """Maps of the mask's voxels: name -> (V,), tensor (V, 6) in the order xx yy zz xy xz yz, V1 (V, 3).

    Args:
        outcome: of the V voxels.
        scale: median b=0 signal in the brain, in the image's unit.
        nu: degrees of freedom of the prior.
    """
    rows = dict(zip(COLUMNS, outcome.moments, strict=True))
    maps = {name: rows[name] for name in COLUMNS if name not in TENSOR + V1}
    for name in DIFFUSIVITIES:
        maps[name] = maps[name] * np.float32(MM2_PER_S)
    for name in ("S0", "S0_sd"):
        maps[name] = maps[name] * np.float32(scale)
    maps["tensor"] = np.stack([rows[name] for name in TENSOR], axis=-1) * np.float32(MM2_PER_S)
    maps["V1"] = np.stack([rows[name] for name in V1], axis=-1)
    maps["novelty"] = novelty(outcome.distance, outcome.share, nu)
    maps["datashare"] = data_share(outcome.share)
    maps["residual"] = outcome.residual
    return maps


def with_altered(
    maps: dict[str, Array],
    alteration: Alteration | None,
    found: Innovation,
    mask: NDArray[np.bool_],
    voxel_size: NDArray[Any],
) -> dict[str, Array]:
    """The maps of `voxel_maps`, where novelty takes note of altered tissue, too.

    Args:
        maps: of the mask's voxels.
        alteration: the bundle's test; None changes nothing.
        found: what the prior had not foretold of the same voxels.
        mask: (Z, Y, X).
        voxel_size: (3,) mm.
    """
    if alteration is None:
        return maps
    altered = alteration.score(maps["FA"], maps["MD"], maps["MD_sd"], found, mask, voxel_size)
    return maps | {"novelty": np.maximum(maps["novelty"], altered)}


def to_image(values: Array, mask: NDArray[np.bool_]) -> Array:
    """Scatter voxels into an image.

    Args:
        values: (V,) or (V, K) in the C order of mask.
        mask: (Z, Y, X).

    Returns:
        (X, Y, Z) or (X, Y, Z, K), 0 outside the mask; Fortran order, as it will lie in the file.
    """
    columns = values if values.ndim == 2 else values[:, None]
    image = np.zeros((columns.shape[1], *mask.shape), np.float32)
    for target, column in zip(image, columns.T, strict=True):
        target[mask] = column
    return image.T if values.ndim == 2 else image[0].T
