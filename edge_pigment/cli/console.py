"""What every verb says and how: errors in one line, progress, JSON.

What came from outside (names of files above all) is shown with everything hidden in it escaped, and what a terminal's
or log's encoding does not have is escaped, too: a console without UTF-8 never ends a run.
"""

import io
import json
import logging
import os
import shutil
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import typer

from edge_pigment import errors as texts
from edge_pigment.cli.faults import explain, spare_address_space
from edge_pigment.errors import EdgePigmentError, ResourceError
from edge_pigment.visible import visible

P = ParamSpec("P")
R = TypeVar("R")

DEBUG = "EDGE_PIGMENT_DEBUG"
INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells count it: 128 + SIGINT."""
PIPE_CLOSED = 141
"""128 + SIGPIPE."""
_BAR = 24
B0_THRESHOLD_HELP = "Largest b (s/mm²) that counts as b=0; default: 50, or up to 100 where no volume is below."


def path_option(*names: str, help: str) -> Any:
    """An option that names a file or folder; what is wrong with it is told in our words, not in typer's."""
    return typer.Option(*names, help=help, readable=False)


def say(kind: str, message: object) -> None:
    """One line on stderr: edge-pigment: error: ..., or warning."""
    tell(f"edge-pigment: {kind}: {message}", err=True)


def tell(*lines: object, err: bool = False) -> None:
    """Lines on stdout or stderr, each of them one line whatever is in it.

    A stdout that takes nothing (a full disk, a closed one) is no reason to fail after the work is done.
    """
    try:
        for line in lines:
            _write(visible(line), err)
    except BrokenPipeError:
        raise
    except OSError as error:
        _silence(err)
        if not err:
            say("warning", texts.OUTPUT_STREAM.format(why=error.strerror, outcome="The work itself is not affected."))


def _write(text: str, err: bool) -> None:
    """One line at once. Not by `typer.echo`, which takes an ASCII stream for one of UTF-8."""
    stream = sys.stderr if err else sys.stdout
    if stream is not None:  # closed before we began
        stream.write(f"{text}\n")
        stream.flush()


def hush_libraries() -> None:
    """What libraries log about a file, such as nibabel about each odd field of a header, is not for users.

    With EDGE_PIGMENT_DEBUG=1 it is told, as are Python's warnings.
    """
    if not _debugging():
        logging.getLogger("nibabel").setLevel(logging.CRITICAL + 1)
        warnings.simplefilter("ignore")


def _debugging() -> bool:
    return os.environ.get(DEBUG, "0") not in ("", "0")


def _silence(err: bool) -> None:
    """Send what is still to come, and what Python holds back until it ends, nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2 if err else 1)


def escape_what_cannot_be_shown() -> None:
    """Let stdout and stderr escape what their encoding lacks."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


@contextmanager
def errors_in_one_line() -> Iterator[None]:
    """Turn whatever goes wrong into one line on stderr and an exit code; with EDGE_PIGMENT_DEBUG=1 a
    traceback too.

    Raises:
        typer.Exit: with the error's own code, 1 for an unexpected one, 130 after Ctrl-C.
    """
    try:
        yield
    except (typer.Exit, typer.Abort):
        raise
    except KeyboardInterrupt:
        say("interrupted", "what was unfinished was cleared away")
        raise typer.Exit(INTERRUPTED) from None
    except BrokenPipeError:
        # whoever read our output has seen enough (| head); Python must not complain again when it ends
        _silence(err=False)
        raise typer.Exit(PIPE_CLOSED) from None
    except EdgePigmentError as error:
        _traceback_if_asked()
        say("error", error)
        raise typer.Exit(error.exit_code) from None
    except Exception as error:
        _traceback_if_asked()
        if refusal := explain(error):
            say("error", refusal)
            raise typer.Exit(refusal.exit_code) from None
        message = " ".join(str(error).split()) or "no message"
        say("error", texts.UNEXPECTED.format(kind=type(error).__name__, message=message))
        raise typer.Exit(1) from None


def verb(function: Callable[P, R]) -> Callable[P, R]:
    """A command whose errors end in one line."""

    @wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        with errors_in_one_line():
            spare_address_space()
            hush_libraries()
            return function(*args, **kwargs)

    return wrapped


def print_json(content: Mapping[str, Any], err: bool = False, indent: int | None = 2) -> None:
    """JSON on stdout, or as one line on stderr; ASCII, whatever the encoding of the terminal or pipe."""
    from edge_pigment.outputs.write import plain

    packed = json.dumps(plain(content), indent=indent, ensure_ascii=True).replace("\x7f", "\\u007f")
    try:
        _write(packed, err)
    except BrokenPipeError:
        raise
    except OSError as error:
        _silence(err)
        if not err:
            outcome = "What was written to disk is whole."
            raise ResourceError(texts.OUTPUT_STREAM.format(why=error.strerror, outcome=outcome)) from error


def _traceback_if_asked() -> None:
    if _debugging():
        traceback.print_exc()


class Progress:
    """Tells how far a run is: a bar on a terminal, a line per step elsewhere, JSON lines, or nothing. All on
    stderr.

    Args:
        quiet: say nothing.
        as_json: one JSON object per step.
        label: what is being worked on.
    """

    def __init__(self, quiet: bool = False, as_json: bool = False, label: str = "") -> None:
        self._label = label
        self._began = time.perf_counter()
        self._drawn = False
        self._step = ""
        if quiet:
            self._show: Callable[[str, float, float], None] = lambda *_: None
        elif as_json:
            self._show = self._json
        else:
            on_terminal = sys.stderr is not None and sys.stderr.isatty()
            self._show = self._bar if on_terminal else self._line

    def __call__(self, step: str, fraction: float) -> None:
        """A step begins, or is under way, when this fraction of the run (0 to 1) is done."""
        self._show(step, fraction, time.perf_counter() - self._began)

    def close(self) -> None:
        """Take the bar off the terminal."""
        if self._drawn:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()

    def _json(self, step: str, fraction: float, seconds: float) -> None:
        event = {"event": "progress", "scan": self._label, "step": step}
        print_json(event | {"fraction": round(fraction, 3), "seconds": round(seconds, 3)}, err=True, indent=None)

    def _line(self, step: str, fraction: float, seconds: float) -> None:
        if step != self._step:  # a log needs each step once
            tell(f"{self._label}: {step} ({fraction:.0%}, {seconds:.1f} s)", err=True)
        self._step = step

    def _bar(self, step: str, fraction: float, seconds: float) -> None:
        done = round(_BAR * fraction)
        left = f", {seconds * (1 - fraction) / fraction:.0f} s left" if fraction > 0.1 and seconds > 0.5 else ""
        line = f"[{'#' * done}{'.' * (_BAR - done)}] {fraction:4.0%} {step}{left}  {visible(self._label)}"
        sys.stderr.write(f"\r\x1b[K{line[: shutil.get_terminal_size().columns - 1]}")
        sys.stderr.flush()
        self._drawn = True
