"""Progress on a terminal, and output that nobody reads to its end."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

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


ENVIRONMENTS = {
    "latin-1": {"PYTHONIOENCODING": "latin-1"},
    "ascii": {"PYTHONIOENCODING": "ascii"},
    "C": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    "POSIX": {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
}
SAYS = """
import sys
sys.argv = ["edge-pigment"]
from edge_pigment import cli
from edge_pigment.cli.console import Progress, print_json, say, tell, verb
@verb
def talk() -> None:
    name = sys.stdin.readline()
    tell(f"K\\u00f6pf \\u626b\\u63cf 10\\u207b\\u00b3 {name}")
    say("warning", name)
    Progress(label=name)("read", 0.5)
    print_json({"name": name, "unit": "mm\\u00b2/s"})
cli.app.command()(talk)
sys.argv.append("talk")
cli.main()
"""


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_what_an_encoding_lacks_is_escaped(environment):
    env = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)} | ENVIRONMENTS[environment]
    name = "a\x1b[2J\u202e ö 🧠"
    given = name.encode("utf-8")
    if environment in ("latin-1", "ascii"):
        given = name.encode(environment, "ignore")  # as Python reads its stdin there
    done = subprocess.run([sys.executable, "-c", SAYS], input=given, capture_output=True, env=env)
    assert done.returncode == 0, done.stderr
    said = done.stdout + done.stderr
    assert b"\x1b" not in said
    assert "\u202e".encode() not in said
    assert b"\\x1b[2J" in said
    text, _, packed = done.stdout.decode("latin-1").partition("\n")
    assert "\\u626b\\u63cf" in text
    assert json.loads(packed)["unit"] == "mm²/s"
    assert packed.isascii()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
@pytest.mark.parametrize(
    ("stream", "first", "code"), [("1", "tell", 0), ("2", "tell", 0), ("1", "print_json", 2), ("2", "print_json", 0)]
)
def test_an_output_that_takes_nothing(stream, first, code):
    """What was done is not undone for it; who asked for JSON and got none is told."""
    env = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    script = SAYS if first == "tell" else SAYS.replace("    tell(", "    str(")
    command = ["bash", "-c", f"echo name | '{sys.executable}' -c '{script}' {stream}>/dev/full"]
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
