"""One picture of a result, to judge it at a glance: each row a map, each column a slice.

Rows: colour FA, FA, MD, their standard deviations, novelty, data share. Ranges are fixed, so that two sheets
can be compared. Display is radiological: the patient's left is on the right of axial and coronal pictures. The verdict
and what lowers it come before the pictures.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from edge_pigment import __version__
from edge_pigment.findings import CARE, REPEAT, USABLE
from edge_pigment.outputs.colour import Pixels, colour, direction_colour, table
from edge_pigment.outputs.lettering import Ink, wrap, write
from edge_pigment.outputs.views import View, Viewer

PAPER: Ink = (22, 24, 28)
BRIGHT: Ink = (240, 240, 240)
DIM: Ink = (165, 170, 178)
AMBER: Ink = (255, 190, 70)
RED: Ink = (255, 120, 95)
VERDICT_INK = {USABLE: (120, 190, 255), CARE: AMBER, REPEAT: RED}
MOST_LINES = 14
"""Of reasons and warnings above the pictures; what is more stands in the report and the provenance."""
DIRECTION_KEY: tuple[tuple[str, Ink], ...] = (
    ("left - right", (255, 110, 110)),
    ("front - back", (90, 220, 90)),
    ("head - foot", (125, 150, 255)),
)
LABELS, KEYS, GAP, EDGE = 190, 150, 8, 20
"""Pixels: width of the columns of labels and of colour bars, between pictures, around the sheet."""
PICTURES = 1240
"""Pixels: widest row of pictures."""
LARGEST_PICTURE = 300
"""Pixels: greatest height of a picture."""
LEAST_HEIGHT = 170
"""Pixels: height that a label and a colour bar need."""
CAPTION = 34
"""Pixels: room above the pictures for what they show, in one line."""
INDENT = 24
"""Pixels: what a list is indented by, at most."""
BIG, NORMAL, SMALL, LEADING = 24, 17, 14, 7
TILTED_POSITIONS = "Positions of tilted slices are those where they pass the brain's centre."
Line = tuple[str, int, Ink]
"""Text, size, colour."""


@dataclass(frozen=True)
class Row:
    """How one map is shown.

    Attributes:
        map: name in `Result.maps`.
        label: its heading.
        note: what it says, for who sees it the first time.
        table: of colours.
        low: shown in the table's first colour, in `unit`.
        high: shown in the table's last colour, in `unit`.
        unit: as shown.
        scale: from the map's unit to the one shown.
    """

    map: str
    label: str
    note: str
    table: str = "grey"
    low: float = 0.0
    high: float = 1.0
    unit: str = ""
    scale: float = 1.0


COLOUR_FA = Row("V1", "Colour FA", "Direction of the fibres; the brighter, the higher FA", high=0.8)
ROWS = (
    COLOUR_FA,
    Row("FA", "FA", "Fractional anisotropy"),
    Row("MD", "MD", "Mean diffusivity", high=3, unit="10^{-3} mm^{2}/s", scale=1e3),
    Row("FA_sd", "FA sd", "Uncertainty of FA", "viridis", high=0.2),
    Row("MD_sd", "MD sd", "Uncertainty of MD", "viridis", high=0.3, unit="10^{-3} mm^{2}/s", scale=1e3),
    Row("novelty", "Novelty", "Unlike its surroundings or healthy tissue: lesion, artefact; above 3 is rare",
        "inferno", high=6, unit="sd"),
    Row("datashare", "Data share", "0: from the surroundings; 1: from the voxel's own data", "viridis"),
)  # fmt: skip


def draw_sheet(
    maps: Mapping[str, NDArray[Any]],
    mask: NDArray[np.bool_],
    affine: NDArray[np.float64],
    title: str,
    provenance: Mapping[str, Any],
    warnings: Sequence[str] = (),
) -> Image.Image:
    """Draw the sheet.

    Args:
        maps: by name, (X, Y, Z) or (X, Y, Z, 3), in the units of `Result.maps`, directions along image axes;
            rows whose map is missing are left out.
        mask: (X, Y, Z).
        affine: (4, 4) voxel indices -> scanner mm.
        title: name of the scan.
        provenance: of the result, for the second line; what it lacks is left out.
        warnings: sentences for its head, after the reasons of the provenance's verdict.

    Returns:
        an RGB image.
    """
    viewer = Viewer(mask, affine)
    plan = _Plan(viewer.views())
    rows = [row for row in ROWS if row.map in maps and (row is not COLOUR_FA or "FA" in maps)]
    width = 2 * EDGE + plan.abreast * plan.width
    head = _head(title, provenance, warnings, width - 2 * EDGE)
    foot = _foot(provenance, viewer.is_tilted, width - 2 * EDGE)
    captions = SMALL + LEADING if viewer.is_tilted else 0
    top = EDGE + _height(head) + CAPTION + captions
    lines = -(-len(rows) // plan.abreast)
    sheet = Image.new("RGB", (width, top + lines * (plan.height + GAP) + _height(foot) + EDGE), PAPER)
    draw = ImageDraw.Draw(sheet)

    _write_lines(draw, EDGE, head)
    for column in range(plan.abreast):
        for view, x, w, _ in plan.pictures:
            x += EDGE + column * plan.width
            said = [view.name, view.position] if viewer.is_tilted else [view.caption]
            for line, text in enumerate(said):
                write(draw, x + w / 2, top - 22 - captions + line * (SMALL + LEADING), text, SMALL, DIM, "centre")
    for i, row in enumerate(rows):
        x0, y0 = EDGE + i % plan.abreast * plan.width, top + i // plan.abreast * (plan.height + GAP)
        _label(draw, row, x0, y0, plan.height, np.asarray(maps[row.map])[mask])
        for view, x, w, h in plan.pictures:
            picture = Image.fromarray(_paint(row, maps, viewer, view, mask, affine))
            at = (x0 + x, y0 + (plan.height - h) // 2)
            sheet.paste(picture.resize((w, h), Image.Resampling.BICUBIC), at)
            _mark_sides(draw, view, at, w)
        _key(draw, sheet, row, x0 + plan.width - KEYS + 12, y0, plan.height)
    _write_lines(draw, sheet.height - EDGE - _height(foot), foot)
    return sheet


class _Plan:
    """Where the pictures of a map lie relative to its label, and how many maps lie abreast.

    Attributes:
        pictures: view, x, width and height in pixels, per picture.
        width: of a map with its label and colour bar.
        height: the same.
        abreast: maps beside each other; several where there are few slices.
    """

    def __init__(self, views: Sequence[View]) -> None:
        room = PICTURES - GAP * (len(views) - 1)
        zoom = min(room / sum(v.size[0] for v in views), LARGEST_PICTURE / max(v.size[1] for v in views))
        self.pictures: list[tuple[View, int, int, int]] = []
        x = LABELS
        for view in views:
            w, h = (max(round(side * zoom), 1) for side in view.size)
            self.pictures.append((view, x, w, h))
            x += w + GAP
        self.width = x - GAP + KEYS
        self.height = max(LEAST_HEIGHT, *(h for *_, h in self.pictures))
        self.abreast = max((LABELS + PICTURES + KEYS) // self.width, 1)


def _paint(
    row: Row,
    maps: Mapping[str, NDArray[Any]],
    viewer: Viewer,
    view: View,
    mask: NDArray[np.bool_],
    affine: NDArray[np.float64],
) -> Pixels:
    """One picture, a pixel per voxel, black outside the mask."""
    values = np.asarray(viewer.cut(maps[row.map], view), float)
    if row is COLOUR_FA:
        pixels = direction_colour(values, np.asarray(viewer.cut(maps["FA"], view), float) / row.high, affine)
    else:
        pixels = colour(values * row.scale, row.low, row.high, row.table)
    return np.ascontiguousarray(np.where(viewer.cut(mask, view)[..., None], pixels, 0).astype(np.uint8))


def _label(draw: ImageDraw.ImageDraw, row: Row, x: int, y: int, height: int, values: NDArray[Any]) -> None:
    """Heading, explanation, and the median in the brain with the range of nine tenths of it."""
    lines: list[Line] = [(row.label, BIG, BRIGHT)]
    lines += [(line, SMALL, DIM) for line in wrap(row.note, SMALL, LABELS - 16)]
    known = values[np.isfinite(values)]
    if row is not COLOUR_FA and known.size:
        low, median, high = np.round(np.percentile(known * row.scale, [5, 50, 95]), 2) + 0.0  # no -0.00
        lines.append((f"median {median:.2f}", NORMAL, BRIGHT))
        lines.append((f"5 - 95 %: {low:.2f} - {high:.2f}", SMALL, DIM))
    _write_lines(draw, y + (height - _height(lines)) / 2, lines, x)


def _height(lines: Sequence[Line]) -> int:
    return sum(size + LEADING for _, size, _ in lines)


def _write_lines(draw: ImageDraw.ImageDraw, y: float, lines: Sequence[Line], x: float = EDGE) -> None:
    for text, size, ink in lines:
        write(draw, x, y, text, size, ink)
        y += size + LEADING


def _mark_sides(draw: ImageDraw.ImageDraw, view: View, at: tuple[int, int], width: int) -> None:
    left, right = view.edges
    write(draw, at[0] + 4, at[1] + 3, left, SMALL, DIM)
    write(draw, at[0] + width - 4, at[1] + 3, right, SMALL, DIM, "right")


def _key(draw: ImageDraw.ImageDraw, sheet: Image.Image, row: Row, x: int, y: int, height: int) -> None:
    """Colour bar with range and unit, or what the colours of directions mean."""
    if row is COLOUR_FA:
        at = y + height / 2 - 1.5 * (SMALL + 10)
        for text, ink in DIRECTION_KEY:
            draw.rectangle((x, at + 1, x + 13, at + 14), fill=ink)
            write(draw, x + 22, at, text, SMALL, BRIGHT)
            at += SMALL + 10
        return
    length = min(height - 44, 200)
    top = y + (height - length) // 2 + (8 if row.unit else 0)
    bar = Image.fromarray(np.ascontiguousarray(np.broadcast_to(table(row.table)[::-1, None], (256, 16, 3))))
    sheet.paste(bar.resize((16, length)), (x, top))
    draw.rectangle((x - 1, top - 1, x + 16, top + length), outline=DIM)
    for share in (0.0, 0.5, 1.0):
        value = row.low + share * (row.high - row.low)
        write(draw, x + 24, top + (1 - share) * length - SMALL / 2 - 2, f"{value:g}", SMALL, BRIGHT)
    if row.unit:
        write(draw, x, top - SMALL - 12, row.unit, SMALL, DIM)


def _head(title: str, provenance: Mapping[str, Any], warnings: Sequence[str], width: int) -> list[Line]:
    """Name, facts, verdict, its reasons, other warnings, and notes; long lists are cut with a word."""
    lines: list[Line] = [(title, BIG, BRIGHT)]
    lines += [(line, NORMAL, DIM) for line in wrap("  |  ".join(facts(provenance)), NORMAL, width)]
    quality = provenance.get("Quality", {})
    level, reasons = quality.get("Verdict", ""), list(quality.get("Reasons", ()))
    ink = VERDICT_INK.get(level, AMBER)
    if level:
        lines.append((f"{level[:1].upper()}{level[1:]}", BIG, ink))
    told = [(reason, ink) for reason in reasons]
    told += [(f"Warning: {warning}", AMBER) for warning in warnings if warning not in reasons]
    room = MOST_LINES
    for n, (text, colour_of) in enumerate(told):
        wrapped = wrap(text, NORMAL, width - INDENT)
        if len(wrapped) > room:
            lines.append((f"... and {len(told) - n} more: see the report beside this picture.", NORMAL, AMBER))
            break
        room -= len(wrapped)
        lines += [(f"{'   ' if i else '-  '}{line}", NORMAL, colour_of) for i, line in enumerate(wrapped)]
    lines += [(line, SMALL, DIM) for note in notes(provenance) for line in wrap(note, SMALL, width)]
    return lines


def notes(provenance: Mapping[str, Any]) -> list[str]:
    """Which volumes were used, where some were left out, and how the noise was found."""
    found: list[str] = []
    used = provenance.get("Screening", {}).get("VolumesUsed", [])
    if list(used) != list(range(len(used))) or provenance.get("Screening", {}).get("Findings"):
        found.append(f"Volumes used (numbered from 0, as in the image): {ranges(used)}.")
    noise = provenance.get("Noise", {})
    if noise.get("Note"):
        found.append(f"Noise, found by {noise.get('Method', 'unknown means')}: {noise['Note']}")
    return found


def ranges(numbers: Sequence[int]) -> str:
    """As a user reads them: "0-2, 4, 6-12"."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][-1] + 1:
            parts[-1] = [parts[-1][0], number]
        else:
            parts.append([number])
    return ", ".join("-".join(map(str, part)) for part in parts) or "none"


def facts(provenance: Mapping[str, Any]) -> list[str]:
    """Protocol, noise, novelty, device and time of a run as short texts; what is not known is left out."""
    protocol, noise = provenance.get("Protocol", {}), provenance.get("Noise", {})
    found: list[str] = []
    if "Shells" in protocol:
        weighted = sum(shell["Volumes"] for shell in protocol["Shells"])
        parts = [f"{protocol['Volumes'] - weighted} x b=0"]
        parts += [f"{shell['Volumes']} x b={shell['b']:.0f}" for shell in protocol["Shells"]]
        if len(parts) > 7:
            parts = [*parts[:6], f"... {len(parts) - 1} shells, {weighted} in all"]
        found.append(" + ".join(parts) + " s/mm²")
    if "VoxelSize" in protocol:
        found.append(" x ".join(f"{size:.2g}" for size in protocol["VoxelSize"]) + " mm")
    if "Sigma" in noise:
        found.append(f"noise σ {noise['Sigma']:.3g}")
    if "SNRb0" in noise:
        found.append(f"SNR of b=0 {noise['SNRb0']:.1f}")
    if "Novel" in provenance:
        found.append(f"novel voxels {100 * provenance['Novel']:.1f} %")
    device = provenance.get("Device", {})
    if device:  # why there is no GPU stands in the report
        found.append(", ".join(dict.fromkeys(str(device[k]) for k in device if k not in ("Asked", "GPU"))))
    if "total" in provenance.get("Seconds", {}):
        found.append(f"{provenance['Seconds']['total']:.1f} s")
    return found


def _foot(provenance: Mapping[str, Any], tilted: bool, width: int) -> list[Line]:
    bundle = provenance.get("Bundle", {})
    made_by = f"edge-pigment {__version__}"
    if bundle:
        made_by += f", prior {bundle.get('Name', '')} {bundle.get('Version', '')}".rstrip()
    remark = f"{made_by}. Axial and coronal: the patient's left is on the right."
    if tilted:
        remark += f" {TILTED_POSITIONS}"
    remark += " For research, not for diagnosis."
    return [(line, SMALL, DIM) for line in wrap(remark, SMALL, width)]
