"""`edge-pigment demo`: a simulated low-field scan of a digital head, compared with the truth."""

from pathlib import Path
from typing import Annotated

import typer

from edge_pigment.cli.console import path_option, print_json, verb


@verb
def demo(
    output: Annotated[Path, path_option("--output", "-o", help="Folder to make.")] = Path("demo-output"),
    seed: Annotated[int, typer.Option(help="Of the head and of the noise.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the comparison as JSON.")] = False,
) -> None:
    """Run on a simulated 64 mT scan of a digital head.

    The maps are compared with the known truth and with weighted least squares. No download.
    """
    from edge_pigment.demo import run_demo

    outcome = run_demo(output, seed)
    if as_json:
        print_json(outcome.json)
    else:
        typer.echo(outcome.table)
        typer.echo(f"Picture: {outcome.figure}")
