"""Bytes of a file, decompressed where it is gzip, whatever its name says.

A gzip stream is read to its end, so that its checksum is compared: damage in the middle of an image would be noise or
nonsense in its voxels otherwise.
"""

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

_GZIP_MAGIC = b"\x1f\x8b"
_GZIP = 31
"""zlib's code for a stream with a gzip header and checksum."""
_CHUNK = 1 << 20
LARGEST_RATIO = 1032
"""Bytes that one byte of a deflate stream can stand for at most."""


class Stream:
    """What a file holds, in order. Attributes: cut: a gzip stream ended before its end.

    Raises:
        zlib.error: a gzip stream is damaged.
        OSError: the file cannot be read.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self.cut = False
        self._file = file
        self._rest = file.read(2)
        self._zipped = self._rest == _GZIP_MAGIC
        self._unpack = zlib.decompressobj(_GZIP) if self._zipped else None

    def readinto(self, view: memoryview) -> int:
        """Fill the buffer; how many bytes there were for it."""
        done = 0
        while done < len(view) and (piece := self._next(len(view) - done)):
            view[done : done + len(piece)] = piece
            done += len(piece)
        return done

    def read(self, most: int) -> bytes:
        """Up to this many bytes."""
        parts, left = [], most
        while left and (piece := self._next(min(left, _CHUNK))):
            parts.append(piece)
            left -= len(piece)
        return b"".join(parts)

    def skip(self, count: int | None = None) -> int:
        """Pass over this many bytes, or all that follow; how many there were."""
        done = 0
        while (count is None or done < count) and (piece := self._next(min(_CHUNK, (count or done + _CHUNK) - done))):
            done += len(piece)
        return done

    def _next(self, most: int) -> bytes:
        """At least one byte and at most this many; none at the end."""
        if not self._zipped:
            piece, self._rest = self._rest[:most], self._rest[most:]
            return piece or self._file.read(min(most, _CHUNK))
        while self._unpack is not None:
            fed = self._rest = self._rest or self._file.read(_CHUNK)
            piece = self._unpack.decompress(fed, most)
            if self._unpack.eof:
                self._start_member(self._unpack.unused_data)
            else:
                self._rest = self._unpack.unconsumed_tail
                self.cut = not fed and not piece
            if piece or self.cut:
                return piece
        return b""

    def _start_member(self, rest: bytes) -> None:
        """A gzip file may have several members; what follows the last one is no part of it."""
        self._rest = rest if len(rest) > 1 else rest + self._file.read(_CHUNK)
        self._unpack = zlib.decompressobj(_GZIP) if self._rest[:2] == _GZIP_MAGIC else None


@contextmanager
def opened(path: Path) -> Iterator[Stream]:
    """The file's content.

    Raises:
        OSError: it cannot be opened.
    """
    with open(path, "rb") as file:
        yield Stream(file)


def is_gzip(path: Path) -> bool:
    """Whether the content is gzip."""
    with open(path, "rb") as file:
        return file.read(2) == _GZIP_MAGIC
