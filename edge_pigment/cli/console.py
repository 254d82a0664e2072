"""What every verb says and how: errors in one line, progress, JSON."""

import json
import os
import shutil
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import typer

from edge_pigment import errors as texts
from edge_pigment.errors import EdgePigmentError

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
    typer.echo(f"edge-pigment: {kind}: {message}", err=True)


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
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        raise typer.Exit(PIPE_CLOSED) from None
    except EdgePigmentError as error:
        _traceback_if_asked()
        say("error", error)
        raise typer.Exit(error.exit_code) from None
    except Exception as error:
        _traceback_if_asked()
        message = " ".join(str(error).split()) or "no message"
        say("error", texts.UNEXPECTED.format(kind=type(error).__name__, message=message))
        raise typer.Exit(1) from None


def verb(function: Callable[P, R]) -> Callable[P, R]:
    """A command whose errors end in one line."""

    @wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        with errors_in_one_line():
            return function(*args, **kwargs)

    return wrapped


def print_json(content: Mapping[str, Any], err: bool = False, indent: int | None = 2) -> None:
    """JSON on stdout, or as one line on stderr."""
    from edge_pigment.outputs.write import plain

    typer.echo(json.dumps(plain(content), indent=indent, ensure_ascii=False), err=err)


def _traceback_if_asked() -> None:
    if os.environ.get(DEBUG, "0") not in ("", "0"):
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
            self._show = self._bar if sys.stderr.isatty() else self._line

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
            typer.echo(f"{self._label}: {step} ({fraction:.0%}, {seconds:.1f} s)", err=True)
        self._step = step

    def _bar(self, step: str, fraction: float, seconds: float) -> None:
        done = round(_BAR * fraction)
        left = f", {seconds * (1 - fraction) / fraction:.0f} s left" if fraction > 0.1 and seconds > 0.5 else ""
        line = f"[{'#' * done}{'.' * (_BAR - done)}] {fraction:4.0%} {step}{left}  {self._label}"
        sys.stderr.write(f"\r\x1b[K{line[: shutil.get_terminal_size().columns - 1]}")
        sys.stderr.flush()
        self._drawn = True
