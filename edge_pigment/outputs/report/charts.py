"""Drawings of the report as SVG: the directions on a sphere, and a bar for each volume."""

from collections.abc import Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray

BLUE, ORANGE, GREY, INK = "#0072b2", "#d55e00", "#9aa3ad", "#222"
"""Okabe & Ito's colours, which colour-blind readers tell apart."""
SHELL_COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00")
_VIEW = np.array([[0.87, -0.5, 0.0], [0.17, 0.3, 0.94]])
"""Rows: to the right and upwards in the picture, in image axes."""


def sphere(directions: Sequence[Sequence[float]], bvals: Sequence[float], b0: float = 50.0) -> str:
    """The directions (N, 3) on a sphere, seen from the front, a colour for each b; hollow on its far side."""
    towards = np.cross(_VIEW[0], _VIEW[1])
    r, c = 80, 95
    parts = [
        f'<svg class="sphere" viewBox="0 0 {2 * c} {2 * c}" role="img" aria-label="Gradient directions">',
        f'<circle cx="{c}" cy="{c}" r="{r}" fill="#f6f7f8" stroke="{GREY}"/>',
    ]
    for axis in np.eye(3):
        parts.append(_circle_around(axis, towards, r, c))
    shells = sorted({round(float(b) / 100) for b in bvals if b > b0})
    for g, b in zip(directions, bvals, strict=True):
        if b <= b0:
            continue
        colour = SHELL_COLOURS[shells.index(round(float(b) / 100)) % len(SHELL_COLOURS)]
        for sign in (-1.0, 1.0):
            v = sign * np.asarray(g, float)
            x, y = c + r * float(_VIEW[0] @ v), c - r * float(_VIEW[1] @ v)
            near = float(towards @ v) > 0
            fill = colour if near else "none"
            parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{fill}" stroke="{colour}"/>')
    return "".join([*parts, "</svg>"])


def _circle_around(axis: NDArray[np.float64], towards: NDArray[np.float64], r: float, c: float) -> str:
    """The great circle around an axis, its near half."""
    side = np.linalg.svd(axis[None])[2][1:]
    turn = np.linspace(0, 2 * np.pi, 73)
    points = np.cos(turn)[:, None] * side[0] + np.sin(turn)[:, None] * side[1]
    near = points @ towards > -1e-9
    words, drawing = [], False
    for p, shown in zip(points, near, strict=True):
        if shown:
            words.append(f"{'L' if drawing else 'M'}{c + r * _VIEW[0] @ p:.1f} {c - r * _VIEW[1] @ p:.1f}")
        drawing = bool(shown)
    return f'<path d="{" ".join(words)}" fill="none" stroke="#d5d9dd"/>'


def bars(values: Sequence[float | None], limit: float, unit: str, bad: Sequence[int] = (), signed: bool = False) -> str:
    """A bar for each volume, with lines at the limit; what is beyond it is orange and has a mark and number.

    Args:
        values: of each volume; None: not known, drawn as a dot.
        limit: at which the user is told.
        unit: of values.
        bad: volumes to mark besides.
        signed: values go both ways.
    """
    known = [abs(v) for v in values if v is not None]
    top = max([1.35 * limit, *(1.15 * v for v in known)])
    width, height, left = 460, 84, 52
    base = height / 2 if signed else height - 16
    room = (base - 14) / top
    step = (width - left - 8) / max(len(values), 1)
    parts = [f'<svg class="bars" viewBox="0 0 {width} {height}" role="img">']
    for level in (limit, -limit) if signed else (limit,):
        y = base - level * room
        label = f"{level:{'+' if signed else ''}.3g}{escape(unit)}"
        line = f'x1="{left}" x2="{width}" y1="{y:.1f}" y2="{y:.1f}" stroke="{GREY}" stroke-dasharray="4 3"'
        parts.append(f'<line {line}/><text x="{left - 5}" y="{y + 4:.1f}" text-anchor="end">{label}</text>')
    parts.append(f'<line x1="{left}" x2="{width}" y1="{base}" y2="{base}" stroke="{INK}"/>')
    for n, value in enumerate(values):
        x = left + (n + 0.15) * step
        if value is None:
            parts.append(f'<circle cx="{x + 0.35 * step:.1f}" cy="{base}" r="2" fill="{GREY}"/>')
        else:
            beyond = abs(value) > limit or n in bad
            size = abs(value) * room
            y = base - size if value >= 0 else base
            colour = ORANGE if beyond else BLUE
            title = f"<title>volume {n}: {value:.3g}{escape(unit)}</title>"
            parts.append(
                f'<rect x="{x:.1f}" y="{y:.1f}" width="{0.7 * step:.1f}" height="{max(size, 0.8):.1f}" fill="{colour}">'
                f"{title}</rect>"
            )
            if beyond:
                at = y - 3 if value >= 0 else y + size + 11
                where = f'x="{x + 0.35 * step:.1f}" y="{at:.1f}" text-anchor="middle"'
                parts.append(f'<text {where} class="mark">{n}</text>')
        if len(values) <= 24 or n % 10 == 0:
            parts.append(f'<text x="{x + 0.35 * step:.1f}" y="{height - 2}" text-anchor="middle" class="n">{n}</text>')
    return "".join([*parts, "</svg>"])
