"""Colours of the sheet: scalar tables that colour-blind readers can use, and fibre directions as RGB."""

from functools import cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

Pixels = NDArray[np.uint8]

_ANCHORS = {
    "grey": "000000 ffffff",
    # matplotlib's viridis and inferno (CC0), every sixteenth entry; linear in between, within 7/255 of the
    # original
    "viridis": "440154 48186a 472d7b 424086 3b528b 33638d 2c728e 26828e 21918c 1fa088 28ae80 3fbc73 5ec962 "
    "84d44b addc30 d8e219 fde725",
    "inferno": "000004 0b0724 210c4a 3d0965 57106e 71196e 8a226a a32c61 bc3754 d24644 e45a31 f1731d f98e09 "
    "fcac11 f9cb35 f2ea69 fcffa4",
}


@cache
def table(name: str) -> Pixels:
    """A colour table, (256, 3): grey, viridis or inferno."""
    anchors = np.array([list(bytes.fromhex(code)) for code in _ANCHORS[name].split()], float)
    at = np.linspace(0, len(anchors) - 1, 256)
    channels = [np.interp(at, np.arange(len(anchors)), channel) for channel in anchors.T]
    return np.asarray(np.stack(channels, axis=-1).round(), np.uint8)


def colour(values: ArrayLike, low: float, high: float, name: str) -> Pixels:
    """Values (...) as RGB (..., 3); beyond low and high the colour stays that of the end, NaN is low."""
    share = (np.nan_to_num(np.asarray(values, float), nan=low) - low) / (high - low)
    return np.asarray(table(name)[(np.clip(share, 0, 1) * 255).round().astype(np.uint8)])


def direction_colour(V1: ArrayLike, FA: ArrayLike, affine: ArrayLike) -> Pixels:
    """Directions as colours, as bright as FA is high (Pajevic & Pierpaoli 1999, Magn. Reson. Med. 42:526).

    Red: left-right; green: anterior-posterior; blue: superior-inferior, of the scanner, however the slices
        were
    tilted.

    Args:
        V1: (..., 3) unit vectors along the image axes.
        FA: (...), 1 and above for full brightness.
        affine: (4, 4) of the image.

    Returns:
        (..., 3) RGB.
    """
    axes = np.asarray(affine, float)[:3, :3]
    axes = axes / np.linalg.norm(axes, axis=0)
    scanner = np.abs(np.asarray(V1, float) @ axes.T)
    bright = np.clip(np.nan_to_num(scanner * np.asarray(FA, float)[..., None]), 0, 1)
    return np.asarray((255 * bright).round(), np.uint8)
