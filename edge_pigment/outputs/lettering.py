"""Text on the sheet, in the one font that Pillow brings along, which has Latin letters only."""

import re
from functools import cache
from typing import Any

from PIL import ImageDraw, ImageFont

Ink = tuple[int, int, int]

_SPOKEN = {
    "σ": "sigma",
    "µ": "u",
    "μ": "u",
    "×": "x",
    "–": "-",
    "—": "-",
    "…": "...",
    "²": "^{2}",
    "³": "^{3}",
}
_RAISED = re.compile(r"\^\{([^}]*)\}")


@cache
def font(size: int) -> Any:
    """Pillow's own font; before Pillow 10.1, or without FreeType, it has one size only."""
    try:
        return ImageFont.load_default(size)
    except (TypeError, OSError, ImportError):
        return ImageFont.load_default()


def printable(text: str) -> str:
    """The text with letters that the font has; the rest is spelt out or becomes a question mark."""
    spelt = "".join(_SPOKEN.get(letter, letter) for letter in text)
    return spelt.encode("latin-1", "replace").decode("latin-1")


def write(draw: ImageDraw.ImageDraw, x: float, y: float, text: str, size: int, ink: Ink, align: str = "left") -> float:
    """Write one line, its top at y; ^{...} is raised.

    Args:
        draw: the canvas.
        x: left edge, right edge or middle, by `align`.
        y: top.
        text: what to write.
        size: height of the letters in pixels.
        ink: RGB.
        align: left, right or centre.

    Returns:
        the width.
    """
    parts = _RAISED.split(printable(text))  # every second one was raised
    small = max(int(size * 0.7), 9)
    pieces = [(part, font(small if i % 2 else size), i % 2) for i, part in enumerate(parts) if part]
    width = sum(face.getlength(part) for part, face, _ in pieces)
    x -= {"left": 0.0, "right": width, "centre": width / 2}[align]
    for part, face, raised in pieces:
        draw.text((x, y - (0.15 * size if raised else 0)), part, font=face, fill=ink)
        x += face.getlength(part)
    return float(width)


def wrap(text: str, size: int, width: float) -> list[str]:
    """Break a text into lines of at most `width` pixels."""
    lines: list[str] = []
    for word in printable(text).split():
        if lines and font(size).getlength(f"{lines[-1]} {word}") <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines
