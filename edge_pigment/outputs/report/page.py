"""The page put together: verdict, pictures, and the facts behind them."""

import json
from collections.abc import Mapping, Sequence
from html import escape
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_pigment import __version__
from edge_pigment.convention import CLEARLY
from edge_pigment.outputs.report import charts
from edge_pigment.outputs.report.pictures import volumes
from edge_pigment.outputs.report.regions import Area, areas
from edge_pigment.outputs.sheet import TILTED_POSITIONS, facts, notes, ranges
from edge_pigment.outputs.views import Viewer
from edge_pigment.precision import measure_precision
from edge_pigment.quality import levels
from edge_pigment.quality.verdict import CARE, REPEAT, USABLE
from edge_pigment.trust import NOVEL

CANVAS = (560, 470)
"""Pixels of a plane's canvas, shown smaller: sharp on dense screens and on paper."""
_LOOK = {USABLE: ("usable", "✓"), CARE: ("care", "!"), REPEAT: ("repeat", "✕")}
"""Class and sign of each verdict: colour is never all that tells them apart."""
_NOT_JUDGED = ("unknown", "?")
MOST_TOLD = 6
"""Reasons and warnings shown at once, so that the pictures stay on the first screen."""
_LOOK_AT = {
    "MD": "whose diffusion is far below the rest of the brain (a lesion, or an artefact)",
    "novelty": "unlike its surroundings, or healthy tissue there (a lesion, an artefact, or new to the prior)",
}
"""What an area is, by the map that shows it."""
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
"""What browsers let the page do: nothing is fetched, whatever a scan's name or header holds."""
_KEYS = "Keys: 1–7 map, ← → plane, ↑ ↓ slice (with Shift: five), c cross. Click or wheel in a picture."


def draw_report(
    maps: Mapping[str, NDArray[Any]],
    mask: NDArray[np.bool_],
    affine: NDArray[np.float64],
    title: str,
    provenance: Mapping[str, Any],
    warnings: Sequence[str] = (),
) -> str:
    """Write the page.

    Args:
        maps: by name, (X, Y, Z) or (X, Y, Z, 3), in the units of `Result.maps`, directions along image axes.
        mask: (X, Y, Z).
        affine: (4, 4) voxel indices -> scanner mm.
        title: name of the scan.
        provenance: of the result; cards whose facts it lacks are left out.
        warnings: of the result.

    Returns:
        HTML that needs nothing beside it.
    """
    quality = provenance.get("Quality", {})
    told = [*quality.get("Reasons", ()), *quality.get("Protocol", {}).get("Limits", ())]
    others = [warning for warning in warnings if warning not in told]
    data = volumes(maps, mask, affine) | {"novel": NOVEL}
    viewer = Viewer(mask, affine)
    remarks = []
    if quality.get("Verdict") != REPEAT:  # else what there is to see is the fault
        remarks = _precision(maps, mask)
        remarks += [_look_at(name, some, viewer, data["thin"]) for name, some in areas(maps, mask, affine).items()]
    remarks += [f'<span class="dim">{escape(note)}</span>' for note in notes(provenance)]
    body = "".join(
        [
            f"<header><h1>{escape(title)}</h1>",
            f'<span class="dim">{escape("  ·  ".join(facts(_shown(provenance))))}</span></header>',
            _verdict(quality, remarks, others),
            _viewer(viewer),
            '<section class="cards">',
            _volumes(quality, provenance.get("Screening", {}).get("VolumesUsed", ())),
            _protocol(provenance, quality),
            _details(provenance, quality),
            "</section>",
            f'<footer class="dim">edge-pigment {__version__}. Pictures are radiological: the patient’s right is on the '
            "left. For research, not for diagnosis.</footer>",
        ]
    )
    # a script ends at the first </, wherever it is
    packed = json.dumps(data, ensure_ascii=True).replace("</", "<\\/")
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}: edge-pigment</title><style>{_file('style.css')}</style></head>"
        f'<body><main>{body}</main><script type="application/json" id="volumes">{packed}</script>'
        f"<script>{_file('viewer.js')}</script></body></html>\n"
    )


def _shown(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """What the line under the title says; device and times have a card of their own."""
    return {key: value for key, value in provenance.items() if key not in ("Device", "Seconds")}


def _file(name: str) -> str:
    return (resources.files(__package__) / name).read_text("utf-8")


def _items(sentences: Sequence[str]) -> str:
    return "<ul>" + "".join(f"<li>{s}</li>" for s in sentences) + "</ul>" if sentences else ""


def _verdict(quality: Mapping[str, Any], remarks: Sequence[str], warnings: Sequence[str]) -> str:
    """The verdict, why, and what else the user is warned of; of many the first, the rest on demand."""
    level = quality.get("Verdict", "")
    look, sign = _LOOK.get(level, _NOT_JUDGED)
    told = [escape(text) for text in (*quality.get("Reasons", ()), *warnings)]
    reasons = _items(told[:MOST_TOLD])
    if len(told) > MOST_TOLD:
        reasons += f"<details><summary>and {len(told) - MOST_TOLD} more</summary>{_items(told[MOST_TOLD:])}</details>"
    if not quality.get("Reasons"):
        reasons = f"<p>{_all_well(quality)}</p>{reasons}"
    reasons += "".join(f"<p>{remark}</p>" for remark in remarks)
    word = level[:1].upper() + level[1:] or "Not judged"
    return (
        f'<section id="verdict" class="{look}"><div class="sign" aria-hidden="true">{sign}</div>'
        f'<div><div class="word">{word}</div>{reasons}</div></section>'
    )


def _precision(maps: Mapping[str, NDArray[Any]], mask: NDArray[np.bool_]) -> list[str]:
    """How precise the maps are in white matter, and by whose word; nothing where there is too little of it."""
    if not {"FA", "MD", "FA_sd", "MD_sd", "datashare"} <= set(maps):
        return []
    found = measure_precision(maps, mask)
    if not np.isfinite(found.white_fa_sd):
        return []
    return [
        f"In white matter FA is known to ± {found.white_fa_sd:.2f} and MD to ± {1e3 * found.white_md_sd:.2f} × 10⁻³ "
        f"mm²/s (sd); {100 * found.share:.0f} % of it is measured in the voxel itself, the rest inferred from its "
        "surroundings."
    ]


def _look_at(name: str, some: Sequence[Area], viewer: Viewer, thin: Sequence[int]) -> str:
    """A sentence with a link to each area: where the pictures go, and the slice and the map that they show then."""
    links, plane = [], viewer.planes[0]
    axis = {"axial": 2, "coronal": 1, "sagittal": 0}[plane]
    for area in some:
        at = [i // step for i, step in zip(viewer.nearest(area.centre), thin, strict=True)]
        goto = f'data-goto="{",".join(map(str, at))}" data-map="{name}"'
        links.append(f'<a href="#" {goto}>{area.ml:.1f} ml in {plane} slice {at[axis] + 1}</a>')
    return f"<b>Look at</b> tissue {_LOOK_AT[name]}: {', '.join(links)}."


def _all_well(quality: Mapping[str, Any]) -> str:
    if not quality:
        return "The quality of this scan was not measured."
    mm = quality["MotionMm"]["Span"]
    still = f"the head moved by at most {mm:.1f} mm" if mm is not None else "motion could not be measured"
    return (
        f"No volume or slice stands out, no volumes are exchanged, {still}, the gradient directions give no reason for "
        f"doubt, and the SNR of b=0 is {quality['SNRb0']:.0f}."
    )


def _viewer(viewer: Viewer) -> str:
    width, height = CANVAS
    tilted = f'<div class="dim">{TILTED_POSITIONS}</div>' if viewer.is_tilted else ""
    figures = "".join(
        f'<figure id="{plane}"><figcaption></figcaption>'
        f'<canvas width="{width}" height="{height}" aria-label="{plane} slice"></canvas>'
        f'<input type="range" min="0" max="1" value="0" aria-label="{plane} slice"></figure>'
        for plane in viewer.planes
    )
    return (
        f'<section id="viewer"><div id="maps"></div><div class="planes n{len(viewer.planes)}">{figures}</div>{tilted}'
        '<div class="scale"><canvas id="key" width="180" height="12"></canvas><span id="legend"></span>'
        '<span id="note" class="dim"></span></div>'
        f'<div id="readout" class="dim"></div><div class="dim screen">{_KEYS}</div>'
        "<noscript>The pictures need JavaScript; the PNG beside this file shows the same maps.</noscript></section>"
    )


def _volumes(quality: Mapping[str, Any], used: Sequence[int]) -> str:
    if not quality:
        return ""
    whole = list(used) == list(range(len(used)))
    numbering = "from 0" if whole else f"from 0, of those used: {ranges(used)}"
    found, moved = quality["Volumes"], quality["MotionMm"]
    percent = [None if v is None else 100 * float(np.expm1(v)) for v in found["LogLevel"]]
    outliers = found["Outliers"]
    exchanged = " or ".join(f"{a} and {b}" for a, b in found["Exchanged"])
    if found["ExchangeUndecidable"]:
        exchanged = f"cannot be told, {found['ExchangeUndecidable']}"
    dropped = quality["DroppedSlices"]
    places = ", ".join(f"{d['Volume']}/{d['Slice']}" for d in dropped[:12]) + (" …" if len(dropped) > 12 else "")
    said = [
        f"Outlying volumes: {_listed(outliers)}.",
        f"Dropped or bright slices (volume/slice): {places or 'none'}.",
        f"Exchanged volumes: {exchanged or 'none'}.",
    ]
    limit = max(v for v in moved["Limits"] if v is not None)
    return (
        f'<div class="card"><h2>Volumes ({numbering})</h2>'
        "<h3>Brightness against volumes of the same b</h3>"
        f"{charts.bars(percent, round(100 * float(np.expm1(levels.GAIN))), ' %', outliers, signed=True)}"
        "<h3>Displacement, motion or eddy currents</h3>"
        f"{charts.bars(moved['PerVolume'], limit, ' mm', moved['Moved'])}{_items(said)}</div>"
    )


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(str(n) for n in numbers) or "none"


def _protocol(provenance: Mapping[str, Any], quality: Mapping[str, Any]) -> str:
    protocol = provenance.get("Protocol", {})
    if not protocol:
        return ""
    parts = ['<div class="card protocol"><h2>Protocol</h2>']
    if "Directions" in protocol:
        parts.append(charts.sphere(protocol["Directions"], protocol["BVals"], protocol.get("B0Threshold", 50.0)))
    rows = [("volumes", str(protocol.get("Volumes", "")))]
    weighted = sum(shell["Volumes"] for shell in protocol.get("Shells", ()))
    rows.append(("b = 0", f"{protocol.get('Volumes', weighted) - weighted}"))
    rows += [(f"b = {shell['b']:.0f}", f"{shell['Volumes']} s/mm²") for shell in protocol.get("Shells", ())[:8]]
    if "VoxelSize" in protocol:
        rows.append(("voxel", " × ".join(f"{v:.2g}" for v in protocol["VoxelSize"]) + " mm"))
    if "Shape" in protocol:
        rows.append(("grid", " × ".join(str(n) for n in protocol["Shape"])))
    identified = quality.get("Protocol", {})
    if identified:
        condition = identified["ConditionNumber"]
        rows.append(("tensor elements", f"{identified['Rank']} of 6 measured"))
        rows.append(("condition", "singular" if condition is None else f"{condition:.1f}"))
    frame = provenance.get("GradientConvention")
    if frame:
        rows.append(("gradient axes", _frame(frame)))
    parts.append(_table(rows))
    parts.append(_items([escape(limit) for limit in identified.get("Limits", ())]))
    return "".join([*parts, "</div>"])


def _frame(frame: Mapping[str, Any]) -> str:
    if frame.get("Undecidable"):
        return f"not checked: {frame['Undecidable']}"
    if frame.get("Doubted"):
        lead = max(frame["LeadInStandardErrors"], frame["PriorLeadInStandardErrors"] or 0.0)
        return f"doubtful: others fit better by {lead:.1f} standard errors"
    if frame.get("ExchangeLeadInStandardErrors", -np.inf) > -CLEARLY:
        return "signs as fibres run; whether axes are exchanged cannot be told"
    return "as fibres run"


def _details(provenance: Mapping[str, Any], quality: Mapping[str, Any]) -> str:
    noise, bundle, device = (provenance.get(k, {}) for k in ("Noise", "Bundle", "Device"))
    rows = []
    if "Sigma" in noise:
        rows.append(("noise σ", f"{float(noise['Sigma']):.4g} ({noise.get('Method', '')})".replace(" ()", "")))
    if noise.get("Note"):
        rows.append(("doubts of σ", str(noise["Note"])))
    if "SNRb0" in noise:
        rows.append(("SNR of b=0", f"{noise['SNRb0']:.1f}"))
    if quality:
        rows.append(("brain mask", f"{quality['MaskMl']:.0f} ml"))
        if quality["BrainADC"] is not None:
            rows.append(("brain’s mean ADC", f"{1e3 * quality['BrainADC']:.2f} × 10⁻³ mm²/s"))
    if "Novel" in provenance:
        rows.append(("novel voxels", f"{100 * provenance['Novel']:.1f} %"))
    rows += [(what.lower(), str(name)) for what, name in device.items()]
    seconds = provenance.get("Seconds", {})
    if seconds:
        rows.append(("seconds", ", ".join(f"{name} {value:.2g}" for name, value in seconds.items())))
    if bundle:
        rows.append(("prior", f"{bundle.get('Name', '')} {bundle.get('Version', '')}"))
        if "SHA256" in bundle:
            rows.append(("SHA-256", bundle["SHA256"]))
    software = provenance.get("Software", {})
    if software:
        rows.append(("software", ", ".join(f"{k} {v}" for k, v in software.items())))
    return f'<div class="card"><h2>Measures and provenance</h2>{_table(rows)}</div>'


def _table(rows: Sequence[tuple[str, str]]) -> str:
    cells = "".join(f"<tr><td>{escape(name)}</td><td>{escape(value)}</td></tr>" for name, value in rows)
    return f"<table>{cells}</table>"
