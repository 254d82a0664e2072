"""`edge-pigment info`: what is in a bundle of the prior."""

from pathlib import Path
from typing import Annotated

import typer

from edge_pigment.cli.console import print_json, verb


@verb
def info(
    bundle: Annotated[
        Path | None,
        typer.Argument(metavar="BUNDLE", help="Bundle folder; default: the shipped one.", readable=False),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the manifest as JSON.")] = False,
) -> None:
    """Show what the prior was learned from, its accuracy and limits.

    Every file of the bundle is checked against its hash.
    """
    from edge_pigment.prior.bundle import load_bundle

    opened = load_bundle(bundle)
    if as_json:
        print_json(
            {"bundle": opened.folder, "sha256": opened.hash, **opened.manifest.model_dump(mode="json")}
        )
    else:
        typer.echo(opened.summary())
