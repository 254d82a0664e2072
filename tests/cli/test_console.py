"""Progress on a terminal, and output that nobody reads to its end."""

import io
import subprocess
import sys

import pytest

from edge_pigment.cli.console import Progress


class Terminal(io.StringIO):
    """A stderr that is a terminal."""

    def isatty(self):
        return True


def test_bar_is_one_line_and_goes_away(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("COLUMNS", "60")
    progress = Progress(label="sub-a-very-long-name_acq-of-a-very-long-protocol_dwi.nii.gz")
    progress._began -= 10
    for step, fraction in (("read", 0), ("adapt", 0.5), ("write", 0.9)):
        progress(step, fraction)
    progress.close()
    shown = terminal.getvalue()
    assert "\n" not in shown
    lines = shown.split("\r\x1b[K")
    assert lines[0] == ""
    assert lines[-1] == ""
    assert "50% adapt, 10 s left  sub-a" in lines[2]
    assert max(map(len, lines)) < 60


@pytest.mark.parametrize("quiet", [True, False])
def test_no_bar_where_there_is_no_terminal(capsys, quiet):
    progress = Progress(quiet, label="scan")
    progress("read", 0.25)
    progress.close()
    assert capsys.readouterr().err == ("" if quiet else "scan: read (25%, 0.0 s)\n")


CUT_SHORT = """
from edge_pigment.cli.console import verb
import typer
@verb
def talk() -> None:
    for _ in range(100000):
        typer.echo("more and more")
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
app.command()(talk)
app()
"""


def test_a_closed_pipe_is_no_error():
    command = f"'{sys.executable}' -c '{CUT_SHORT}' | head -1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert done.stdout == "more and more\n"
    assert done.stderr == ""
    assert done.returncode == 141
