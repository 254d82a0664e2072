"""The demo's picture: truth, weighted least squares, edge-pigment and its uncertainty, side by side."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from edge_pigment.demo.compare import Maps
from edge_pigment.outputs.colour import Pixels, colour, direction_colour, table
from edge_pigment.outputs.lettering import Ink, write
from edge_pigment.outputs.views import View, Viewer
from edge_pigment.phantom import LESIONS
from edge_pigment.simulate import SimulatedScan

PAPER: Ink = (22, 24, 28)
BRIGHT: Ink = (240, 240, 240)
DIM: Ink = (165, 170, 178)
MARK: Ink = (255, 190, 70)
ZOOM = 5
"""Pixels per voxel; voxels stay visible, nothing is smoothed."""
MARGIN, LABELS, GAP, HEAD, FOOT, KEY = 24, 118, 12, 92, 56, 10
MD_TOP = 1.6
"""µm²/ms; lesions matter here, CSF may be all white."""
COLUMNS = ("truth", "weighted least squares", "edge-pigment", "its uncertainty (sd)")
Level = tuple[float, float, str]


class Row(NamedTuple):
    """A row of four pictures (X, Y, Z, 3) in one slice, its labels, and the ranges of values and of sds."""

    labels: tuple[str, str]
    height: float
    pictures: Sequence[Pixels]
    keys: tuple[Level, Level]
    marked: bool


def draw(scan: SimulatedScan, wls: Maps, ours: Maps, mask: NDArray[np.bool_], title: str) -> Image.Image:
    """The comparison as a picture.

    Args:
        scan: with the truth.
        wls: maps by weighted least squares.
        ours: edge-pigment's, with sd.
        mask: (X, Y, Z), where edge-pigment worked; nothing is shown outside.
        title: one line about the scan.
    """
    truth = Maps(scan.truth.FA, scan.truth.MD, scan.truth.V1)
    rows = _rows(scan.affine, (truth, wls, ours), mask)
    viewer = Viewer(mask, scan.affine)
    views = [_axial(viewer, row.height) for row in rows]
    scale = ZOOM / float(viewer.voxel_size[0])
    places = np.moveaxis(np.indices(mask.shape, np.float32), 0, -1) @ scan.affine[:3, :3].T + scan.affine[:3, 3]
    width, height = (round(scale * mm) for mm in views[0].size)
    size = (
        2 * MARGIN + LABELS + 4 * width + 3 * GAP,
        HEAD + len(rows) * (height + GAP + FOOT) + MARGIN,
    )
    sheet = Image.new("RGB", size, PAPER)
    pen = ImageDraw.Draw(sheet)
    write(pen, MARGIN, MARGIN - 6, title, 20, BRIGHT)
    for i, name in enumerate(COLUMNS):
        write(pen, MARGIN + LABELS + i * (width + GAP) + width / 2, HEAD - 32, name, 18, BRIGHT, "centre")
    for j, (row, view) in enumerate(zip(rows, views, strict=True)):
        top = HEAD + j * (height + GAP + FOOT)
        for k, label in enumerate((*row.labels, view.position)):
            write(pen, MARGIN, top + 8 + 24 * k, label, 18 if k == 0 else 14, BRIGHT if k == 0 else DIM)
        for i, picture in enumerate(row.pictures):
            left = MARGIN + LABELS + i * (width + GAP)
            tile = Image.fromarray(np.ascontiguousarray(viewer.cut(picture, view)))
            sheet.paste(tile.resize((width, height), Image.Resampling.NEAREST), (left, top))
            if row.marked:
                _mark(pen, viewer.cut(places, view)[0, 0], scale, (left, top), i == 0)
            write(pen, left + 4, top + height - 20, "R", 14, DIM)
            write(pen, left + width - 4, top + height - 20, "L", 14, DIM, "right")
        _keys(sheet, pen, row, top + height + 8, width)
    return sheet


def _rows(affine: NDArray[np.float64], methods: Sequence[Maps], mask: NDArray[np.bool_]) -> list[Row]:
    def direction(maps: Maps) -> Pixels:
        return direction_colour(maps.V1, maps.FA / 0.8, affine)

    def diffusivity(maps: Maps) -> Pixels:
        return colour(maps.MD, 0, MD_TOP, "grey")

    def row(what: str, detail: str, height: float, paint: Callable[[Maps], Pixels], keys: tuple[Level, Level],
            sd: NDArray[np.float32] | None, marked: bool) -> Row:  # fmt: skip
        low, high, _ = keys[1]
        pictures = [paint(maps) for maps in methods]
        pictures.append(colour(np.zeros(mask.shape) if sd is None else sd, low, high, "viridis"))
        return Row((what, detail), height, [p * mask[..., None] for p in pictures], keys, marked)

    ours = methods[-1]
    FA_keys: tuple[Level, Level] = ((0.0, 0.8, "FA"), (0.0, 0.2, "sd of FA"))
    MD_keys: tuple[Level, Level] = ((0.0, MD_TOP, "MD, um^{2}/ms"), (0.0, 0.3, "sd of MD, um^{2}/ms"))
    lesions = float(np.mean([lesion.centre[2] for lesion in LESIONS]))
    return [
        row("colour FA", "direction", 8.0, direction, FA_keys, ours.FA_sd, False),
        row("colour FA", "with lesions", lesions, direction, FA_keys, ours.FA_sd, True),
        row("MD", "with lesions", lesions, diffusivity, MD_keys, ours.MD_sd, True),
    ]


def _axial(viewer: Viewer, height: float) -> View:
    """The axial slice nearest to a height in mm."""
    index = round((height - float(viewer.affine[2, 3])) / float(viewer.voxel_size[2]))
    view = next(v for v in viewer.views() if v.plane == "axial")
    return replace(view, index=index, position=viewer.position("axial", index))


def _mark(
    pen: ImageDraw.ImageDraw, first: NDArray[Any], scale: float, corner: tuple[float, float], named: bool
) -> None:
    """A ring round every lesion, its name under it if asked; `first` is the first voxel's place, mm RAS."""
    for lesion in LESIONS:
        x, y = (corner[i] + ZOOM / 2 + scale * float(first[i] - lesion.centre[i]) for i in (0, 1))
        r = scale * lesion.radius + 5
        pen.ellipse((x - r, y - r, x + r, y + r), outline=MARK, width=2)
        if named:
            for dx, dy, ink in ((-1, -1, PAPER), (1, 1, PAPER), (-1, 1, PAPER), (1, -1, PAPER), (0, 0, MARK)):
                write(pen, x + dx, y + r + 3 + dy, lesion.name, 16, ink, "centre")


def _keys(sheet: Image.Image, pen: ImageDraw.ImageDraw, row: Row, top: float, width: int) -> None:
    """Under a row: what brightness means, and under the last picture what its colours mean."""
    for column, (low, high, unit), name in ((0, row.keys[0], "grey"), (3, row.keys[1], "viridis")):
        left = MARGIN + LABELS + column * (width + GAP)
        bar = Image.fromarray(np.broadcast_to(table(name)[None], (KEY, 256, 3)).copy())
        sheet.paste(bar.resize((width, KEY)), (int(left), int(top)))
        write(pen, left, top + KEY + 4, f"{low:g}", 13, DIM)
        write(pen, left + width / 2, top + KEY + 4, unit, 13, DIM, "centre")
        write(pen, left + width, top + KEY + 4, f"{high:g}", 13, DIM, "right")
    if row.labels[0] == "colour FA":
        x = float(MARGIN + LABELS + width + GAP)
        for text, ink in (
            ("red: left-right", (255, 110, 110)),
            ("green: front-back", (90, 220, 90)),
            ("blue: head-foot", (125, 150, 255)),
        ):
            x += write(pen, x, top + 2, text, 14, ink) + 16
