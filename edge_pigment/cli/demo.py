"""`edge-pigment demo`: a simulated low-field scan of a digital head, compared with the truth."""

from pathlib import Path
from typing import Annotated

import typer

from edge_pigment.cli.console import path_option, print_json, tell, verb


@verb
def demo(
    output: Annotated[
        Path, path_option("--output", "-o", help="Folder to make; an older result there is replaced.")
    ] = Path("demo-output"),
    seed: Annotated[int, typer.Option(min=0, help="Of the head and of the noise.")] = 0,
    bundle: Annotated[Path | None, path_option(help="Bundle of the prior; default: the shipped one.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, max=1024, help="CPU threads; default: all.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the comparison as JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")] = False,
) -> None:
    """Run on a simulated 64 mT scan of a digital head.

    The maps are compared with the known truth and with weighted least squares. No download; about a minute.
    """
    from edge_pigment.demo import run_demo

    def tell_step(step: str) -> None:
        if not (quiet or as_json):
            tell(f"demo: {step}", err=True)

    outcome = run_demo(output, seed, threads=threads, bundle=bundle, progress=tell_step)
    if as_json:
        print_json(outcome.json)
    else:
        tell(*outcome.table.splitlines(), "", f"Picture: {outcome.figure}")
