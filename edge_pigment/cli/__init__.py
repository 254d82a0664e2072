"""The command line: `edge-pigment run`, `watch`, `demo`, `simulate`, `info`, `doctor`, `build` and `export`.

One file per verb. What a verb needs is imported when it runs: `edge-pigment --help` loads neither NumPy nor
ONNX Runtime.
"""

import signal
from typing import Annotated, NoReturn

import typer

from edge_pigment import __version__
from edge_pigment.cli.build import build
from edge_pigment.cli.console import escape_what_cannot_be_shown
from edge_pigment.cli.demo import demo
from edge_pigment.cli.doctor import doctor
from edge_pigment.cli.export import export
from edge_pigment.cli.info import info
from edge_pigment.cli.run import run
from edge_pigment.cli.simulate import simulate
from edge_pigment.cli.watch import watch

app = typer.Typer(
    name="edge-pigment",
    help="Quantitative diffusion MRI maps, with honest uncertainty, from scans too sparse or too noisy for "
    "conventional fitting. For research, not for diagnosis.",
    epilog="Start with: edge-pigment demo -o demo-output",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"edge-pigment {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and end.")
    ] = False,
) -> None:
    pass


app.command()(run)
app.command()(watch)
app.command()(demo)
app.command()(simulate)
app.command()(info)
app.command()(doctor)
app.command()(build)
# its options are those of the workshop's own command, which is not imported before it is asked for
app.command(add_help_option=False, context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(export)


def main() -> None:
    """Console entry."""
    # a scheduler's or console's polite end runs the same clean-up as Ctrl-C
    signal.signal(signal.SIGTERM, _end)
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:  # nohup ignores it
        signal.signal(signal.SIGHUP, _end)
    escape_what_cannot_be_shown()
    app(prog_name="edge-pigment")


def _end(number: int, frame: object) -> NoReturn:
    raise SystemExit(128 + number)
