"""`edge-pigment doctor`: what is here and what works."""

from pathlib import Path
from typing import Annotated

import typer

from edge_pigment.cli.console import path_option, print_json, tell, verb


@verb
def doctor(
    bundle: Annotated[Path | None, path_option(help="Bundle to check; default: the shipped one.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Say what works here, and how to mend what does not.

    The exit code is 0 unless something that a scan needs is broken.
    """
    from edge_pigment.doctor import examine, healthy

    findings = examine(bundle)
    if as_json:
        print_json({"healthy": healthy(findings), "findings": [f.as_dict() for f in findings]})
    else:
        tell(*(f.line() for f in findings))
    if not healthy(findings):
        raise typer.Exit(1)
