"""Maps as the page carries them: one PNG per map that holds all slices side by side, 8 bits a voxel.

The page's script takes the voxels out of it and cuts any plane; so three planes cost no more than one. 0 is outside
the brain; 1 to 255 span the range that the sheet shows.
"""

import base64
import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edge_pigment.outputs.colour import direction_colour, table
from edge_pigment.outputs.sheet import COLOUR_FA, ROWS, Row
from edge_pigment.outputs.views import Viewer

MOST_VOXELS = 600_000
"""Of a map on the page; larger images are shown at half their resolution in plane, or a third, and so on. Eight maps
of so many voxels are 4 to 7 MB."""
_PNG_LEVEL = 4


def volumes(maps: Mapping[str, NDArray[Any]], mask: NDArray[np.bool_], affine: NDArray[np.float64]) -> dict[str, Any]:
    """What the script needs: grid, planes with the position of each slice, colour tables, and of each map its label,
    range and picture.

    Args:
        maps: by name, as `Result.maps`.
        mask: (X, Y, Z).
        affine: (4, 4) voxel indices -> scanner mm.
    """
    viewer = Viewer(mask, affine)
    inside = np.asarray(viewer.block(mask), bool)
    thin = max(1, int(np.ceil(np.sqrt(inside.size / MOST_VOXELS))))
    size = [float(v) for v in viewer.voxel_size * [thin, thin, 1]]
    inside = inside[::thin, ::thin]
    shown = []
    for row in ROWS:
        if row.map not in maps or (row is COLOUR_FA and "FA" not in maps):
            continue
        block = np.asarray(viewer.block(maps[row.map]), np.float32)[::thin, ::thin]
        if row is COLOUR_FA:
            fa = np.asarray(viewer.block(maps["FA"]), np.float32)[::thin, ::thin]
            # V1's components are still those of the image axes, which the affine belongs to
            pixels = np.where(inside[..., None], np.maximum(direction_colour(block, fa / row.high, affine), 1), 0)
        else:
            pixels = _levels(block * np.float32(row.scale), row, inside)
        shown.append(_entry(row, np.asarray(pixels, np.uint8)))
    steps = {"axial": 1, "coronal": thin, "sagittal": thin}
    planes = [
        {"name": plane, "title": viewer.name(plane), "positions": viewer.positions(plane, steps[plane])}
        for plane in viewer.planes
    ]
    return {
        "shape": list(inside.shape),
        "size": size,
        "thin": [thin, thin, 1],
        "planes": planes,
        "tilted": viewer.is_tilted,
        "start": [int(i) for i in _start(inside)],
        "tables": {name: table(name).tobytes().hex() for name in {row.table for row in ROWS}},
        "maps": shown,
    }


def _levels(values: NDArray[np.float32], row: Row, inside: NDArray[np.bool_]) -> NDArray[np.uint8]:
    share = np.clip((np.nan_to_num(values) - row.low) / (row.high - row.low), 0, 1)
    return np.where(inside, 1 + np.rint(254 * share), 0).astype(np.uint8)


def _entry(row: Row, block: NDArray[np.uint8]) -> dict[str, Any]:
    return {
        "key": row.map,
        "label": row.label,
        "note": row.note,
        "table": row.table,
        "low": row.low,
        "high": row.high,
        "unit": _raised(row.unit),
        "rgb": block.ndim == 4,
        "png": _png(block),
    }


def _raised(unit: str) -> str:
    for code, sign in (("^{-3}", "⁻³"), ("^{2}", "²")):
        unit = unit.replace(code, sign)
    return unit.replace("10⁻³", "× 10⁻³")


def _png(block: NDArray[np.uint8]) -> str:
    """(X, Y, Z[, 3]) -> a data URI of a picture of X columns and Z times Y rows."""
    rows = np.ascontiguousarray(np.moveaxis(block, (2, 1, 0), (0, 1, 2)))
    picture = Image.fromarray(rows.reshape(-1, *rows.shape[2:]))
    file = io.BytesIO()
    picture.save(file, "PNG", compress_level=_PNG_LEVEL)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def _start(inside: NDArray[np.bool_]) -> list[int]:
    """Where the three planes open: a little above the middle, where most white matter is."""
    if not inside.any():
        return [n // 2 for n in inside.shape]
    cumulated = [np.cumsum(inside.sum(axis=tuple(a for a in range(3) if a != axis))) for axis in range(3)]
    return [int(np.searchsorted(c, share * c[-1])) for c, share in zip(cumulated, (0.46, 0.5, 0.58), strict=True)]
