"""Text that came from outside (file names, headers), made fit to show: nothing in it moves a cursor, turns the
direction of reading, begins a line, or cannot be written as UTF-8.
"""

import re
from collections.abc import Mapping
from typing import Any

_HIDDEN = re.compile(
    "[\x00-\x1f\x7f-\x9f"  # control characters: newlines, and what moves a terminal's cursor
    "\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"  # invisible, or turn the text around
    "\U000e0000-\U000e007f\ud800-\udfff]"  # tags; surrogates: bytes of a file name that are no text
)
_RAW_BYTES = re.compile("[\udc80-\udcff]+")


def recovered(text: str) -> str:
    """A file name as it is on disk, where the name is UTF-8 and the locale is not: kept bytes are decoded."""

    def decode(found: re.Match[str]) -> str:
        return found[0].encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape")

    return _RAW_BYTES.sub(decode, text)


def visible(text: object) -> str:
    """The text in one line with everything hidden in it escaped, as \\n or \\u202e."""
    return _HIDDEN.sub(lambda found: _escaped(found[0]), recovered(str(text)))


def all_visible(value: Any) -> Any:
    """The same of every text in nested mappings and sequences."""
    if isinstance(value, Mapping):
        return {key: all_visible(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [all_visible(item) for item in value]
    return visible(value) if isinstance(value, str) else value


def safe_json(packed: str) -> str:
    """JSON with nothing hidden in its strings: the same content to every reader, and always UTF-8."""

    def escape(found: re.Match[str]) -> str:
        code = ord(found[0])
        if code < 0x10000:
            return f"\\u{code:04x}"
        return f"\\u{0xD800 + (code - 0x10000 >> 10):04x}\\u{0xDC00 + (code - 0x10000 & 0x3FF):04x}"

    # what JSON itself is set with: newlines between its lines are no part of a string
    return "\n".join(_HIDDEN.sub(escape, line) for line in recovered(packed).split("\n"))


def _escaped(letter: str) -> str:
    return letter.encode("unicode_escape", "surrogatepass").decode("ascii")
