"""Text files of numbers, such as .bval and .bvec, in the forms that people's tools write.

What can be read in one way only is read: spaces, tabs or commas between numbers, any end of line, a byte order mark,
UTF-16 with one, Latin-1, comments after #, the typographic minus sign. What could be read in two ways, decimal commas
above all, is refused.
"""

import codecs
import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_pigment import errors as texts
from edge_pigment.errors import InputError

Float = NDArray[np.float64]

LARGEST_FILE = 1 << 24
"""Bytes; a table of a million volumes is smaller, and an image given for a table is not read."""
_NUMBER = re.compile(r"[+-]?((\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|nan|inf(inity)?)", re.ASCII | re.IGNORECASE)
_DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+([eE][+-]?\d+)?", re.ASCII)
_WHOLE = re.compile(r"[+-]?\d+", re.ASCII)
_WIDE = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_LONGEST_WORD = 20
"""Characters of a word that a message quotes."""


def read_numbers(path: Path, kind: str) -> Float:
    """(rows, columns) of a text file of numbers.

    Args:
        path: of the file.
        kind: bval or bvec, for messages.

    Raises:
        InputError: it is missing, or no table of numbers.
    """
    if not path.is_file():
        raise InputError(texts.GRADIENT_FILE_MISSING.format(kind=kind, looked=path))
    rows = [_numbers(words, number, path) for number, words in _lines(path)]
    if not rows:
        raise _unreadable(path, "it is empty")
    if len({len(row) for row in rows}) > 1:
        raise _unreadable(path, "its rows differ in length")
    return np.array(rows)


def read_growing(path: Path) -> Float:
    """(rows, columns) of a file that may be half written: rows are cut to the shortest.

    Raises:
        InputError: it holds what is no number, or nothing.
    """
    rows = [_numbers(words, number, path) for number, words in _lines(path)]
    if not rows:
        raise _unreadable(path, "it is empty")
    shortest = min(len(row) for row in rows)
    return np.array([row[:shortest] for row in rows])


def _unreadable(path: Path, why: str) -> InputError:
    return InputError(texts.GRADIENT_FILE_UNREADABLE.format(path=path, why=why))


def _lines(path: Path) -> list[tuple[int, list[str]]]:
    """Words of each line that has any, with its number from 1."""
    text = _text(path)
    lines = [(n, line.partition("#")[0].replace("\u2212", "-")) for n, line in enumerate(text.splitlines(), 1)]
    _refuse_decimal_commas(path, [line for _, line in lines])
    words = [(n, line.replace(",", " ").split()) for n, line in lines]
    return [(n, found) for n, found in words if found]


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise _unreadable(path, "it is too large for one")
        raw = path.read_bytes()
    except OSError as error:
        raise _unreadable(path, error.strerror or str(error)) from error
    wide = raw.startswith(_WIDE)
    if not wide:
        raw = raw.rstrip(b"\0")  # some writers end a text as C does
    try:
        text = raw.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError:
        text = raw.decode("latin-1")  # numbers are the same in it, comments and spaces may be its own
    if "\0" in text:
        raise _unreadable(path, "it is not plain text: it holds NUL characters, as UTF-16 does")
    return text


def _refuse_decimal_commas(path: Path, lines: list[str]) -> None:
    """0,5 0,7 is two numbers or four; nobody writes pairs with a comma within and a space between."""
    if "." in "".join(lines):
        return
    for words in (line.split() for line in lines):
        fractions = sum(bool(_DECIMAL_COMMA.fullmatch(word)) for word in words)
        whole = sum(bool(_WHOLE.fullmatch(word)) for word in words)
        if len(words) > 1 and fractions and fractions + whole == len(words):
            raise _unreadable(path, "its numbers seem to have decimal commas; write decimal points")


def _numbers(words: list[str], line: int, path: Path) -> list[float]:
    for word in words:
        if not _NUMBER.fullmatch(word):
            told = word if len(word) <= _LONGEST_WORD else f"{word[:_LONGEST_WORD]}..."
            raise _unreadable(path, f"{told!r} in line {line} is not a number")
    return [float(word) for word in words]
